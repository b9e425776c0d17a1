//! Which files lie in which chunks of the pool, which chunks are free, and which files go when more must be.
//!
//! Small files share chunks, so what is freed is a chunk with all that is in it. A chunk is as old as the use of its file that
//! was met last; the oldest goes first. What is in use does not go, but of a chunk of which half belongs to nobody any more it may
//! be moved to lie closer. A chunk that nothing lies in waits until no walk can be in it before it is written again.

use super::evict::{Eviction, PART_OF_ONE};
use super::uses::Uses;
use crate::event::{FileNumber, Pid};
use profiler_ebpf::abi::frame::VDSO_FILE;
use profiler_ebpf::abi::maps::CHUNK_WORDS;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// What was met within so many milliseconds is in use.
const IN_USE: u64 = 10_000;
/// Of a chunk in use so many words must belong to nobody.
const SCATTERED: usize = CHUNK_WORDS / 2;
/// Words that may have to be moved for it, in chunks.
const MOVED: usize = 3;
/// Chunks that only what is moved may take: so many words, of which no page's cross a chunk, and the pages' entries.
pub(super) const RESERVE: usize = MOVED + 2;

/// Who has a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// Its number.
    pub(super) file: FileNumber,
    /// The process that brought it.
    pub(super) process: Pid,
}

/// A table's place: words by chunk.
struct Placed {
    process: Pid,
    words: u64,
    chunks: BTreeMap<u32, usize>,
}

/// What was written to a chunk since it was taken.
#[derive(Default)]
struct Filled {
    words: usize,
    /// Those that are still there.
    files: HashSet<FileNumber>,
}

/// The chunks of the pool.
pub(super) struct Chunks {
    limit: u32,
    free: BTreeSet<u32>,
    /// Nothing leads to them any more, but a walk that began before may still be in them.
    left: BTreeSet<u32>,
    /// Those that are being filled.
    open: HashSet<u32>,
    filled: HashMap<u32, Filled>,
    placed: HashMap<FileNumber, Placed>,
    /// Words by process.
    shares: HashMap<Pid, u64>,
}

impl Chunks {
    pub(super) fn new(limit: u32) -> Chunks {
        Chunks {
            limit,
            free: (0..limit).collect(),
            left: BTreeSet::new(),
            open: HashSet::new(),
            filled: HashMap::new(),
            placed: HashMap::new(),
            shares: HashMap::new(),
        }
    }

    /// Chunks that there are.
    pub(super) fn limit(&self) -> usize {
        self.limit as usize
    }

    /// Chunks that may be written.
    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    /// Chunks that are not free.
    pub(super) fn used(&self) -> usize {
        self.limit as usize - self.free.len()
    }

    /// The first of so many free ones in a row.
    pub(super) fn run(&self, length: u32) -> Option<u32> {
        let (mut first, mut found) = (0, 0);
        for chunk in &self.free {
            (first, found) = if found > 0 && *chunk == first + found { (first, found + 1) } else { (*chunk, 1) };
            if found >= length {
                return Some(first);
            }
        }
        None
    }

    /// Takes so many in a row, to be filled.
    pub(super) fn take(&mut self, length: u32) -> Option<u32> {
        let first = self.run(length)?;
        for chunk in first..first + length {
            self.free.remove(&chunk);
            self.open.insert(chunk);
        }
        Some(first)
    }

    /// Nothing more is written to it.
    pub(super) fn close(&mut self, chunk: u32) {
        self.open.remove(&chunk);
        self.leave_if_empty(chunk);
    }

    /// So many words of a chunk are the file's.
    pub(super) fn fill(&mut self, owner: Owner, chunk: u32, words: usize) {
        let filled = self.filled.entry(chunk).or_default();
        filled.words += words;
        filled.files.insert(owner.file);
        let new = || Placed { process: owner.process, words: 0, chunks: BTreeMap::new() };
        let placed = self.placed.entry(owner.file).or_insert_with(new);
        placed.words += words as u64;
        *placed.chunks.entry(chunk).or_default() += words;
        *self.shares.entry(owner.process).or_default() += words as u64;
    }

    /// Nothing of the file is needed any more.
    pub(super) fn remove(&mut self, file: FileNumber) {
        let Some(placed) = self.placed.remove(&file) else { return };
        for chunk in placed.chunks.keys() {
            if let Some(filled) = self.filled.get_mut(chunk) {
                filled.files.remove(&file);
            }
            self.leave_if_empty(*chunk);
        }
        if let Some(share) = self.shares.get_mut(&placed.process) {
            *share -= placed.words;
            if *share == 0 {
                self.shares.remove(&placed.process);
            }
        }
    }

    fn leave_if_empty(&mut self, chunk: u32) {
        let is_empty = self.filled.get(&chunk).is_none_or(|filled| filled.files.is_empty());
        if is_empty && !self.open.contains(&chunk) {
            self.filled.remove(&chunk);
            self.left.insert(chunk);
        }
    }

    /// Chunks that nothing lies in, and that are not free yet.
    pub(super) fn left(&self) -> usize {
        self.left.len()
    }

    /// No walk is in those that were left: they are free.
    pub(super) fn drained(&mut self) {
        self.free.append(&mut self.left);
    }

    /// True if the process holds more than its part.
    pub(super) fn is_over(&self, process: Pid) -> bool {
        self.shares.get(&process).is_some_and(|words| *words > self.part())
    }

    fn part(&self) -> u64 {
        u64::from(self.limit) * CHUNK_WORDS as u64 / PART_OF_ONE
    }

    /// Which files must go so that so many chunks are left, and why; as many as can if that is too much.
    pub(super) fn victims(&self, wanted: usize, uses: &Uses, now: u64) -> Vec<(FileNumber, Eviction)> {
        let mut choice =
            Choice { chunks: self, gone: HashSet::new(), counts: HashMap::new(), left: 0, victims: vec![] };
        for (file, _) in self.beyond_part(uses) {
            if choice.left >= wanted {
                return choice.victims;
            }
            choice.add(file, Eviction::Share);
        }
        let mut unused: Vec<(u64, u32)> = self
            .closed()
            .filter_map(|(chunk, filled)| {
                let last = filled.files.iter().map(|file| uses.last(*file)).max()?;
                (last.saturating_add(IN_USE) <= now).then_some((last, chunk))
            })
            .collect();
        unused.sort_unstable();
        for (_, chunk) in unused {
            if choice.left >= wanted {
                break;
            }
            let files = self.filled.get(&chunk).into_iter().flat_map(|filled| &filled.files);
            files.for_each(|file| choice.add(*file, Eviction::TableBudget));
        }
        choice.victims
    }

    /// The files of a chunk that are worth moving out of it: of those in question the one with the fewest words in use.
    pub(super) fn scattered(&self) -> Option<Vec<Owner>> {
        let worth = self.closed().filter_map(|(chunk, filled)| {
            let placed = || filled.files.iter().filter_map(|file| self.placed.get(file));
            let live: usize = placed().filter_map(|placed| placed.chunks.get(&chunk)).sum();
            let moved: u64 = placed().map(|placed| placed.words).sum();
            (filled.words - live >= SCATTERED && moved <= (MOVED * CHUNK_WORDS) as u64).then_some((live, chunk, filled))
        });
        let (_, _, filled) = worth.min_by_key(|(live, chunk, _)| (*live, *chunk))?;
        Some(filled.files.iter().filter_map(|file| self.owner(*file)).collect())
    }

    fn owner(&self, file: FileNumber) -> Option<Owner> {
        self.placed.get(&file).map(|placed| Owner { file, process: placed.process })
    }

    /// Chunks that nothing more is written to, and that may go.
    fn closed(&self) -> impl Iterator<Item = (u32, &Filled)> {
        let may_go = |(chunk, filled): &(&u32, &Filled)| {
            !self.open.contains(chunk) && !filled.files.contains(&FileNumber(VDSO_FILE))
        };
        self.filled.iter().filter(may_go).map(|(chunk, filled)| (*chunk, filled))
    }

    /// Files of processes that hold more than their part, the longest unused first, as many as it is more.
    fn beyond_part(&self, uses: &Uses) -> Vec<(FileNumber, u64)> {
        let mut beyond = Vec::new();
        for (process, words) in self.shares.iter().filter(|(_, words)| **words > self.part()) {
            let files = self.placed.iter().filter(|(_, placed)| placed.process == *process);
            let mut files: Vec<_> = files.map(|(file, placed)| (*file, placed.words)).collect();
            files.sort_unstable_by_key(|(file, _)| (uses.last(*file), *file));
            let mut over = words - self.part();
            beyond.extend(files.into_iter().take_while(|(_, words)| {
                let goes = over > 0;
                over = over.saturating_sub(*words);
                goes
            }));
        }
        beyond
    }
}

/// Files that are chosen, and what is left by that.
struct Choice<'a> {
    chunks: &'a Chunks,
    gone: HashSet<FileNumber>,
    /// Files that go, by chunk.
    counts: HashMap<u32, usize>,
    left: usize,
    victims: Vec<(FileNumber, Eviction)>,
}

impl Choice<'_> {
    fn add(&mut self, file: FileNumber, why: Eviction) {
        let Some(placed) = self.chunks.placed.get(&file) else { return };
        if file == FileNumber(VDSO_FILE) || !self.gone.insert(file) {
            return;
        }
        self.victims.push((file, why));
        for chunk in placed.chunks.keys() {
            let gone = self.counts.entry(*chunk).or_default();
            *gone += 1;
            let all = self.chunks.filled.get(chunk).map_or(0, |filled| filled.files.len());
            self.left += usize::from(*gone == all && !self.chunks.open.contains(chunk));
        }
    }
}

#[cfg(test)]
#[path = "chunks_tests.rs"]
mod tests;
