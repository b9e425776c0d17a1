//! The handle of the agent: verbs that block until a worker has answered.

use super::api::{FileFacts, FileSurvey, Fit, Part, PartFit, Symbolized, UnwindTable};
use super::parts::{self, GivenPart, PartSource};
use super::pool::{Claim, Pool, Turn, Urgency};
use super::protocol::{Answer, Checksum, Empty, MAX_GIVEN, MAX_OFFSETS, Offsets, Question, Request, Verb};
use super::spawn::Spawner;
use super::subject::{Blamed, Key, Subject};
use super::suspects::Suspects;
use super::{LARGE_FILE, Sandbox, TrustDomain, WorkerConfig, WorkerCounts, WorkerError, check, survey, table};
use crate::event::{FileNumber, FileOffset, ProcessId};
use lru::LruCache;
use rustix::fs::{Mode, OFlags, fcntl_getfl, open};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Workers that a file may end before it is refused.
const MAX_ENDED: u32 = 2;
/// Files that ended a worker which are remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();
/// A request waits for its turn this many deadlines long, and all answers to one question come within as many.
const PATIENCE: u32 = 4;

/// Symbol workers. A cheap handle; the processes end with the last one.
#[derive(Clone)]
pub struct Worker {
    shared: Arc<Shared>,
}

struct Shared {
    // Before the spawner: processes must be reaped while their parent thread lives.
    pool: Pool,
    spawner: Spawner,
    deadline: Duration,
    /// How many workers a file has ended, alone or with others.
    ended: Mutex<LruCache<Blamed, u32>>,
    suspects: Suspects,
    sandbox: Mutex<Option<Sandbox>>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    spawned: AtomicU64,
    unstarted: AtomicU64,
    died: AtomicU64,
    timed_out: AtomicU64,
    hostile: AtomicU64,
    denied: AtomicU64,
    busy: AtomicU64,
}

/// What is given to a request beside its file and the debug file.
#[derive(Clone, Copy, Default)]
struct More<'f> {
    memory: Option<BorrowedFd<'f>>,
    parts: &'f [GivenPart],
}

/// An answer to a question for names.
enum Answered {
    Names(Vec<Symbolized>),
    Wanted(Vec<Part>),
}

impl Worker {
    /// Makes the handle. Processes are started when they are needed.
    pub fn start(config: WorkerConfig) -> Result<Worker, WorkerError> {
        let (workers, deadline) = (config.workers.clamp(1, 4), config.deadline);
        let shared = Shared {
            pool: Pool::new(workers),
            spawner: Spawner::start(config).map_err(WorkerError::Spawn)?,
            deadline,
            ended: Mutex::new(LruCache::new(REMEMBERED)),
            suspects: Suspects::default(),
            sandbox: Mutex::default(),
            counts: Counts::default(),
        };
        Ok(Worker { shared: Arc::new(shared) })
    }

    /// Facts of a file. Blocks.
    pub fn facts(&self, domain: TrustDomain, file: FileNumber, fd: BorrowedFd<'_>) -> Result<FileFacts, WorkerError> {
        self.facts_of(Subject::new(domain, file, fd))
    }

    /// As [`Worker::facts`].
    pub fn facts_of(&self, subject: Subject<'_>) -> Result<FileFacts, WorkerError> {
        self.shared.ask(subject, Urgency::Names, Verb::Facts(Empty {}), More::default(), |answer| match answer {
            Answer::Facts(facts) => check::facts(facts).map_err(WorkerError::Hostile),
            other => Err(unexpected(other)),
        })
    }

    /// Unwind rows of a file. Blocks.
    pub fn unwind_table(
        &self,
        domain: TrustDomain,
        file: FileNumber,
        fd: BorrowedFd<'_>,
    ) -> Result<UnwindTable, WorkerError> {
        let subject = Subject::new(domain, file, fd);
        let memory = table::memory_file().map_err(WorkerError::Prepare)?;
        let lent = memory.try_clone().map_err(WorkerError::Prepare)?;
        let more = More { memory: Some(lent.as_fd()), parts: &[] };
        let size = rustix::fs::fstat(fd).map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0));
        let urgency = if size > LARGE_FILE { Urgency::LargeTable } else { Urgency::SmallTable };
        self.shared.ask(subject, urgency, Verb::Rows(Empty {}), more, |answer| match answer {
            Answer::Rows(rows) => table::read(rows, memory).map_err(WorkerError::Hostile),
            other => Err(unexpected(other)),
        })
    }

    /// What a file is and has, with its debug file if there is one. Blocks.
    pub fn survey(&self, subject: Subject<'_>) -> Result<FileSurvey, WorkerError> {
        self.shared.ask(subject, Urgency::Names, Verb::Survey(Empty {}), More::default(), |answer| match answer {
            Answer::Survey(said) => survey::check(&said).map_err(WorkerError::Hostile),
            other => Err(unexpected(other)),
        })
    }

    /// Names of offsets: as many answers as questions, in their order. Parts of the debug information that lie in files of
    /// their own are asked from `source`, if there is one. Blocks.
    pub fn symbolize(
        &self,
        subject: Subject<'_>,
        offsets: &[FileOffset],
        mut source: Option<&mut dyn PartSource>,
    ) -> Result<Vec<Symbolized>, WorkerError> {
        let offsets: Vec<u64> = offsets.iter().map(|offset| offset.0).collect();
        let mut names = Vec::with_capacity(offsets.len());
        let (mut given, mut last) = (Vec::new(), source.is_none());
        let until = self.until();
        while let Some(asked) = next_of(&offsets, names.len()) {
            in_time(until)?;
            let (parts, other) = (source.is_some(), source.as_ref().and_then(|source| source.domain()));
            let question = Question { offsets: asked.to_vec(), parts, given: parts::given_messages(&given), last };
            let (answered, fits) = self.question(Subject { parts, other, ..subject }, question, &given)?;
            if let Some(source) = &mut source {
                source.judged(&fits);
            }
            given.clear();
            match (answered, &mut source) {
                (Answered::Names(more), _) => names.extend(more),
                (Answered::Wanted(_), _) if last => {
                    return Err(WorkerError::Hostile("parts are wanted after the last"));
                }
                (Answered::Wanted(wanted), Some(source)) => match source.open(&wanted) {
                    // What is too much for one message is wanted again.
                    Some(found) => given.extend(found.into_iter().take(MAX_GIVEN)),
                    None => last = true,
                },
                (Answered::Wanted(_), None) => last = true,
            }
        }
        Ok(names)
    }

    fn question(
        &self,
        subject: Subject<'_>,
        question: Question,
        given: &[GivenPart],
    ) -> Result<(Answered, Vec<PartFit>), WorkerError> {
        let asked = question.offsets.clone();
        let more = More { memory: None, parts: given };
        let fits = |codes: &[u32]| parts::fits(codes, given).map_err(WorkerError::Hostile);
        self.shared.ask(subject, Urgency::Names, Verb::Symbolize(question), more, |answer| match answer {
            Answer::Names(names) => {
                let found = check::names(&names, &asked).map_err(WorkerError::Hostile)?;
                Ok((Answered::Names(found), fits(&names.fits)?))
            }
            Answer::Wanted(wanted) => {
                let fits = fits(&wanted.fits)?;
                let parts = parts::wanted(wanted.parts).map_err(WorkerError::Hostile)?;
                Ok((Answered::Wanted(parts), fits))
            }
            other => Err(unexpected(other)),
        })
    }

    /// Names of addresses in code that a process made, by its perf map: as many answers as questions, in their order. Blocks.
    pub fn perf_map(
        &self,
        domain: TrustDomain,
        process: ProcessId,
        fd: BorrowedFd<'_>,
        addresses: &[u64],
    ) -> Result<Vec<Symbolized>, WorkerError> {
        self.made(Subject::of(domain, Key::PerfMap(process), fd), addresses, Verb::PerfMap)
    }

    /// As [`Worker::perf_map`], by the process's jitdump.
    pub fn jit_dump(
        &self,
        domain: TrustDomain,
        process: ProcessId,
        fd: BorrowedFd<'_>,
        addresses: &[u64],
    ) -> Result<Vec<Symbolized>, WorkerError> {
        self.made(Subject::of(domain, Key::JitDump(process), fd), addresses, Verb::JitDump)
    }

    fn made(
        &self,
        subject: Subject<'_>,
        addresses: &[u64],
        verb: impl Fn(Offsets) -> Verb,
    ) -> Result<Vec<Symbolized>, WorkerError> {
        let mut names = Vec::with_capacity(addresses.len());
        let until = self.until();
        while let Some(asked) = next_of(addresses, names.len()) {
            in_time(until)?;
            let verb = verb(Offsets { offsets: asked.to_vec() });
            names.extend(self.shared.ask(subject, Urgency::Names, verb, More::default(), |answer| match answer {
                Answer::Names(names) => check::made_names(&names, asked).map_err(WorkerError::Hostile),
                other => Err(unexpected(other)),
            })?);
        }
        Ok(names)
    }

    /// Whether the subject's debug file is one; `crc` is what its checksum must be, if it was found by a debug link. Blocks.
    pub fn fit(&self, subject: Subject<'_>, crc: Option<u32>) -> Result<Fit, WorkerError> {
        self.shared.ask(subject, Urgency::Names, Verb::Fit(Checksum { crc }), More::default(), |answer| match answer {
            Answer::Fit(code) => Fit::from_code(code).ok_or(WorkerError::Hostile("a debug file fits in no known way")),
            other => Err(unexpected(other)),
        })
    }

    /// A worker may answer one address at a time, each within its deadline.
    fn until(&self) -> Instant {
        Instant::now() + self.shared.deadline * PATIENCE
    }

    /// What happened so far.
    pub fn counts(&self) -> WorkerCounts {
        let counts = &self.shared.counts;
        WorkerCounts {
            requests: counts.requests.load(Relaxed),
            spawned: counts.spawned.load(Relaxed),
            unstarted: counts.unstarted.load(Relaxed),
            died: counts.died.load(Relaxed),
            timed_out: counts.timed_out.load(Relaxed),
            hostile: counts.hostile.load(Relaxed),
            denied: counts.denied.load(Relaxed),
            busy: counts.busy.load(Relaxed),
        }
    }

    /// What confines the workers, as the newest one found out; `None` before the first was started.
    pub fn sandbox(&self) -> Option<Sandbox> {
        self.shared.sandbox.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn in_time(until: Instant) -> Result<(), WorkerError> {
    if Instant::now() < until { Ok(()) } else { Err(WorkerError::Busy) }
}

/// What is asked in the next request, if anything is left.
fn next_of(wanted: &[u64], answered: usize) -> Option<&[u64]> {
    let rest = wanted.get(answered..).filter(|rest| !rest.is_empty())?;
    rest.get(..MAX_OFFSETS).or(Some(rest))
}

fn unexpected(answer: Answer) -> WorkerError {
    match answer {
        Answer::Refused(why) => WorkerError::Refused(check::text(&why, 256)),
        _ => WorkerError::Hostile("an answer to another question"),
    }
}

impl Shared {
    fn ask<T>(
        &self,
        subject: Subject<'_>,
        urgency: Urgency,
        verb: Verb,
        more: More<'_>,
        accept: impl FnOnce(Answer) -> Result<T, WorkerError>,
    ) -> Result<T, WorkerError> {
        self.counts.requests.fetch_add(1, Relaxed);
        let result = self.admit(subject, urgency).and_then(|turn| self.run(turn, subject, verb, more, accept));
        if let Err(error) = &result {
            self.count(error, subject);
        }
        result
    }

    fn admit(&self, subject: Subject<'_>, urgency: Urgency) -> Result<Turn<'_>, WorkerError> {
        let key = subject.blamed();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied().unwrap_or(0);
        if ended >= MAX_ENDED {
            return Err(WorkerError::Denied);
        }
        let suspect = self.suspects.has(subject.domain);
        self.pool.turn(Claim { parties: subject.parties(), urgency, suspect }, self.deadline * PATIENCE)
    }

    fn run<T>(
        &self,
        mut turn: Turn<'_>,
        subject: Subject<'_>,
        verb: Verb,
        more: More<'_>,
        accept: impl FnOnce(Answer) -> Result<T, WorkerError>,
    ) -> Result<T, WorkerError> {
        let prepare = |fd| read_only(fd).map_err(|e| WorkerError::Prepare(e.into()));
        let file = prepare(subject.fd)?;
        let debug = subject.debug.map(|debug| prepare(debug.fd)).transpose()?;
        let parts = more.parts.iter().filter_map(|given| given.file.as_ref()).map(OwnedFd::as_fd);
        let mut process = match turn.process.take().filter(super::process::Process::lives) {
            Some(process) => process,
            None => self.spawn()?,
        };
        let others = debug.as_ref().map(OwnedFd::as_fd).into_iter().chain(more.memory).chain(parts);
        let descriptors: Vec<_> = std::iter::once(file.as_fd()).chain(others).collect();
        let request = Request { file: subject.number(), verb: Some(verb), ..Request::default() };
        // A process that failed is dropped, and so killed, before the error leaves.
        let reply = process.ask(request, &descriptors, self.suspects.deadline(subject.domain, self.deadline))?;
        let result = accept(reply.answer.ok_or(WorkerError::Hostile("an answer without content"))?);
        if !matches!(result, Err(WorkerError::Hostile(_))) {
            turn.process = Some(process);
        }
        result
    }

    fn spawn(&self) -> Result<super::process::Process, WorkerError> {
        let process = self.spawner.spawn()?;
        self.counts.spawned.fetch_add(1, Relaxed);
        let sandbox = process.sandbox();
        tracing::debug!(pid = process.pid(), ?sandbox, "symbol worker started");
        let before = self.sandbox.lock().unwrap_or_else(PoisonError::into_inner).replace(sandbox.clone());
        if !sandbox.is_complete() && before.as_ref() != Some(sandbox) {
            tracing::warn!(
                "symbol workers, which read targets' files, are not walled in as they should be: {}",
                sandbox.missing()
            );
        }
        Ok(process)
    }

    /// Whatever ended a worker counts against the file.
    fn count(&self, error: &WorkerError, subject: Subject<'_>) {
        let (counter, ended) = match error {
            WorkerError::Spawn(_) => (&self.counts.unstarted, false),
            WorkerError::Died => (&self.counts.died, true),
            WorkerError::TimedOut => (&self.counts.timed_out, true),
            WorkerError::Hostile(_) => (&self.counts.hostile, true),
            WorkerError::Denied => (&self.counts.denied, false),
            WorkerError::Busy => (&self.counts.busy, false),
            _ => return,
        };
        counter.fetch_add(1, Relaxed);
        if ended {
            self.suspects.add(subject.domain);
            let key = subject.blamed();
            *self.ended.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_mut(key, || 0) += 1;
        }
    }
}

/// The same file, but the worker cannot write to it.
fn read_only(fd: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    if fcntl_getfl(fd)? & OFlags::RWMODE == OFlags::RDONLY {
        return rustix::io::fcntl_dupfd_cloexec(fd, 0);
    }
    open(format!("/proc/self/fd/{}", fd.as_raw_fd()), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}
