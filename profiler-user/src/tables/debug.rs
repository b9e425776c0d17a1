//! Debug files of files that have no debug information of their own: looked for once a file, found fit by a worker, and
//! kept open, some of them.

use super::files::FileRecord;
use crate::event::FileNumber;
use crate::target::limits::spare_open_files;
use crate::target::open::{DebugWanted, FoundBy, Opened, Opener};
use crate::worker::api::{FileFacts, Fit};
use crate::worker::{DebugFile, Subject, TrustDomain, Worker, WorkerError};
use lru::LruCache;
use profiler_ebpf::reasons::Reason;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long opening what lies at all places may take (network file systems may block).
const OPEN_DEADLINE: Duration = Duration::from_secs(2);
/// After a search or a debug file that took too long it is tried again, but not before this.
const AGAIN: Duration = Duration::from_mins(5);
/// Tries of a file.
const TRIES: u8 = 3;

/// What came of the search for the debug file of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It names the file's functions.
    Used,
    /// There is none at the places where they are.
    NotFound,
    /// Something is there that is not opened.
    NotOpened,
    /// It belongs to another build.
    BuildIdDiffers,
    /// Its checksum is not that of the debug link.
    CrcDiffers,
    /// Neither debug information nor a symbol table is in it.
    Empty,
    /// It cannot be read, or workers died over it.
    Damaged,
}

impl Outcome {
    pub(super) const ALL: [Outcome; 7] = [
        Outcome::Used,
        Outcome::NotFound,
        Outcome::NotOpened,
        Outcome::BuildIdDiffers,
        Outcome::CrcDiffers,
        Outcome::Empty,
        Outcome::Damaged,
    ];

    /// As a metric's label.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Used => "used",
            Outcome::NotFound => "not found",
            Outcome::NotOpened => "not opened",
            Outcome::BuildIdDiffers => "build ID differs",
            Outcome::CrcDiffers => "CRC differs",
            Outcome::Empty => "empty",
            Outcome::Damaged => "damaged",
        }
    }
}

/// What came of the search for the debug file of one file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Settled {
    /// What was counted last.
    counted: Option<Outcome>,
    without: Without,
    tries: u8,
}

/// Whether a debug file is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Without {
    /// It is.
    #[default]
    No,
    /// Not before this time.
    Until(Instant),
    /// Never.
    Always,
}

impl Settled {
    /// It needs no debug file, or there is none that can be used.
    pub(super) fn is_without(&self) -> bool {
        match self.without {
            Without::No => false,
            Without::Until(again) => Instant::now() < again,
            Without::Always => true,
        }
    }

    /// It needs none.
    pub(super) fn needs_none(&mut self) {
        self.without = Without::Always;
    }

    /// There is none that can be used; if it only took too long, not for now.
    fn refuse(&mut self, slow: bool) {
        self.tries = self.tries.saturating_add(1);
        let again = slow && self.tries < TRIES;
        self.without = if again { Without::Until(Instant::now() + AGAIN) } else { Without::Always };
    }

    /// True if this outcome is news of the file.
    fn tell(&mut self, outcome: Outcome) -> bool {
        self.counted.replace(outcome) != Some(outcome)
    }
}

/// Why a search gave none.
pub(super) struct NoneUsed {
    outcome: Outcome,
    /// It took too long.
    slow: bool,
}

/// A debug file that fits.
#[derive(Debug)]
pub(super) struct Found {
    file: OwnedFd,
    domain: TrustDomain,
    path: String,
}

impl Found {
    pub(super) fn lent(&self) -> DebugFile<'_> {
        DebugFile { domain: self.domain, fd: self.file.as_fd() }
    }

    pub(super) fn domain(&self) -> TrustDomain {
        self.domain
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

/// Those that are open, and what came of all searches.
pub(super) struct DebugFiles {
    open: Mutex<LruCache<FileNumber, Arc<Found>>>,
    outcomes: [AtomicU64; Outcome::ALL.len()],
}

impl DebugFiles {
    /// As many as an eighth of the limit of open files, at least one.
    pub(super) fn of_limit() -> DebugFiles {
        let capacity =
            usize::try_from(spare_open_files() / 8).ok().and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MIN);
        // `new` would allocate for the whole capacity at once.
        let mut open = LruCache::unbounded();
        open.resize(capacity);
        DebugFiles { open: Mutex::new(open), outcomes: Default::default() }
    }

    /// The debug file of a file, if it is open.
    pub(super) fn open(&self, file: FileNumber) -> Option<Arc<Found>> {
        self.lock().get(&file).map(Arc::clone)
    }

    /// Keeps one, and counts that it is used, once a file.
    pub(super) fn keep(&self, file: FileNumber, settled: &mut Settled, found: Found) -> Arc<Found> {
        self.count(settled, Outcome::Used);
        let found = Arc::new(found);
        let displaced = self.lock().push(file, Arc::clone(&found));
        // Closing can block on a slow file system: not under the lock.
        drop(displaced);
        found
    }

    /// Gives one up over which a worker failed.
    pub(super) fn refuse(&self, file: FileNumber, settled: &mut Settled, error: &WorkerError) {
        let removed = self.lock().pop(&file);
        let path = removed.as_ref().map_or("", |found| found.path.as_str());
        tracing::debug!(%error, path, "a debug file is not used any more");
        self.none(settled, &NoneUsed { outcome: Outcome::Damaged, slow: matches!(error, WorkerError::TimedOut) });
    }

    /// The search gave none.
    pub(super) fn none(&self, settled: &mut Settled, none: &NoneUsed) {
        self.count(settled, none.outcome);
        settled.refuse(none.slow);
    }

    fn count(&self, settled: &mut Settled, outcome: Outcome) {
        if settled.tell(outcome)
            && let Some(counter) = self.outcomes.get(outcome as usize)
        {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often each came out.
    pub(super) fn outcomes(&self) -> Vec<(Outcome, u64)> {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Outcome::ALL.into_iter().zip(self.outcomes.iter().map(count)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<FileNumber, Arc<Found>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks for the debug file of a file. The error is a worker's that may be asked again; `Err` inside says why there is none.
pub(super) fn search(
    opener: &Opener,
    worker: &Worker,
    subject: Subject<'_>,
    record: &FileRecord,
    facts: &FileFacts,
) -> Result<Result<Found, NoneUsed>, Reason> {
    let TrustDomain { owner, mount_namespace } = subject.domain;
    let wanted = DebugWanted {
        pid: record.seen.pid,
        mount_namespace,
        owner,
        path: record.path.clone(),
        build_id: facts.build_id.clone(),
        link: facts.debug_link.as_ref().map(|link| link.name.clone()),
    };
    let found = match opener.debug_files(wanted, OPEN_DEADLINE) {
        Ok(found) => found,
        Err(error) => {
            tracing::debug!(%error, path = record.path, "cannot look for a debug file");
            return Ok(Err(NoneUsed { outcome: Outcome::NotOpened, slow: true }));
        }
    };
    let mut slow = false;
    let mut outcome = if found.refused > 0 { Outcome::NotOpened } else { Outcome::NotFound };
    for (by, opened) in found.candidates {
        let crc = facts.debug_link.as_ref().filter(|_| by == FoundBy::Link).map(|link| link.crc);
        match judge(worker, subject, &opened, crc)? {
            Ok(Outcome::Used) => {
                let Opened { file, path, owner, mount_namespace, .. } = opened;
                return Ok(Ok(Found { file, path, domain: TrustDomain { owner, mount_namespace } }));
            }
            Ok(refused) => outcome = refused,
            Err(Slow) => (outcome, slow) = (Outcome::Damaged, true),
        }
        tracing::debug!(path = opened.path, of = record.path, reason = outcome.name(), "a debug file is not used");
    }
    Ok(Err(NoneUsed { outcome, slow }))
}

/// A worker overran its deadline.
struct Slow;

/// Whether a file that was found is the debug file.
fn judge(
    worker: &Worker,
    subject: Subject<'_>,
    opened: &Opened,
    crc: Option<u32>,
) -> Result<Result<Outcome, Slow>, Reason> {
    let domain = TrustDomain { owner: opened.owner, mount_namespace: opened.mount_namespace };
    match worker.fit(subject.with_debug(DebugFile { domain, fd: opened.file.as_fd() }), crc) {
        Ok(Fit::Fits) => Ok(Ok(Outcome::Used)),
        Ok(Fit::BuildIdDiffers) => Ok(Ok(Outcome::BuildIdDiffers)),
        Ok(Fit::CrcDiffers) => Ok(Ok(Outcome::CrcDiffers)),
        Ok(Fit::Empty) => Ok(Ok(Outcome::Empty)),
        Err(WorkerError::TimedOut) => Ok(Err(Slow)),
        Err(error) if error.is_of_the_file() => Ok(Ok(Outcome::Damaged)),
        Err(error) => Err(error.reason()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_a_file_is_counted_once() {
        let (files, mut settled) = (DebugFiles::of_limit(), Settled::default());
        for outcome in [Outcome::Used, Outcome::Used, Outcome::Damaged, Outcome::Damaged] {
            files.count(&mut settled, outcome);
        }
        let counted: Vec<_> = files.outcomes().into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(Outcome::Used, 1), (Outcome::Damaged, 1)]);
    }

    #[test]
    fn what_took_too_long_is_tried_again_some_times_and_all_else_is_not() {
        let (files, mut settled) = (DebugFiles::of_limit(), Settled::default());
        for turn in 1..=TRIES {
            files.refuse(FileNumber(1), &mut settled, &WorkerError::TimedOut);
            assert!(settled.is_without(), "not at once");
            assert_eq!(settled.without != Without::Always, turn < TRIES, "turn {turn}");
        }
        let mut settled = Settled::default();
        files.refuse(FileNumber(1), &mut settled, &WorkerError::Died);
        assert_eq!(settled.without, Without::Always);
        let mut due = Settled { without: Without::Until(Instant::now()), ..Settled::default() };
        assert!(!due.is_without());
        due.needs_none();
        assert!(due.is_without());
    }
}
