//! Processes that begin, become another program, lose their file or their leader, and end, within the window or before it.

use std::path::Path;
use std::time::Duration;
use tests::harness::{Agent, Profile, Target, judge, programs, wait};

const HZ: u32 = 997;

#[test]
fn a_program_that_executes_itself_anew_in_the_window() {
    let agent = Agent::start(&[]);
    let target = Target::start(&programs::c("stages.c", &[]), &["2000", "0"]);
    let profile = judge::accounted(target.pid(), 0.05, || agent.cpu(target.pid(), 6, HZ));
    for stage in ["stage_0", "stage_1", "stage_2"] {
        let share = profile.share(|sample| sample.has_chain(&[stage, "main"]));
        assert!(share > 0.1, "{stage}: {:.1} %\n{}", share * 100.0, profile.summary());
    }
    assert!(profile.complete_share(|sample| sample.has("main")) >= 0.99, "{}", profile.summary());
}

#[test]
fn vfork_children_are_seen_in_their_parents_memory() {
    let agent = Agent::start(&[]);
    let target = Target::start(&programs::c("vforker.c", &[]), &[]);
    let profile = agent.host(5, HZ);
    let own = profile.only(|sample| sample.label("comm") == "vforker" || sample.has("vfork_loop"));
    let child = own.only(|sample| sample.has("vfork_child"));
    assert!(child.count() > 100, "{}", own.summary());
    assert!(
        child.share(|sample| sample.has_chain(&["vfork_child", "vfork_loop", "main"])) > 0.9,
        "{}",
        child.summary()
    );
    let pid = target.pid().to_string();
    assert!(child.samples.iter().all(|sample| sample.label("pid") != pid), "a child's time is charged to its parent");
    let parent = own.only(|sample| sample.label("pid") == pid);
    assert!(parent.share(|sample| sample.has("vfork_parent")) > 0.5, "{}", parent.summary());
}

#[test]
fn a_binary_that_was_deleted_is_still_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short-lived-file");
    programs::copy_to(&programs::c("burner.c", &[]), &path);
    let target = Target::start(&path, &[]);
    std::fs::remove_file(&path).unwrap();
    let agent = Agent::start(&[]);
    let profile = agent.cpu(target.pid(), 3, HZ);
    assert!(
        profile.complete_share(|sample| sample.has_chain(&["burn_outer", "main"])) >= 0.99,
        "{}",
        profile.summary()
    );
    assert!(profile.main_binary().contains("short-lived-file"), "{:?}", profile.files());
}

#[test]
fn a_process_goes_on_after_its_leader_exited() {
    let target = Target::spawn_unchecked(&programs::c("leaderless.c", &[]), &[]);
    wait::until_true("the leader to be a zombie", Duration::from_secs(10), || judge::state(target.pid()) == Some('Z'));
    let agent = Agent::start(&[]);
    let profile = judge::accounted(target.pid(), 0.05, || agent.cpu(target.pid(), 4, HZ));
    assert!(profile.complete_share(|sample| sample.has("orphan_main")) >= 0.99, "{}", profile.summary());
}

#[test]
fn a_target_that_exits_in_the_window_is_answered_at_its_exit() {
    let agent = Agent::start(&[]);
    let target = Target::start(&programs::c("burner.c", &[]), &["4000"]);
    // A zombie until the target is dropped: what it used can still be read.
    let profile = judge::accounted(target.pid(), 0.1, || {
        let answer = agent.get(&format!("/pid/{}/debug/pprof/profile?seconds=60&hz={HZ}", target.pid())).ok();
        assert!(answer.took < Duration::from_secs(55), "answered after {:?}", answer.took);
        tests::harness::Profile::parse(&answer.body)
    });
    assert!(profile.seconds() < 55.0, "the window covers {:.1} s", profile.seconds());
    assert!(profile.share_of("burn_leaf") > 0.9, "{}", profile.summary());
    assert!(profile.comments().iter().any(|comment| comment.contains("exited")), "{:?}", profile.comments());
}

#[test]
fn a_process_that_burned_300_ms_can_be_asked_for_when_it_is_dead() {
    let agent = Agent::start(&["--hz", "499"]);
    let mut target = Target::start(&programs::c("burner.c", &[]), &["300"]);
    let pid = target.pid();
    assert!(target.wait(Duration::from_secs(20)).success());
    let profile = agent.profile(&format!("pid/{pid}/debug/pprof/profile?seconds=10&ago=0"));
    judge::assert_near("CPU seconds", profile.cpu_seconds() + profile.lost_seconds(), 0.3, 0.1, 0.02);
    assert!(profile.share_of("burn_leaf") > 0.8, "{}", profile.summary());
    let live = agent.get(&format!("/pid/{pid}/debug/pprof/profile?seconds=1"));
    assert_eq!(live.status, 404, "{}", live.text());
    let list = agent.get("/api/v1/processes?exited=1").ok().text();
    assert!(list.contains(&format!("\"pid\":{pid},")), "{list}");
}

#[test]
fn a_hundred_short_processes_a_second_are_all_counted() {
    let agent = Agent::start(&[]);
    let churn = programs::c("churn.c", &[]);
    // What they really used, by the kernel's account, comes from the driver at its end: the window holds its whole life.
    let (profile, truth) = std::thread::scope(|scope| {
        let request = scope.spawn(|| agent.host(14, HZ));
        wait::until_true("the host's window to be open", Duration::from_secs(5), || {
            agent.metric("pprofd_http_in_flight_requests").is_some_and(|open| open >= 1.0)
        });
        let driver = Target::start_piped(&churn, &["100", "5", "10"]);
        let parent = driver.pid().to_string();
        let nanos: f64 = driver.output().trim().parse().unwrap();
        let profile = request.join().unwrap();
        (profile.only(|sample| sample.label("comm").starts_with("churn") && sample.label("pid") != parent), nanos / 1e9)
    });
    judge::assert_near("CPU seconds of the children", profile.cpu_seconds(), truth, 0.1, 0.0);
    let pids: std::collections::BTreeSet<&str> = profile.samples.iter().map(|sample| sample.label("pid")).collect();
    assert!(pids.len() > 900, "{} of 1000 children were seen", pids.len());
    let named = profile.cpu_of(|sample| sample.has_chain(&["short_work", "main"]));
    // The rest of a child's 5 ms is its exec and the dynamic loader's.
    assert!(named >= 0.6 * truth, "{named:.2} s of {truth:.2} s in short_work\n{}", profile.summary());
}

/// Panics unless as many samples came as the profile itself says that the scheduler's account lets expect.
fn assert_expected(profile: &Profile) {
    let said = |comment: &str| comment.split_once(" samples expected")?.0.rsplit(' ').next()?.parse::<f64>().ok();
    let expected = profile.comments().into_iter().find_map(said);
    let expected = expected.unwrap_or_else(|| panic!("no sample is expected: {:?}", profile.comments()));
    let got = (profile.count() + profile.lost()) as f64;
    judge::assert_near("samples", got, expected, 0.05 + 4.0 / expected.sqrt(), 0.0);
}

#[test]
fn children_that_are_forked_and_gone_at_once_are_accounted_for() {
    let agent = Agent::start(&[]);
    let forks = Target::start(&programs::c("forks.c", &[]), &["100"]);
    let shell = Target::start(Path::new("/bin/sh"), &["-c", "while :; do /bin/true; done"]);
    // At the first question already: nobody had asked for the clocks of children before.
    let own = agent.cpu(forks.pid(), 1, HZ);
    let used = own.comments().into_iter().find_map(|comment| {
        let (_, rest) = comment.split_once(" descendants used ")?;
        rest.strip_suffix(" s of CPU time in the window: children=1 shows it.")?.parse::<f64>().ok()
    });
    let used = used.unwrap_or_else(|| panic!("{:?}", own.comments()));
    assert!(used > own.cpu_seconds(), "{used} s are less than the parent's own\n{}", own.summary());
    std::thread::scope(|scope| {
        let ask = |pid| agent.profile(&format!("pid/{pid}/debug/pprof/profile?seconds=4&hz={HZ}&children=1"));
        let families = [forks.pid(), shell.pid()].map(|pid| scope.spawn(move || ask(pid)));
        let [forked, executed] = families.map(|family| family.join().unwrap());
        assert_expected(&forked);
        assert_expected(&executed);
        assert!(forked.share_of("short_work") > 0.8, "{}", forked.summary());
    });
}

#[test]
fn a_pid_that_never_was_is_answered_with_a_sentence() {
    let agent = Agent::start(&[]);
    let answer = agent.get("/pid/4194304/debug/pprof/profile?seconds=1");
    assert_eq!(answer.status, 404, "{}", answer.text());
    assert_eq!(answer.header("x-go-pprof"), Some("1"));
    assert!(answer.text().contains("does not exist"), "{}", answer.text());
}

#[test]
fn a_window_without_a_sample_says_how_much_cpu_was_used() {
    let target = Target::start(&programs::c("sleeper.c", &[]), &[]);
    let agent = Agent::start(&[]);
    let profile = agent.cpu(target.pid(), 2, HZ);
    assert_eq!(profile.count(), 0, "{}", profile.summary());
    assert!(profile.comments().iter().any(|comment| comment.contains("CPU time")), "{:?}", profile.comments());
    assert!(profile.main_binary().contains("sleeper"), "{:?}", profile.files());
}
