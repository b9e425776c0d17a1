//! The profile of a program that knows its own truth: shares, CPU time and complete stacks at depths 10 to 600.

use std::time::Duration;
use tests::harness::chain::DEPTHS;
use tests::harness::tools::{Perf, gdb_stack};
use tests::harness::{Agent, Chain, Target, judge, programs, wait};

const HZ: u32 = 997;

#[test]
fn a_c_program_without_frame_pointers_is_told_truly() {
    let chain = Chain::start(&programs::c("chain.c", &[]));
    let agent = Agent::start(&[]);
    chain.assert_true(&agent.cpu(chain.pid(), 10, HZ));
}

#[test]
fn a_thread_is_told_truly_up_to_its_start() {
    let chain = Chain::start_in_thread(&programs::c("chain.c", &[]));
    let agent = Agent::start(&[]);
    chain.assert_true(&agent.cpu(chain.pid(), 10, HZ));
}

#[test]
fn a_cpp_program_without_frame_pointers_is_told_truly() {
    let chain = Chain::start(&programs::cpp("chain.c", &["-x", "c++"]));
    let agent = Agent::start(&[]);
    chain.assert_true(&agent.cpu(chain.pid(), 10, HZ));
}

#[test]
fn a_program_that_starts_after_the_agent_is_complete_from_the_window_start() {
    let agent = Agent::start(&[]);
    let chain = Chain::start(&programs::c("chain.c", &["-O3"]));
    chain.assert_complete(&agent.cpu(chain.pid(), 3, HZ));
}

#[test]
fn perf_in_the_same_window_sees_the_same_shares() {
    let folder = tempfile::tempdir().unwrap();
    let chain = Chain::start(&programs::c("chain.c", &[]));
    let agent = Agent::start(&[]);
    // The tables are built by a first request, so that the second one's window begins at once, as perf's does.
    drop(agent.cpu(chain.pid(), 1, HZ));
    let perf = Perf::start(chain.pid(), HZ, 6, folder.path());
    let profile = agent.cpu(chain.pid(), 6, HZ);
    let leaves = perf.leaves();
    let names = DEPTHS.map(|depth| format!("spin_{depth}"));
    let truth: Vec<f64> = names.iter().map(|spin| leaves.get(spin).copied().unwrap_or_default() as f64).collect();
    let is_leaf = |spin: &str| profile.cpu_of(|sample| sample.stack.last().is_some_and(|leaf| leaf == spin));
    let measured: Vec<f64> = names.iter().map(|spin| is_leaf(spin)).collect();
    // Both sides are samples: the error is that of two.
    judge::assert_shares(&names.each_ref().map(String::as_str), &measured, &truth, profile.count() / 2);
}

#[test]
fn a_stack_is_the_one_that_gdb_shows() {
    let target = Target::start(&programs::c("burner.c", &[]), &[]);
    let agent = Agent::start(&[]);
    let profile = agent.cpu(target.pid(), 2, HZ);
    let shown = wait::until("gdb to stop the target in its leaf", Duration::from_mins(1), || {
        Some(gdb_stack(target.pid())).filter(|stack| stack.first().is_some_and(|leaf| leaf == "burn_leaf"))
    });
    let chain: Vec<&str> = shown.iter().map(String::as_str).collect();
    let share = profile.share(|sample| sample.has_chain(&chain));
    assert!(share >= 0.97, "gdb shows {shown:?}, in {:.1} % of\n{}", share * 100.0, profile.summary());
}

#[test]
fn what_is_recorded_and_lost_is_what_the_cpu_clock_says() {
    let chain = Chain::start(&programs::c("chain.c", &[]));
    let agent = Agent::start(&[]);
    let profile = agent.cpu(chain.pid(), 8, HZ);
    let truth: f64 = chain.published.in_window_of(&profile).iter().sum();
    let expected = truth * f64::from(HZ);
    judge::assert_near("recorded and lost samples", (profile.count() + profile.lost()) as f64, expected, 0.03, 20.0);
}

#[test]
fn two_watchers_get_the_same_window_and_one_rate() {
    let chain = Chain::start(&programs::c("chain.c", &[]));
    let agent = Agent::start(&[]);
    let profiles: Vec<_> = std::thread::scope(|scope| {
        let requests: Vec<_> = (0..3).map(|_| scope.spawn(|| agent.cpu(chain.pid(), 4, HZ))).collect();
        requests.into_iter().map(|request| request.join().unwrap()).collect()
    });
    for profile in &profiles {
        chain.assert_true(profile);
    }
}

#[test]
fn the_recorder_answers_for_the_past_at_its_base_rate() {
    let chain = Chain::start(&programs::c("chain.c", &[]));
    // The program takes turns of 10 ms in sum: a rate of which that is a whole number of periods would meet few of them.
    let agent = Agent::start(&["--hz", "137"]);
    wait::window(Duration::from_secs(8));
    let path = format!("pid/{}/debug/pprof/profile?seconds=5&ago=1", chain.pid());
    let answer = agent.get(&format!("/{path}"));
    assert!(answer.took < Duration::from_secs(3), "a past window took {:?}", answer.took);
    let profile = agent.profile(&path);
    judge::assert_near("seconds covered", profile.seconds(), 5.0, 0.0, 0.3);
    chain.assert_true(&profile);
}

#[test]
fn nothing_is_sampled_when_the_base_rate_is_off_and_nobody_asks() {
    let chain = Chain::start(&programs::c("chain.c", &[]));
    let agent = Agent::start(&["--hz", "0"]);
    wait::window(Duration::from_secs(3));
    let profile = agent.profile(&format!("pid/{}/debug/pprof/profile?seconds=2&ago=0", chain.pid()));
    assert_eq!(profile.count(), 0, "{}", profile.summary());
    assert!(profile.comments().iter().any(|comment| comment.starts_with("No sample")), "{:?}", profile.comments());
    chain.assert_true(&agent.cpu(chain.pid(), 3, HZ));
}
