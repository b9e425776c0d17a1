//! What it costs a program to be watched while it waits, beside `perf sched record` and a `bpftrace` script: two threads that hand over
//! to each other on one CPU, the worst that there is, and `perf bench sched messaging` under a watch of the whole host. All in turns, so
//! that what else the machine does meets each alike.

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
    /// The agent, asked so twice at once.
    AgentTwice(&'static str),
    PerfSched,
    BpfTrace,
}

const WATCHERS: [(&str, Watcher); 9] = [
    ("nobody", Watcher::Nobody),
    ("pprofd, nothing watched", Watcher::Agent("cmdline")),
    ("pprofd block", Watcher::Agent("block?seconds=100")),
    ("pprofd block, two watchers", Watcher::AgentTwice("block?seconds=100")),
    ("pprofd mutex", Watcher::Agent("mutex?seconds=100")),
    ("pprofd block?wait=all", Watcher::Agent("block?wait=all&seconds=100")),
    ("pprofd block?wait=all&mode=exact", Watcher::Agent("block?wait=all&mode=exact&seconds=100")),
    ("perf sched record", Watcher::PerfSched),
    ("bpftrace, user stacks of one process", Watcher::BpfTrace),
];

/// What is watched.
trait Load {
    /// Its process; none: the whole host is watched.
    fn pid(&self) -> Option<u32>;
    /// CPU time that it takes, ns: of a switch, or of a run.
    fn turn(&mut self) -> Result<f64>;
}

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
}

impl Load for Pair {
    fn pid(&self) -> Option<u32> {
        Some(self.child.id())
    }

    /// Per switch.
    fn turn(&mut self) -> Result<f64> {
        self.input.write_all(b"go\n")?;
        self.line()?.parse().context("a number")
    }
}

/// 160 threads that write to each other.
struct Messaging;

impl Load for Messaging {
    fn pid(&self) -> Option<u32> {
        None
    }

    /// Per run.
    fn turn(&mut self) -> Result<f64> {
        let before = children_cpu()?;
        let done = dying_with_us(Path::new("perf"))
            .args(["bench", "-f", "simple", "sched", "messaging", "-t", "-g", "4", "-l", "400"])
            .stdout(Stdio::null())
            .status()?;
        ensure!(done.success(), "perf bench failed");
        Ok(children_cpu()? - before)
    }
}

/// CPU time of the children that were waited for, ns: fields 16 and 17 of `/proc/self/stat`, in ticks of 10 ms.
fn children_cpu() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, rest) = stat.rsplit_once(')').context("a name")?;
    let mut ticks = 0.0;
    for field in rest.split_whitespace().skip(13).take(2) {
        ticks += field.parse::<f64>()?;
    }
    Ok(ticks * 1e7)
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
    let columns = ["pipe", "futex"].map(|by| column(&mut Pair::start(by)?, folder));
    let [pipe, futex] = columns;
    for (((name, _), pipe), futex) in WATCHERS.iter().zip(pipe?).zip(futex?) {
        println!("| {name} | {} | {} |", absolute(pipe), absolute(futex));
    }
    println!("\nCPU time of perf bench sched messaging while the whole host is watched, to nobody's:\n");
    println!("| | ratio |\n|---|---|");
    for ((name, _), (cost, nobody)) in WATCHERS.iter().zip(column(&mut Messaging, folder)?) {
        println!("| {name} | {} |", if cost.is_finite() { format!("{:.3}", cost / nobody) } else { "-".to_owned() });
    }
    Ok(())
}

fn absolute((cost, nobody): (f64, f64)) -> String {
    if cost.is_finite() { format!("{cost:.0} (+{:.0})", cost - nobody) } else { "-".to_owned() }
}

/// What each costs, and nobody.
fn column(load: &mut dyn Load, folder: &Path) -> Result<Vec<(f64, f64)>> {
    let mut best = [f64::INFINITY; WATCHERS.len()];
    for _ in 0..TURNS {
        for ((_, watcher), best) in WATCHERS.iter().zip(&mut best) {
            if let Some(cost) = watched(*watcher, load, folder)? {
                *best = best.min(cost);
            }
        }
    }
    Ok(best.iter().map(|cost| (*cost, best[0])).collect())
}

/// A turn under somebody's eyes; none if he is not installed.
fn watched(watcher: Watcher, load: &mut dyn Load, folder: &Path) -> Result<Option<f64>> {
    match watcher {
        Watcher::Nobody => load.turn().map(Some),
        Watcher::Agent(what) | Watcher::AgentTwice(what) => {
            let agent = Agent::start(&[]);
            let whose = load.pid().map_or(String::new(), |pid| format!("/pid/{pid}"));
            let path = format!("{whose}/debug/pprof/{what}");
            let address = agent.address;
            // It is asked for longer than the turn takes, and ends with the agent.
            let ask = || {
                let path = path.clone();
                std::thread::spawn(move || http::try_request(address, "GET", &path, &[], &[]))
            };
            let asking = [Some(ask()), matches!(watcher, Watcher::AgentTwice(_)).then(ask)];
            if what != "cmdline" {
                wait::until_true("the watch", ATTACH, || agent.metric("pprofd_watched_waits") == Some(1.0));
            }
            let cost = load.turn();
            drop(agent);
            // The answer of an agent that was ended is none.
            asking.into_iter().flatten().for_each(|asking| drop(asking.join()));
            cost.map(Some)
        }
        Watcher::PerfSched => {
            let mut command = Command::new("perf");
            command.args(["sched", "record", "-o"]).arg(folder.join("sched.data"));
            beside(command, load, Duration::from_millis(1_500))
        }
        Watcher::BpfTrace => {
            // As the offcputime that comes with it, without its kernel probe.
            let is_theirs = load.pid().map_or("pid != 0".to_owned(), |pid| format!("pid == {pid}"));
            let script = format!(
                "tracepoint:sched:sched_switch {{ if ({is_theirs}) {{ @start[tid] = nsecs; @stack[tid] = ustack; }} \
                 $s = @start[args->next_pid]; if ($s) {{ @us[@stack[args->next_pid]] = sum(nsecs - $s); \
                 delete(@start[args->next_pid]); }} }}"
            );
            let mut command = Command::new("bpftrace");
            command.args(["-e", &script]);
            beside(command, load, Duration::from_secs(4))
        }
    }
}

/// A turn beside a tool that has no way to say that it is ready.
fn beside(mut command: Command, load: &mut dyn Load, attach: Duration) -> Result<Option<f64>> {
    let Ok(mut tool) = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() else { return Ok(None) };
    wait::window(attach);
    ensure!(tool.try_wait()?.is_none(), "{command:?} ended at once");
    let cost = load.turn();
    let pid = rustix::process::Pid::from_child(&tool);
    rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
    tool.wait()?;
    cost.map(Some)
}
