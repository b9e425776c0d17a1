//! The recorder as its users see it: exact cutting, eviction, the quarter rule, the dead, conservation.

use super::fixtures::{SECOND, comm, fact, image};
use super::window::{Selection, Span};
use super::{Filter, Recorder, RecorderConfig};
use crate::event::{Event, MonoTime, Pid, ProcessFact};

const ALL: Span = Span { from: MonoTime(0), to: MonoTime(u64::MAX) };

/// A sample with a stack of two frames.
fn sample(pid: u32, time: u64, frame: u64) -> Event {
    Event::Sample(super::fixtures::sample(pid, time, &[frame, frame + 1]))
}

fn recorder(memory: u64) -> Recorder {
    Recorder::start(RecorderConfig { memory, now: MonoTime(0) })
}

fn count(recorder: &Recorder, pids: &[u32], span: Span) -> u64 {
    let selection = Selection::Processes(pids.iter().map(|pid| image(*pid).process).collect());
    let window = recorder.query(selection, span).expect("the recorder lives");
    window.rows.iter().map(|row| row.count).sum()
}

#[test]
fn windows_are_cut_exactly_and_late_samples_find_their_second() {
    let recorder = recorder(1 << 20);
    recorder.push(vec![sample(1, 3 * SECOND, 7), sample(1, 5 * SECOND + 1, 7), sample(1, 4 * SECOND, 7)]);
    let within = |from, to| count(&recorder, &[1], Span { from: MonoTime(from), to: MonoTime(to) });
    assert_eq!(within(3 * SECOND, 4 * SECOND), 1);
    assert_eq!(within(3 * SECOND + 1, 4 * SECOND + 1), 1);
    assert_eq!(within(0, 5 * SECOND + 2), 3);
    assert_eq!(within(5 * SECOND + 2, 9 * SECOND), 0);
}

#[test]
fn what_is_pushed_is_held_or_counted_and_the_budget_holds() {
    let recorder = recorder(200_000);
    for i in 0..20_000 {
        recorder.push(vec![sample(1 + (i % 5) as u32, i * SECOND / 100, i)]);
        if i % 1_000 == 0 {
            recorder.stats(); // waits, so that the queue does not fill
        }
    }
    let stats = recorder.stats();
    assert!(stats.bytes <= 200_000, "{stats:?}");
    assert_eq!(stats.samples + stats.evicted + stats.too_late + stats.dropped, 20_000, "{stats:?}");
    assert_eq!(count(&recorder, &[1, 2, 3, 4, 5], ALL), stats.samples);
}

#[test]
fn one_process_with_endless_stacks_does_not_push_out_the_others() {
    let recorder = recorder(400_000);
    for i in 0..10 {
        recorder.push(vec![sample(1, i * SECOND, 1)]);
    }
    for i in 0..20_000 {
        recorder.push(vec![sample(2, i * SECOND / 2_000, 1_000 + i * 2)]);
        if i % 1_000 == 0 {
            recorder.stats();
        }
    }
    assert_eq!(count(&recorder, &[1], ALL), 10);
    assert!(recorder.stats().evicted > 0);
}

#[test]
fn the_dead_are_listed_while_something_of_them_is_recorded() {
    let recorder = recorder(1 << 20);
    let fact = ProcessFact { comm: comm("dying"), ..fact(9, SECOND) };
    recorder.push(vec![Event::Exec(fact.clone(), b"/bin/dying".to_vec()), sample(9, SECOND, 1)]);
    assert_eq!(recorder.processes(Filter::Exited), vec![]);
    recorder.push(vec![Event::Exit { fact, cpu_ns: 42, exit_code: 0 }]);
    let dead = recorder.processes(Filter::Exited);
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0].exe.as_deref(), dead[0].cpu_ns, dead[0].namespace_pid), (Some("/bin/dying"), Some(42), Pid(5)));
    assert_eq!(recorder.process(Pid(9)).len(), 1);
    assert!(recorder.process(Pid(10)).is_empty());
}
