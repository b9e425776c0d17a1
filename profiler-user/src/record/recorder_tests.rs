//! Tests of the handle and the owner, with and without its thread.

use super::*;
use crate::event::Sample;
use crate::record::SECOND;
use crate::record::fixtures::{fact, process, sample};
use profiler_ebpf::reasons::Reason;

fn start(memory: u64) -> Recorder {
    Recorder::start(RecorderConfig { memory, now: MonoTime(SECOND) })
}

fn span(from: u64, to: u64) -> Span {
    Span { from: MonoTime(from), to: MonoTime(to) }
}

fn host(recorder: &Recorder, from: u64, to: u64) -> Window {
    recorder.query(Selection::Host, span(from, to)).unwrap()
}

fn count(window: &Window) -> u64 {
    window.rows.iter().map(|row| row.count).sum()
}

fn lost(window: &Window, reason: Reason) -> u64 {
    window.losses.iter().filter(|loss| loss.0 == reason).map(|loss| loss.1).sum()
}

fn samples(number: u64) -> Vec<Event> {
    (0..number).map(|i| Event::Sample(sample(7, 2 * SECOND + i, &[i % 50, 2, 3]))).collect()
}

#[test]
fn a_query_sees_all_that_was_pushed_before_it() {
    let recorder = start(64 << 20);
    for part in samples(10_000).chunks(100) {
        assert!(recorder.try_push(part.to_vec()));
    }
    let window = host(&recorder, 0, 3 * SECOND);
    assert_eq!((count(&window), window.rows.len()), (10_000, 50));
    assert_eq!(window.covered, Some(span(SECOND, 3 * SECOND)), "recording began at 1 s");
    assert_eq!(recorder.stats().samples, 10_000);
}

#[test]
fn a_window_before_the_recording_is_empty_and_says_so() {
    let recorder = start(64 << 20);
    recorder.push(samples(1));
    assert_eq!(host(&recorder, 0, SECOND), Window::default());
}

#[test]
fn losses_belong_to_their_process_and_their_time() {
    let recorder = start(64 << 20);
    let key = |pid: u32, reason: u32| LossKey { start_boottime: process(pid).start, tgid: pid, reason };
    recorder.losses(vec![(key(7, Reason::RingFull as u32), 3), (key(8, 31), 2)], MonoTime(2 * SECOND));
    recorder.losses(vec![(key(7, Reason::RingFull as u32), 5)], MonoTime(4 * SECOND));
    let of = |pid, to| recorder.query(Selection::of([process(pid)]), span(0, to)).unwrap().losses;
    assert_eq!(of(7, 3 * SECOND), [(Reason::RingFull, 3)]);
    assert_eq!(of(7, 5 * SECOND), [(Reason::RingFull, 8)]);
    assert_eq!(of(8, 5 * SECOND), [(Reason::BadRecord, 2)]);
}

#[test]
fn cpu_time_comes_from_readings_and_the_exit() {
    let recorder = start(64 << 20);
    recorder.push(vec![Event::Fork(fact(7, 2 * SECOND)), Event::Sample(sample(7, 3 * SECOND, &[1]))]);
    recorder.cpu_clocks(vec![(process(7), MonoTime(3 * SECOND), 600)]);
    recorder.push(vec![Event::Exit { fact: fact(7, 4 * SECOND), cpu_ns: 1_000, exit_code: 0 }]);
    let only = || Selection::of([process(7)]);
    let cpu = |from, to| recorder.query(only(), span(from, to)).unwrap().cpu_ns;
    assert_eq!(cpu(SECOND, 10 * SECOND), Some(1_000));
    assert_eq!(cpu(2 * SECOND + SECOND / 2, 3 * SECOND + SECOND / 2), Some(500));
    let [info] = recorder.process(Pid(7)).try_into().unwrap();
    assert_eq!((info.exited, info.cpu_ns, info.samples), (Some(MonoTime(4 * SECOND)), Some(1_000), 1));
    assert_eq!(recorder.processes(Filter::Exited), [info]);
    assert_eq!(recorder.processes(Filter::Alive), []);
}

#[test]
fn a_process_found_gone_is_no_longer_alive() {
    let recorder = start(64 << 20);
    recorder.push(samples(1));
    assert_eq!(recorder.recorded(), [process(7)]);
    recorder.gone(vec![process(7)], MonoTime(5 * SECOND));
    assert_eq!(recorder.recorded(), []);
    assert_eq!(recorder.process(Pid(7)).first().and_then(|info| info.exited), Some(MonoTime(5 * SECOND)));
}

/// The queue is filled while the owner does not run, so what it refuses is certain.
#[test]
fn a_full_queue_drops_counts_and_never_blocks() {
    let (recorder, receiver, mut owner) = Recorder::parts(RecorderConfig::default());
    let mut taken = 0;
    for event in samples(QUEUE as u64 + 10) {
        taken += u64::from(recorder.try_push(vec![event]));
    }
    assert_eq!(taken, QUEUE as u64);
    assert!(!recorder.try_push(vec![Event::Fork(fact(8, 1)), Event::Sample(sample(8, 2 * SECOND, &[]))]));
    let key = LossKey { start_boottime: 0, tgid: 7, reason: Reason::RingFull as u32 };
    recorder.losses(vec![(key, 5)], MonoTime(2 * SECOND));
    recorder.cpu_clocks(vec![(process(7), MonoTime(1), 1)]);
    receiver.try_iter().for_each(|command| owner.handle(command));

    let window = owner.answer(Selection::Host, Samples::Cpu, span(0, 3 * SECOND)).window(None);
    assert_eq!((count(&window), lost(&window, Reason::QueueFull)), (taken, 10 + 1 + 5));
    let stats = owner.stats();
    assert_eq!((stats.dropped, stats.dropped_events, stats.samples), (16, 2, taken));
    assert!(recorder.try_push(samples(1)), "there is room again");
}

#[test]
fn the_queue_is_bounded_in_bytes_too() {
    let (recorder, receiver, mut owner) = Recorder::parts(RecorderConfig::default());
    let deep = Event::Sample(sample(7, 2 * SECOND, &[1; 1_000]));
    let batch = vec![deep; 100];
    let taken = (0..100).filter(|_| recorder.try_push(batch.clone())).count() as u64;
    assert_eq!(taken, QUEUE_BYTES / queued_bytes(&batch));
    receiver.try_iter().for_each(|command| owner.handle(command));
    assert_eq!(recorder.gate.queued_bytes.load(Ordering::Relaxed), 0);
    assert_eq!(owner.stats().samples + owner.stats().dropped, 10_000);
}

#[test]
fn memory_stays_under_the_budget_and_every_sample_is_accounted_for() {
    let (recorder, receiver, mut owner) = Recorder::parts(RecorderConfig { memory: 1 << 20, now: MonoTime(0) });
    let mut pushed = 0;
    for second in 0..200 {
        let time = |i| MonoTime(second * SECOND + i * 1_000_000);
        let events = (0..500).map(|i| {
            let pid = 1 + u32::try_from(i % 20).unwrap();
            Event::Sample(Sample { time: time(i), ..sample(pid, 0, &[second * i, i, 3, 4, 5, 6]) })
        });
        pushed += u64::from(recorder.try_push(events.collect())) * 500;
        let clocks = (1..=20).map(|pid| (process(pid), time(0), second * u64::from(pid)));
        recorder.cpu_clocks(clocks.collect());
        receiver.try_iter().for_each(|command| owner.handle(command));
        let stats = owner.stats();
        assert!(stats.bytes <= stats.budget, "{stats:?}");
        assert_eq!(stats.samples + stats.evicted + stats.too_late + stats.dropped, pushed);
    }
    assert!(owner.stats().evicted > 0);
}

#[test]
fn the_recorder_ends_with_its_last_handle() {
    let (recorder, receiver, _owner) = Recorder::parts(RecorderConfig::default());
    let other = recorder.clone();
    drop(recorder);
    assert!(other.try_push(samples(1)));
    drop(other);
    assert_eq!(receiver.iter().count(), 1);
}

#[test]
fn a_handle_whose_owner_is_gone_says_so() {
    let (recorder, receiver, owner) = Recorder::parts(RecorderConfig::default());
    drop((receiver, owner));
    assert_eq!(recorder.query(Selection::Host, span(0, 1)), Err(RecordError::Ended));
    assert!(!recorder.try_push(samples(1)));
    assert_eq!(recorder.stats(), RecorderStats::default());
}
