//! Starts worker processes, all on one thread: a worker dies with the THREAD that started it (parent-death signal), so that
//! thread lives as long as the agent wants workers.

use super::process::Process;
use super::{WorkerConfig, WorkerError, sandbox};
use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io;
use std::thread;

type Answer = io::Result<Process>;

/// The thread that starts workers; it ends with the last handle.
pub(super) struct Spawner {
    orders: Sender<Sender<Answer>>,
}

impl Spawner {
    pub(super) fn start(config: WorkerConfig) -> io::Result<Self> {
        let (orders, received) = bounded(1);
        thread::Builder::new().name("symbol-spawner".into()).spawn(move || run(&config, &received))?;
        Ok(Spawner { orders })
    }

    /// A new, confined process.
    pub(super) fn spawn(&self) -> Result<Process, WorkerError> {
        let gone = || WorkerError::Spawn(io::Error::other("the thread that starts workers is gone"));
        let (answer, answered) = bounded(1);
        self.orders.send(answer).or(Err(gone()))?;
        answered.recv().or(Err(gone()))?.map_err(WorkerError::Spawn)
    }
}

fn run(config: &WorkerConfig, orders: &Receiver<Sender<Answer>>) {
    for order in orders {
        // If nobody waits any more, the process is dropped, which kills it.
        let _unwanted = order.send(spawn(config)).is_err();
    }
}

fn spawn(config: &WorkerConfig) -> Answer {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    // The command owns the worker's end and closes it here when it is dropped.
    let mut child = sandbox::command(&config.executable, theirs)?.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pidfd = match pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
        Some(Ok(pidfd)) => pidfd,
        failed => {
            child.kill()?;
            child.wait()?;
            return Err(failed.and_then(Result::err).map_or_else(|| io::Error::other("no process"), Into::into));
        }
    };
    let mut process = Process::new(child, pidfd, ours);
    process.greet(config.memory)?;
    Ok(process)
}
