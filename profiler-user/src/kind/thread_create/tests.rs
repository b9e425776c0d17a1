//! Tests of `kind/thread_create`.

use super::*;
use crate::event::{Class, Comm, Event, MonoTime, Pid, Sample, ThreadSeen, UserIds};
use crate::kind::fakes::World;
use crate::kind::subject::{Asked, find};
use crate::symbolize::fakes::{LIBC, PID, PROGRAM, comm, image, kernel, native};

/// When the fakes' recorder began, which is also ns since boot there.
fn began(world: &World) -> u64 {
    world.profiler.recorder.began().0
}

/// A thread that stands in the program's `work`, called by the C library.
fn thread(tid: u32, start: u64) -> Thread {
    let stack = [
        kernel(0x5010),
        native(LIBC, 0x2_8010),
        native(PROGRAM, 0x1210),
        native(LIBC, 0x2_9010),
        native(PROGRAM, 0x1010),
    ];
    let seen = ThreadSeen {
        image: image(),
        tid: Tid(tid),
        time: MonoTime(9),
        start,
        runtime: 1,
        since: None,
        arrival: None,
        state: 1,
        on_cpu: false,
        uids: UserIds { real: 1000, effective: 1000, saved: 1000 },
        thread: comm("worker"),
        comm: comm("demo"),
        registers: None,
        kernel: vec![FrameWord::from(stack[0])],
    };
    Thread { seen, frames: stack.iter().map(|frame| FrameWord::from(*frame)).collect(), status: Reason::Complete }
}

/// The first thread makes another one.
fn made(tid: u32, start: u64, name: Comm) -> Event {
    Event::Sample(Sample {
        class: Class::NewThread { tid: Tid(tid), start },
        status: Reason::Complete,
        kernel_mode: true,
        kernel_thread: false,
        cpu: 0,
        image: image(),
        tid: Tid(PID),
        time: MonoTime(5),
        value: 0,
        late_ticks: 0,
        uids: UserIds { real: 1000, effective: 1000, saved: 1000 },
        thread: name,
        comm: comm("demo"),
        bad_pc: 0,
        frames: [native(PROGRAM, 0x1410), native(PROGRAM, 0x1010)]
            .iter()
            .map(|frame| FrameWord::from(*frame))
            .collect(),
    })
}

fn collect_from(world: &World, request: Request) -> Profile {
    let known = find(&world.profiler, Asked { pid: Pid(PID), start: None }).expect("is known");
    collect(&world.profiler, Viewer::All, &Subject::Process(known), request).expect("a profile")
}

/// Names of the outermost frames with counts, sorted.
fn roots(profile: &Profile) -> Vec<(String, usize, i64)> {
    let mut roots: Vec<_> = profile
        .samples
        .iter()
        .map(|sample| {
            let root = &profile.locations[*sample.locations.last().expect("a frame")];
            let name = profile.functions[root.lines.last().expect("a line").function].name.clone();
            (name, sample.locations.len(), sample.values[0])
        })
        .collect();
    roots.sort();
    roots
}

#[test]
fn each_thread_is_told_by_its_creator_or_by_why_that_is_not_known() {
    let world = World::new();
    let after = began(&world) + 1_000;
    *world.processes.threads.lock().expect("no test panics with it") = vec![
        thread(PID, 50),
        thread(11, after),
        thread(12, after + 1),
        thread(13, 60),
        // Its number was another thread's, whose creation is recorded.
        thread(14, after + 9),
    ];
    let events = vec![made(11, after, comm("a")), made(12, after + 1, comm("a")), made(14, after + 2, comm("a"))];
    assert!(world.profiler.recorder.try_push(events));
    let profile = collect_from(&world, Request { each: false });
    let of = |reason: Reason, frames| (format!("[{}]", reason.name()), frames, 1);
    let mut wanted = vec![
        of(Reason::FirstThread, 4),
        of(Reason::OlderThanAgent, 4),
        of(Reason::CreationNotSeen, 4),
        ("_start".to_owned(), 2, 2),
    ];
    wanted.sort();
    assert_eq!(roots(&profile), wanted, "{profile:?}");
    assert!(profile.comments[0].contains("5 threads of process 4711") && profile.comments[0].contains("2 were seen"));
    assert_eq!(profile.comments.iter().filter(|comment| comment.starts_with("1 are told as")).count(), 3);
    let each = collect_from(&world, Request { each: true });
    assert_eq!(each.samples.len(), 5);
}

#[test]
fn what_ended_is_not_held_any_more() {
    let world = World::new();
    let after = began(&world) + 1_000;
    assert!(world.profiler.recorder.try_push(vec![made(11, after, comm("a")), made(12, after, comm("a"))]));
    let ended = Event::ThreadExit { process: image().process, tid: Tid(11), start: after };
    assert!(world.profiler.recorder.try_push(vec![ended]));
    let held: Vec<u32> = world.profiler.recorder.created(image().process).iter().map(|made| made.tid.0).collect();
    assert_eq!(held, [12]);
}
