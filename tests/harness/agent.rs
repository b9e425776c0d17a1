//! The agent as a child process on a free port, with its log kept for the message of a failed test.

use super::http::{self, Answer};
use super::{Profile, programs, target, wait};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Until it has to answer `/readyz`.
const START: Duration = Duration::from_mins(1);
/// What the agent says before the address that it listens on.
const LISTENING: &str = "listening on http://";

/// A running agent; ended by SIGTERM or, at the latest, when dropped.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    log: Log,
    /// Where it listens.
    pub address: SocketAddr,
}

type Log = Arc<Mutex<Vec<String>>>;

/// The binary: `PPROFD_BIN`, else the release build.
pub fn binary() -> PathBuf {
    let path =
        std::env::var_os("PPROFD_BIN").map_or_else(|| programs::root().join("target/release/pprofd"), PathBuf::from);
    assert!(
        path.exists(),
        "{} is not there: `cargo build --release -p profiler-user`, or `cargo xtask test`",
        path.display()
    );
    path
}

/// The agent's command on a port of the kernel's choice.
pub fn command(arguments: &[&str]) -> Command {
    listening(target::dying_with_us(&binary()), arguments)
}

/// A command that takes the agent's arguments.
fn listening(mut command: Command, arguments: &[&str]) -> Command {
    if !arguments.contains(&"--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::piped()).env("NO_COLOR", "1");
    command
}

impl Agent {
    /// Starts it and waits until it is ready.
    pub fn start(arguments: &[&str]) -> Agent {
        Agent::started(command(arguments))
    }

    /// As [`Agent::start`], with a file for the lines of its audit.
    pub fn start_audited(arguments: &[&str], audit: &std::path::Path) -> Agent {
        let mut command = command(arguments);
        command.stdout(std::fs::File::create(audit).expect("the file can be made"));
        Agent::started(command)
    }

    /// As [`Agent::start`], by a command that executes it in the end.
    pub fn start_by(command: Command, arguments: &[&str]) -> Agent {
        Agent::started(listening(command, arguments))
    }

    fn started(mut command: Command) -> Agent {
        let mut child = command.spawn().expect("setpriv can be started");
        let (log, addresses) = follow(child.stderr.take().expect("stderr is a pipe"));
        let address = addresses.recv_timeout(START).unwrap_or_else(|_| {
            drop(child.kill());
            panic!("the agent did not say where it listens; its log:\n{}", joined(&log))
        });
        let agent = Agent { child, log, address };
        wait::until_true("the agent to be ready", START, || {
            http::try_request(address, "GET", "/readyz", &[], b"").is_ok_and(|answer| answer.status == 200)
        });
        agent
    }

    /// `GET path`; any failure shows the log.
    pub fn get(&self, path: &str) -> Answer {
        http::try_request(self.address, "GET", path, &[], b"")
            .unwrap_or_else(|error| panic!("GET {path}: {error}; the agent's log:\n{}", self.log()))
    }

    /// A profile of a path below the root, e.g. `debug/pprof/profile?seconds=1`; it must be one that strict readers take.
    pub fn profile(&self, path: &str) -> Profile {
        let answer = self.get(&format!("/{path}"));
        assert_eq!(answer.status, 200, "GET /{path}: {}\nthe agent's log:\n{}", answer.text(), self.log());
        let profile = Profile::parse(&answer.body);
        super::strict::assert_strict(&profile);
        profile
    }

    /// A CPU profile of a process over so many seconds at so many samples a second.
    pub fn cpu(&self, pid: u32, seconds: u32, hz: u32) -> Profile {
        self.profile(&format!("pid/{pid}/debug/pprof/profile?seconds={seconds}&hz={hz}"))
    }

    /// A CPU profile of the host.
    pub fn host(&self, seconds: u32, hz: u32) -> Profile {
        self.profile(&format!("debug/pprof/profile?seconds={seconds}&hz={hz}"))
    }

    /// The URL of a path below the root.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// The value of a metric, summed over its labels; `None` if there is no such metric.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let text = self.get("/metrics").ok().text();
        let lines =
            text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
        let values: Vec<f64> = lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        joined(&self.log)
    }

    /// Sends a signal and waits for its end.
    pub fn end(mut self, signal: rustix::process::Signal) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("our own child can be signaled");
        wait::until("the agent to end", Duration::from_secs(20), || self.child.try_wait().expect("our own child"))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            write_log(&self.log());
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[allow(clippy::print_stderr, reason = "shown by the test runner beside the failure")]
fn write_log(log: &str) {
    eprintln!("the agent's log:\n{log}");
}

fn joined(log: &Log) -> String {
    log.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
}

/// Keeps the log, and tells the address once it is said.
fn follow(stderr: ChildStderr) -> (Log, Receiver<SocketAddr>) {
    let log = Log::default();
    let (tell, addresses) = mpsc::sync_channel(1);
    let ours = Arc::clone(&log);
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if let Some(address) =
                line.split_once(LISTENING).and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
            {
                // The receiver is gone once it has the address.
                let _gone = tell.try_send(address).is_err();
            }
            ours.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    });
    (log, addresses)
}
