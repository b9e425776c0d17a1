//! Parts of files' debug information that lie in files of their own (`.dwo`, `.dwp`, what dwz made): found when names need
//! them, given to a worker, which says what fits, and not looked for again if they are not there.

use super::debug::{Found, Outcome};
use super::files::FileRecord;
use crate::event::FileNumber;
use crate::target::open::{Opener, PartFound, PartName, PartsWanted};
use crate::worker::api::{Part, PartFit, PartKey};
use crate::worker::{GivenPart, PartSource, TrustDomain, WorkerError};
use lru::LruCache;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long opening what lies at all places of some parts may take.
const OPEN_DEADLINE: Duration = Duration::from_secs(2);
/// How long one question for names may look for parts.
const PATIENCE: Duration = Duration::from_secs(10);
/// Parts of one file that are looked for. A file can name any number.
const MAX_PARTS: usize = 4_096;
/// Files of whose parts something is remembered.
const MAX_BOOKS: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// What is missing of a file's debug information.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MissingParts {
    /// Split units of which neither a `.dwo` file nor a package could be used.
    pub units: u64,
    /// The path of one of them, and what came of it.
    pub unit: Option<(String, Outcome)>,
    /// The path of what dwz moved away, and what came of it.
    pub shared: Option<(String, Outcome)>,
    /// Not all units were looked for: there are too many, or it took too long.
    pub more: bool,
    /// Workers failed over them.
    pub refused: bool,
}

/// What is known of the parts of all files.
pub(super) struct PartBooks {
    books: Mutex<LruCache<FileNumber, Arc<Mutex<Book>>>>,
    outcomes: Mutex<HashMap<Outcome, u64>>,
}

/// What is known of the parts of one file.
#[derive(Default)]
struct Book {
    outcomes: HashMap<PartKey, Outcome>,
    /// The one domain beside the file's own from which parts came.
    other: Option<TrustDomain>,
    /// Files were given to workers.
    gave: bool,
    missing: MissingParts,
}

impl PartBooks {
    pub(super) fn new() -> PartBooks {
        PartBooks { books: Mutex::new(LruCache::new(MAX_BOOKS)), outcomes: Mutex::default() }
    }

    /// Starts a search for parts of a file; `None` if workers failed over them.
    pub(super) fn search<'a>(
        &'a self,
        opener: &'a Opener,
        record: &'a FileRecord,
        domain: TrustDomain,
        debug: Option<&'a Found>,
    ) -> Option<PartSearch<'a>> {
        let book = Arc::clone(lock(&self.books).get_or_insert_mut(record.identity, Arc::default));
        let until = Instant::now() + PATIENCE;
        let refused = lock(&book).missing.refused;
        (!refused).then_some(PartSearch { books: self, opener, record, domain, debug, book, lent: Vec::new(), until })
    }

    /// What is missing of a file's debug information, if anything is, by the file's identity.
    pub(super) fn missing(&self, file: FileNumber) -> Option<MissingParts> {
        let book = Arc::clone(lock(&self.books).peek(&file)?);
        let missing = lock(&book).missing.clone();
        (missing != MissingParts::default()).then_some(missing)
    }

    fn count(&self, outcome: Outcome) {
        *lock(&self.outcomes).entry(outcome).or_default() += 1;
    }

    /// How often each came out.
    pub(super) fn outcomes(&self) -> Vec<(Outcome, u64)> {
        let outcomes = lock(&self.outcomes);
        Outcome::ALL.into_iter().map(|outcome| (outcome, outcomes.get(&outcome).copied().unwrap_or(0))).collect()
    }
}

/// A search for parts of one file, during one question for names.
pub(super) struct PartSearch<'a> {
    books: &'a PartBooks,
    opener: &'a Opener,
    record: &'a FileRecord,
    domain: TrustDomain,
    debug: Option<&'a Found>,
    book: Arc<Mutex<Book>>,
    /// What was given last, without what was not found.
    lent: Vec<Part>,
    until: Instant,
}

impl PartSource for PartSearch<'_> {
    fn domain(&self) -> Option<TrustDomain> {
        lock(&self.book).other
    }

    fn open(&mut self, wanted: &[Part]) -> Option<Vec<GivenPart>> {
        let (absent, mut unknown): (Vec<&Part>, Vec<&Part>) = {
            let mut book = lock(&self.book);
            let (absent, unknown): (Vec<_>, Vec<_>) = wanted.iter().partition(|part| book.is_absent(part.key()));
            if Instant::now() > self.until || book.outcomes.len() + unknown.len() > MAX_PARTS {
                book.missing.more = true;
                return None;
            }
            (absent, unknown)
        };
        // Where there is a package, it holds the units.
        if let Some(at) = unknown.iter().position(|part| **part == Part::Package) {
            let package = unknown.remove(at);
            let found = self.look_for(&[package]);
            if found.iter().any(|given| given.file.is_some()) {
                return Some(found);
            }
            let units = self.look_for(&unknown);
            return Some(found.into_iter().chain(absent.into_iter().map(not_given)).chain(units).collect());
        }
        let found = self.look_for(&unknown);
        Some(absent.into_iter().map(not_given).chain(found).collect())
    }

    fn judged(&mut self, fits: &[PartFit]) {
        let lent = std::mem::take(&mut self.lent);
        let mut judged: Vec<(Part, Outcome)> = Vec::new();
        for (part, fit) in lent.into_iter().zip(fits) {
            let outcome = match fit {
                PartFit::Used => Outcome::Used,
                PartFit::OtherBuild => Outcome::BuildIdDiffers,
                PartFit::Damaged => Outcome::Damaged,
                PartFit::Unneeded => continue,
            };
            // The last of several files of a part is what came of it; it is the one that was used, if one was.
            match judged.last_mut() {
                Some((last, known)) if last.key() == part.key() => *known = outcome,
                _ => judged.push((part, outcome)),
            }
        }
        for (part, outcome) in judged {
            self.note(&part, outcome);
        }
    }
}

impl PartSearch<'_> {
    /// A failure of workers may be the fault of parts, now or before.
    pub(super) fn may_have_failed(&self, error: &WorkerError) -> bool {
        error.is_of_the_file() && (matches!(error, WorkerError::Denied) || lock(&self.book).gave)
    }

    /// Workers failed over the parts: they are not given again.
    pub(super) fn refuse(&self) {
        tracing::debug!(path = self.record.path, "parts of the debug information are not used any more");
        self.books.count(Outcome::Damaged);
        lock(&self.book).missing.refused = true;
    }

    /// Opens what lies at the places of some parts.
    fn look_for(&mut self, parts: &[&Part]) -> Vec<GivenPart> {
        if parts.is_empty() {
            return Vec::new();
        }
        let wanted = PartsWanted {
            pid: self.record.seen.pid,
            mount_namespace: self.domain.mount_namespace,
            owner: self.domain.owner,
            path: self.record.path.clone(),
            debug_path: self.debug.map(|debug| debug.path().to_owned()),
            build_id: self.record.facts.as_ref().map(|facts| facts.build_id.clone()).unwrap_or_default(),
            parts: parts.iter().map(|part| self.name(part)).collect(),
        };
        let found = self.opener.parts(wanted, OPEN_DEADLINE).unwrap_or_else(|error| {
            tracing::debug!(%error, path = self.record.path, "cannot look for parts of the debug information");
            parts.iter().map(|_| PartFound { files: Vec::new(), refused: true }).collect()
        });
        parts.iter().zip(found).flat_map(|(part, found)| self.give(part, found)).collect()
    }

    fn name(&self, part: &Part) -> PartName {
        match part {
            Part::Shared(link) => {
                let debug = self.debug.filter(|_| link.of_debug_file).map(Found::path);
                let by = debug.unwrap_or(&self.record.path).to_owned();
                PartName::Shared { name: link.name.clone(), build_id: link.build_id.clone(), by }
            }
            Part::Package => PartName::Package,
            Part::Unit { folder, name, .. } => PartName::Unit { folder: folder.clone(), name: name.clone() },
        }
    }

    /// The files of a part, or that there is none.
    fn give(&mut self, part: &Part, found: PartFound) -> Vec<GivenPart> {
        let files: Vec<OwnedFd> = found
            .files
            .into_iter()
            .filter(|opened| {
                let TrustDomain { owner, mount_namespace } = self.domain;
                let own = (opened.owner, opened.mount_namespace) == (owner, mount_namespace);
                own || self.admit(TrustDomain { owner: opened.owner, mount_namespace: opened.mount_namespace })
            })
            .map(|opened| opened.file)
            .collect();
        if files.is_empty() {
            self.note(part, if found.refused { Outcome::NotOpened } else { Outcome::NotFound });
            return vec![not_given(part)];
        }
        lock(&self.book).gave = true;
        self.lent.extend(files.iter().map(|_| part.clone()));
        files.into_iter().map(|file| GivenPart { part: part.key(), file: Some(file) }).collect()
    }

    /// Bytes of two domains may meet in a worker, not of three.
    fn admit(&self, domain: TrustDomain) -> bool {
        match self.debug.map(Found::domain).filter(|debug| *debug != self.domain) {
            Some(debug) => debug == domain,
            None => *lock(&self.book).other.get_or_insert(domain) == domain,
        }
    }

    fn note(&self, part: &Part, outcome: Outcome) {
        let mut book = lock(&self.book);
        if book.outcomes.contains_key(&part.key()) {
            return;
        }
        book.outcomes.insert(part.key(), outcome);
        book.miss(part, outcome);
        drop(book);
        self.books.count(outcome);
    }
}

impl Book {
    fn is_absent(&self, part: PartKey) -> bool {
        self.outcomes.get(&part).is_some_and(|outcome| *outcome != Outcome::Used)
    }

    fn miss(&mut self, part: &Part, outcome: Outcome) {
        match part {
            _ if outcome == Outcome::Used => {}
            // Its units may lie in files of their own.
            Part::Package => {}
            Part::Shared(link) => self.missing.shared = Some((link.name.clone(), outcome)),
            Part::Unit { folder, name, .. } => {
                let path = if name.starts_with('/') { name.clone() } else { format!("{folder}/{name}") };
                self.missing.units += 1;
                self.missing.unit.get_or_insert((path, outcome));
            }
        }
    }
}

fn not_given(part: &Part) -> GivenPart {
    GivenPart { part: part.key(), file: None }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only whole updates are made under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
