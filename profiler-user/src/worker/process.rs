//! One worker process, as the agent holds it: ask, wait with a deadline, kill.

use super::WorkerError;
use super::protocol::{Hello, Ready, Reply, Request, VERSION, Wait, receive, send};
use super::sandbox::Sandbox;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Child;
use std::time::{Duration, Instant};

/// Time for a new process to confine itself and say so.
const START_DEADLINE: Duration = Duration::from_secs(10);

/// A running worker. Dropping it kills and reaps it.
pub(super) struct Process {
    child: Child,
    pidfd: OwnedFd,
    socket: OwnedFd,
    sandbox: Sandbox,
    next_id: u64,
}

impl Process {
    pub(super) fn new(child: Child, pidfd: OwnedFd, socket: OwnedFd) -> Self {
        Process { child, pidfd, socket, sandbox: Sandbox::default(), next_id: 0 }
    }

    /// Greets a new process and waits until it is confined.
    pub(super) fn greet(&mut self, memory: u64) -> io::Result<()> {
        let socket = self.socket.as_fd();
        let wait = Deadline { socket, at: Instant::now() + START_DEADLINE };
        send(socket, &Hello { version: VERSION, memory }, &[], &wait)?;
        let (ready, _) = receive::<Ready>(socket, &wait)?;
        if ready.version != VERSION {
            return Err(io::Error::other("the worker speaks another version"));
        }
        let Ready { landlock, seccomp, no_capabilities, refused_without_filter, refused, .. } = ready;
        self.sandbox = Sandbox { landlock, seccomp, no_capabilities, refused_without_filter, refused };
        Ok(())
    }

    pub(super) fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// It has not ended while it was asked nothing: that would be no fault of the next file.
    pub(super) fn lives(&self) -> bool {
        poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&Timespec::default())) == Ok(0)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// One question and its answer. After an error the process is of no use any more.
    pub(super) fn ask(
        &mut self,
        mut request: Request,
        descriptors: &[BorrowedFd<'_>],
        time: Duration,
    ) -> Result<Reply, WorkerError> {
        self.next_id += 1;
        (request.version, request.id) = (VERSION, self.next_id);
        let socket = self.socket.as_fd();
        let wait = Deadline { socket, at: Instant::now() + time };
        let received = send(socket, &request, descriptors, &wait).and_then(|()| receive::<Reply>(socket, &wait));
        let (reply, unasked) = received.map_err(|e| match e.kind() {
            io::ErrorKind::TimedOut => WorkerError::TimedOut,
            io::ErrorKind::InvalidData => WorkerError::Hostile("not a message"),
            _ => WorkerError::Died,
        })?;
        if reply.version != VERSION || reply.id != request.id || !unasked.is_empty() {
            return Err(WorkerError::Hostile("not the answer to the question"));
        }
        Ok(reply)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // By descriptor: the number could be somebody else's by now. One that is dead already needs no signal.
        let _dead = pidfd_send_signal(&self.pidfd, Signal::KILL).is_err();
        let _reaped = self.child.wait().is_ok();
    }
}

struct Deadline<'s> {
    socket: BorrowedFd<'s>,
    at: Instant,
}

impl Wait for Deadline<'_> {
    fn wait(&self, writable: bool) -> io::Result<()> {
        let flags = if writable { PollFlags::OUT } else { PollFlags::IN };
        loop {
            let left = self.at.saturating_duration_since(Instant::now());
            let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
            match poll(&mut [PollFd::new(&self.socket, flags)], Some(&left)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}
