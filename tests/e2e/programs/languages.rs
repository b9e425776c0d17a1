//! Async runtimes of Rust, C++ coroutines, a static C library without tables, an interpreter.

use super::{HZ, assert_passes, assert_whole, debian, processes};
use std::time::Duration;
use tests::harness::profile::Sample;
use tests::harness::{Agent, Profile, Target, judge, programs, tools, wait};

/// What runs tasks in a runtime of several threads.
const WORKER: &str = "tokio::runtime::scheduler::multi_thread::worker";

/// A function of Rust by a part of its path: type parameters of its callers may name it too, which may be inlined in them.
fn passes(sample: &Sample, path: &str) -> bool {
    sample.stack.iter().any(|name| name.contains(path))
}

#[track_caller]
fn assert_below(profile: &Profile, least: f64, path: &str) {
    let share = profile.share(|sample| passes(sample, path));
    assert!(profile.count() > 20 && share >= least, "{:.1} % below {path}\n{}", share * 100.0, profile.summary());
}

#[test]
fn async_rust_reaches_its_runtime_and_its_threads() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let runtime = Target::start(&programs::cargo("target-runtime"), &[]);
    let web = Target::start(&programs::cargo("target-web"), &[socket.to_str().unwrap()]);
    wait::until_true("the server to listen", Duration::from_secs(20), || socket.exists());
    let _clients = [(); 2].map(|()| super::requests(&socket, "collatz/3000"));
    let agent = Agent::start(&[]);
    let profiles = processes(&agent, [runtime.pid(), web.pid()], 2);
    for ((profile, perf), file) in profiles.iter().zip(["target-runtime", "target-web"]) {
        assert_whole(profile);
        perf.assert_agree(profile, file);
        let named = profile.share(|sample| sample.label("thread").starts_with("tokio-rt-worker"));
        assert!(named >= 0.99, "{:.1} % in threads of the runtime\n{}", named * 100.0, profile.summary());
    }
    let [(runtime, _), (web, _)] = profiles;
    assert_tasks(&runtime);
    assert_handler(&web);
}

/// Tasks are polled by workers; blocking work is done elsewhere.
fn assert_tasks(profile: &Profile) {
    assert_below(profile, 0.8, "target_runtime::compute");
    assert_below(&profile.only(|sample| passes(sample, "target_runtime::cooperate")), 0.99, WORKER);
    let blocking = profile.only(|sample| sample.has("target_runtime::block"));
    assert_below(&blocking, 0.99, "tokio::runtime::blocking::task::BlockingTask");
    let in_worker = blocking.count_of(|sample| passes(sample, WORKER));
    assert_eq!(in_worker, 0, "blocking work in a worker of tasks\n{}", blocking.summary());
}

/// A handler is below axum, hyper and a worker.
fn assert_handler(profile: &Profile) {
    assert_below(profile, 0.5, "target_web::longest_chain");
    let handled = profile.only(|sample| sample.has("target_web::longest_chain"));
    for caller in ["axum::handler::Handler", "hyper::", WORKER] {
        assert_below(&handled, 0.99, caller);
    }
}

#[test]
fn coroutines_are_below_those_that_resume_them() {
    let target = Target::start_ready(&programs::cpp("coroutines.cpp", &["-std=c++20"]), &[]);
    let agent = Agent::start(&[]);
    let [(profile, perf)] = processes(&agent, [target.pid()], 2);
    assert_whole(&profile);
    let file = target.exe().unwrap().file_name().unwrap().to_string_lossy().into_owned();
    perf.assert_agree(&profile, &file);
    // perf says how much each has: it is not the same on all CPUs, as the turns are.
    assert!(["burn_twice", "burn_once"].iter().all(|leaf| profile.share_of(leaf) > 0.1), "{}", profile.summary());
    assert_passes(&profile, 0.99, "main");
    let twice = profile.only(|sample| sample.has("burn_twice"));
    for coroutine in ["inner", "outer"] {
        assert_passes(&twice, 0.99, coroutine);
    }
}

/// musl has neither unwind tables nor frame pointers: its own functions are named, and their stacks say that they are not whole.
#[test]
fn a_static_musl_program_says_where_its_library_ends_stacks() {
    let program = musl();
    let target = Target::start_ready(&program, &[]);
    let agent = Agent::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    drop(agent.cpu(target.pid(), 1, HZ));
    let perf = tools::Perf::start(target.pid(), HZ, 2, folder.path());
    let profile = agent.cpu(target.pid(), 2, HZ);
    let (leaves, count) = (perf.leaves(), profile.count());
    let all: i64 = leaves.values().sum();
    for (name, of_perf) in leaves.iter().filter(|(_, of_perf)| **of_perf * 20 >= all) {
        let ours = profile.count_of(|sample| sample.stack.last() == Some(name)) as f64 / count as f64;
        let truth = *of_perf as f64 / all as f64;
        let allowed = 1.5 * judge::tolerance(truth, count.min(all));
        assert!((ours - truth).abs() <= allowed, "{name}: {ours:.3}, {truth:.3} by perf\n{}", profile.summary());
    }
    let own = profile.only(|sample| sample.has("own_work"));
    assert!(
        own.count() > 100 && own.share(|sample| sample.has_chain(&["own_work", "main"])) >= 0.99,
        "{}",
        own.summary()
    );
    let cut = profile.only(|sample| !sample.has("main"));
    assert!(cut.count() > 100, "{}", profile.summary());
    let declared = profile.doubtful() + by_frame_pointer(&profile);
    assert!(cut.count() <= declared, "{} without main\n{}", cut.count(), profile.summary());
}

/// What the profile says was walked by frame pointers, which code without tables need not keep.
fn by_frame_pointer(profile: &Profile) -> i64 {
    let count = |comment: &str| comment.split_once(" of the complete stacks were walked by frame")?.0.parse().ok();
    profile.comments().into_iter().find_map(count).unwrap_or(0)
}

#[test]
fn perl_is_complete_up_to_its_main() {
    let script = "sub burn { my $sum = 0; $sum += $_ * $_ % 7 for 1..1000; $sum } burn() while 1";
    let target = Target::start(debian("/usr/bin/perl"), &["-e", script]);
    let agent = Agent::start(&[]);
    let [(profile, perf)] = processes(&agent, [target.pid()], 2);
    assert_whole(&profile);
    perf.assert_agree(&profile, "perl");
    for function in ["Perl_runops_standard", "perl_run", "main"] {
        assert_passes(&profile, 0.98, function);
    }
}

fn musl() -> std::path::PathBuf {
    debian("/usr/bin/musl-gcc");
    programs::musl("musl.c", &["-static", "-fomit-frame-pointer"])
}
