//! The command that is recorded: started, held before its first instruction, and let go once its profile is asked for.

use crate::command::{CommandError, program};
use crate::event::Pid;
use crate::kind::subject::Asked;
use rustix::io::Errno;
use rustix::process::{Pid as RawPid, Signal, WaitOptions, kill_process, waitpid};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{self, Command, ExitCode, ExitStatus};
use tokio::task::{JoinHandle, spawn_blocking};

/// Stops itself, and goes on as the command: the same process, so that its number is known before.
const STOP_THEN_GO_ON: &str = "kill -STOP $$; exec \"$@\"";

/// A command.
pub(super) struct Child {
    pid: RawPid,
    name: String,
    /// Until it is let go.
    held: Option<process::Child>,
    running: Option<JoinHandle<io::Result<ExitStatus>>>,
    status: Option<ExitStatus>,
}

/// How a command ended.
pub(super) struct Ended(ExitStatus);

impl From<Ended> for ExitCode {
    /// As a shell says it.
    fn from(Ended(status): Ended) -> ExitCode {
        let code = status.code().or(status.signal().map(|signal| 128 + signal));
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX).into()
    }
}

impl Child {
    /// Fails if there is no such command.
    pub(super) fn check(word: &OsStr) -> Result<(), CommandError> {
        let failed =
            || CommandError::Program { program: word.to_string_lossy().into_owned(), source: Errno::NOENT.into() };
        program::find(word).map(drop).ok_or_else(failed)
    }

    /// Starts it and waits until it is held. Blocking, for an instant.
    pub(super) fn start_stopped(words: &[OsString]) -> Result<Child, CommandError> {
        let name = words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
        let failed = |source| CommandError::Program { program: name.clone(), source };
        let child = Command::new("/bin/sh").args(["-c", STOP_THEN_GO_ON, "sh"]).args(words).spawn().map_err(failed)?;
        let pid = RawPid::from_child(&child);
        let name = name.rsplit('/').next().unwrap_or_default().to_owned();
        let held = Child { pid, name, held: Some(child), running: None, status: None };
        match waitpid(Some(pid), WaitOptions::UNTRACED) {
            Ok(Some((_, status))) if status.stopped() => Ok(held),
            Ok(_) => Err(CommandError::Unavailable(format!("{} ended before it began", held.name))),
            Err(error) => Err(CommandError::Program { program: held.name.clone(), source: error.into() }),
        }
    }

    /// As a question names it.
    pub(super) fn asked(&self) -> Asked {
        Asked { pid: Pid(self.pid.as_raw_nonzero().get().unsigned_abs()), start: None }
    }

    /// The command's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Lets it go on, if it is held, and waits for its end. May be given up and called anew.
    pub(super) async fn end(&mut self) -> Result<Ended, CommandError> {
        if let Some(mut child) = self.held.take() {
            kill_process(self.pid, Signal::CONT).map_err(|error| self.lost(error.into()))?;
            self.running = Some(spawn_blocking(move || child.wait()));
        }
        if let Some(running) = &mut self.running {
            let ended = running.await.map_err(io::Error::other).flatten();
            self.running = None;
            self.status = Some(ended.map_err(|error| self.lost(error))?);
        }
        self.status.map(Ended).ok_or_else(|| self.lost(io::ErrorKind::NotFound.into()))
    }

    /// Ends with the command, if there is one.
    pub(super) async fn ended(child: Option<&mut Child>) {
        match child {
            // What is wrong with it is told once the profile is written.
            Some(child) => drop(child.end().await),
            None => std::future::pending().await,
        }
    }

    fn lost(&self, source: io::Error) -> CommandError {
        CommandError::Program { program: self.name.clone(), source }
    }
}

impl Drop for Child {
    /// A command that was never let go would stay stopped for ever.
    fn drop(&mut self) {
        if let Some(child) = &mut self.held {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
