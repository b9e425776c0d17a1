//! Debug files of files that have no debug information of their own: looked for once a file, found fit by a worker, and
//! kept open, some of them.

use super::files::FileRecord;
use crate::event::FileNumber;
use crate::target::limits::open_files;
use crate::target::open::{DebugWanted, FoundBy, Opened, Opener};
use crate::worker::api::{FileFacts, Fit};
use crate::worker::{DebugFile, Subject, TrustDomain, Worker, WorkerError};
use lru::LruCache;
use profiler_ebpf::reasons::Reason;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long opening what lies at all places may take (network file systems may block).
const OPEN_DEADLINE: Duration = Duration::from_secs(2);

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
        let capacity = usize::try_from(open_files() / 8).ok().and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MIN);
        // `new` would allocate for the whole capacity at once.
        let mut open = LruCache::unbounded();
        open.resize(capacity);
        DebugFiles { open: Mutex::new(open), outcomes: Default::default() }
    }

    /// The debug file of a file, if it is open.
    pub(super) fn open(&self, file: FileNumber) -> Option<Arc<Found>> {
        self.lock().get(&file).map(Arc::clone)
    }

    /// Keeps one, and counts that it is used.
    pub(super) fn keep(&self, file: FileNumber, found: Found) -> Arc<Found> {
        self.count(Outcome::Used);
        let found = Arc::new(found);
        let displaced = self.lock().push(file, Arc::clone(&found));
        // Closing can block on a slow file system: not under the lock.
        drop(displaced);
        found
    }

    /// Gives one up over which a worker failed.
    pub(super) fn refuse(&self, file: FileNumber, error: &WorkerError) {
        let removed = self.lock().pop(&file);
        let path = removed.as_ref().map_or("", |found| found.path.as_str());
        tracing::debug!(%error, path, "a debug file is not used any more");
        self.count(Outcome::Damaged);
    }

    pub(super) fn count(&self, outcome: Outcome) {
        if let Some(counter) = self.outcomes.get(outcome as usize) {
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
) -> Result<Result<Found, Outcome>, Reason> {
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
            return Ok(Err(Outcome::NotOpened));
        }
    };
    let mut outcome = if found.refused > 0 { Outcome::NotOpened } else { Outcome::NotFound };
    for (by, opened) in found.candidates {
        let crc = facts.debug_link.as_ref().filter(|_| by == FoundBy::Link).map(|link| link.crc);
        match judge(worker, subject, &opened, crc)? {
            Outcome::Used => {
                let Opened { file, path, owner, mount_namespace, .. } = opened;
                return Ok(Ok(Found { file, path, domain: TrustDomain { owner, mount_namespace } }));
            }
            refused => outcome = refused,
        }
        tracing::debug!(path = opened.path, of = record.path, reason = outcome.name(), "a debug file is not used");
    }
    Ok(Err(outcome))
}

/// Whether a file that was found is the debug file.
fn judge(worker: &Worker, subject: Subject<'_>, opened: &Opened, crc: Option<u32>) -> Result<Outcome, Reason> {
    let domain = TrustDomain { owner: opened.owner, mount_namespace: opened.mount_namespace };
    match worker.fit(subject.with_debug(DebugFile { domain, fd: opened.file.as_fd() }), crc) {
        Ok(Fit::Fits) => Ok(Outcome::Used),
        Ok(Fit::BuildIdDiffers) => Ok(Outcome::BuildIdDiffers),
        Ok(Fit::CrcDiffers) => Ok(Outcome::CrcDiffers),
        Ok(Fit::Empty) => Ok(Outcome::Empty),
        Err(error) if error.is_of_the_file() => Ok(Outcome::Damaged),
        Err(error) => Err(error.reason()),
    }
}
