//! Addresses -> names, or the reason why there is none. Asks the worker (behind [`sources::Files`]) once per file and
//! profile, keeps the answers in one cache with a budget, and builds [`crate::kind::profile::Profile`] with addresses
//! that a pprof reader accepts. Parses nothing itself.

pub mod builder;
mod cache;
#[cfg(test)]
pub(crate) mod fakes;
pub mod layout;
pub mod sources;

use crate::event::{FileNumber, FileOffset, Frame, FrameWord, ImageId, ModuleNumber};
use crate::worker::api::{SymbolFrame, Symbolized};
use cache::NameCache;
use layout::CodePoint;
use profiler_ebpf::reasons::Reason;
use sources::{Files, KernelNames, MadeCode};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Offsets in one question to the worker.
const CHUNK: usize = 4096;
/// After so long no further file is asked for names: files whose names take long must not cost a profile all others'.
const FILES_PATIENCE: Duration = Duration::from_secs(30);
/// After so long no further program is asked for names of the code that it made.
const MADE_CODE_PATIENCE: Duration = Duration::from_secs(10);

/// Names frames. A cheap handle; all clones share the cache.
#[derive(Clone)]
pub struct Symbolizer {
    inner: Arc<Inner>,
}

struct Inner {
    files: Arc<dyn Files>,
    kernel: Arc<dyn KernelNames>,
    made: Arc<dyn MadeCode>,
    cache: Mutex<NameCache>,
}

/// Names of points of code.
pub type Names = HashMap<CodePoint, Arc<Symbolized>>;

/// State of the cache of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheStats {
    /// Addresses held.
    pub entries: usize,
    /// Bytes held.
    pub bytes: usize,
    /// Addresses dropped because the budget was full.
    pub evicted: u64,
}

impl Symbolizer {
    /// A symbolizer whose cache holds at most `budget` bytes.
    pub fn new(files: Arc<dyn Files>, kernel: Arc<dyn KernelNames>, made: Arc<dyn MadeCode>, budget: usize) -> Self {
        Symbolizer { inner: Arc::new(Inner { files, kernel, made, cache: Mutex::new(NameCache::new(budget)) }) }
    }

    /// The files that it asks.
    pub fn files(&self) -> &dyn Files {
        self.inner.files.as_ref()
    }

    /// The kernel's names.
    pub fn kernel(&self) -> &dyn KernelNames {
        self.inner.kernel.as_ref()
    }

    /// State of the cache.
    pub fn stats(&self) -> CacheStats {
        let cache = self.cache();
        CacheStats { entries: cache.entries(), bytes: cache.bytes(), evicted: cache.evicted() }
    }

    /// Names of points; every point that was asked has an answer. Blocking.
    pub fn names(&self, points: impl IntoIterator<Item = CodePoint>) -> Names {
        let mut names = Names::new();
        let mut unknown: HashMap<FileNumber, Vec<FileOffset>> = HashMap::new();
        let mut made: BTreeMap<ImageId, Vec<u64>> = BTreeMap::new();
        for point in points.into_iter().collect::<HashSet<_>>() {
            let known = match point.frame {
                Frame::Native { .. } => self.cache().get(point.frame.into()),
                Frame::Kernel { module, offset } => Some(self.kernel_name(module, offset)),
                Frame::Jit { .. } if point.image.is_some() => None,
                Frame::Jit { .. } => Some(missing(Reason::AnonymousCode)),
                Frame::Pseudo { reason } => Some(missing(reason)),
            };
            match (known, point.frame, point.image) {
                (Some(known), _, _) => {
                    names.insert(point, known);
                }
                (None, Frame::Native { file, offset }, _) => unknown.entry(file).or_default().push(offset),
                (None, Frame::Jit { address }, Some(image)) => made.entry(image).or_default().push(address),
                (None, _, _) => {}
            }
        }
        self.ask_files(unknown, Instant::now() + FILES_PATIENCE, &mut names);
        let patience = Instant::now() + MADE_CODE_PATIENCE;
        for (image, addresses) in made {
            let patient = Instant::now() < patience;
            let answer = if patient { self.inner.made.symbolize(image, &addresses) } else { Err(Reason::NotAsked) };
            keep_made(image, &addresses, answer, &mut names);
        }
        names
    }

    fn kernel_name(&self, module: ModuleNumber, offset: u64) -> Arc<Symbolized> {
        match self.inner.kernel.symbol(module, offset) {
            Some(symbol) => Arc::new(Symbolized::Frames(vec![SymbolFrame {
                system_name: symbol.name.clone(),
                name: symbol.name,
                ..SymbolFrame::default()
            }])),
            None => missing(Reason::NoSymbol),
        }
    }

    /// Asks file by file: first those of which most is wanted.
    fn ask_files(&self, unknown: HashMap<FileNumber, Vec<FileOffset>>, until: Instant, names: &mut Names) {
        let mut unknown: Vec<_> = unknown.into_iter().collect();
        unknown.sort_unstable_by_key(|(file, offsets)| (Reverse(offsets.len()), *file));
        for (file, mut offsets) in unknown {
            offsets.sort_unstable();
            if Instant::now() < until {
                self.ask_file(file, &offsets, names);
            } else {
                put_missing(file, &offsets, Reason::NotAsked, names);
            }
        }
    }

    /// Asks for offsets of one file, in chunks, and keeps the answers.
    fn ask_file(&self, file: FileNumber, offsets: &[FileOffset], names: &mut Names) {
        let mut failure = self.cache().failure(file);
        for chunk in offsets.chunks(CHUNK) {
            // The cache is not locked while the worker works.
            let answer = match failure {
                Some(reason) => Err(reason),
                None => self.inner.files.symbolize(file, chunk),
            };
            match answer {
                Ok(answers) => self.keep(file, chunk, answers, names),
                Err(reason) => {
                    if failure.is_none() {
                        self.cache().put_failure(file, reason);
                        failure = Some(reason);
                    }
                    put_missing(file, chunk, reason, names);
                }
            }
        }
    }

    fn keep(&self, file: FileNumber, offsets: &[FileOffset], answers: Vec<Symbolized>, names: &mut Names) {
        let mut cache = self.cache();
        let mut answers = answers.into_iter();
        for offset in offsets {
            let frame = Frame::Native { file, offset: *offset };
            let answer = match answers.next() {
                Some(Symbolized::Frames(frames)) if frames.is_empty() => missing(Reason::NoSymbol),
                Some(answer) => Arc::new(answer),
                None => missing(Reason::WorkerFailed),
            };
            cache.put(FrameWord::from(frame), answer.clone());
            names.insert(frame.into(), answer);
        }
    }

    fn cache(&self) -> MutexGuard<'_, NameCache> {
        // A panic elsewhere leaves the cache whole: each change is complete in itself.
        self.inner.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put_missing(file: FileNumber, offsets: &[FileOffset], reason: Reason, names: &mut Names) {
    let point = |offset: &FileOffset| CodePoint::from(Frame::Native { file, offset: *offset });
    names.extend(offsets.iter().map(|offset| (point(offset), missing(reason))));
}

/// Not for the cache: the same address can hold other code a moment later.
fn keep_made(image: ImageId, addresses: &[u64], answer: Result<Vec<Symbolized>, Reason>, names: &mut Names) {
    let reason = answer.as_ref().err().copied().unwrap_or(Reason::WorkerFailed);
    let mut answers = answer.unwrap_or_default().into_iter();
    for address in addresses {
        let answer = answers.next().unwrap_or(Symbolized::Missing(reason));
        names.insert(CodePoint::new(Frame::Jit { address: *address }, image), Arc::new(answer));
    }
}

fn missing(reason: Reason) -> Arc<Symbolized> {
    Arc::new(Symbolized::Missing(reason))
}

#[cfg(test)]
mod tests;
