//! Which file is built next: those that somebody waits for, then those that samples met, small ones first. A small file
//! never waits for a large one: of the several builders that take from the queue one alone takes large files.

use crate::event::FileNumber;
use crate::worker::LARGE_FILE;
use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// How much a file is wanted; the greater the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Want {
    /// Only to be opened while it can be.
    Open,
    /// Samples met it.
    Sampled,
    /// A request waits for it.
    Requested,
}

/// What a builder takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Every file.
    All,
    /// Files that are not known to be large.
    Small,
}

impl Lane {
    pub(super) fn takes(self, size: u64) -> bool {
        self == Lane::All || size <= LARGE_FILE
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    want: Want,
    /// Bytes, 0 if not known yet.
    size: u64,
    hits: u64,
}

#[derive(Default)]
struct Inside {
    waiting: HashMap<FileNumber, Entry>,
    /// Taken and not done.
    taken: HashMap<FileNumber, Want>,
    closed: bool,
}

/// The queue. Bounded by the number of files that can have a number.
#[derive(Default)]
pub(super) struct Queue {
    inside: Mutex<Inside>,
    changed: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a file in, or raises it.
    pub(super) fn put(&self, file: FileNumber, want: Want, size: u64) {
        let mut inside = self.lock();
        let entry = inside.waiting.entry(file).or_insert(Entry { want, size, hits: 0 });
        entry.want = entry.want.max(want);
        entry.size = entry.size.max(size);
        entry.hits += 1;
        drop(inside);
        self.changed.notify_all();
    }

    /// Waits for the next file of a lane; `None` when the queue was closed.
    pub(super) fn take(&self, lane: Lane) -> Option<(FileNumber, Want)> {
        let mut inside = self.lock();
        loop {
            if inside.closed {
                return None;
            }
            let next = inside
                .waiting
                .iter()
                .filter(|(_, entry)| lane.takes(entry.size))
                .max_by_key(|(number, e)| (e.want, std::cmp::Reverse(e.size), e.hits, std::cmp::Reverse(number.0)))
                .map(|(number, e)| (*number, e.want));
            if let Some((number, want)) = next {
                inside.waiting.remove(&number);
                inside.taken.insert(number, want);
                return Some((number, want));
            }
            inside = self.changed.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Nobody wants the file any more.
    pub(super) fn remove(&self, file: FileNumber) {
        self.lock().waiting.remove(&file);
    }

    /// Whoever took a file has no more to do with it.
    pub(super) fn done(&self, file: FileNumber) {
        self.lock().taken.remove(&file);
    }

    /// True if a file waits, or is taken and not done, that is wanted as much, or more.
    pub(super) fn has(&self, want: Want) -> bool {
        let inside = self.lock();
        let waiting = inside.waiting.values().map(|entry| entry.want);
        waiting.chain(inside.taken.values().copied()).any(|found| found >= want)
    }

    /// Files that wait.
    pub(super) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Ends all takers.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requested_come_first_then_small_ones() {
        let queue = Queue::default();
        queue.put(FileNumber(1), Want::Open, 0);
        queue.put(FileNumber(2), Want::Sampled, 250 << 20);
        queue.put(FileNumber(3), Want::Sampled, 1 << 20);
        queue.put(FileNumber(4), Want::Requested, 90 << 20);
        queue.put(FileNumber(1), Want::Sampled, 5 << 20);
        let order: Vec<u32> = (0..4).filter_map(|_| queue.take(Lane::All)).map(|t| t.0.0).collect();
        assert_eq!(order, [4, 3, 1, 2]);
        queue.put(FileNumber(9), Want::Open, 0);
        assert!(queue.has(Want::Sampled), "those that were taken are not done");
        for number in [4, 3, 1, 2] {
            queue.done(FileNumber(number));
        }
        assert!(queue.has(Want::Open) && !queue.has(Want::Sampled));
        queue.close();
        assert_eq!(queue.take(Lane::All), None);
    }

    #[test]
    fn a_large_file_does_not_hold_up_small_ones() {
        let queue = Queue::default();
        queue.put(FileNumber(1), Want::Requested, LARGE_FILE + 1);
        queue.put(FileNumber(2), Want::Sampled, LARGE_FILE);
        assert_eq!(queue.take(Lane::Small), Some((FileNumber(2), Want::Sampled)));
        assert_eq!(queue.take(Lane::All), Some((FileNumber(1), Want::Requested)));
    }
}
