//! Addresses -> names, or the reason why there is none. Asks the worker (behind [`sources::Files`]) once per file and
//! profile, keeps the answers in one cache with a budget, and builds [`crate::kind::profile::Profile`] with addresses
//! that a pprof reader accepts. Parses nothing itself.

pub mod builder;
mod cache;
#[cfg(test)]
pub(crate) mod fakes;
pub mod layout;
pub mod sources;

use crate::event::{FileNumber, FileOffset, Frame, FrameWord, ModuleNumber};
use crate::worker::api::{SymbolFrame, Symbolized};
use cache::NameCache;
use profiler_ebpf::reasons::Reason;
use sources::{Files, KernelNames};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Offsets in one question to the worker.
const CHUNK: usize = 4096;

/// Names frames. A cheap handle; all clones share the cache.
#[derive(Clone)]
pub struct Symbolizer {
    inner: Arc<Inner>,
}

struct Inner {
    files: Arc<dyn Files>,
    kernel: Arc<dyn KernelNames>,
    cache: Mutex<NameCache>,
}

/// Names of frames.
pub type Names = HashMap<Frame, Arc<Symbolized>>;

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
    pub fn new(files: Arc<dyn Files>, kernel: Arc<dyn KernelNames>, budget: usize) -> Self {
        Symbolizer { inner: Arc::new(Inner { files, kernel, cache: Mutex::new(NameCache::new(budget)) }) }
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

    /// Names of frames; every frame that was asked has an answer. Blocking.
    pub fn names(&self, frames: impl IntoIterator<Item = Frame>) -> Names {
        let mut names = Names::new();
        let mut unknown: HashMap<FileNumber, Vec<FileOffset>> = HashMap::new();
        for frame in frames.into_iter().collect::<HashSet<_>>() {
            let known = match frame {
                Frame::Native { .. } => self.cache().get(frame.into()),
                Frame::Kernel { module, offset } => Some(self.kernel_name(module, offset)),
                Frame::Jit { .. } => Some(missing(Reason::AnonymousCode)),
                Frame::Pseudo { reason } => Some(missing(reason)),
            };
            match (known, frame) {
                (Some(known), _) => {
                    names.insert(frame, known);
                }
                (None, Frame::Native { file, offset }) => unknown.entry(file).or_default().push(offset),
                (None, _) => {}
            }
        }
        for (file, mut offsets) in unknown {
            offsets.sort_unstable();
            self.ask_file(file, &offsets, &mut names);
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
                    let frame = |offset: &FileOffset| Frame::Native { file, offset: *offset };
                    names.extend(chunk.iter().map(|offset| (frame(offset), missing(reason))));
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
            names.insert(frame, answer);
        }
    }

    fn cache(&self) -> MutexGuard<'_, NameCache> {
        // A panic elsewhere leaves the cache whole: each change is complete in itself.
        self.inner.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn missing(reason: Reason) -> Arc<Symbolized> {
    Arc::new(Symbolized::Missing(reason))
}

#[cfg(test)]
mod tests;
