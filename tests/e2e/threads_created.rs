//! `threadcreate`: what created each thread that lives.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tests::harness::profile::Sample;
use tests::harness::target::dying_with_us;
use tests::harness::{Agent, Profile, Target, programs, wait};

fn created(agent: &Agent, pid: u32) -> Profile {
    agent.profile(&format!("pid/{pid}/debug/pprof/threadcreate"))
}

fn tasks(pid: u32) -> i64 {
    i64::try_from(std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()).unwrap()
}

/// Waits until the program's first line; its input stays at hand.
fn start_with_input(mut command: Command) -> Child {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
    assert_eq!(line, "ready\n");
    child
}

/// Those made while the agent looks are told by their makers, older ones by where they began.
#[test]
fn makers_and_those_that_are_older_than_the_agent() {
    let mut child = start_with_input(dying_with_us(&programs::c("threads/made.c", &["-pthread"])));
    let pid = child.id();
    let agent = Agent::start(&[]);
    let profile = created(&agent, pid);
    let summary = profile.summary();
    assert_eq!(profile.sample_types(), [("threadcreate", "count")], "{summary}");
    let older = |profile: &Profile| {
        profile.count_of(|s| s.has_chain(&["on_three", "start_thread", "clone3", "[older than the agent]"]))
    };
    assert_eq!((profile.count(), older(&profile)), (4, 3), "{summary}");
    assert_eq!(profile.count_of(|sample| sample.has("[first thread]")), 1, "{summary}");

    child.stdin.as_mut().unwrap().write_all(b"322").unwrap();
    wait::until_true("seven more threads", Duration::from_secs(30), || tasks(pid) == 11);
    let profile = created(&agent, pid);
    let summary = profile.summary();
    let by = |maker: &str| profile.count_of(|s| s.has_chain(&["make", maker, "main"]) && s.label("reason").is_empty());
    assert_eq!((profile.count(), older(&profile), by("make_three"), by("make_two")), (11, 3, 3, 4), "{summary}");
    assert!(profile.samples.iter().all(|sample| !sample.has("[creation not seen]")), "{summary}");
    let text = agent.get(&format!("/pid/{pid}/debug/pprof/threadcreate?debug=1")).ok().text();
    assert!(text.starts_with("threadcreate profile: total 11\n"), "{text}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn makers_in_other_languages() {
    let agent = Agent::start(&[]);
    let python = Target::start_ready(
        std::path::Path::new("/usr/bin/python3"),
        &[programs::source("threads/made.py").to_str().unwrap()],
    );
    let rust = Target::start_ready(&programs::rust("threads/made.rs", &["-g"]), &[]);
    let go = Target::start(&programs::go("garbage.go", &[]), &[]);
    let check = |pid: u32, count: i64, chain: &[&str]| {
        let profile = created(&agent, pid);
        let by = profile.count_of(|sample| sample.has_chain(chain));
        assert!(by == count, "{by}\n{}", profile.summary());
        assert_eq!(profile.count(), tasks(pid), "{}", profile.summary());
    };
    check(python.pid(), 5, &["PyThread_start_new_thread"]);
    check(rust.pid(), 4, &["made::make_one"]);
    wait::until_true("Go's threads to be made by its runtime", Duration::from_secs(20), || {
        let profile = created(&agent, go.pid());
        profile.count_of(|sample| sample.has_chain(&["runtime.newosproc", "runtime.newm1"])) >= 2
    });
}

/// Threads that come and go are forgotten with their end; those that stay are not.
#[test]
fn makers_of_those_that_stay_while_others_come_and_go() {
    let agent = Agent::start(&[]);
    let target = Target::start_ready(&programs::c("threads/churn.c", &["-pthread"]), &[]);
    wait::until_true("a thousand threads to be made", Duration::from_mins(2), || {
        agent.metric("pprofd_kernel_new_threads_total").unwrap() >= 1_000.0
    });
    let profile = created(&agent, target.pid());
    let summary = profile.summary();
    assert!((11..=60).contains(&profile.count()), "{summary}");
    assert_eq!(profile.count_of(|sample| sample.has("[creation not seen]")), 0, "{summary}");
    let by_main = |sample: &Sample| sample.has_chain(&["main", "__libc_start_call_main"]) && sample.has("clone3");
    assert_eq!(profile.count_of(by_main), profile.count() - 1, "{summary}");
    assert_eq!(agent.metric("pprofd_kernel_new_threads_lost_total"), Some(0.0));
    let held = agent.metric("pprofd_recorder_live_threads").unwrap();
    assert!(held < 500.0, "{held} are held of a thousand that ended");
}
