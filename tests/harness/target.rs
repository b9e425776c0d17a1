//! A running target: a child that dies with its test.

use super::wait;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// A child process, killed when dropped, and by the kernel should the test die before.
#[derive(Debug)]
pub struct Target {
    child: Child,
}

impl Target {
    /// Starts the program and waits until it is the one that runs.
    pub fn start(program: &Path, arguments: &[&str]) -> Target {
        Target::spawn(program, arguments, Stdio::null())
    }

    /// Starts the program and waits for its first line on standard output.
    pub fn start_ready(program: &Path, arguments: &[&str]) -> Target {
        let mut target = Target::spawn(program, arguments, Stdio::piped());
        assert!(!target.line().is_empty(), "{} ended before it was ready", program.display());
        target
    }

    /// Starts the program; [`Target::output`] gives what it printed.
    pub fn start_piped(program: &Path, arguments: &[&str]) -> Target {
        Target::spawn(program, arguments, Stdio::piped())
    }

    /// As [`Target::start_piped`], by a program that becomes another one, e.g. `nice`.
    pub fn start_unseen(program: &str, arguments: &[&str]) -> Target {
        let mut command = dying_with_us(Path::new(program));
        let child = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        Target { child: child.unwrap_or_else(|error| panic!("cannot start {program}: {error}")) }
    }

    /// The first line that it prints; nothing if it ends before.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        let output = self.child.stdout.take().expect("stdout is a pipe");
        BufReader::new(output).read_line(&mut line).expect("a target prints text");
        line
    }

    /// Starts a program that does not live on as what it started as (its leader exits, or it execs at once).
    pub fn spawn_unchecked(program: &Path, arguments: &[&str]) -> Target {
        let child = dying_with_us(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Target { child: child.unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display())) }
    }

    /// As [`Target::spawn_unchecked`], waiting until the program is one whose path ends so (`unshare` and a shell come before it).
    pub fn spawn_until(program: &str, arguments: &[&str], end: &str) -> Target {
        let mut target = Target::spawn_unchecked(Path::new(program), arguments);
        wait::until_true(&format!("{end} to be executed"), Duration::from_secs(10), || {
            assert!(target.ended().is_none(), "{program} {arguments:?} ended");
            target.exe().is_some_and(|exe| exe.to_string_lossy().ends_with(end))
        });
        target
    }

    fn spawn(program: &Path, arguments: &[&str], output: Stdio) -> Target {
        let file = program.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let child = dying_with_us(program).args(arguments).stdin(Stdio::null()).stdout(output).spawn();
        let child = child.unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        let mut target = Target { child };
        wait::until_true("the target to be executed", Duration::from_secs(10), || {
            // A short program may be gone already.
            target.exe().is_none_or(|exe| exe == file) || target.ended().is_some()
        });
        target
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The link `/proc/PID/exe`; `None` for a process that is gone or in exec.
    pub fn exe(&self) -> Option<PathBuf> {
        std::fs::read_link(format!("/proc/{}/exe", self.pid())).ok()
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our own child can be waited for")
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        wait::until("the target to end", limit, || self.ended())
    }

    /// Waits until it ends, and gives what it printed.
    pub fn output(mut self) -> String {
        let output = self.child.stdout.take().expect("stdout is a pipe");
        BufReader::new(output).lines().map(|line| line.expect("text")).collect::<Vec<_>>().join("\n")
    }

    /// Sends it a signal by number.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("our own child can be signaled");
    }

    /// Ends it and waits for that.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        let status = self.child.wait().expect("our own child can be waited for");
        assert!(status.code().is_some() || status.signal().is_some());
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A command whose process the kernel kills when this test's thread dies (`setpriv` executes the program in its own place).
pub fn dying_with_us(program: &Path) -> Command {
    ending_with_us("KILL", &[], program)
}

/// The same by another signal, for programs that have children to end; with more flags of setpriv, e.g. the user.
pub fn ending_with_us(signal: &str, flags: &[&str], program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", signal]).args(flags).arg("--").arg(program);
    command
}
