//! `goroutine`: all threads of a process as they stand, none of them stopped.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tests::harness::profile::Sample;
use tests::harness::target::dying_with_us;
use tests::harness::{Agent, Profile, Target, programs, wait};

/// The waits of `threads/stand.c`: function, and what the kernel says of it.
const WAITS: [(&str, &str); 4] =
    [("wait_mutex", "futex"), ("wait_condition", "futex"), ("wait_sleep", "sleep"), ("wait_epoll", "poll")];

fn threads(agent: &Agent, pid: u32) -> Profile {
    agent.profile(&format!("pid/{pid}/debug/pprof/goroutine"))
}

/// `threads/stand.c`, with its input at hand: it ends with it.
struct Standing {
    child: Child,
    output: std::io::BufReader<std::process::ChildStdout>,
}

impl Standing {
    fn start(waiters: u32, spinners: u32) -> Standing {
        let mut command = dying_with_us(&programs::c("threads/stand.c", &["-pthread"]));
        command.args([waiters.to_string(), spinners.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        assert_eq!(line, "ready\n");
        Standing { child, output }
    }

    /// How many of its calls were interrupted.
    fn end(mut self) -> u32 {
        drop(self.child.stdin.take());
        let mut text = String::new();
        std::io::Read::read_to_string(&mut self.output, &mut text).unwrap();
        assert!(self.child.wait().unwrap().success(), "{text}");
        text.strip_suffix(" interrupted\n").unwrap().parse().unwrap()
    }
}

/// Each wait has so many threads, named with callers and what they wait for, and the others compute.
fn assert_standing(profile: &Profile, waiters: i64, spinners: i64) {
    let summary = profile.summary();
    assert_eq!(profile.sample_types(), [("goroutine", "count")], "{summary}");
    assert_eq!(profile.count(), waiters * 4 + spinners + 1, "{summary}");
    assert_eq!(profile.incomplete(), 0, "{summary}");
    for (function, wanted) in WAITS {
        let caller = format!("on_{}", function.trim_start_matches("wait_"));
        let there = |sample: &Sample| {
            sample.has_chain(&[function, &caller, "start_thread"]) && sample.label("state") == "sleeping"
        };
        let labelled = profile.count_of(|sample| there(sample) && sample.label("wait") == wanted);
        assert_eq!(labelled, waiters, "{function}\n{summary}");
    }
    let spinning = profile.count_of(|sample| {
        sample.has_chain(&["spin", "on_spin"]) && matches!(sample.label("state"), "running" | "runnable")
    });
    assert_eq!(spinning, spinners, "{summary}");
    assert!(profile.samples.iter().all(|sample| !sample.has("do_syscall_64")), "kernel frames unasked\n{summary}");
}

#[test]
fn a_thousand_threads_in_four_waits_and_two_that_compute() {
    let agent = Agent::start(&[]);
    let target = Standing::start(250, 2);
    let pid = target.child.id();
    for _ in 0..5 {
        assert_standing(&threads(&agent, pid), 250, 2);
    }
    let with_kernel = agent.profile(&format!("pid/{pid}/debug/pprof/goroutine?kernel=1"));
    let in_kernel =
        with_kernel.count_of(|sample| sample.has("wait_mutex") && sample.has_chain(&["do_futex", "__x64_sys_futex"]));
    assert_eq!(in_kernel, 250, "{}", with_kernel.summary());
    assert_eq!(target.end(), 0, "calls were interrupted");
}

#[test]
fn ten_thousand_threads() {
    let agent = Agent::start(&[]);
    let target = Standing::start(2_500, 0);
    assert_standing(&threads(&agent, target.child.id()), 2_500, 0);
    assert_eq!(target.end(), 0, "calls were interrupted");
}

/// A stopped process is told as it stands, and stays so.
#[test]
fn a_stopped_process() {
    let agent = Agent::start(&[]);
    let target = Standing::start(3, 1);
    let pid = rustix::process::Pid::from_child(&target.child);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    wait::until_true("all threads to be stopped", Duration::from_secs(10), || {
        let profile = threads(&agent, target.child.id());
        profile.count_of(|sample| sample.label("state") == "stopped") == 14
    });
    let profile = threads(&agent, target.child.id());
    assert_eq!((profile.count(), profile.incomplete()), (14, 0), "{}", profile.summary());
    assert_eq!(profile.count_of(|sample| sample.has_chain(&["spin", "on_spin"])), 1, "{}", profile.summary());
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    target.end();
}

/// Threads that end while they are looked at are no error, and those that stay are always there.
#[test]
fn threads_that_come_and_go() {
    let agent = Agent::start(&[]);
    let target = Target::start_ready(&programs::c("threads/churn.c", &["-pthread"]), &[]);
    for _ in 0..20 {
        let profile = threads(&agent, target.pid());
        let summary = profile.summary();
        assert_eq!(profile.count_of(|sample| sample.has_chain(&["stay", "on_stay"])), 10, "{summary}");
        assert!(profile.count() <= 60, "{summary}");
        // One that is born or dies in that moment may have no stack to tell.
        assert!(profile.incomplete() <= 3, "{summary}");
    }
}

/// A stack whose pages wait for a userfaultfd that nobody serves costs itself.
#[test]
fn a_stack_whose_pages_never_come() {
    let agent = Agent::start(&[]);
    let target = Target::start_ready(&programs::c("threads/held_up.c", &["-pthread"]), &[]);
    // More often than threads of the agent may be stuck.
    for _ in 0..12 {
        let profile = threads(&agent, target.pid());
        let summary = profile.summary();
        assert_eq!(profile.count(), 5, "{summary}");
        assert_eq!(profile.count_of(|sample| sample.has_chain(&["usual", "on_usual"])), 3, "{summary}");
        let held: Vec<&Sample> = profile.samples.iter().filter(|sample| !sample.label("reason").is_empty()).collect();
        let reasons: BTreeSet<&str> = held.iter().map(|sample| sample.label("reason")).collect();
        assert!(held.len() == 1, "{summary}");
        assert!(
            reasons.is_subset(&["stack held up", "unreadable stack", "stack copy too short"].into()),
            "{reasons:?}"
        );
    }
}

/// A signal's stack leads to the one that was interrupted, wherever the two lie; and a long one is read as far as it goes.
#[test]
fn stacks_that_are_not_in_one_piece() {
    let agent = Agent::start(&[]);
    let target = Target::start_ready(&programs::c("threads/stacks.c", &["-pthread"]), &[]);
    let profile = threads(&agent, target.pid());
    let summary = profile.summary();
    assert_eq!((profile.count(), profile.incomplete()), (5, 0), "{summary}");
    let chain = |sample: &Sample| sample.has_chain(&["stand", "in_handler", "on_signal"]);
    let whole = |sample: &Sample| sample.has_chain(&["interrupted", "on_interrupted", "start_thread"]);
    assert_eq!(profile.count_of(|sample| chain(sample) && whole(sample)), 2, "{summary}");
    let deep = |sample: &Sample| sample.depth_of("down") == 151 && sample.has_chain(&["down", "deep", "on_deep"]);
    assert_eq!(profile.count_of(deep), 2, "{summary}");
}

/// A program whose threads sleep and run in turns, on stacks of a runtime's own.
#[test]
fn threads_of_a_go_program() {
    let agent = Agent::start(&[]);
    let program = programs::go("garbage.go", &[]);
    let target = Target::start(&program, &[]);
    wait::until_true("Go's threads", Duration::from_secs(10), || threads(&agent, target.pid()).count() >= 3);
    let profile = threads(&agent, target.pid());
    // Stacks that lead from one of the runtime's stacks to another go on there.
    let broken = profile.count_of(|sample| !["", "thread ran"].contains(&sample.label("reason")));
    assert_eq!(broken, 0, "{}", profile.summary());
    let waits = |sample: &Sample| {
        sample.has_chain(&["runtime.futexsleep", "runtime.notesleep"]) && sample.label("wait") == "futex"
    };
    wait::until_true("a thread of the runtime to wait", Duration::from_mins(1), || {
        threads(&agent, target.pid()).count_of(waits) > 0
    });
    assert!(
        profile.comments().iter().any(|comment| comment.contains("not its goroutines")),
        "{:?}",
        profile.comments()
    );
}

#[test]
fn the_host_and_whoever_is_not_there() {
    let agent = Agent::start(&[]);
    let target = Standing::start(5, 0);
    let pid = target.child.id();
    let host = agent.profile("debug/pprof/goroutine");
    let his = host.only(|sample| sample.label("pid") == pid.to_string());
    assert_eq!(his.count(), 21, "{}", his.summary());
    assert!(his.samples.iter().all(|sample| sample.label("comm").starts_with("stand")), "{}", his.summary());
    assert!(host.count() > 30, "{}", host.summary());
    let asked = |path: &str| {
        let answer = agent.get(&format!("/pid/{path}"));
        (answer.status, answer.text())
    };
    assert_eq!(target.end(), 0);
    assert_eq!(asked("4000000/debug/pprof/goroutine").0, 404);
    let gone = asked(&format!("{pid}/debug/pprof/goroutine"));
    assert!(gone.0 == 404 && gone.1.contains(&pid.to_string()), "{gone:?}");
    let me = std::process::id();
    assert_eq!(asked(&format!("{me}/debug/pprof/goroutine?seconds=0")).0, 400);
    assert_eq!(asked(&format!("{me}/debug/pprof/goroutine?ago=5")).0, 400);
}

/// `seconds` is the difference of two looks, as Go has it.
#[test]
fn the_difference_of_two_looks() {
    let agent = Agent::start(&[]);
    let target = Target::start_ready(&programs::c("threads/grow.c", &["-pthread"]), &[]);
    // From here on its tables are there.
    assert_eq!(threads(&agent, target.pid()).count_of(|sample| sample.has("wait_less")), 5);
    let path = format!("/pid/{}/debug/pprof/goroutine?seconds=6", target.pid());
    let answer = std::thread::scope(|scope| {
        let asked = scope.spawn(|| agent.get(&path).ok());
        // By then it has been looked at once, and the other look is seconds away.
        let count = || std::fs::read_dir(format!("/proc/{}/task", target.pid())).unwrap().count();
        let begun = count();
        wait::until_true("30 more threads, one each 0.1 s", Duration::from_mins(1), || count() >= begun + 30);
        target.signal(rustix::process::Signal::USR1);
        asked.join().unwrap()
    });
    assert_eq!(answer.header("content-disposition"), Some("attachment; filename=\"goroutine-delta\""));
    let profile = Profile::parse(&answer.body);
    let count = |function: &str| profile.count_of(|sample| sample.has(function));
    assert!((3..=300).contains(&count("wait_more")), "{}", profile.summary());
    assert_eq!((count("wait_less"), count("stay")), (-5, 0), "{}", profile.summary());
    assert!(profile.seconds() >= 6.0, "{}", profile.summary());
}

/// What `debug=1` and `debug=2` print holds together, and `go tool pprof` reads what it can.
#[test]
fn texts_as_tools_parse_them() {
    let agent = Agent::start(&[]);
    let target = Standing::start(20, 1);
    let pid = target.child.id();
    let text = agent.get(&format!("/pid/{pid}/debug/pprof/goroutine?debug=1")).ok().text();
    assert!(text.starts_with("goroutine profile: total 82\n"), "{text}");
    let counts = text.lines().filter_map(|line| line.split_once(" @ 0x")?.0.parse::<u32>().ok());
    assert_eq!(counts.sum::<u32>(), 82, "{text}");

    let text = agent.get(&format!("/pid/{pid}/debug/pprof/goroutine?debug=2")).ok().text();
    let mut numbers = BTreeSet::new();
    for block in text.trim_end().split("\n\n") {
        let mut lines = block.lines();
        let head = lines.next().unwrap();
        let (number, state) = head.strip_prefix("goroutine ").and_then(|rest| rest.split_once(" [")).unwrap();
        assert!(state.ends_with("]:"), "{head}");
        assert!(numbers.insert(number.parse::<u32>().unwrap()), "{head} is there twice");
        let rest: Vec<&str> = lines.collect();
        assert!(!rest.is_empty() && rest.len().is_multiple_of(2), "{block}");
        for pair in rest.chunks(2) {
            assert!(pair[0].ends_with(')') && !pair[0].starts_with('\t') && pair[1].starts_with('\t'), "{block}");
        }
    }
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let tasks: BTreeSet<u32> =
        tasks.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    assert_eq!(numbers, tasks);
    for (wait, count) in [("[futex wait]:", 40), ("[poll wait]:", 20), ("[sleep wait]:", 20)] {
        let found = text.lines().filter(|line| line.starts_with("goroutine ") && line.ends_with(wait)).count();
        assert!(found == count || (found == count + 1), "{found} {wait}\n{text}");
    }
    let dumped = Command::new(tests::harness::agent::binary())
        .args(["dump", &pid.to_string(), "--url"])
        .arg(agent.url(""))
        .output()
        .unwrap();
    assert!(dumped.status.success(), "{dumped:?}");
    assert!(String::from_utf8(dumped.stdout).unwrap().contains("wait_mutex("), "no stacks");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(agent.get(&format!("/pid/{pid}/debug/pprof/goroutine?debug=1")).ok().text().as_bytes()).unwrap();
    target.end();
}
