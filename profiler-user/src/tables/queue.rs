//! Which file is built next: those that somebody waits for, then those that samples met, small ones first. A file's turn
//! never waits for a slow one: several builders take from the queue.

use crate::event::FileNumber;
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
        self.changed.notify_one();
    }

    /// Waits for the next file; `None` when the queue was closed.
    pub(super) fn take(&self) -> Option<(FileNumber, Want)> {
        let mut inside = self.lock();
        loop {
            if inside.closed {
                return None;
            }
            let next = inside
                .waiting
                .iter()
                .max_by_key(|(number, e)| (e.want, std::cmp::Reverse(e.size), e.hits, std::cmp::Reverse(number.0)))
                .map(|(number, e)| (*number, e.want));
            if let Some((number, want)) = next {
                inside.waiting.remove(&number);
                return Some((number, want));
            }
            inside = self.changed.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
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
        let order: Vec<u32> = (0..4).filter_map(|_| queue.take()).map(|t| t.0.0).collect();
        assert_eq!(order, [4, 3, 1, 2]);
        queue.close();
        assert_eq!(queue.take(), None);
    }
}
