//! `block`, `mutex` and `offcpu`: what threads wait for, judged by the clocks of the programs themselves.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;
use tests::harness::profile::Sample;
use tests::harness::target::dying_with_us;
use tests::harness::{Agent, Profile, Target, judge, programs, tools, wait};

/// A program that takes a turn for each line and says how long it waited, by its own clock.
struct Turns {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Turns {
    fn start(program: &Path) -> Turns {
        Turns::start_with(program, &[])
    }

    /// It ends with its input.
    fn start_with(program: &Path, arguments: &[&str]) -> Turns {
        let mut command = dying_with_us(program);
        command.args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut turns = Turns { output: BufReader::new(child.stdout.take().unwrap()), child };
        assert_eq!(turns.line(), "ready");
        turns
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// What it tells, by kind: most are ns.
    fn take(&mut self) -> BTreeMap<String, f64> {
        self.child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        let mut told = BTreeMap::new();
        loop {
            let line = self.line();
            let Some((kind, ns)) = line.split_once(' ') else {
                assert_eq!(line, "done");
                return told;
            };
            told.insert(kind.to_owned(), ns.parse().unwrap());
        }
    }

    fn tree(&self, what: &str) -> String {
        format!("pid/{}/debug/pprof/{what}", self.pid())
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        // It may be gone already.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// Seconds below a function.
fn below(profile: &Profile, function: &str) -> f64 {
    profile.cpu_of(|sample| sample.has(function))
}

/// What a release is checked by: the kinds of waits that it ends, its function, the lock's name, and whether it was held.
type End = (&'static [&'static str], &'static str, &'static str, bool);

/// A program's waits by kind against its own clock; with their ends.
fn check_locks(program: &Path, mode: &str, prefix: &str, ends: &[End]) {
    let mut turns = Turns::start(program);
    let agent = Agent::start(&[]);
    for what in ["offcpu", "mutex"] {
        let begun = agent.profile(&turns.tree(&format!("{what}?mode={mode}")));
        let said = begun.comments().join("\n");
        assert!(said.contains("when this question began to watch"), "{said}");
    }
    let told = turns.take();
    let ask = |what: &str| agent.profile(&turns.tree(what));
    let (block, all, mutex, held) = (ask("block"), ask("offcpu"), ask("mutex?wait=all"), ask("mutex"));
    assert_eq!(block.sample_types(), [("contentions", "count"), ("delay", "nanoseconds")]);
    for (kind, clock) in &told {
        let function = format!("{prefix}wait_{kind}");
        let (waited, off) = (below(&block, &function), below(&all, &function));
        // The clock includes what the thread waited for a CPU, which is no wait on synchronisation.
        judge::assert_near(&format!("offcpu of {kind} ({mode})"), off, clock / 1e9, 0.02, 0.0);
        assert!(waited > 0.0 && waited <= off * 1.001, "{kind}: {waited} s of {off} s\n{}", block.summary());
    }
    for (kinds, function, lock, is_held) in ends {
        let waited: f64 = kinds.iter().map(|kind| below(&block, &format!("{prefix}wait_{kind}"))).sum();
        // A thread that ends may have given up its stack.
        let named = |sample: &Sample| sample.has(&format!("{prefix}{function}")) || *lock == "join";
        let of = |sample: &Sample| named(sample) && sample.label("lock") == *lock;
        let released = mutex.cpu_of(of);
        if *lock == "join" {
            // Other threads are joined too, of which nobody waits for long unless the host is busy.
            assert!(released > 0.9 * waited, "{released} s of {waited} s\n{}", mutex.summary());
        } else {
            // A wait ends for its thread when it is in a queue again, a little after its waker's stack was taken.
            judge::assert_near(&format!("{function} ({mode})"), released, waited, 0.02, 0.0);
        }
        assert_eq!(held.cpu_of(of) > 0.0, *is_held, "{function}\n{}", held.summary());
    }
    let incomplete = block.cpu_of(|sample| !sample.label("reason").is_empty());
    assert!(incomplete <= 0.01 * block.cpu_seconds(), "{incomplete} s\n{}", block.summary());
    if told.contains_key("timeout") {
        let ended = mutex.count_of(|sample| sample.has("wait_timeout"));
        assert_eq!(ended, 0, "nobody ends a time-out\n{}", mutex.summary());
    }
}

#[test]
fn locks_of_c() {
    let program = programs::c("waits/locks.c", &["-pthread"]);
    let ends: &[End] = &[
        (&["mutex"], "release_mutex", "mutex", true),
        (&["reader", "writer"], "release_rwlock", "rwlock", true),
        (&["condition"], "release_condition", "condition", false),
        (&["semaphore"], "release_semaphore", "semaphore", false),
        (&["barrier"], "release_barrier", "barrier", false),
        (&["join"], "the end of a thread", "join", false),
    ];
    check_locks(&program, "exact", "", ends);
    check_locks(&program, "sampled", "", ends);
}

#[test]
fn locks_of_cpp() {
    let ends: &[End] = &[
        (&["mutex"], "release_mutex", "mutex", true),
        (&["shared"], "release_shared", "rwlock", true),
        (&["condition"], "release_condition", "condition", false),
        // Its library has a futex of its own for that, whose wake has no name.
        (&["future"], "release_future", "futex", true),
    ];
    check_locks(&programs::cpp("waits/locks.cpp", &["-pthread"]), "sampled", "", ends);
}

#[test]
fn locks_of_rust_and_of_parking_lot() {
    let ends: &[End] = &[
        (&["mutex"], "release_mutex", "mutex", true),
        (&["rwlock"], "release_rwlock", "rwlock", true),
        (&["parking_mutex"], "release_parking_mutex", "mutex", true),
        (&["parking_rwlock"], "release_parking_rwlock", "rwlock", true),
        // Its notify_one ends in a jump to the system call, so no name tells.
        (&["condition"], "release_condition", "futex", true),
        (&["channel"], "release_channel", "channel", false),
    ];
    check_locks(&programs::cargo("target-locks"), "sampled", "target_locks::", ends);
}

/// Of many short waits a part is kept, and stands for all; a long one among them is seen for certain and counts once.
#[test]
fn a_storm_of_short_waits_and_a_rare_long_one() {
    let mut turns = Turns::start(&programs::c("waits/storm.c", &["-pthread"]));
    let agent = Agent::start(&[]);
    agent.profile(&turns.tree("block"));
    let told = turns.take();
    let block = agent.profile(&turns.tree("block"));
    let summary = || format!("{:?}\n{}", block.comments(), block.summary());
    // Each thread waits once a round, unless the other one was faster.
    let counted = block.count_of(|sample| sample.has("wait_ping") || sample.has("wait_pong"));
    let kept = agent.metric("pprofd_kernel_waits_sampled_total").unwrap();
    assert!(kept < 60_000.0, "{kept} stacks were taken\n{}", summary());
    judge::assert_near("waits", counted as f64, told["switches"], 0.15, 0.0);
    judge::assert_near("the rare wait", below(&block, "wait_rare"), told["rare"] / 1e9, 0.03, 0.0);
    assert!(block.comments().iter().any(|line| line.starts_with("Standard error of the sum")), "{}", summary());
    // Who asks for each from now on gets each.
    let before = agent.profile(&turns.tree("block?mode=exact"));
    let exact = turns.take()["switches"];
    let after = agent.profile(&turns.tree("block"));
    let in_turn = |profile: &Profile| profile.count_of(|sample| sample.has("wait_ping") || sample.has("wait_pong"));
    // A ring that overflows on a busy host says so.
    let lost = lost(&after);
    let counted = (in_turn(&after) - in_turn(&before)) as f64;
    assert!(counted <= 1.01 * exact && counted + lost >= 0.99 * exact, "{counted} and {lost} lost of {exact}");
}

/// How many waits a profile says that it lacks, at most.
fn lost(profile: &Profile) -> f64 {
    let said = profile.comments().iter().find_map(|line| line.strip_prefix("Up to ")?.split(' ').next()?.parse().ok());
    said.unwrap_or(0.0)
}

/// What a ring has no room for is told by the profile that lacks it; and what only seems to go on, because its end was lost, ends.
#[test]
fn a_starved_ring_says_what_it_lost() {
    let mut turns = Turns::start(&programs::c("waits/storm.c", &["-pthread"]));
    let agent = Agent::start(&["--ring-memory", "64KiB"]);
    agent.profile(&turns.tree("block?mode=exact"));
    let switches = turns.take()["switches"];
    let of = |profile: &Profile| profile.count_of(|sample| sample.has("wait_ping") || sample.has("wait_pong")) as f64;
    let block = agent.profile(&turns.tree("block"));
    let (counted, lost) = (of(&block), lost(&block));
    let said = || format!("{counted} and {lost} lost of {switches}\n{:?}", block.comments());
    assert!(counted < 0.9 * switches && lost > 0.1 * switches, "{}", said());
    assert!(counted + lost >= 0.99 * switches, "{}", said());
    wait::until_true("the end of what goes on no more", Duration::from_mins(1), || {
        of(&agent.profile(&turns.tree("block?seconds=1"))) == 0.0
    });
    let recorded = agent.profile(&turns.tree("block?ago=0&seconds=300"));
    assert!(recorded.comments().iter().any(|line| line.contains("wait lost")), "{:?}", recorded.comments());
}

/// Locks of the kernel on which threads sleep: at the stack that released them, and with the threads that waited.
#[test]
fn locks_of_the_kernel() {
    let mut turns = Turns::start(&programs::c("waits/kernel_locks.c", &["-pthread"]));
    let agent = Agent::start(&[]);
    for what in ["offcpu?kernel=1", "mutex?kernel=1"] {
        agent.profile(&turns.tree(what));
    }
    let told = turns.take();
    let ask = |what: &str| agent.profile(&turns.tree(what));
    let (all, held, users) = (ask("offcpu?kernel=1"), ask("mutex?kernel=1"), ask("mutex"));
    for (kind, clock) in &told {
        let (waits, releases) = (format!("wait_kernel_{kind}"), format!("release_kernel_{kind}"));
        let waited = all.cpu_of(|sample| sample.has(&waits) && sample.label("reason") == "kernel lock");
        judge::assert_near(&waits, below(&all, &waits), clock / 1e9, 0.02, 0.0);
        assert!(waited > 0.95 * clock / 1e9, "{waited} s of {clock} ns\n{:?}\n{}", all.comments(), all.summary());
        let lock = format!("kernel {kind}");
        let of = |sample: &Sample| sample.has(&releases) && sample.label("lock") == lock;
        judge::assert_near(&releases, held.cpu_of(of), waited, 0.02, 0.0);
        assert_eq!(held.count_of(of), 20, "{}", held.summary());
        assert_eq!(users.count_of(|sample| sample.has(&releases)), 0, "{}", users.summary());
    }
    let inside = held.count_of(|sample| sample.has("release_kernel_mutex") && sample.has("wake_up_q"));
    assert!(inside > 0, "the kernel's frames are there\n{}", held.summary());
}

/// Threads that waited before anybody watched have their stacks too, and count from the beginning of the watch on; so do those that
/// wait for other things, if these are asked for.
#[test]
fn a_thousand_threads_that_waited_before() {
    let target = Turns::start_with(&programs::c("threads/stand.c", &["-pthread"]), &["250", "0"]);
    let agent = Agent::start(&[]);
    let tree = |what: &str| target.tree(what);
    let all = agent.profile(&tree("offcpu"));
    let block = agent.profile(&tree("block"));
    let summary = || format!("{:?}\n{}", all.comments(), all.summary());
    for (function, reason) in
        [("wait_mutex", "futex"), ("wait_condition", "futex"), ("wait_sleep", "sleep"), ("wait_epoll", "poll")]
    {
        let of = |sample: &Sample| sample.has(function);
        assert_eq!(all.count_of(|sample| of(sample) && sample.label("reason") == reason), 250, "{}", summary());
        // Five seconds and what the first look took.
        let seconds = all.cpu_of(of) / 250.0;
        assert!((4.5..30.0).contains(&seconds), "{function}: {seconds} s each\n{}", summary());
        let waits = if reason == "futex" { 250 } else { 0 };
        assert_eq!(block.count_of(of), waits, "{}", block.summary());
    }
    let again = agent.profile(&tree("block"));
    assert_eq!(again.count(), 500, "each wait once\n{}", again.summary());
    assert!(again.cpu_seconds() > block.cpu_seconds());
}

/// Threads that want a CPU and have none wait for nothing else.
#[test]
fn a_busy_host_is_no_block() {
    let cpus = std::thread::available_parallelism().unwrap().get();
    let spinners = (cpus * 3).to_string();
    let target = Turns::start_with(&programs::c("threads/stand.c", &["-pthread"]), &["1", &spinners]);
    let agent = Agent::start(&[]);
    let tree = |what: &str| target.tree(what);
    agent.profile(&tree("offcpu"));
    let (all, block) = (agent.profile(&tree("offcpu?seconds=4")), agent.profile(&tree("block")));
    let spins = |sample: &Sample| sample.has("spin");
    let waited = all.cpu_of(|sample| spins(sample) && sample.label("reason") == "run queue");
    // Of three threads a CPU two wait, or more if others want it too.
    let least = (cpus * 3 - cpus) as f64 * 4.0 * 0.8;
    assert!(waited >= least, "{waited} s in the run queue, at least {least}\n{:?}\n{}", all.comments(), all.summary());
    assert_eq!(block.count_of(spins), 0, "{}", block.summary());
    assert!((3.9..20.0).contains(&all.seconds()), "{}", all.seconds());
}

/// What readers ask of these kinds: texts, differences, scrapes that do not go back, the past, and who may not see.
#[test]
fn the_contract_of_block_and_mutex() {
    let mut turns = Turns::start(&programs::c("waits/locks.c", &["-pthread"]));
    let agent = Agent::start(&["--watch-linger", "5"]);
    for what in ["block", "mutex", "delta_block", "delta_mutex"] {
        agent.profile(&turns.tree(what));
    }
    turns.take();
    for (what, first) in [("block", "--- contention:\ncycles/second="), ("mutex", "--- mutex:\ncycles/second=")] {
        let page = agent.get(&format!("/{}", turns.tree(&format!("{what}?debug=1")))).ok().text();
        assert!(page.starts_with(first), "{page}");
        let url = agent.url(&turns.tree(&format!("{what}?debug=1")));
        let top = tools::pprof_ok(&["-top", "-sample_index=delay", &url]);
        assert!(top.contains("wait_mutex") || top.contains("release_mutex"), "{top}");
    }
    let delta = agent.profile(&turns.tree("delta_block"));
    assert!(below(&delta, "wait_mutex") > 0.1 && delta.seconds() > 1.0, "{}", delta.summary());
    assert_eq!(agent.profile(&turns.tree("delta_block")).count_of(|sample| sample.has("wait_mutex")), 0);

    let mut before: BTreeMap<Vec<String>, (i64, i64)> = BTreeMap::new();
    for _ in 0..10 {
        let mut now: BTreeMap<Vec<String>, (i64, i64)> = BTreeMap::new();
        for sample in &agent.profile(&turns.tree("block")).samples {
            let sum = now.entry(sample.stack.clone()).or_default();
            *sum = (sum.0 + sample.count, sum.1 + sample.nanos);
        }
        for (stack, values) in &before {
            let later = now.get(stack).copied().unwrap_or_default();
            assert!(later.0 >= values.0 && later.1 >= values.1, "{stack:?}: {later:?} after {values:?}");
        }
        before = now;
    }
    let kernel = agent.profile(&turns.tree("block?kernel=1"));
    assert!(kernel.count_of(|sample| sample.has_chain(&["do_futex", "__x64_sys_futex"])) > 0, "{}", kernel.summary());
    let is_ours = |name: &String| name.contains("bpf_") || name.contains("no symbol");
    assert_eq!(kernel.count_of(|sample| sample.stack.iter().any(is_ours)), 0, "{}", kernel.summary());
    let between = agent.profile(&turns.tree("block?seconds=1"));
    assert_eq!(between.count_of(|sample| sample.has("wait_mutex")), 0, "nothing waits between turns");
    let past = agent.profile(&turns.tree("block?ago=0&seconds=60"));
    assert!(below(&past, "wait_mutex") > 0.2, "{}", past.summary());
    for bad in ["block?wait=none", "mutex?mode=fast", "block?seconds=0", "delta_mutex?seconds=1"] {
        assert_eq!(agent.get(&format!("/{}", turns.tree(bad))).status, 400, "{bad}");
    }
    // Whose scraper stays away is watched no more, and costs no more.
    wait::until_true("the end of the watch", Duration::from_mins(2), || {
        agent.metric("pprofd_watched_waits") == Some(0.0)
    });
    let switches = || agent.metric("pprofd_kernel_waits_sampled_total");
    let then = switches();
    turns.take();
    assert_eq!(switches(), then);
}

/// Everybody's waits at once, each with its process.
#[test]
fn waits_of_the_whole_host() {
    let mut turns = Turns::start(&programs::c("waits/locks.c", &["-pthread"]));
    let agent = Agent::start(&["--record", "cpu,block,mutex"]);
    // All share what is kept, unless each is.
    agent.profile("debug/pprof/block?mode=exact");
    let told = turns.take();
    let host = agent.profile("debug/pprof/block");
    let pid = turns.pid().to_string();
    let of = |sample: &Sample| sample.has("wait_mutex") && sample.label("pid") == pid;
    judge::assert_near("wait_mutex", host.cpu_of(of), told["mutex"] / 1e9, 0.25, 0.0);
    let own = agent.profile(&turns.tree("mutex"));
    assert!(own.comments().iter().any(|line| line.contains("watched since")), "{:?}", own.comments());
    assert!(below(&own, "release_mutex") > 0.2, "watched before it was asked for\n{}", own.summary());
    let recorded = agent.profile("debug/pprof/block?ago=0&seconds=60");
    assert!(recorded.cpu_of(of) > 0.0, "{}", recorded.summary());
}

/// What runtimes build their locks of.
#[test]
fn locks_of_java_and_python() {
    let agent = Agent::start(&[]);
    let python =
        Target::start_ready(Path::new("/usr/bin/python3"), &[programs::source("waits/gil.py").to_str().unwrap()]);
    let java =
        Target::start_ready(Path::new("/usr/bin/java"), &[programs::source("waits/Locks.java").to_str().unwrap()]);
    let ask = |pid: u32, what: &str| agent.profile(&format!("pid/{pid}/debug/pprof/{what}?seconds=4"));
    // Of two that compute one has the GIL, and lets the other have it after 5 ms.
    let profile = ask(python.pid(), "block");
    let gil = profile.cpu_of(|sample| sample.has("_PyEval_EvalFrameDefault"));
    assert!((2.5..5.5).contains(&gil), "{gil} s\n{:?}\n{}", profile.comments(), profile.summary());
    let profile = ask(java.pid(), "mutex");
    let of = |thread: &str, lock: &str| {
        profile.cpu_of(|sample| sample.label("thread") == thread && sample.label("lock") == lock)
    };
    // Two threads each: one holds for 10 of every 11 ms, and the other waits so long.
    for (thread, lock) in [("monitor", "monitor"), ("reentrant", "park")] {
        let delay = of(thread, lock);
        assert!((2.0..6.0).contains(&delay), "{thread}: {delay} s\n{:?}\n{}", profile.comments(), profile.summary());
    }
}

/// Each thread's time is all there, where it was.
#[test]
fn wall_clocks_of_threads_that_wait_and_that_compute() {
    let target = Turns::start_with(&programs::c("threads/stand.c", &["-pthread"]), &["2", "2"]);
    let agent = Agent::start(&[]);
    let wall = agent.profile(&target.tree("wall?seconds=4"));
    assert_eq!(wall.sample_types(), [("samples", "count"), ("time", "nanoseconds")]);
    let summary = || format!("{:?}\n{}", wall.comments(), wall.summary());
    let mut threads: BTreeMap<String, f64> = BTreeMap::new();
    for sample in &wall.samples {
        *threads.entry(sample.label("tid").to_owned()).or_default() += sample.nanos as f64 / 1e9;
    }
    assert_eq!(threads.len(), 11, "{}", summary());
    for (tid, seconds) in &threads {
        judge::assert_near(&format!("thread {tid}"), *seconds, wall.seconds(), 0.02, 0.0);
    }
    for (function, wait) in [("wait_mutex", "futex"), ("wait_sleep", "sleep"), ("wait_epoll", "poll")] {
        let seconds = wall.cpu_of(|sample| sample.has(function) && sample.label("wait") == wait);
        judge::assert_near(function, seconds, 2.0 * wall.seconds(), 0.02, 0.0);
    }
    // What they did not compute they wanted to.
    let spun = wall.cpu_of(|sample| sample.has("spin"));
    judge::assert_near("spin", spun, 2.0 * wall.seconds(), 0.02, 0.0);
    let on_cpu = wall.cpu_of(|sample| sample.has("spin") && sample.label("state") == "on cpu");
    assert!(on_cpu > 0.02 * spun, "{on_cpu} s of {spun} s\n{}", summary());
    let found = agent.get(&format!("/pid/{}/debug/fgprof?seconds=1", target.pid()));
    assert_eq!((found.status, found.header("location")), (307, Some("pprof/wall?seconds=1")));
    assert_eq!(agent.get("/debug/pprof/wall?seconds=1").status, 501, "of the host");
}
