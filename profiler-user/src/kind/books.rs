//! The addresses of the profiles that were handed out lately, for clients that ask for their names afterwards.

use crate::event::ProcessId;
use crate::symbolize::layout::AddressBook;
use lru::LruCache;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

/// Processes of which books are kept.
const PROCESSES: NonZeroUsize = NonZeroUsize::new(64).unwrap();
/// Books kept of a process.
const BOOKS: usize = 4;

/// The addresses of the latest profiles, per process.
pub struct Books(Mutex<LruCache<ProcessId, VecDeque<Arc<AddressBook>>>>);

impl Default for Books {
    fn default() -> Self {
        Books(Mutex::new(LruCache::new(PROCESSES)))
    }
}

impl Books {
    /// Keeps the addresses of a profile that is handed out.
    pub fn put(&self, process: ProcessId, book: AddressBook) {
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let books = books.get_or_insert_mut(process, VecDeque::new);
        books.push_front(Arc::new(book));
        books.truncate(BOOKS);
    }

    /// Those of a process, the latest first.
    pub(super) fn get(&self, process: ProcessId) -> Vec<Arc<AddressBook>> {
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        books.get(&process).map(|books| books.iter().cloned().collect()).unwrap_or_default()
    }
}
