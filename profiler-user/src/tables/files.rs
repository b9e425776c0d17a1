//! What the agent knows of each numbered file, and which of them the kernel must forget to have room for others.

use super::debug::Settled;
use super::evict::{Eviction, PART_OF_ONE};
use super::uses::Uses;
use crate::event::{FileNumber, FileSeen, Pid};
use crate::worker::TrustDomain;
use crate::worker::api::{FileFacts, Segment};
use lru::LruCache;
use profiler_ebpf::abi::event::FileKey;
use profiler_ebpf::abi::frame::VDSO_FILE;
use profiler_ebpf::abi::maps::{FileValue, MAX_FILES};
use profiler_ebpf::reasons::Reason;
use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Records of files that are kept at most.
const MAX_RECORDS: usize = 2 * MAX_FILES as usize;
/// Bytes of them.
pub(super) const RECORD_BYTES: u64 = 20 << 20;
/// Files with this many in the kernel's table are too many: the rest is for those that come while others go.
const CROWDED: usize = MAX_FILES as usize / 8 * 7;
/// So many are left then, that it does not happen at each new file.
const UNCROWDED: usize = MAX_FILES as usize / 16 * 13;
/// Keys whose files are recognized under another number.
const MAX_KNOWN: NonZeroUsize = NonZeroUsize::new(MAX_RECORDS).unwrap();
/// Bytes that they take, with links and slots.
pub(super) const KNOWN_BYTES: u64 = MAX_RECORDS as u64 * 128;
/// A file that found no room is announced anew after so many milliseconds.
const AGAIN: u64 = 30_000;

/// Where a file stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Announced.
    Seen,
    /// Opened, verified; no table asked for yet.
    Opened,
    /// The kernel has what it needs.
    Ready,
    /// There is no table, and why.
    Failed(Reason),
    /// The kernel has forgotten it, and announces the file under a new number when it is met again.
    Evicted,
}

/// One file.
#[derive(Clone, Debug)]
pub struct FileRecord {
    /// As announced.
    pub seen: FileSeen,
    /// The first number that this file had: by it workers and caches know it.
    pub identity: FileNumber,
    /// Path for people.
    pub path: String,
    /// Facts, once it was parsed.
    pub facts: Option<Arc<FileFacts>>,
    /// Whom its bytes may lie to.
    pub domain: Option<TrustDomain>,
    /// Bytes, 0 if not known.
    pub size: u64,
    /// Where it stands.
    pub state: State,
    /// What the kernel knows of it, once it is ready.
    pub value: Option<FileValue>,
    /// What came of the search for its debug file.
    pub(super) debug: Settled,
}

impl FileRecord {
    fn new(seen: FileSeen, identity: FileNumber) -> FileRecord {
        FileRecord {
            path: format!("/{}", String::from_utf8_lossy(&seen.path).trim_start_matches('/')),
            identity,
            facts: None,
            domain: None,
            size: 0,
            state: State::Seen,
            value: None,
            debug: Settled::default(),
            seen,
        }
    }

    /// True while it may yet get a table.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Seen | State::Opened)
    }

    fn bytes(&self) -> u64 {
        let facts = self.facts.as_ref().map_or(0, |facts| {
            let link = facts.debug_link.as_ref().map_or(0, |link| link.name.capacity());
            size_of::<FileFacts>() + facts.build_id.capacity() + facts.segments.capacity() * size_of::<Segment>() + link
        });
        (2 * size_of::<FileRecord>() + self.path.capacity() + self.seen.path.capacity() + facts) as u64
    }
}

/// What is known of a key, whatever numbers its file had.
struct Known {
    identity: FileNumber,
    newest: FileNumber,
    /// How often it could not be opened.
    failures: u32,
}

/// Files by number. A number is never given twice, so old ones go when others come.
pub(super) struct Files {
    records: HashMap<FileNumber, FileRecord>,
    bytes: u64,
    known: LruCache<FileKey, Known>,
    /// Files in the kernel's table, by the process that brought them.
    shares: HashMap<Pid, usize>,
    held: usize,
    /// Files that found no room, and when, the longest ago first.
    refused: VecDeque<(u64, FileNumber)>,
    forgotten: u64,
}

impl Default for Files {
    fn default() -> Files {
        // `new` would allocate for all keys at once.
        let mut known = LruCache::unbounded();
        known.resize(MAX_KNOWN);
        let (records, shares, refused) = (HashMap::new(), HashMap::new(), VecDeque::new());
        Files { records, bytes: 0, known, shares, held: 0, refused, forgotten: 0 }
    }
}

impl Files {
    /// Adds an announced file. What was learned of it under an earlier number still holds.
    pub(super) fn add(&mut self, seen: FileSeen) {
        let (number, pid) = (seen.number, seen.pid);
        let first = || Known { identity: number, newest: number, failures: 0 };
        let known = self.known.get_or_insert_mut(seen.key, first);
        let before = std::mem::replace(&mut known.newest, number);
        let mut record = FileRecord::new(seen, known.identity);
        if let Some(before) = self.records.get(&before) {
            record.path.clone_from(&before.path);
            (record.facts, record.domain, record.size) = (before.facts.clone(), before.domain, before.size);
            record.debug = before.debug;
        }
        self.bytes += record.bytes();
        if let Some(same) = self.records.insert(number, record) {
            self.bytes -= same.bytes();
        } else {
            self.held += 1;
            *self.shares.entry(pid).or_default() += 1;
        }
    }

    pub(super) fn get(&self, file: FileNumber) -> Option<&FileRecord> {
        self.records.get(&file)
    }

    /// The record of a file under the number by which the kernel knows it now.
    pub(super) fn current(&self, file: FileNumber) -> Option<&FileRecord> {
        let record = self.records.get(&file)?;
        if record.state != State::Evicted {
            return Some(record);
        }
        self.known.peek(&record.seen.key).and_then(|known| self.records.get(&known.newest)).or(Some(record))
    }

    /// Changes a record; not whether the kernel holds it.
    pub(super) fn change(&mut self, file: FileNumber, edit: impl FnOnce(&mut FileRecord)) {
        if let Some(record) = self.records.get_mut(&file) {
            self.bytes -= record.bytes();
            edit(record);
            self.bytes += record.bytes();
        }
    }

    /// It gets no table.
    pub(super) fn fail(&mut self, file: FileNumber, reason: Reason, now: u64) {
        self.change(file, |record| record.state = State::Failed(reason));
        if matches!(reason, Reason::TableBudget | Reason::FileTableFull | Reason::QueueFull) {
            self.refused.push_back((now, file));
        }
    }

    /// Counts that a file could not be opened: how often it was so far, under any number.
    pub(super) fn count_failure(&mut self, key: &FileKey) -> u32 {
        let Some(known) = self.known.get_mut(key) else { return u32::MAX };
        known.failures += 1;
        known.failures
    }

    /// The kernel forgets it: its key, if it was held.
    pub(super) fn evict(&mut self, file: FileNumber) -> Option<FileKey> {
        let record = self.records.get_mut(&file).filter(|record| record.state != State::Evicted)?;
        (record.state, record.value) = (State::Evicted, None);
        self.held -= 1;
        if let Some(share) = self.shares.get_mut(&record.seen.pid) {
            *share -= 1;
            if *share == 0 {
                self.shares.remove(&record.seen.pid);
            }
        }
        Some(record.seen.key)
    }

    /// True if some must go.
    pub(super) fn is_crowded(&self) -> bool {
        self.held > CROWDED || self.records.len() > MAX_RECORDS || self.bytes > RECORD_BYTES
    }

    /// Which files the kernel is to forget now that it is crowded, and why.
    pub(super) fn excess(&self, uses: &Uses) -> Vec<(FileNumber, Eviction)> {
        let records = self.records.len().saturating_sub(MAX_RECORDS / 16 * 15);
        let bytes = self.bytes.saturating_sub(RECORD_BYTES / 16 * 15);
        let mean = self.bytes / (self.records.len().max(1) as u64);
        let too_many = records.max(usize::try_from(bytes.div_ceil(mean.max(1))).unwrap_or(usize::MAX));
        let evicted = self.records.len() - self.held;
        let wanted = too_many.saturating_sub(evicted).max(self.held.saturating_sub(UNCROWDED));
        let mut held: Vec<&FileRecord> = self.records.values().filter(|record| is_evictable(record)).collect();
        held.sort_unstable_by_key(|record| (uses.last(record.seen.number), record.seen.number));
        // The oldest of those that hold more than their part, then the oldest of all.
        let part = self.held / usize::try_from(PART_OF_ONE).unwrap_or(1);
        let mut over: HashMap<Pid, usize> = self.shares.iter().map(|(pid, n)| (*pid, n.saturating_sub(part))).collect();
        let (mut shared, mut rest) = (Vec::new(), Vec::new());
        for record in held {
            match over.get_mut(&record.seen.pid).filter(|over| **over > 0) {
                Some(over) => {
                    *over -= 1;
                    shared.push((record.seen.number, Eviction::Share));
                }
                None => rest.push((record.seen.number, Eviction::FileTable)),
            }
        }
        shared.append(&mut rest);
        shared.truncate(wanted);
        shared
    }

    /// Drops the records of evicted files that were not met for longest, as many as the budget demands: what they were.
    pub(super) fn forget(&mut self, uses: &Uses) -> Vec<FileNumber> {
        let evicted = self.records.values().filter(|record| record.state == State::Evicted);
        let mut evicted: Vec<FileNumber> = evicted.map(|record| record.seen.number).collect();
        evicted.sort_unstable_by_key(|file| std::cmp::Reverse((uses.last(*file), *file)));
        let mut dropped = Vec::new();
        while (self.records.len() > MAX_RECORDS / 16 * 15 || self.bytes > RECORD_BYTES / 16 * 15)
            && let Some(file) = evicted.pop()
        {
            if let Some(record) = self.records.remove(&file) {
                self.bytes -= record.bytes();
                self.forgotten += 1;
                dropped.push(file);
            }
        }
        dropped
    }

    /// Files that found no room some time ago, and may find some now.
    pub(super) fn again(&mut self, now: u64) -> Vec<FileNumber> {
        let mut due = Vec::new();
        while let Some((_, file)) = self.refused.pop_front_if(|(since, _)| since.saturating_add(AGAIN) <= now) {
            if self.records.get(&file).is_some_and(|record| matches!(record.state, State::Failed(_))) {
                due.push(file);
            }
        }
        due
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Files in the kernel's table.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Bytes that the records take.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Records that were dropped for room.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

/// The vDSO is the kernel's own, and announced by nobody.
fn is_evictable(record: &FileRecord) -> bool {
    record.state != State::Evicted && record.seen.number != FileNumber(VDSO_FILE)
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
