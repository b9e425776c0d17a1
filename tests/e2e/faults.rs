//! What goes wrong around the agent: each is a clear answer or a counted loss, never a hang.

use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tests::harness::profile::Sample;
use tests::harness::target::dying_with_us;
use tests::harness::{Agent, Chain, Profile, Target, agent, judge, programs, tools, wait};

const HZ: u32 = 499;

fn whole(sample: &Sample) -> bool {
    sample.has_chain(&["burn_outer", "main"]) && sample.label("reason").is_empty()
}

/// A program whose file no agent has seen before.
fn fresh(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    programs::copy_to(&programs::c("burner.c", &["-static"]), &path);
    path
}

/// The symbol workers of an agent.
fn workers(agent: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{agent}/task")).into_iter().flatten().flatten();
    let children = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
    tasks
        .flat_map(|task| children(task).split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// Sends a signal to a process that may be gone already.
fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process");
    let _gone = kill_process(pid, signal).is_err();
}

fn signal_all(agents: &[&Agent], which: Signal) {
    for agent in agents {
        signal(agent.pid(), which);
    }
}

/// Does it again and again while `work` goes on.
fn meanwhile<T>(again: impl Fn() + Sync, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                again();
                wait::window(Duration::from_millis(5));
            }
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Release);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn workers_that_are_killed_at_every_stage_cost_names_at_most() {
    const TARGETS: usize = 5;
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(&[]);
    let killed = Mutex::new(BTreeSet::new());
    let kill = || {
        for worker in workers(agent.pid()) {
            signal(worker, Signal::KILL);
            killed.lock().unwrap().insert(worker);
        }
    };
    meanwhile(kill, || {
        let start = |number: usize| Target::start(&fresh(folder.path(), &format!("during-{number}")), &[]);
        let targets: Vec<Target> = (0..TARGETS).map(start).collect();
        std::thread::scope(|scope| {
            for target in &targets {
                scope.spawn(|| {
                    let profile = judge::accounted(target.pid(), 0.05, || agent.cpu(target.pid(), 3, HZ));
                    let is_named = |name: &String| name.starts_with("burn_") || name.contains("+0x");
                    let user = profile.only(|sample| !sample.is_in("[kernel.kallsyms]"));
                    let named = user.share(|sample| sample.stack.last().is_some_and(is_named));
                    assert!(named > 0.95, "neither names nor addresses\n{}", profile.summary());
                });
            }
        });
    });
    let killed = killed.into_inner().unwrap().len();
    assert!(killed > 3, "{killed} workers were killed");
    assert!(agent.metric("pprofd_worker_deaths_total") > Some(0.0), "none of {killed} deaths was counted");
    // What was lost is lost for that file alone.
    let after = Target::start(&fresh(folder.path(), "after"), &[]);
    let profile = agent.cpu(after.pid(), 2, HZ);
    assert!(profile.complete_share(whole) >= 0.97, "{}", profile.summary());
}

#[test]
fn workers_that_are_stuck_are_replaced_and_nobody_waits_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(&[]);
    let before = Target::start(&fresh(folder.path(), "before"), &[]);
    assert!(agent.cpu(before.pid(), 1, HZ).share(whole) > 0.9);
    let given_up = || {
        let metrics = agent.get("/metrics").ok().text();
        let line = metrics.lines().find(|line| line.starts_with("pprofd_worker_deaths_total{reason=\"deadline\"}"));
        line.is_some_and(|line| !line.ends_with(" 0"))
    };
    let mut asked = 0;
    // One that serves another owner's files is replaced before it is asked, stuck or not: then the next one has its turn.
    let last = wait::until("a stuck worker to be given up", Duration::from_mins(5), || {
        for worker in workers(agent.pid()) {
            signal(worker, Signal::STOP);
        }
        asked += 1;
        let target = Target::start(&fresh(folder.path(), &format!("during-{asked}")), &[]);
        let begun = Instant::now();
        let profile = judge::accounted(target.pid(), 0.05, || agent.cpu(target.pid(), 2, HZ));
        assert!(profile.count() > 0, "{}", profile.summary());
        // A worker has 20 s for a question.
        assert!(begun.elapsed() < Duration::from_secs(90), "{:?}", begun.elapsed());
        given_up().then_some(target)
    });
    wait::until_true("the stuck workers to be replaced", Duration::from_mins(1), || {
        let profile = agent.cpu(last.pid(), 1, HZ);
        profile.share(|sample| sample.has("burn_leaf")) > 0.9
    });
}

#[test]
fn an_agent_with_256_descriptors_serves_programs_of_many_files() {
    const LIBRARIES: usize = 200;
    let (folder, libraries) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let library = programs::library("cases/memory_library.c", &[]);
    for number in 0..LIBRARIES {
        programs::copy_to(&library, &libraries.path().join(format!("lib{number}.so")));
    }
    let script = "import ctypes, sys, os\n\
        libraries = [ctypes.CDLL(os.path.join(sys.argv[1], name)) for name in sorted(os.listdir(sys.argv[1]))]\n\
        print('ready', flush=True)\n\
        while True:\n    for library in libraries: library.memfd_lib_hot()\n";
    let python = Path::new("/usr/bin/python3").canonicalize().unwrap();
    let target = Target::start_ready(&python, &["-c", script, libraries.path().to_str().unwrap()]);
    let mut command = dying_with_us(Path::new("prlimit"));
    command.arg("--nofile=256:256").arg(agent::binary());
    let agent = Agent::start_by(command, &[]);
    assert!(agent.log().contains("open files: 256 may be open"), "{}", agent.log());
    // More clients than there are descriptors: who asks after them is answered, and what was met meanwhile can be read.
    let idle: Vec<TcpStream> = (0..300).filter_map(|_| TcpStream::connect(agent.address).ok()).collect();
    assert!(idle.len() > 256);
    let crowded = Target::start(&fresh(folder.path(), "crowded"), &[]);
    wait::until_true("the program to be sampled", Duration::from_secs(20), || judge::cpu_seconds(crowded.pid()) > 1.0);
    drop(idle);
    let profile = agent.cpu(crowded.pid(), 2, HZ);
    assert!(profile.complete_share(whole) >= 0.97, "{}", profile.summary());
    let profile = judge::accounted(target.pid(), 0.05, || agent.cpu(target.pid(), 4, 997));
    let share = profile.share(|sample| sample.has("memfd_lib_hot"));
    assert!(share > 0.9, "{:.1} %\n{}", share * 100.0, profile.summary());
    let hot = profile.only(|sample| sample.has("memfd_lib_hot"));
    let files: BTreeSet<&String> = hot.samples.iter().filter_map(|sample| sample.files.last()).collect();
    // More than the agent keeps open of the descriptors that it may have.
    assert!(files.len() > 90, "samples in {} of {LIBRARIES} libraries", files.len());
}

#[test]
fn a_stopped_agent_loses_what_its_ring_cannot_hold_and_says_how_much() {
    const STOP: Duration = Duration::from_secs(20);
    let target = Target::start(&programs::c("burner.c", &["-static"]), &[]);
    let (ample, starved) = (Agent::start(&[]), Agent::start(&["--ring-memory", "64KiB"]));
    let agents = [&ample, &starved];
    let profiles = std::thread::scope(|scope| {
        let ask = |agent: &'static str, of: &Agent| {
            (agent, judge::accounted(target.pid(), 0.05, || of.cpu(target.pid(), 12, 997)))
        };
        let asked =
            [("ample", &ample), ("starved", &starved)].map(|(name, agent)| scope.spawn(move || ask(name, agent)));
        wait::until_true("both windows to be open", Duration::from_secs(10), || {
            agents.iter().all(|agent| agent.metric("pprofd_http_in_flight_requests") >= Some(1.0))
        });
        wait::window(Duration::from_secs(1));
        signal_all(&agents, Signal::STOP);
        wait::window(STOP);
        signal_all(&agents, Signal::CONT);
        asked.map(|asked| asked.join().unwrap())
    });
    let full = |profile: &Profile| profile.comments().iter().any(|comment| comment.contains("ring full"));
    let [(_, ample_profile), (_, starved_profile)] = &profiles;
    assert!(!full(ample_profile), "{}", ample_profile.summary());
    assert!(full(starved_profile) && starved_profile.lost() > 100, "{}", starved_profile.summary());
    let losses = starved.get("/metrics").ok().text();
    let counted = losses.lines().find(|line| line.starts_with("pprofd_losses_total{reason=\"ring full\"}"));
    assert!(counted.is_some_and(|line| !line.ends_with(" 0")), "{counted:?}");
    // And it goes on as if nothing had been.
    let after = judge::accounted(target.pid(), 0.05, || starved.cpu(target.pid(), 2, HZ));
    assert!(after.complete_share(whole) >= 0.97, "{}", after.summary());
}

#[test]
fn two_agents_are_both_right_and_restarts_beside_them_leave_nothing() {
    let chain = Chain::start(&programs::c("chain.c", &[]));
    let agent = Agent::start(&[]);
    let profile = std::thread::scope(|scope| {
        let long = scope.spawn(|| judge::accounted(chain.pid(), 0.05, || agent.cpu(chain.pid(), 9, HZ)));
        for end in [Signal::TERM, Signal::KILL] {
            let other = Agent::start(&["--hz", "97"]);
            let loaded = tools::bpf_ids_of(other.pid());
            assert!(!loaded.is_empty());
            chain.assert_true(&other.cpu(chain.pid(), 2, HZ));
            other.end(end);
            wait::until_true("what it loaded to be gone", Duration::from_secs(20), || {
                tools::bpf_ids().is_disjoint(&loaded)
            });
        }
        long.join().unwrap()
    });
    chain.assert_true(&profile);
}

#[test]
fn a_number_that_is_reused_in_the_window_is_two_processes() {
    let agent = Agent::start(&["--hz", "499"]);
    let second = programs::c("cases/loaded.c", &[]);
    let mut first = Target::start(&programs::c("burner.c", &["-static"]), &["400"]);
    let pid = first.pid();
    assert!(first.wait(Duration::from_mins(1)).success());
    let script = programs::root().join("tests/scripts/with-pid.py");
    let again = Target::spawn_unchecked(&script, &[&pid.to_string(), second.to_str().unwrap()]);
    wait::until_true("the same number to run", Duration::from_secs(20), || {
        let is_second = std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == second);
        is_second && judge::cpu_seconds(pid) > 0.4
    });
    let own = judge::accounted(pid, 0.05, || agent.cpu(pid, 1, HZ));
    assert!(own.share_of("loaded_hot") > 0.9 && own.share_of("burn_leaf") == 0.0, "{}", own.summary());
    let host = agent.profile("debug/pprof/profile?seconds=120&ago=0");
    drop(again);
    let pid = pid.to_string();
    let both = host.only(|sample| sample.label("pid") == pid);
    for (function, other) in [("burn_leaf", "loaded_hot"), ("loaded_hot", "burn_leaf")] {
        let own = both.only(|sample| sample.has(function));
        assert!(own.count() > 20, "{function}: {}", both.summary());
        assert_eq!(own.count_of(|sample| sample.has(other)), 0, "{}", both.summary());
        let names: BTreeSet<&str> = own.samples.iter().map(|sample| sample.label("comm")).collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }
}

#[test]
fn a_program_that_is_replaced_while_it_is_named_keeps_its_own_names() {
    let folder = tempfile::tempdir().unwrap();
    let build = |hot: &str| programs::c("cases/replaced.c", &[&format!("-DHOT={hot}")]);
    let (first, second, place) = (build("old_hot"), build("new_hot"), folder.path().join("replaced"));
    let put = |program: &Path| {
        let next = folder.path().join("next");
        programs::copy_to(program, &next);
        std::fs::rename(&next, &place).unwrap();
    };
    put(&first);
    let old = Target::start(&place, &[]);
    put(&second);
    let new = Target::spawn_unchecked(&place, &[]);
    let agent = Agent::start(&[]);
    let profiles = meanwhile(
        || [&first, &second].into_iter().for_each(|program| put(program)),
        || [&old, &new].map(|target| agent.cpu(target.pid(), 2, HZ)),
    );
    for (profile, own, other) in [(&profiles[0], "old_hot", "new_hot"), (&profiles[1], "new_hot", "old_hot")] {
        assert!(profile.share_of(own) > 0.95 && profile.share_of(other) == 0.0, "{own}\n{}", profile.summary());
    }
}
