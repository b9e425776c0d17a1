//! Tests of `kind/threads`.

use super::*;
use crate::event::{FrameWord, ThreadSeen, UserIds};
use crate::kind::fakes::{DEAD, World};
use crate::kind::subject::{Asked, find};
use crate::symbolize::fakes::{LIBC, PID, PROGRAM, comm, image, kernel, native};

fn parameters(text: &str) -> Parameters {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    Parameters(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

fn request(text: &str) -> Request {
    Request::parse(&parameters(text)).expect("is well formed")
}

fn subject(world: &World, pid: u32) -> Subject {
    Subject::Process(find(&world.profiler, Asked { pid: crate::event::Pid(pid), start: None }).expect("is known"))
}

/// A thread that has slept for so many minutes in the C library, called by the program.
fn sleeping(tid: u32, minutes: u64) -> Thread {
    let frames = [kernel(0x5010), native(LIBC, 0x2_8010), native(PROGRAM, 0x1210), native(PROGRAM, 0x1010)];
    let arrival = MonoTime(500_000_000_000);
    let mut registers = [0; crate::event::REGISTER_WORDS];
    // `futex`, in `orig_rax`: the fake kernel's function says nothing of it.
    registers[15] = 202;
    let seen = ThreadSeen {
        image: image(),
        tid: Tid(tid),
        time: MonoTime(arrival.0 + minutes * MINUTE + 5),
        start: u64::from(tid),
        runtime: 1_000,
        since: None,
        arrival: Some(arrival),
        state: 1,
        on_cpu: false,
        uids: UserIds { real: 1000, effective: 1000, saved: 1000 },
        thread: comm("worker"),
        comm: comm("demo"),
        registers: Some(registers),
        kernel: vec![FrameWord::from(frames[0])],
    };
    Thread { seen, frames: frames.iter().map(|frame| FrameWord::from(*frame)).collect(), status: Reason::Complete }
}

fn running(tid: u32) -> Thread {
    let mut thread = sleeping(tid, 0);
    (thread.seen.state, thread.seen.on_cpu) = (0, true);
    (thread.frames, thread.status) = (Vec::new(), Reason::ThreadRan);
    thread
}

fn world(threads: Vec<Thread>) -> World {
    let world = World::new();
    *world.processes.threads.lock().expect("no test panics with it") = threads;
    world
}

async fn collect(world: &World, viewer: Viewer, text: &str) -> Result<Profile, KindError> {
    collect_for(&world.profiler, viewer, subject(world, PID), request(text)).await
}

fn text(sample: &crate::kind::profile::ProfileSample, key: &str) -> Option<String> {
    sample.labels.iter().find_map(|label| match label {
        Label::Text(name, value) if *name == key => Some(value.clone()),
        _ => None,
    })
}

#[tokio::test]
async fn equal_stacks_are_one_sample_and_say_what_they_wait_for() {
    let world = world(vec![sleeping(PID, 0), sleeping(4712, 3), sleeping(4713, 0)]);
    let profile = collect(&world, Viewer::All, "").await.expect("a profile");
    assert_eq!(profile.samples.len(), 1, "{profile:?}");
    let sample = &profile.samples[0];
    assert_eq!((sample.values.as_slice(), sample.locations.len()), (&[3][..], 3), "no kernel frames unasked");
    assert_eq!((text(sample, "state"), text(sample, "wait")), (Some("sleeping".into()), Some("futex".into())));
    assert_eq!((profile.period, profile.duration_nanos), (1, 0));
    assert!(profile.comments[0].contains("3 threads of process 4711"), "{:?}", profile.comments);
    assert!(profile.comments.iter().any(|comment| comment.starts_with("Complete stacks: 3 of 3")));
    let with_kernel = collect(&world, Viewer::All, "kernel=1").await.expect("a profile");
    assert_eq!(with_kernel.samples[0].locations.len(), 4);
}

#[tokio::test]
async fn each_thread_with_its_number_and_its_minutes() {
    let world = world(vec![sleeping(PID, 0), sleeping(4712, 3)]);
    let profile = collect(&world, Viewer::All, "debug=2").await.expect("a profile");
    let number = |key: &str| -> Vec<i64> {
        let labels = profile.samples.iter().flat_map(|sample| &sample.labels);
        labels
            .filter_map(|label| match label {
                Label::Number(name, n) if *name == key => Some(*n),
                _ => None,
            })
            .collect()
    };
    let mut tids = number("tid");
    tids.sort_unstable();
    assert_eq!((tids, number("minutes")), (vec![4711, 4712], vec![3]));
}

#[tokio::test]
async fn who_runs_is_shown_where_a_sample_caught_it_and_others_without_a_stack() {
    let world = world(vec![sleeping(4712, 0), running(PID), running(4713)]);
    let (profile, ()) = tokio::join!(collect(&world, Viewer::All, ""), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(world.rates.of(PID).is_some(), "the sampler runs meanwhile");
        world.sample();
    });
    let profile = profile.expect("a profile");
    assert_eq!(world.rates.of(PID), None);
    let with = |wanted: Option<&str>| {
        profile.samples.iter().filter(|sample| text(sample, "reason").as_deref() == wanted).count()
    };
    assert_eq!((profile.samples.len(), with(None), with(Some("thread ran"))), (3, 2, 1), "{profile:?}");
    let caught = profile
        .samples
        .iter()
        .find(|sample| text(sample, "state").as_deref() == Some("running") && text(sample, "reason").is_none());
    assert!(caught.is_some_and(|sample| sample.locations.len() > 3), "{profile:?}");
    assert!(profile.comments[1].contains("1 ran and are shown where a sample caught them"), "{:?}", profile.comments);
    assert!(profile.comments[1].contains("1 ran all the time"), "{:?}", profile.comments);
}

#[tokio::test]
async fn users_see_threads_that_are_theirs() {
    let mut shut = sleeping(4713, 0);
    shut.seen.uids.effective = 0;
    let world = world(vec![sleeping(PID, 0), shut]);
    let profile = collect(&world, Viewer::User(1000), "").await.expect("a profile");
    assert_eq!(profile.samples.iter().map(|sample| sample.values[0]).sum::<i64>(), 1);
    let error = collect(&world, Viewer::User(1001), "").await.expect_err("none is his");
    assert!(matches!(error, KindError::Forbidden(_)), "{error}");
}

#[tokio::test]
async fn the_dead_and_the_past_have_no_threads() {
    let world = world(vec![]);
    let dead = collect_for(&world.profiler, Viewer::All, subject(&world, DEAD), request("")).await;
    assert!(matches!(dead, Err(KindError::NotFound(_))), "{dead:?}");
    assert!(matches!(collect(&world, Viewer::All, "").await, Err(KindError::NotFound(_))), "gone meanwhile");
    assert!(matches!(Request::parse(&parameters("ago=3")), Err(KindError::BadRequest(_))));
}
