//! Open descriptors of targets' files: one LRU for the whole agent, so that no process can fill the file table.

use super::limits::spare_open_files;
use crate::event::FileNumber;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the cache did, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DescriptorCounts {
    /// Open now.
    pub open: u64,
    /// Answered by an open one.
    pub hits: u64,
    /// Had to be opened (again).
    pub opened: u64,
    /// Closed for want of room.
    pub evicted: u64,
}

struct Cache {
    open: LruCache<FileNumber, Arc<OwnedFd>>,
    counts: DescriptorCounts,
}

/// Open descriptors by file number. One that was evicted while a caller holds it is closed when that caller is done.
pub struct Descriptors {
    cache: Mutex<Cache>,
}

impl Descriptors {
    /// As many as half of the limit of open files, at least one.
    pub fn of_limit() -> Descriptors {
        Descriptors::new(usize::try_from(spare_open_files() / 2).unwrap_or(usize::MAX))
    }

    /// At most `capacity`, at least one.
    pub fn new(capacity: usize) -> Descriptors {
        let capacity = NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN);
        // `new` would allocate for the whole capacity at once.
        let mut open = LruCache::unbounded();
        open.resize(capacity);
        Descriptors { cache: Mutex::new(Cache { open, counts: DescriptorCounts::default() }) }
    }

    /// Keeps an opened and verified descriptor.
    pub fn insert(&self, file: FileNumber, descriptor: OwnedFd) -> Arc<OwnedFd> {
        let descriptor = Arc::new(descriptor);
        let mut cache = self.lock();
        let displaced = cache.open.push(file, Arc::clone(&descriptor));
        if displaced.as_ref().is_some_and(|(other, _)| *other != file) {
            cache.counts.evicted += 1;
        }
        drop(cache);
        // Closing can block on a slow file system: not under the lock.
        drop(displaced);
        descriptor
    }

    /// The open descriptor of a file; `reopen` opens AND verifies it if it was evicted. Not called under the lock.
    pub fn get<E>(&self, file: FileNumber, reopen: impl FnOnce() -> Result<OwnedFd, E>) -> Result<Arc<OwnedFd>, E> {
        if let Some(open) = self.hit(file) {
            return Ok(open);
        }
        let descriptor = reopen()?;
        self.lock().counts.opened += 1;
        Ok(self.insert(file, descriptor))
    }

    /// Closes the descriptor of a file that is forgotten.
    pub fn remove(&self, file: FileNumber) {
        let removed = self.lock().open.pop(&file);
        drop(removed);
    }

    /// What was done so far.
    pub fn counts(&self) -> DescriptorCounts {
        let cache = self.lock();
        DescriptorCounts { open: cache.open.len() as u64, ..cache.counts }
    }

    fn hit(&self, file: FileNumber) -> Option<Arc<OwnedFd>> {
        let mut cache = self.lock();
        let open = cache.open.get(&file).map(Arc::clone)?;
        cache.counts.hits += 1;
        Some(open)
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        // Nothing in here panics half-way: the cache is whole even if a holder did.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;

    fn open() -> io::Result<OwnedFd> {
        File::open("/dev/null").map(OwnedFd::from)
    }

    #[test]
    fn the_least_recently_used_is_closed_and_reopened() {
        let descriptors = Descriptors::new(2);
        for file in [1, 2, 1, 3] {
            descriptors.get(FileNumber(file), open).expect("open");
        }
        assert_eq!(descriptors.counts(), DescriptorCounts { open: 2, hits: 1, opened: 3, evicted: 1 });
        let kept: Result<_, ()> = descriptors.get(FileNumber(1), || Err(()));
        assert!(kept.is_ok(), "1 was used after 2");
        let evicted: Result<_, &str> = descriptors.get(FileNumber(2), || Err("refused"));
        assert_eq!(evicted.err(), Some("refused"));
    }

    #[test]
    fn a_holder_keeps_what_is_evicted() {
        let descriptors = Descriptors::new(1);
        let held = descriptors.get(FileNumber(1), open).expect("open");
        descriptors.get(FileNumber(2), open).expect("open");
        assert!(rustix::io::fcntl_getfd(held.as_ref()).is_ok());
        let number = held.as_raw_fd();
        assert_eq!(Arc::strong_count(&held), 1, "the cache let go of descriptor {number}");
    }

    #[test]
    fn a_forgotten_file_is_closed() {
        let descriptors = Descriptors::new(8);
        descriptors.get(FileNumber(1), open).expect("open");
        descriptors.remove(FileNumber(1));
        assert_eq!(descriptors.counts().open, 0);
    }
}
