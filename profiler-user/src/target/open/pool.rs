//! Opener threads: a file system that does not answer (FUSE, network) costs one thread, never the agent.
//!
//! A thread whose caller gave up is stuck: it is replaced, and ends (or works again) once its call returns. At most
//! `max_stuck` are replaced; when all threads are stuck, files are refused at once.

use super::{
    DebugFound, DebugWanted, KeyOf, MAX_FILE_SIZE, MovedText, OpenError, Opened, Part, PartFound, PartsWanted, debug,
    jit_dump, memory, moved_text, open, parts, perf_map,
};
use crate::event::{FileSeen, ProcessId};
use crate::target::proc::Proc;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bounds of the opener.
#[derive(Clone, Copy, Debug)]
pub struct OpenerConfig {
    /// Threads that open files.
    pub threads: usize,
    /// Stuck threads that are replaced.
    pub max_stuck: usize,
    /// Size of the largest file that is opened.
    pub max_size: u64,
}

impl Default for OpenerConfig {
    fn default() -> Self {
        OpenerConfig { threads: 2, max_stuck: 8, max_size: MAX_FILE_SIZE }
    }
}

/// What the opener did, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenerCounts {
    /// Opened and verified.
    pub opened: u64,
    /// Not opened, for whatever reason.
    pub failed: u64,
    /// Of these: ran into their deadline, or were refused because all threads are stuck.
    pub late: u64,
    /// Threads stuck now.
    pub stuck: u64,
}

/// Opens targets' files on threads of its own. Cheap to clone; the threads end with the last clone.
#[derive(Clone)]
pub struct Opener {
    jobs: Sender<Arc<dyn Work>>,
    shared: Arc<Shared>,
}

struct Shared {
    proc: Proc,
    key_of: Arc<dyn KeyOf>,
    config: OpenerConfig,
    queue: Receiver<Arc<dyn Work>>,
    threads: Mutex<Threads>,
    opened: AtomicU64,
    failed: AtomicU64,
    late: AtomicU64,
}

#[derive(Default)]
struct Threads {
    working: usize,
    stuck: usize,
}

type Task<T> = Box<dyn Fn(&Shared) -> Result<T, OpenError> + Send + Sync>;

struct Job<T> {
    task: Task<T>,
    state: Mutex<State>,
    answer: Sender<Result<T, OpenError>>,
}

/// A job, whatever its answer is.
trait Work: Send + Sync {
    /// Does it, unless its caller has given up; false if the thread is to end.
    fn run(&self, shared: &Shared) -> bool;
}

impl<T: Send> Work for Job<T> {
    fn run(&self, shared: &Shared) -> bool {
        !take(self) || finish(shared, self, (self.task)(shared))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Queued,
    Running,
    Answered,
    Abandoned,
}

impl Opener {
    /// Starts the threads.
    pub fn start(proc: Proc, key_of: Arc<dyn KeyOf>, config: OpenerConfig) -> Result<Opener, OpenError> {
        let config = OpenerConfig { threads: config.threads.max(1), ..config };
        // A rendezvous: what no thread takes waits with its caller, who has the deadline.
        let (jobs, queue) = bounded(0);
        let counts = || AtomicU64::new(0);
        let shared = Arc::new(Shared {
            proc,
            key_of,
            config,
            queue,
            threads: Mutex::default(),
            opened: counts(),
            failed: counts(),
            late: counts(),
        });
        for _ in 0..config.threads {
            spawn(&shared).map_err(OpenError::Thread)?;
        }
        Ok(Opener { jobs, shared })
    }

    /// Opens and verifies a file, within `deadline`. Blocks.
    pub fn open(&self, seen: &FileSeen, deadline: Duration) -> Result<Opened, OpenError> {
        let seen = seen.clone();
        let task: Task<Opened> =
            Box::new(move |shared| open(&shared.proc, &seen, shared.key_of.as_ref(), shared.config.max_size));
        let result = self.ask(task, deadline);
        if result.is_ok() {
            self.shared.opened.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// Opens what lies where the debug file of a file may be, within `deadline`. Blocks.
    pub fn debug_files(&self, wanted: DebugWanted, deadline: Duration) -> Result<DebugFound, OpenError> {
        self.ask(Box::new(move |shared| Ok(debug::find(&shared.proc, &wanted, shared.config.max_size))), deadline)
    }

    /// Opens what may be parts of a file's debug information, within `deadline`; as many answers as parts. Blocks.
    pub fn parts(&self, wanted: PartsWanted, deadline: Duration) -> Result<Vec<PartFound>, OpenError> {
        self.ask(Box::new(move |shared| Ok(parts::find(&shared.proc, &wanted, shared.config.max_size))), deadline)
    }

    /// Opens the perf map of a process, whose program began so many ns after boot, within `deadline`. Blocks.
    pub fn open_perf_map(&self, process: ProcessId, began: u64, deadline: Duration) -> Result<Opened, OpenError> {
        self.open_made(Box::new(move |shared| perf_map::open(&shared.proc, process, began)), deadline)
    }

    /// Opens the jitdump that a process maps, within `deadline`. Blocks.
    pub fn open_jit_dump(&self, process: ProcessId, seen: &FileSeen, deadline: Duration) -> Result<Opened, OpenError> {
        let seen = seen.clone();
        let find = move |shared: &Shared| jit_dump::find(&shared.proc, process, &seen, shared.key_of.as_ref());
        self.open_made(Box::new(find), deadline)
    }

    fn open_made(&self, open: Task<Opened>, deadline: Duration) -> Result<Opened, OpenError> {
        let task: Task<Result<Opened, OpenError>> = Box::new(move |shared| match open(shared) {
            // That there is none is no failure.
            Err(error @ (OpenError::NoPerfMap | OpenError::Gone)) => Ok(Err(error)),
            other => other.map(Ok),
        });
        let result = self.ask(task, deadline)?;
        if result.is_ok() {
            self.shared.opened.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// Opens the files whose text may lie at these addresses outside of their mappings, within `deadline`. Blocks.
    pub fn moved_text(
        &self,
        process: ProcessId,
        addresses: Vec<u64>,
        deadline: Duration,
    ) -> Result<Vec<MovedText>, OpenError> {
        self.ask(Box::new(move |shared| moved_text::find(&shared.proc, process, &addresses)), deadline)
    }

    /// Copies of parts of a process's memory, each up to its first byte that cannot be read, within `deadline`. Blocks.
    pub fn memory(&self, process: ProcessId, parts: Vec<Part>, deadline: Duration) -> Result<Vec<Vec<u8>>, OpenError> {
        self.ask(Box::new(move |shared| memory::copy(&shared.proc, process, &parts)), deadline)
    }

    /// What was done so far.
    pub fn counts(&self) -> OpenerCounts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (opened, failed, late) = (get(&self.shared.opened), get(&self.shared.failed), get(&self.shared.late));
        OpenerCounts { opened, failed, late, stuck: lock(&self.shared.threads).stuck as u64 }
    }

    fn ask<T: Send + 'static>(&self, task: Task<T>, deadline: Duration) -> Result<T, OpenError> {
        let result = self.wait(task, deadline);
        if result.is_err() {
            self.shared.failed.fetch_add(1, Ordering::Relaxed);
        }
        if result.as_ref().is_err_and(OpenError::is_late) {
            self.shared.late.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    fn wait<T: Send + 'static>(&self, task: Task<T>, deadline: Duration) -> Result<T, OpenError> {
        let end = Instant::now() + deadline;
        {
            let threads = lock(&self.shared.threads);
            if threads.working == 0 {
                return Err(OpenError::Stuck(threads.stuck));
            }
        }
        let (answer, answered) = bounded(1);
        let job = Arc::new(Job { task, state: Mutex::new(State::Queued), answer });
        let work: Arc<dyn Work> = job.clone();
        self.jobs.send_deadline(work, end).map_err(|_late| OpenError::Deadline(deadline))?;
        match answered.recv_deadline(end) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                self.abandon(&job.state);
                // It may have been answered just now.
                answered.try_recv().unwrap_or(Err(OpenError::Deadline(deadline)))
            }
        }
    }

    /// Gives a job up; the thread that is in it counts as stuck and is replaced.
    fn abandon(&self, state: &Mutex<State>) {
        let mut threads = lock(&self.shared.threads);
        let before = std::mem::replace(&mut *lock(state), State::Abandoned);
        if before != State::Running {
            return;
        }
        threads.stuck += 1;
        threads.working -= 1;
        let replace = threads.stuck <= self.shared.config.max_stuck;
        drop(threads);
        if replace && let Err(error) = spawn(&self.shared) {
            tracing::warn!(%error, "cannot replace an opener thread that hangs in a file system");
        }
    }
}

/// One more working thread.
fn spawn(shared: &Arc<Shared>) -> io::Result<()> {
    lock(&shared.threads).working += 1;
    // The thread must not keep the channel's sender, so that it ends with the last opener.
    let (queue, mine) = (shared.queue.clone(), Arc::clone(shared));
    let started = std::thread::Builder::new().name("opener".into()).spawn(move || work(&queue, &mine));
    if started.is_err() {
        lock(&shared.threads).working -= 1;
    }
    started.map(drop)
}

fn work(queue: &Receiver<Arc<dyn Work>>, shared: &Shared) {
    while let Ok(job) = queue.recv() {
        if !job.run(shared) {
            return;
        }
    }
}

/// Marks a job as begun; false if its caller has given up.
fn take<T>(job: &Job<T>) -> bool {
    let mut state = lock(&job.state);
    let queued = *state == State::Queued;
    if queued {
        *state = State::Running;
    }
    queued
}

/// Answers. If the caller has given up, this thread was stuck: false if another one has its place.
fn finish<T>(shared: &Shared, job: &Job<T>, result: Result<T, OpenError>) -> bool {
    let mut threads = lock(&shared.threads);
    let mut state = lock(&job.state);
    if *state == State::Running {
        *state = State::Answered;
        // The channel has room for the one answer; the caller may have dropped its end.
        drop(job.answer.try_send(result));
        return true;
    }
    drop(state);
    threads.stuck -= 1;
    let wanted = threads.working < shared.config.threads;
    if wanted {
        threads.working += 1;
    }
    drop(threads);
    // Closing can block as well: not under the lock.
    drop(result);
    wanted
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only whole updates are made under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
