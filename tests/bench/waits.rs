//! What it costs a program to be watched while it waits, beside `perf sched record` and a `bpftrace` script: two threads that hand over
//! to each other on one CPU, the worst that there is. All in turns, so that what else the machine does meets each alike.

use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;
use tests::harness::target::dying_with_us;
use tests::harness::{Agent, http, programs, wait};

/// Turns of each; the best counts.
const TURNS: usize = 6;
/// How long a tool has to attach.
const ATTACH: Duration = Duration::from_secs(20);

/// Who watches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Watcher {
    Nobody,
    /// The agent, asked for this of the target.
    Agent(&'static str),
    PerfSched,
    BpfTrace,
}

const WATCHERS: [(&str, Watcher); 8] = [
    ("nobody", Watcher::Nobody),
    ("pprofd, nothing watched", Watcher::Agent("cmdline")),
    ("pprofd block", Watcher::Agent("block?seconds=100")),
    ("pprofd mutex", Watcher::Agent("mutex?seconds=100")),
    ("pprofd block?wait=all", Watcher::Agent("block?wait=all&seconds=100")),
    ("pprofd block?wait=all&mode=exact", Watcher::Agent("block?wait=all&mode=exact&seconds=100")),
    ("perf sched record", Watcher::PerfSched),
    ("bpftrace, user stacks of one process", Watcher::BpfTrace),
];

/// The program that hands over.
struct Pair {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Pair {
    fn start(by: &str) -> Result<Pair> {
        let mut command = dying_with_us(&programs::c("waits/pingpong.c", &["-pthread"]));
        let mut child = command.arg(by).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (input, output) = (child.stdin.take().context("a pipe")?, child.stdout.take().context("a pipe")?);
        let mut pair = Pair { child, input, output: BufReader::new(output) };
        ensure!(pair.line()? == "ready");
        Ok(pair)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// ns of CPU time per switch.
    fn turn(&mut self) -> Result<f64> {
        self.input.write_all(b"go\n")?;
        self.line()?.parse().context("a number")
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // It may be gone already.
        let _gone = (self.child.kill(), self.child.wait());
    }
}

/// Prints the table.
pub(crate) fn run(folder: &Path) -> Result<()> {
    println!("\nCPU time of a program per switch, ns, best of {TURNS} turns (what it is more than nobody's):\n");
    println!("| | by pipe | by futex |\n|---|---|---|");
    let columns = ["pipe", "futex"].map(|by| column(by, folder));
    let [pipe, futex] = columns;
    for (((name, _), pipe), futex) in WATCHERS.iter().zip(pipe?).zip(futex?) {
        println!("| {name} | {pipe} | {futex} |");
    }
    Ok(())
}

fn column(by: &str, folder: &Path) -> Result<Vec<String>> {
    let mut pair = Pair::start(by)?;
    let mut best = [f64::INFINITY; WATCHERS.len()];
    for _ in 0..TURNS {
        for ((_, watcher), best) in WATCHERS.iter().zip(&mut best) {
            if let Some(cost) = watched(*watcher, &mut pair, folder)? {
                *best = best.min(cost);
            }
        }
    }
    let nobody = best[0];
    let cell =
        |cost: &f64| if cost.is_finite() { format!("{cost:.0} (+{:.0})", cost - nobody) } else { "-".to_owned() };
    Ok(best.iter().map(cell).collect())
}

/// A turn under somebody's eyes; none if he is not installed.
fn watched(watcher: Watcher, pair: &mut Pair, folder: &Path) -> Result<Option<f64>> {
    let pid = pair.child.id();
    match watcher {
        Watcher::Nobody => pair.turn().map(Some),
        Watcher::Agent(what) => {
            let agent = Agent::start(&[]);
            let path = format!("/pid/{pid}/debug/pprof/{what}");
            let address = agent.address;
            // It is asked for longer than the turn takes, and ends with the agent.
            let asking = std::thread::spawn(move || http::try_request(address, "GET", &path, &[], &[]));
            if what != "cmdline" {
                wait::until_true("the watch", ATTACH, || agent.metric("pprofd_watched_waits") == Some(1.0));
            }
            let cost = pair.turn();
            drop(agent);
            // The answer of an agent that was ended is none.
            let _none = asking.join();
            cost.map(Some)
        }
        Watcher::PerfSched => {
            let mut command = Command::new("perf");
            command.args(["sched", "record", "-o"]).arg(folder.join("sched.data"));
            beside(command, pair, Duration::from_millis(1_500))
        }
        Watcher::BpfTrace => {
            // As the offcputime that comes with it, without its kernel probe.
            let script = format!(
                "tracepoint:sched:sched_switch {{ if (pid == {pid}) {{ @start[tid] = nsecs; @stack[tid] = ustack; }} \
                 $s = @start[args->next_pid]; if ($s) {{ @us[@stack[args->next_pid]] = sum(nsecs - $s); \
                 delete(@start[args->next_pid]); }} }}"
            );
            let mut command = Command::new("bpftrace");
            command.args(["-e", &script]);
            beside(command, pair, Duration::from_secs(4))
        }
    }
}

/// A turn beside a tool that has no way to say that it is ready.
fn beside(mut command: Command, pair: &mut Pair, attach: Duration) -> Result<Option<f64>> {
    let Ok(mut tool) = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() else { return Ok(None) };
    wait::window(attach);
    ensure!(tool.try_wait()?.is_none(), "{command:?} ended at once");
    let cost = pair.turn();
    let pid = rustix::process::Pid::from_child(&tool);
    rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
    tool.wait()?;
    cost.map(Some)
}
