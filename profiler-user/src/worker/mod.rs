//! The symbol worker: a sandboxed process of the same binary that parses what targets control. This file is what the
//! agent sees: [`Worker`] verbs that take an open file and return checked plain data.

pub mod api;
mod check;
mod client;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod parts;
mod pool;
mod process;
mod protocol;
pub mod sandbox;
pub mod server;
mod spawn;
mod subject;
mod survey;
mod suspects;
mod table;

pub use client::Worker;
pub use parts::{GivenPart, PartSource};
pub use sandbox::Sandbox;
pub use subject::{DebugFile, Subject};

use profiler_ebpf::reasons::Reason;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Files whose bytes may meet in one worker process: a file cannot lie about another one of its own domain only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TrustDomain {
    /// Owner of the file.
    pub owner: u32,
    /// Mount namespace in which it was first seen.
    pub mount_namespace: u64,
}

/// Whose bytes meet in one worker process: a file's, and its debug file's if that is of another domain. A process serves one
/// such pair, so neither side can lie about other files than those that both describe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parties {
    file: TrustDomain,
    debug: Option<TrustDomain>,
}

/// Bytes above which a file is large: its unwind table takes a worker about a second for each 200 MB.
pub const LARGE_FILE: u64 = 16 << 20;

/// How workers are run.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// The binary that is started with the argument `symbol-worker`.
    pub executable: PathBuf,
    /// Processes at most, 1 to 4.
    pub workers: usize,
    /// Address space of one process, bytes.
    pub memory: u64,
    /// Time for one request; then the process is killed.
    pub deadline: Duration,
}

/// What happened to workers so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerCounts {
    /// Requests that were asked for.
    pub requests: u64,
    /// Processes started.
    pub spawned: u64,
    /// Processes that could not be started, or died before they were asked anything.
    pub unstarted: u64,
    /// Processes that died over a request.
    pub died: u64,
    /// Processes killed because a request overran its deadline.
    pub timed_out: u64,
    /// Processes killed because of a reply that no honest worker sends.
    pub hostile: u64,
    /// Requests refused because their file is on the deny-list.
    pub denied: u64,
    /// Requests refused because too many waited.
    pub busy: u64,
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The process could not be started.
    #[error("cannot start a symbol worker")]
    Spawn(#[source] io::Error),
    /// The process died over this request.
    #[error("the symbol worker died over this file")]
    Died,
    /// The request overran its deadline.
    #[error("the symbol worker overran its deadline over this file")]
    TimedOut,
    /// The file ended two workers already.
    #[error("the file ended symbol workers before and is refused")]
    Denied,
    /// Too many requests wait.
    #[error("too many requests wait for a symbol worker")]
    Busy,
    /// The worker read the file and cannot use it.
    #[error("the file cannot be used: {0}")]
    Refused(String),
    /// The reply is not one that an honest worker sends.
    #[error("the symbol worker sent a reply that makes no sense: {0}")]
    Hostile(&'static str),
    /// The agent could not prepare the request.
    #[error("cannot prepare a request to a symbol worker")]
    Prepare(#[source] io::Error),
}

impl WorkerError {
    /// The files of the request are at fault: asked again, they would be again.
    pub fn is_of_the_file(&self) -> bool {
        !matches!(self, WorkerError::Spawn(_) | WorkerError::Busy | WorkerError::Prepare(_))
    }

    /// The reason under which the loss is counted.
    pub fn reason(&self) -> Reason {
        match self {
            WorkerError::Refused(_) => Reason::NoTable,
            WorkerError::Busy => Reason::QueueFull,
            _ => Reason::WorkerFailed,
        }
    }
}
