//! `block`, `mutex` and `offcpu`: what threads wait for, judged by the clocks of the programs themselves.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use tests::harness::profile::Sample;
use tests::harness::target::dying_with_us;
use tests::harness::{Agent, Profile, judge, programs};

/// A program that takes a turn for each line and says how long it waited, by its own clock.
struct Turns {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Turns {
    fn start(program: &Path) -> Turns {
        let mut command = dying_with_us(program);
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
        let of = |sample: &Sample| sample.has(&format!("{prefix}{function}")) && sample.label("lock") == *lock;
        // A wait ends for its thread when it is in a queue again, a little after its waker's stack was taken.
        judge::assert_near(&format!("{function} ({mode})"), mutex.cpu_of(of), waited, 0.02, 0.0);
        assert_eq!(held.cpu_of(of) > 0.0, *is_held, "{function}\n{}", held.summary());
    }
    let incomplete = block.cpu_of(|sample| !sample.label("reason").is_empty());
    assert!(incomplete <= 0.01 * block.cpu_seconds(), "{incomplete} s\n{}", block.summary());
    if told.contains_key("timeout") {
        assert_eq!(below(&mutex, "wait_timeout"), 0.0, "nobody ends a time-out\n{}", mutex.summary());
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
        (&["join"], "start_thread", "join", false),
    ];
    check_locks(&program, "exact", "", ends);
    check_locks(&program, "sampled", "", ends);
}

#[test]
fn locks_of_rust_and_of_parking_lot() {
    let ends: &[End] = &[
        (&["mutex"], "release_mutex", "mutex", true),
        (&["rwlock"], "release_rwlock", "rwlock", true),
        (&["parking_mutex"], "release_parking_mutex", "mutex", true),
        (&["parking_rwlock"], "release_parking_rwlock", "rwlock", true),
        (&["condition"], "release_condition", "condition", false),
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
    judge::assert_near("each wait", (in_turn(&after) - in_turn(&before)) as f64, exact, 0.01, 0.0);
}
