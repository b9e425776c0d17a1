//! Tests of the process table.

use super::*;
use crate::record::fixtures::{SECOND, comm, fact, image, process, sample};
use crate::record::window::{Selection, Span};

fn table() -> Processes {
    Processes::new(1_000)
}

fn of(table: &Processes, pid: u32) -> Vec<ProcessInfo> {
    table.with_number(Pid(pid), MonoTime(100 * SECOND))
}

fn only(table: &Processes, pid: u32) -> ProcessInfo {
    let [only] = of(table, pid).try_into().unwrap();
    only
}

fn with_exec(pid: u32, time: u64, exec_id: u32) -> ProcessFact {
    let fact = fact(pid, time);
    ProcessFact { image: ImageId { exec_id, ..fact.image }, ..fact }
}

fn exes(info: &ProcessInfo) -> Vec<(u32, Option<&str>)> {
    info.images.iter().map(|image| (image.exec_id, image.exe.as_deref())).collect()
}

#[test]
fn exec_keeps_the_process_and_starts_another_image() {
    let mut table = table();
    table.fork(&with_exec(7, 10, 3));
    table.exec(&with_exec(7, 20, 4), b"/bin/new");
    let info = only(&table, 7);
    assert_eq!((info.id, info.exec_id, info.exe.as_deref()), (process(7), 4, Some("/bin/new")));
    assert_eq!(exes(&info), [(3, None), (4, Some("/bin/new"))]);
    assert_eq!(info.images.iter().map(|image| image.since.0).collect::<Vec<_>>(), [10, 20]);
    assert_eq!((info.parent, info.namespace_pid, info.cgroup), (Pid(1), Pid(5), 42));
}

#[test]
fn a_sample_that_overtakes_its_exec_event_belongs_to_the_same_image() {
    let mut table = table();
    table.sample(&sample(7, 30, &[1]));
    table.exec(&with_exec(7, 20, 3), b"/bin/a");
    let info = only(&table, 7);
    assert_eq!(exes(&info), [(3, Some("/bin/a"))]);
    assert_eq!((info.images[0].since, info.samples, info.last_sample), (MonoTime(20), 1, Some(MonoTime(30))));
}

#[test]
fn a_late_sample_of_the_program_before_does_not_bring_it_back() {
    let mut table = table();
    table.exec(&with_exec(7, 20, 4), b"/bin/new");
    table.sample(&Sample { comm: comm("old"), ..sample(7, 10, &[1]) });
    let info = only(&table, 7);
    assert_eq!((info.exec_id, info.comm, info.exe.as_deref()), (4, comm("leader"), Some("/bin/new")));
    assert_eq!(exes(&info), [(3, None), (4, Some("/bin/new"))]);
}

#[test]
fn a_child_has_its_parents_program_until_it_execs() {
    let mut table = table();
    table.exec(&fact(1, 10), b"/sbin/init");
    table.fork(&fact(7, 20));
    assert_eq!(only(&table, 7).exe.as_deref(), Some("/sbin/init"));
    table.exec(&with_exec(7, 30, 4), b"/bin/a");
    assert_eq!(exes(&only(&table, 7)), [(3, Some("/sbin/init")), (4, Some("/bin/a"))]);
}

#[test]
fn a_reused_number_is_another_process_and_the_one_before_is_dead() {
    let mut table = table();
    table.sample(&sample(7, 10, &[1]));
    let mut second = fact(7, 500);
    second.image.process.start += 999;
    table.fork(&second);
    let [old, new] = of(&table, 7).try_into().unwrap();
    assert_eq!((old.id, old.exited), (process(7), Some(MonoTime(500))));
    assert_eq!((new.id, new.exited), (second.image.process, None));
    // A late sample of the old one does not end the new one.
    table.sample(&sample(7, 11, &[1]));
    assert_eq!(of(&table, 7)[1].exited, None);
}

#[test]
fn the_end_is_kept_with_the_cpu_time() {
    let mut table = table();
    table.sample(&sample(7, 10, &[1]));
    table.exit(&fact(7, 50), 123);
    let info = only(&table, 7);
    assert_eq!((info.exited, info.cpu_ns), (Some(MonoTime(50)), Some(123)));
    table.gone(process(7), MonoTime(90));
    assert_eq!(only(&table, 7).exited, Some(MonoTime(50)));
}

#[test]
fn what_proc_says_becomes_the_process_that_samples_name() {
    let mut rounded = with_exec(7, 10, 0);
    rounded.image.process.start = rounded.image.process.start / TICK * TICK;
    let mut table = table();
    table.known(&rounded, b"/usr/bin/a");
    assert_eq!(only(&table, 7).id, rounded.image.process);
    table.known(&rounded, b"/usr/bin/a");
    table.sample(&sample(7, 30, &[1]));
    let info = only(&table, 7);
    assert_eq!((info.id, info.exec_id), (process(7), 3));
    assert_eq!(exes(&info), [(3, Some("/usr/bin/a"))]);
    // And the other way round: what the kernel named before keeps its name.
    table.known(&rounded, b"/usr/bin/b");
    let info = only(&table, 7);
    assert_eq!((info.id, info.exec_id, info.exe.as_deref()), (process(7), 3, Some("/usr/bin/b")));
}

#[test]
fn an_exec_of_what_proc_knew_keeps_the_program_before() {
    let mut table = table();
    table.known(&with_exec(7, 10, 0), b"/usr/bin/a");
    table.exec(&with_exec(7, 20, 4), b"/usr/bin/b");
    assert_eq!(exes(&only(&table, 7)), [(3, Some("/usr/bin/a")), (4, Some("/usr/bin/b"))]);
}

#[test]
fn the_dead_stay_while_they_are_recorded_or_a_minute() {
    let mut table = table();
    table.sample(&sample(7, 10 * SECOND, &[1]));
    for pid in [7, 8] {
        table.exit(&fact(pid, 11 * SECOND), 1);
    }
    let pids = |table: &Processes| table.known.keys().map(|id| id.pid.0).collect::<Vec<_>>();
    table.trim(MonoTime(70 * SECOND), MonoTime(0));
    assert_eq!(pids(&table), [7, 8]);
    table.trim(MonoTime(72 * SECOND), MonoTime(0));
    assert_eq!(pids(&table), [7]);
    table.trim(MonoTime(9_000 * SECOND), MonoTime(10 * SECOND));
    assert_eq!(pids(&table), [7]);
    table.trim(MonoTime(9_000 * SECOND), MonoTime(11 * SECOND));
    assert_eq!(pids(&table), [0; 0]);
}

#[test]
fn lists_tell_the_living_from_the_recorded_dead() {
    let mut table = table();
    table.sample(&sample(7, 10, &[1]));
    table.sample(&sample(8, 10, &[1]));
    table.fork(&fact(9, 10));
    table.exit(&fact(8, 20), 1);
    table.exit(&fact(9, 20), 1);
    let list = |filter, floor| {
        let list = table.list(filter, MonoTime(30), MonoTime(floor));
        list.into_iter().map(|info| info.id.pid.0).collect::<Vec<_>>()
    };
    assert_eq!((list(Filter::Alive, 0), list(Filter::Exited, 0)), (vec![7], vec![8]));
    assert_eq!(list(Filter::Exited, 11), [0; 0]);
    assert_eq!((table.recorded(MonoTime(0)), table.recorded(MonoTime(11))), (vec![process(7)], vec![]));
}

#[test]
fn a_full_table_forgets_the_oldest_dead_and_never_the_living() {
    let mut table = Processes::new(4);
    for pid in 1..=3 {
        table.fork(&fact(pid, pid.into()));
    }
    table.fork(&fact(4, 4));
    table.exit(&fact(3, 10), 0);
    table.exit(&fact(2, 20), 0);
    table.fork(&fact(5, 30));
    assert_eq!(table.known.keys().map(|id| id.pid.0).collect::<Vec<_>>(), [1, 2, 4, 5]);
    table.fork(&fact(6, 40));
    table.fork(&fact(7, 50));
    assert_eq!(table.known.keys().map(|id| id.pid.0).collect::<Vec<_>>(), [1, 4, 5, 6]);
    assert_eq!(table.refused, 3);
}

#[test]
fn a_process_that_execs_forever_keeps_its_newest_images() {
    let mut table = table();
    for exec_id in 0..1_000 {
        table.exec(&with_exec(7, exec_id.into(), exec_id), b"/bin/a");
    }
    table.sample(&Sample { image: ImageId { exec_id: 5, ..image(7) }, ..sample(7, 1_001, &[1]) });
    let info = only(&table, 7);
    assert_eq!((info.images.len(), info.exec_id), (MAX_IMAGES, 999));
    assert_eq!(info.exe.as_deref(), Some("/bin/a"));
}

#[test]
fn the_cpu_time_of_a_selection_is_the_sum_of_what_is_known() {
    let mut table = table();
    for pid in [7, 8, 9] {
        table.sample(&sample(pid, 10, &[1]));
    }
    for (time, cpu) in [(100, 0), (200, 50)] {
        table.clock(process(7), MonoTime(time), cpu);
        table.clock(process(8), MonoTime(time), cpu * 2);
    }
    let span = Span { from: MonoTime(120), to: MonoTime(180) };
    let within = |selection| table.cpu_within(&selection, span);
    assert_eq!(within(Selection::of([process(7)])), Some(30));
    assert_eq!(within(Selection::of([process(9)])), None);
    assert_eq!(within(Selection::of([process(7), process(8)])), Some(90));
    assert_eq!(within(Selection::of([process(7), process(8), process(9)])), None, "a part is not the whole");
    assert_eq!(within(Selection::Host), None);
}

#[test]
fn a_family_that_comes_and_goes_in_the_window_is_accounted_whole() {
    let mut table = table();
    // The number, when it is forked, when it ends and what it had used then. A reading of the third one's clock overtakes
    // the news of its birth; the fourth one lives on.
    table.fork(&fact(7, 50));
    table.clock(process(7), MonoTime(100), 20);
    table.exit(&fact(7, 150), 30);
    table.fork(&fact(8, 120));
    table.exit(&fact(8, 140), 9);
    table.sample(&sample(9, 131, &[1]));
    table.clock(process(9), MonoTime(132), 1);
    table.fork(&fact(9, 130));
    table.exit(&fact(9, 170), 5);
    table.fork(&fact(10, 160));
    table.clock(process(10), MonoTime(220), 60);
    let all = Selection::of([7, 8, 9, 10].map(process));
    let within = |from, to| {
        let span = Span { from: MonoTime(from), to: MonoTime(to) };
        (table.cpu_within(&all, span), table.ended_within(&all, span))
    };
    assert_eq!(within(100, 200), (Some(10 + 9 + 5 + 40), 3));
    assert_eq!(within(0, 160), (Some(30 + 9 + 1 + 4 * 28 / 38), 2), "the third is between two readings");
    assert_eq!(within(180, 220).1, 0);
    assert_eq!(within(100, 221), (None, 3), "what one used since its last reading is not known");
}

#[test]
fn the_table_fits_its_budget_by_forgetting_the_dead_and_then_old_images() {
    let mut table = table();
    for pid in 1..=100 {
        for exec in 0..4 {
            table.exec(&with_exec(pid, 10 + u64::from(exec), exec), &[b'x'; 200]);
        }
        if pid % 2 == 0 {
            table.exit(&fact(pid, 20 + u64::from(pid)), 1);
        }
    }
    let full = table.table_bytes();
    table.fit(full * 3 / 4);
    assert!(table.table_bytes() <= full * 3 / 4 && table.refused > 0);
    assert!(of(&table, 2).is_empty() && !of(&table, 100).is_empty(), "those that died first go first");
    table.fit(1);
    assert_eq!(table.len(), 50, "the living stay");
    assert_eq!(only(&table, 1).images.len(), 1);
}

#[test]
fn as_many_living_processes_as_there_may_be_fit_whatever_their_paths() {
    let mut table = Processes::new(crate::record::owner::MAX_PROCESSES);
    let most = u32::try_from(crate::record::owner::MAX_PROCESSES).unwrap();
    for pid in 1..=most {
        // Every tenth has a path as long as one may be.
        let path = vec![b'x'; if pid % 10 == 0 { 5_000 } else { 40 }];
        table.known(&fact(pid, 10), &path);
    }
    assert!(table.table_bytes() > crate::record::PROCESS_TABLE);
    table.fit(crate::record::PROCESS_TABLE);
    assert!(table.table_bytes() <= crate::record::PROCESS_TABLE, "{} bytes", table.table_bytes());
    assert_eq!((table.len(), table.forgotten_paths), (most as usize, u64::from(most / 10)));
    assert_eq!((only(&table, 10).exe, only(&table, 1).exe), (None, Some("x".repeat(40))));
}

#[test]
fn a_family_is_who_was_forked_by_its_members_and_not_by_who_had_their_numbers_before() {
    let mut table = table();
    let at = |pid: u32, start: u64, parent: u32| {
        let image = ImageId { process: ProcessId { pid: Pid(pid), start }, exec_id: 0 };
        ProcessFact { image, parent: Pid(parent), ..fact(pid, start) }
    };
    let who = |pid, start| ProcessId { pid: Pid(pid), start };
    for (pid, start, parent) in [(20, 5, 10), (10, 10, 1), (11, 20, 10), (12, 30, 11), (13, 40, 1), (30, 50, 20)] {
        table.fork(&at(pid, start, parent));
    }
    table.exit(&at(11, 20, 10), 7);
    // The number of the first child is given anew, to a stranger who has a child.
    table.fork(&at(11, 60, 1));
    table.fork(&at(14, 70, 11));
    // The head died, and /proc says that init is the parent of its child now.
    table.exec(&at(12, 30, 1), b"/bin/x");
    let family = table.family(who(10, 10), MonoTime(0));
    assert_eq!(family.into_iter().collect::<Vec<_>>(), [who(10, 10), who(11, 20), who(12, 30)]);
    assert!(!table.family(who(10, 10), MonoTime(1_000)).contains(&who(11, 20)), "it had died before");
    assert_eq!(table.family(who(99, 1), MonoTime(0)).len(), 1);
}

fn users(info: &ProcessInfo) -> Vec<(u32, bool)> {
    info.images.iter().map(|image| (image.exec_id, image.user.is(1000))).collect()
}

#[test]
fn a_program_that_was_met_with_the_rights_of_others_is_nobodys_alone_for_good() {
    let mut table = table();
    let risen = UserIds { real: 1000, effective: 0, saved: 0 };
    table.fork(&with_exec(7, 10, 3));
    table.exec(&ProcessFact { uids: risen, ..with_exec(7, 20, 4) }, b"/bin/su");
    // It gives its rights up, then another program takes its place.
    table.sample(&Sample { image: ImageId { exec_id: 4, ..image(7) }, ..sample(7, 30, &[1]) });
    assert_eq!(users(&only(&table, 7)), [(3, true), (4, false)]);
    let child = ProcessFact { parent: Pid(7), ..with_exec(8, 35, 4) };
    table.fork(&child);
    assert_eq!(users(&only(&table, 8)), [(4, false)], "a copy of such a program is no better");
    table.exec(&ProcessFact { parent: Pid(7), ..with_exec(8, 37, 5) }, b"/bin/sh");
    assert_eq!(users(&only(&table, 8)), [(4, false), (5, true)]);
    table.exec(&with_exec(7, 40, 5), b"/bin/sh");
    assert_eq!(users(&only(&table, 7)), [(3, true), (4, false), (5, true)]);
}
