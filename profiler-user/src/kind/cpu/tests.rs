//! Tests of `kind/cpu`.

use super::*;
use crate::kind::fakes::{DEAD, World};
use crate::kind::profile::Label;
use crate::kind::subject::{Asked, find};
use crate::symbolize::fakes::{EPOCH_WALL, PID, process};

fn parameters(text: &str) -> Parameters {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    Parameters(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

fn subject(world: &World, pid: u32) -> Subject {
    Subject::Process(find(&world.profiler, Asked { pid: crate::event::Pid(pid), start: None }).expect("is known"))
}

fn request(text: &str) -> Request {
    Request::parse(&parameters(text), 300).expect("is well formed")
}

#[test]
fn seconds_are_read_as_go_reads_them_and_ours_strictly() {
    let check = |text: &str, wanted: Option<(u32, Option<u32>, u32, bool)>| {
        let got = Request::parse(&parameters(text), 300).ok().map(|r| (r.seconds, r.ago, r.hz, r.kernel));
        assert_eq!(got, wanted, "{text}");
    };
    for default in ["", "seconds=", "seconds=0.5", "seconds=0", "seconds=-1", "seconds=abc", "seconds= 1"] {
        check(default, Some((30, None, 99, true)));
    }
    check("seconds=99999999999999999999", Some((30, None, 99, true)));
    check("seconds=5&seconds=7", Some((5, None, 99, true)));
    check("seconds=+5&hz=997&kernel=0&ago=60", Some((5, Some(60), 997, false)));
    check("seconds=300", Some((300, None, 99, true)));
    check("hz=1", Some((30, None, 99, true)));
    for bad in ["seconds=301", "seconds=9223372036854775807", "hz=0", "hz=1000", "hz=x", "kernel=2", "ago=-1"] {
        check(bad, None);
    }
}

#[tokio::test]
async fn the_past_is_answered_at_once_with_real_addresses() {
    let world = World::new();
    let profile = collect(&world.profiler, subject(&world, PID), request("seconds=20&ago=0")).await.expect("a profile");
    let sum = |column: usize| profile.samples.iter().map(|sample| sample.values[column]).sum::<i64>();
    assert_eq!((sum(0), sum(1), profile.period), (100, 5_263_157_900, 52_631_579));
    assert_eq!(profile.mappings[0].file, "/usr/bin/demo");
    assert_eq!(profile.mappings[0].start, 0x5555_5555_5000);
    assert!(profile.time_nanos < EPOCH_WALL && profile.duration_nanos > 9_000_000_000, "{profile:?}");
    assert!(profile.comments[0].contains("process 4711") && profile.comments[0].contains("19 Hz"), "{profile:?}");
    assert_eq!(world.rates.of(PID), None, "looking back changes no rate");
}

#[tokio::test]
async fn the_dead_answer_for_the_past_only() {
    let world = World::new();
    let profile =
        collect(&world.profiler, subject(&world, DEAD), request("seconds=20&ago=0")).await.expect("a profile");
    assert_eq!(profile.samples.iter().map(|sample| sample.values[0]).sum::<i64>(), 2);
    let error = collect(&world.profiler, subject(&world, DEAD), request("seconds=1")).await.expect_err("it is dead");
    assert_eq!(error.to_string(), "process 4000 has exited; ago=SECONDS asks for what is recorded of it");
}

#[tokio::test]
async fn the_host_is_labeled_by_process() {
    let world = World::new();
    let profile = collect(&world.profiler, Subject::Host, request("seconds=20&ago=0")).await.expect("a profile");
    for pid in ["4711", "4000"] {
        let label = Label::Text("pid", pid.to_owned());
        assert!(profile.samples.iter().any(|sample| sample.labels.contains(&label)), "{pid}");
    }
}

/// Time between two samples.
const TICK: Duration = Duration::from_millis(10);

/// Runs a request while samples come in, until it is answered.
async fn during(world: &World, request: Request) -> Profile {
    let subject = subject(world, PID);
    let mut collecting = std::pin::pin!(collect(&world.profiler, subject, request));
    let mut ticks = tokio::time::interval(TICK);
    // On a busy host none is made up for, so that no two are closer to each other.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            profile = &mut collecting => return profile.expect("a profile"),
            _ = ticks.tick() => world.sample(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_is_waited_for_at_its_rate() {
    let world = World::new();
    let profile = during(&world, request("seconds=1&hz=500")).await;
    let samples: i64 = profile.samples.iter().map(|sample| sample.values[0]).sum();
    assert!(profile.duration_nanos >= 990_000_000, "{}", profile.duration_nanos);
    // A tick comes at any time within its millisecond.
    let most = profile.duration_nanos / 9_000_000 + 1;
    assert!((20..=most).contains(&samples), "{samples} of {most}");
    assert!(profile.time_nanos >= EPOCH_WALL);
    assert_eq!(*world.processes.prepared.lock().expect("no panic"), [Some(process())]);
    assert_eq!(world.rates.of(PID), None, "the rate is given back");
    assert!(profile.comments[2].contains("samples expected"), "{:?}", profile.comments);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_ends_the_window() {
    let world = World::new();
    let collecting = collect(&world.profiler, subject(&world, PID), request("seconds=200"));
    let exit = async {
        while world.rates.of(PID).is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.rates.of(PID), Some(1_000_000_000 / 99));
        world.processes.exit();
    };
    let (profile, ()) = tokio::join!(collecting, exit);
    let profile = profile.expect("a profile");
    assert!(profile.duration_nanos < 100_000_000_000, "{}", profile.duration_nanos);
    assert!(profile.comments.iter().any(|comment| comment.starts_with("The process exited")), "{:?}", profile.comments);
    assert!(profile.comments.iter().any(|comment| comment.starts_with("No sample")), "{:?}", profile.comments);
}

#[tokio::test(flavor = "multi_thread")]
async fn giving_up_gives_the_rate_back() {
    let world = World::new();
    let collecting = collect(&world.profiler, subject(&world, PID), request("seconds=200"));
    let watched = async {
        while world.rates.of(PID).is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = collecting => panic!("ends after 200 s only"),
        () = watched => {}
    }
    let given_back = async {
        while world.rates.of(PID).is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), given_back).await.expect("the rate is given back");
}
