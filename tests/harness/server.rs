//! A running program with children of its own (a server and its workers, make and what it starts): ended by the signal that
//! makes it end them too.

use super::{target, wait};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Until it has to be gone after the signal.
const END: Duration = Duration::from_secs(20);

/// The user that a server runs as.
#[derive(Debug)]
pub struct User {
    name: &'static str,
    /// Its number.
    pub uid: u32,
}

impl User {
    /// A user that a package made.
    pub fn named(name: &'static str) -> User {
        let uid = super::tools::output("id", &["-u", name]).trim().parse().expect("a number");
        User { name, uid }
    }

    /// A command that this user runs; it gets `signal` (`TERM`) should the test die.
    pub fn command(&self, signal: &str, program: &Path) -> Command {
        target::ending_with_us(signal, &["--reuid", self.name, "--regid", self.name, "--clear-groups"], program)
    }
}

/// A server, ended when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    signal: Signal,
    /// Its whole process group gets the signal.
    group: bool,
}

impl Server {
    /// Starts it; `signal` is what ends it and its children.
    pub fn start(command: Command, signal: Signal) -> Server {
        Server::launch(command, signal, false)
    }

    /// Starts a program that does not end what its children started; they are killed with it.
    pub fn start_group(mut command: Command) -> Server {
        command.process_group(0);
        Server::launch(command, Signal::KILL, true)
    }

    fn launch(mut command: Command, signal: Signal, group: bool) -> Server {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Server { child, signal, group }
    }

    /// Its process id: that of the master.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its children that live.
    pub fn children(&self) -> Vec<u32> {
        let list = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid())).unwrap_or_default();
        list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.child);
        let send = if self.group { kill_process_group } else { kill_process };
        // It may have ended by itself.
        let _gone = send(pid, self.signal).is_err();
        if std::thread::panicking() {
            // A second panic would hide the first.
            drop(self.child.wait());
            return;
        }
        wait::until("a server to end", END, || self.child.try_wait().expect("our own child can be waited for"));
    }
}
