//! Asking the kernel side for the threads of a process as they stand.

use super::{KernelError, iterator};
use crate::event::{Event, KernelPlaces, Pid, ThreadSeen, decode, thread_length};
use aya::programs::ProgramFd;
use profiler_ebpf::abi::event::{MAX_THREAD_KERNEL_FRAMES, ThreadRecord};
use std::fs::File;
use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Threads that one look may return; the kernel allows 4 million tasks.
const MAX_THREADS: usize = 200_000;
/// The longest record.
const RECORD: usize = size_of::<ThreadRecord>() + MAX_THREAD_KERNEL_FRAMES * 8;

/// The programs that list threads. All runs of a CPU share one record, so one caller is let in at a time.
pub struct Threads(Mutex<Programs>);

struct Programs {
    all: ProgramFd,
    waiting: ProgramFd,
}

impl Threads {
    pub(super) fn new(all: ProgramFd, waiting: ProgramFd) -> Threads {
        Threads(Mutex::new(Programs { all, waiting }))
    }

    /// The threads of a process, by number; none if it is gone. Touches no memory of theirs.
    pub fn of(&self, pid: Pid, places: &dyn KernelPlaces) -> Result<Vec<ThreadSeen>, KernelError> {
        let programs = self.lock();
        list(&programs.all, Some(pid), places)
    }

    /// Those watched threads of a process, or of all, that have waited for long and of which nobody saw where they began to. Each is
    /// told once a wait.
    pub fn waiting(&self, pid: Option<Pid>, places: &dyn KernelPlaces) -> Result<Vec<ThreadSeen>, KernelError> {
        let programs = self.lock();
        list(&programs.waiting, pid, places)
    }

    fn lock(&self) -> MutexGuard<'_, Programs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn list(program: &ProgramFd, pid: Option<Pid>, places: &dyn KernelPlaces) -> Result<Vec<ThreadSeen>, KernelError> {
    match iterator::open(program, pid, "threads") {
        Ok(file) => read_threads(file, pid, places),
        Err(error) if error.is_no_such_process() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn read_threads(mut file: File, pid: Option<Pid>, places: &dyn KernelPlaces) -> Result<Vec<ThreadSeen>, KernelError> {
    let mut found: Vec<ThreadSeen> = Vec::new();
    let mut buffer = vec![0u8; RECORD * 64];
    let mut held = 0;
    while found.len() < MAX_THREADS {
        let free = buffer.get_mut(held..).unwrap_or_default();
        let read =
            file.read(free).map_err(|source| KernelError::Iterator { action: "read", over: "threads", source })?;
        if read == 0 {
            break;
        }
        held += read;
        let mut at = 0;
        while let Some(rest) = buffer.get(at..held)
            && let Ok(length) = thread_length(rest)
            && let Some(record) = rest.get(..length)
        {
            if let Ok(Event::Thread(thread)) = decode(record, places)
                && pid.is_none_or(|pid| thread.image.process.pid == pid)
            {
                found.push(thread);
            }
            at += length;
        }
        buffer.copy_within(at..held, 0);
        held -= at;
    }
    found.sort_by_key(|thread| thread.tid);
    Ok(found)
}
