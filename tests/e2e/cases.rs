//! What people reported about other profilers, each with the right answer that was established for it.

use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;
use tests::harness::profile::Sample;
use tests::harness::{Agent, Profile, Target, judge, programs, strict, tools, wait};

/// A case's program.
fn case(name: &str, more: &[&str]) -> std::path::PathBuf {
    programs::c(&format!("cases/{name}"), more)
}

/// 02: crossing the signal frame, the stack pointer goes DOWN when the alternate stack lies above the thread's.
#[test]
fn a_handler_on_an_alternate_stack_above_the_threads_own() {
    let target = Target::start(&case("altstack_handler.c", &[]), &[]);
    let agent = Agent::start(&[]);
    let profile = agent.cpu(target.pid(), 5, 499);
    let handler = profile.share_of("on_tick");
    // How much depends on the CPU.
    assert!((0.03..=0.9).contains(&handler), "on_tick has {:.1} %\n{}", handler * 100.0, profile.summary());
    let below = profile.only(|sample| sample.has("on_tick"));
    let whole =
        below.share(|sample| (sample.has("crunch_inner") || sample.has("crunch_outer")) && sample.has("worker"));
    assert!(whole >= 0.97, "{:.1} % go on below the handler\n{}", whole * 100.0, below.summary());
}

/// 06: the return address of a call that ends its function is the first byte of the next one.
#[test]
fn a_call_as_the_last_instruction_of_a_function() {
    let program = case("noreturn_call.c", &["-fno-toplevel-reorder", "-fno-reorder-functions", "-falign-functions=1"]);
    let target = Target::start(&program, &[]);
    let agent = Agent::start(&[]);
    let profile = agent.cpu(target.pid(), 3, 499);
    let share = profile.complete_share(|sample| sample.has_chain(&["run_forever", "last_call", "enter", "main"]));
    assert!(share >= 0.98, "{:.1} %\n{}", share * 100.0, profile.summary());
    assert_eq!(profile.count_of(|sample| sample.has("innocent_next")), 0, "{}", profile.summary());
}

/// 08: a thread that is not the leader calls exec and takes over the process id.
#[test]
fn exec_called_by_a_thread_that_is_not_the_leader() {
    let (first, second) = (case("first.c", &[]), case("second.c", &[]));
    let folder = tempfile::tempdir().unwrap();
    let renamed = folder.path().join("second");
    programs::copy_to(&second, &renamed);
    let agent = Agent::start(&[]);
    let target = Target::start(&first, &[renamed.to_str().unwrap()]);
    let across = agent.cpu(target.pid(), 7, 499);
    assert!(
        across.share(|sample| sample.has("before_exec") && !sample.has("second_loop")) > 0.1,
        "{}",
        across.summary()
    );
    assert!(
        across.share(|sample| sample.has_chain(&["after_exec", "second_loop", "main"])) > 0.1,
        "{}",
        across.summary()
    );
    assert_eq!(across.count_of(|sample| sample.has("before_exec") && sample.has("after_exec")), 0);

    wait::until_true("the second program", Duration::from_secs(10), || target.exe().is_some_and(|exe| exe == renamed));
    let after = agent.cpu(target.pid(), 3, 499);
    let share = after.share_of("after_exec");
    assert!(share >= 0.97, "{:.1} %\n{}", share * 100.0, after.summary());
    assert!(after.main_binary().ends_with("/second"), "{:?}", after.files());
    let pid = target.pid().to_string();
    let host = agent.host(2, 499).only(|sample| sample.label("pid") == pid);
    assert!(
        host.count() > 100 && host.samples.iter().all(|sample| sample.label("comm") == "second"),
        "{}",
        host.summary()
    );
}

/// 26: threads that get their names later.
#[test]
fn threads_that_rename_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("renamer");
    programs::copy_to(&case("renamer.c", &[]), &program);
    let target = Target::start(&program, &[]);
    let pid = target.pid().to_string();
    let agent = Agent::start(&[]);
    let mine = |profile: Profile| profile.only(|sample| sample.label("pid") == pid);
    let named = |profile: &Profile, function: &str, name: &str| {
        let burning = profile.only(|sample| sample.has(function));
        assert!(burning.count() > 100, "{function}: {}", profile.summary());
        let share = burning.share(|sample| sample.label("thread") == name);
        assert!(share >= 0.95, "{function} is called {name} in {:.1} %", share * 100.0);
        assert!(
            burning.samples.iter().all(|sample| sample.label("comm") == "renamer"),
            "comm is not renamer throughout"
        );
    };
    let before = mine(agent.host(3, 499));
    named(&before, "burn_a", "renamer");
    named(&before, "burn_b", "renamer");
    target.signal(Signal::USR1);
    wait::until_true("both threads to have their names", Duration::from_secs(10), || {
        let names = thread_names(target.pid());
        names.contains("late-a") && names.contains("late-b")
    });
    let after = mine(agent.host(3, 499));
    named(&after, "burn_a", "late-a");
    named(&after, "burn_b", "late-b");
}

fn thread_names(pid: u32) -> BTreeSet<String> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let name = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
    threads.map(|thread| name(thread).trim().to_owned()).collect()
}

/// 28: 200 threads that work in short bursts.
#[test]
fn two_hundred_threads_in_short_bursts() {
    let target = Target::start(&case("two_hundred_threads.c", &[]), &[]);
    let agent = Agent::start(&[]);
    wait::until_true("all threads", Duration::from_secs(10), || thread_names(target.pid()).len() > 200);
    let pid = target.pid().to_string();
    let (own, host, used) = std::thread::scope(|scope| {
        let host = scope.spawn(|| agent.host(10, 499));
        let (start, before) = (std::time::Instant::now(), judge::cpu_seconds(target.pid()));
        let own = agent.cpu(target.pid(), 10, 499);
        let used = judge::cpu_seconds(target.pid()) - before;
        // The request takes longer than its window.
        let used = used * own.seconds() / start.elapsed().as_secs_f64();
        (own, host.join().unwrap().only(|sample| sample.label("pid") == pid), used)
    });
    judge::assert_near("CPU seconds", own.cpu_seconds() + own.lost_seconds(), used, 0.1, 0.0);
    let burst = own.complete_share(|sample| sample.has("worker"));
    assert!(burst >= 0.97, "{:.1} %\n{}", burst * 100.0, own.summary());
    let mut threads: BTreeMap<&str, f64> = BTreeMap::new();
    for sample in host.samples.iter().filter(|sample| sample.label("thread").starts_with('t')) {
        *threads.entry(sample.label("thread")).or_default() += sample.nanos as f64;
    }
    assert!(threads.len() >= 190, "{} threads are named", threads.len());
    let mean = threads.values().sum::<f64>() / threads.len() as f64;
    let most = threads.values().copied().fold(0.0, f64::max);
    assert!(most <= 4.0 * mean, "one thread has {:.1} times the mean", most / mean);
}

/// 29: stopped, frozen and dead-but-there targets.
#[test]
fn stopped_targets_are_answered_and_go_on() {
    let target = Target::start(&case("stopped.c", &[]), &[]);
    let agent = Agent::start(&[]);
    let in_time = |path: &str, seconds: u64| {
        let answer = agent.get(&format!("/pid/{}/debug/pprof/{path}", target.pid())).ok();
        assert!(answer.took <= Duration::from_secs(seconds + 6), "{path} took {:?}", answer.took);
        answer
    };
    // Stopped halfway: 3 s of 6.
    let halfway = judge::accounted(target.pid(), 0.05, || {
        std::thread::scope(|scope| {
            let request = scope.spawn(|| Profile::parse(&in_time("profile?seconds=6&hz=499", 6).body));
            wait::window(Duration::from_secs(3));
            target.signal(Signal::STOP);
            request.join().unwrap()
        })
    });
    judge::assert_near("seconds covered", halfway.seconds(), 6.0, 0.0, 0.3);
    assert_eq!(judge::state(target.pid()), Some('T'));
    let stopped = Profile::parse(&in_time("profile?seconds=2&hz=499", 2).body);
    assert!(stopped.cpu_seconds() <= 0.1, "{}", stopped.summary());
    let truth = std::fs::read(format!("/proc/{}/cmdline", target.pid())).unwrap();
    assert_eq!(in_time("cmdline", 0).body, truth.strip_suffix(&[0]).unwrap());
    target.signal(Signal::CONT);
    let again = || Profile::parse(&in_time("profile?seconds=3&hz=499", 3).body);
    let again = judge::accounted(target.pid(), 0.05, again);
    assert!(again.share_of("burn_on") >= 0.97, "{}", again.summary());
}

/// 29, where the host has a freezer.
#[test]
fn a_frozen_target_is_answered_and_goes_on() {
    let Some(group) = Freezer::make() else { return };
    let target = Target::start(&case("stopped.c", &[]), &[]);
    let agent = Agent::start(&[]);
    group.freeze(target.pid());
    let answer = agent.get(&format!("/pid/{}/debug/pprof/profile?seconds=2&hz=499", target.pid())).ok();
    assert!(answer.took <= Duration::from_secs(8), "{:?}", answer.took);
    let frozen = Profile::parse(&answer.body);
    assert!(frozen.cpu_seconds() <= 0.1, "{}", frozen.summary());
    group.thaw();
    let again = judge::accounted(target.pid(), 0.05, || agent.cpu(target.pid(), 3, 499));
    assert!(again.share_of("burn_on") >= 0.97, "{}", again.summary());
}

/// A control group that freezes what is in it: version 1's freezer, or version 2's `cgroup.freeze`.
struct Freezer {
    folder: std::path::PathBuf,
    /// The file that freezes, and what is written to freeze and to thaw.
    switch: (&'static str, &'static str, &'static str),
}

impl Freezer {
    fn make() -> Option<Freezer> {
        let kinds = [
            ("/sys/fs/cgroup/freezer", ("freezer.state", "FROZEN", "THAWED")),
            ("/sys/fs/cgroup/unified", ("cgroup.freeze", "1", "0")),
            ("/sys/fs/cgroup", ("cgroup.freeze", "1", "0")),
        ];
        kinds.into_iter().find_map(|(root, switch)| {
            let folder = Path::new(root).join(format!("pprofd-test-{}", std::process::id()));
            std::fs::create_dir(&folder).ok()?;
            let freezer = Freezer { folder, switch };
            freezer.folder.join(switch.0).exists().then_some(freezer)
        })
    }

    fn freeze(&self, pid: u32) {
        std::fs::write(self.folder.join("cgroup.procs"), pid.to_string()).unwrap();
        let (file, frozen, _) = self.switch;
        std::fs::write(self.folder.join(file), frozen).unwrap();
        wait::until_true("the target to be frozen", Duration::from_secs(10), || {
            let before = judge::cpu_seconds(pid);
            wait::window(Duration::from_millis(50));
            judge::cpu_seconds(pid) <= before
        });
    }

    fn thaw(&self) {
        let (file, _, thawed) = self.switch;
        std::fs::write(self.folder.join(file), thawed).unwrap();
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        let (file, _, thawed) = self.switch;
        drop(std::fs::write(self.folder.join(file), thawed));
        // Its process is killed after it by its own drop, so the folder may only go then: moved to the root group first.
        let processes = std::fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        let root = self.folder.parent().unwrap_or(Path::new("/")).join("cgroup.procs");
        for pid in processes.lines() {
            drop(std::fs::write(&root, pid));
        }
        drop(std::fs::remove_dir(&self.folder));
    }
}

/// 29: a zombie.
#[test]
fn a_zombie_is_not_an_error_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let parent = Target::start(&case("stopped.c", &[]), &[file.to_str().unwrap()]);
    let zombie: u32 =
        wait::until("the zombie's pid", Duration::from_secs(10), || std::fs::read_to_string(&file).ok()?.parse().ok());
    wait::until_true("the zombie", Duration::from_secs(10), || judge::state(zombie) == Some('Z'));
    let agent = Agent::start(&[]);
    let answer = agent.get(&format!("/pid/{zombie}/debug/pprof/profile?seconds=2"));
    assert!(answer.took <= Duration::from_secs(8), "{:?}", answer.took);
    match answer.status {
        200 => assert_eq!(Profile::parse(&answer.body).count(), 0),
        status => assert_eq!(status, 404, "{}", answer.text()),
    }
    drop(parent);
}

/// 31: workers made by fork, without exec.
#[test]
fn workers_made_by_fork_each_have_their_own_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let agent = Agent::start(&[]);
    let parent = Target::start(&case("fork_workers.c", &[]), &[file.to_str().unwrap()]);
    let pids: Vec<u32> = wait::until("three pids", Duration::from_secs(10), || {
        let text = std::fs::read_to_string(&file).ok()?;
        let pids: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        (pids.len() == 3).then_some(pids)
    });
    let (workers, own, host) = std::thread::scope(|scope| {
        let host = scope.spawn(|| agent.host(6, 499));
        let own = scope.spawn(|| agent.cpu(parent.pid(), 6, 499));
        let measure = |pid: u32| {
            let (start, before) = (std::time::Instant::now(), judge::cpu_seconds(pid));
            let profile = agent.cpu(pid, 6, 499);
            let used = judge::cpu_seconds(pid) - before;
            let share = profile.seconds() / start.elapsed().as_secs_f64();
            (profile, used * share)
        };
        let workers: Vec<_> = pids.iter().map(|pid| scope.spawn(move || measure(*pid))).collect();
        let workers: Vec<(Profile, f64)> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
        (workers, own.join().unwrap(), host.join().unwrap())
    });
    for (k, (profile, used)) in workers.iter().enumerate() {
        let mine = format!("work_{k}");
        let share = profile.complete_share(|sample| {
            sample.has_chain(&[&mine, "child_main", "main"]) || sample.has_chain(&["child_main", "main"])
        });
        assert!(share >= 0.97, "{mine}: {:.1} %\n{}", share * 100.0, profile.summary());
        let foreign = |sample: &Sample| (0..3).any(|other| other != k && sample.has(&format!("work_{other}")));
        assert_eq!(profile.count_of(foreign), 0, "{}", profile.summary());
        judge::assert_near(&mine, profile.cpu_seconds() + profile.lost_seconds(), *used, 0.1, 0.1);
        let pid = pids[k].to_string();
        let same = host.only(|sample| sample.label("pid") == pid);
        assert!(same.count() > 100 && same.share_of(&mine) > 0.9, "{}", same.summary());
    }
    assert!(own.cpu_seconds() <= 0.1, "{}", own.summary());
    // The number that people type is the idle parent's: it says where the time is, and children=1 shows it.
    assert!(own.comments().iter().any(|comment| comment.contains("descendants used")), "{:?}", own.comments());
    let before: f64 = pids.iter().map(|pid| judge::cpu_seconds(*pid)).sum();
    let family = agent.profile(&format!("pid/{}/debug/pprof/profile?seconds=4&hz=499&children=1", parent.pid()));
    let used = pids.iter().map(|pid| judge::cpu_seconds(*pid)).sum::<f64>() - before;
    let outside = used * 0.1 + 0.3;
    judge::assert_near("CPU seconds of a family", family.cpu_seconds() + family.lost_seconds(), used, 0.1, outside);
    for (k, pid) in pids.iter().enumerate() {
        let own = family.only(|sample| sample.label("pid") == pid.to_string());
        assert!(own.share_of(&format!("work_{k}")) > 0.9, "{}", own.summary());
    }
}

/// 42: what strict readers of the format refuse.
#[test]
fn strict_readers_take_a_profile_of_four_parts() {
    let target = Target::start(&case("four_parts.c", &[]), &[]);
    let agent = Agent::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let path = format!("pid/{}/debug/pprof/profile?seconds=4&hz=499", target.pid());
    let files: Vec<String> = ["one", "two"].iter().map(|name| folder.path().join(name).display().to_string()).collect();
    for file in &files {
        std::fs::write(file, agent.get(&format!("/{path}")).ok().body).unwrap();
    }
    let profile = Profile::parse(&std::fs::read(&files[0]).unwrap());
    strict::assert_strict(&profile);
    for part in ["own_part", "libc_part", "vdso_part", "kernel_part"] {
        let share = profile.share(|sample| sample.has_chain(&[part, "main"]));
        assert!(share >= 0.02, "{part}: {:.1} %\n{}", share * 100.0, profile.summary());
    }
    let tops: BTreeSet<String> = ["remote", "none", "local"].iter().map(|how| top_function(how, &files[0])).collect();
    assert_eq!(tops.len(), 1, "the top function depends on who symbolizes: {tops:?}");
    let total = |files: &[&str]| -> f64 {
        let text = tools::pprof_ok(&[&["-raw", "-symbolize=none"], files].concat());
        Profile::parse_raw_total(&text)
    };
    let apart = total(&[&files[0]]) + total(&[&files[1]]);
    judge::assert_near("total of two merged fetches", total(&[&files[0], &files[1]]), apart, 0.0, 0.5);
}

/// The first function that `go tool pprof -top` lists, flat.
fn top_function(symbolize: &str, file: &str) -> String {
    let output = tools::pprof(&["-top", "-nodecount=1", &format!("-symbolize={symbolize}"), file]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    for word in ["unexpected", "negative"] {
        assert!(!errors.to_lowercase().contains(word), "-symbolize={symbolize}: {errors}");
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let row = text.lines().skip_while(|line| !line.trim_start().starts_with("flat")).nth(1);
    let row = row.unwrap_or_else(|| panic!("no rows in {text}"));
    row.split_whitespace().skip(5).collect::<Vec<_>>().join(" ")
}

/// 40: sleeping threads of a static program without frame pointers, whose innermost functions have no frame.
#[test]
fn sleepers_in_frameless_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let count = folder.path().join("interrupted");
    let flags = ["-static-pie", "-fomit-frame-pointer", "-fno-optimize-sibling-calls", "-pthread"];
    let target = Target::start(&case("sleepers.c", &flags), &[count.to_str().unwrap()]);
    let agent = Agent::start(&[]);
    wait::until_true("five threads", Duration::from_secs(20), || {
        std::fs::read_dir(format!("/proc/{}/task", target.pid())).unwrap().count() == 6
    });
    for _ in 0..10 {
        let profile = agent.profile(&format!("pid/{}/debug/pprof/goroutine", target.pid()));
        let of = |chain: &[&str]| profile.count_of(|sample| sample.has_chain(chain));
        let found = (
            profile.count(),
            of(&["nap_inner", "nap_outer", "sleeper"]),
            of(&["lock_inner", "lock_outer", "sleeper"]),
            of(&["read_inner", "read_outer", "sleeper"]),
            of(&["main"]),
        );
        assert_eq!(found, (6, 2, 2, 1, 1), "{}", profile.summary());
    }
    wait::window(Duration::from_millis(500));
    assert_eq!(std::fs::read_to_string(count).unwrap(), "0");
}

/// 41: who waits for a lock, and who holds it, are two processes.
#[test]
fn a_mutex_that_two_processes_share() {
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("told");
    let flags = ["-fomit-frame-pointer", "-fno-optimize-sibling-calls", "-pthread"];
    let target = Target::start(&case("shared_mutex.c", &flags), &[told.to_str().unwrap()]);
    let agent = Agent::start(&[]);
    let read = || {
        let text = std::fs::read_to_string(&told).ok()?;
        let (pid, seconds) = text.split_once(' ')?;
        Some((pid.parse::<u32>().ok()?, seconds.parse::<f64>().ok()?))
    };
    let (waiter, _) = wait::until("the waiter to tell", Duration::from_secs(20), read);
    let ask = |pid: u32, what: &str| agent.profile(&format!("pid/{pid}/debug/pprof/{what}"));
    // All three are watched before what counts begins.
    let watched = [(waiter, "block"), (target.pid(), "mutex"), (target.pid(), "block")];
    let before = watched.map(|(pid, what)| ask(pid, what));
    // It writes the file anew each time.
    let told = || wait::until("the waiter to tell", Duration::from_secs(20), read).1;
    let since = told();
    let first = ask(waiter, "block");
    wait::window(Duration::from_secs(8));
    let after = watched.map(|(pid, what)| ask(pid, what));
    let own = told() - since;
    let more = |at: usize, before: &Profile, function: &str| {
        let of = |profile: &Profile| profile.cpu_of(|sample| sample.has(function));
        of(&after[at]) - of(before)
    };
    judge::assert_near("block of the waiter", more(0, &first, "wait_for_other"), own, 0.12, 0.0);
    let released = more(1, &before[1], "release_it");
    assert!(released >= 0.6 * own, "{released} s of {own} s\n{}", after[1].summary());
    let of_holder = after[2].cpu_seconds() - before[2].cpu_seconds();
    assert!(of_holder <= 0.1 * own, "{of_holder} s of {own} s\n{}", after[2].summary());
}
