//! The cache of names: one LRU list with a budget in bytes for all files and the kernel, keyed by frame word. It keeps
//! that an address has no name too. Files that failed as a whole are remembered for a short time, so that a file over
//! which workers die does not cost a worker per request.

use crate::event::{FileNumber, FrameWord};
use crate::worker::api::{SymbolFrame, Symbolized};
use lru::LruCache;
use profiler_ebpf::reasons::Reason;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a file that failed is not asked again.
const FAILURE_HOLDS: Duration = Duration::from_secs(30);
/// Files whose failure is remembered.
const FAILURES: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
/// Bytes of an entry beside its frames: the list's node, a slot of a hash table that is half full, the counted value, and what
/// the allocator adds to each.
const ENTRY_OVERHEAD: usize = 48 + 40 + 32 + size_of::<Symbolized>();
/// What the allocator adds to a text, with the rest of its last 16 bytes.
const TEXT_OVERHEAD: usize = 16;

/// Names by frame word, least recently used first out.
pub(super) struct NameCache {
    names: LruCache<FrameWord, Arc<Symbolized>>,
    failures: LruCache<FileNumber, (Reason, Instant)>,
    bytes: usize,
    budget: usize,
    evicted: u64,
}

impl NameCache {
    pub(super) fn new(budget: usize) -> Self {
        NameCache { names: LruCache::unbounded(), failures: LruCache::new(FAILURES), bytes: 0, budget, evicted: 0 }
    }

    pub(super) fn get(&mut self, word: FrameWord) -> Option<Arc<Symbolized>> {
        self.names.get(&word).cloned()
    }

    pub(super) fn put(&mut self, word: FrameWord, names: Arc<Symbolized>) {
        self.bytes += weight(&names);
        if let Some((_, old)) = self.names.push(word, names) {
            self.bytes -= weight(&old);
        }
        while self.bytes > self.budget
            && let Some((_, old)) = self.names.pop_lru()
        {
            self.bytes -= weight(&old);
            self.evicted += 1;
        }
    }

    /// Why the file failed lately.
    pub(super) fn failure(&mut self, file: FileNumber) -> Option<Reason> {
        let (reason, since) = self.failures.get(&file)?;
        (since.elapsed() < FAILURE_HOLDS).then_some(*reason)
    }

    pub(super) fn put_failure(&mut self, file: FileNumber, reason: Reason) {
        self.failures.put(file, (reason, Instant::now()));
    }

    pub(super) fn entries(&self) -> usize {
        self.names.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }
}

/// Bytes that an entry holds. Capacities do not count: the worker's replies are decoded to their exact length.
fn weight(names: &Symbolized) -> usize {
    let frames: &[SymbolFrame] = match names {
        Symbolized::Frames(frames) => frames,
        Symbolized::Nameless { .. } | Symbolized::Missing(_) => &[],
    };
    let text = |text: &str| if text.is_empty() { 0 } else { text.len() + TEXT_OVERHEAD };
    let texts = |f: &SymbolFrame| text(&f.name) + text(&f.system_name) + text(&f.file);
    ENTRY_OVERHEAD + frames.iter().map(|f| size_of::<SymbolFrame>() + texts(f)).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Arc<Symbolized> {
        Arc::new(Symbolized::Frames(vec![SymbolFrame { name: name.into(), ..SymbolFrame::default() }]))
    }

    #[test]
    fn the_budget_holds_and_the_least_used_goes_first() {
        let one = weight(&named("0123456789"));
        let mut cache = NameCache::new(3 * one);
        for word in 0..3 {
            cache.put(FrameWord(word), named("0123456789"));
        }
        assert!(cache.get(FrameWord(0)).is_some());
        cache.put(FrameWord(3), named("0123456789"));
        assert_eq!((cache.bytes(), cache.entries(), cache.evicted()), (3 * one, 3, 1));
        assert!(cache.get(FrameWord(0)).is_some() && cache.get(FrameWord(1)).is_none());
    }

    #[test]
    fn putting_again_does_not_count_twice() {
        let mut cache = NameCache::new(1 << 20);
        cache.put(FrameWord(1), named("short"));
        cache.put(FrameWord(1), named("a longer name"));
        assert_eq!(cache.bytes(), weight(&named("a longer name")));
    }

    #[test]
    fn an_entry_over_the_budget_is_not_kept() {
        let mut cache = NameCache::new(64);
        cache.put(FrameWord(1), named("x"));
        assert_eq!((cache.bytes(), cache.entries()), (0, 0));
    }
}
