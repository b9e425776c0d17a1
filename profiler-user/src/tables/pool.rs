//! Laying tables out in 64 KiB chunks: rows of a page never cross a chunk, page entries of a file have consecutive
//! numbers. Pure: it says which chunks to write.

use super::chunks::{Chunks, Owner, RESERVE};
use super::dictionary::Dictionary;
use super::evict::Eviction;
use super::uses::Uses;
use crate::event::FileNumber;
use crate::worker::api::UnwindTable;
use profiler_ebpf::abi::maps::{CHUNK_WORDS, CHUNKS_PER_MAP, Chunk, PAGES_PER_CHUNK};
use profiler_ebpf::unwind::rule::DICTIONARY;
use profiler_ebpf::unwind::table::PageEntry;
use std::collections::BTreeMap;

/// Bytes of a chunk.
pub(super) const CHUNK_BYTES: u64 = CHUNK_WORDS as u64 * 4;
/// Words of a page's entry.
const ENTRY_WORDS: usize = CHUNK_WORDS / PAGES_PER_CHUNK as usize;
/// When chunks are freed, then at least the whole divided by this, so that it is not done for each file.
const PART_FREED: usize = 16;

/// The chunks, and those that are filled at present.
pub(super) struct Pool {
    chunks: Chunks,
    lanes: [Lane; 2],
}

/// What is filled: files of processes that hold more than their part lie apart from those of others, so that they can go
/// without them.
#[derive(Default)]
struct Lane {
    rows: Option<Open>,
    pages: Option<Open>,
}

impl Lane {
    fn is_closed(&self) -> bool {
        self.rows.is_none() && self.pages.is_none()
    }
}

/// A chunk with free room at its end.
struct Open {
    number: u32,
    /// Words of it.
    used: usize,
    image: Box<Chunk>,
}

/// A table as it lies in chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    /// Which page of the file the first of `pages` is.
    pub(super) first_page: u32,
    /// The rows of each page, with the dictionary's codes.
    pub(super) pages: Vec<Vec<u32>>,
}

/// A table laid out.
pub(super) struct Laid {
    /// See `FileValue::page_base`.
    pub(super) page_base: u32,
    /// Chunks to write, ascending.
    pub(super) chunks: BTreeMap<u32, Box<Chunk>>,
}

/// Why a table was not laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PoolError {
    /// There is no room.
    #[error("the memory for unwind tables is full")]
    Full,
    /// The table contradicts itself.
    #[error("the unwind table is inconsistent")]
    Inconsistent,
}

/// Chunks that a table takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Need {
    /// For rows.
    rows: usize,
    /// For page entries, in a row; 0 if those that are filled suffice.
    run: u32,
}

#[expect(clippy::large_stack_arrays, reason = "64 KiB, moved to the heap at once; builder threads have 2 MiB")]
fn empty() -> Box<Chunk> {
    Box::new(Chunk([0; CHUNK_WORDS]))
}

impl Pool {
    /// A pool of at most `bytes`, of which whole maps of chunks are used.
    pub(super) fn new(bytes: u64) -> Pool {
        let limit = u32::try_from(bytes / CHUNK_BYTES).unwrap_or(u32::MAX);
        Pool { chunks: Chunks::new(limit / CHUNKS_PER_MAP * CHUNKS_PER_MAP), lanes: Default::default() }
    }

    /// Bytes in use.
    pub(super) fn bytes(&self) -> u64 {
        self.chunks.used() as u64 * CHUNK_BYTES
    }

    /// Lays the table of a file out; rules get the dictionary's codes. Nothing is used up if it fails.
    pub(super) fn place(
        &mut self,
        owner: Owner,
        table: &UnwindTable,
        dictionary: &mut Dictionary,
    ) -> Result<Laid, PoolError> {
        let first_page = check(table)?;
        let lane = self.lane_of(owner);
        let need = self.need_of(owner, table);
        if !self.fits(need, RESERVE) {
            return Err(PoolError::Full);
        }
        let codes: Vec<u16> = table.rules.iter().map(|rule| dictionary.code(rule, owner.process)).collect();
        let pages = table.pages.iter().map(|(first, count)| {
            let from = *first as usize;
            let rows = table.rows.get(from..from + usize::from(*count)).unwrap_or_default();
            rows.iter().map(|(offset, code)| word(*offset, *code, &codes)).collect()
        });
        self.lay(owner, &Image { first_page, pages: pages.collect() }, (lane, need))
    }

    /// Lays a table out anew, closer to others; where it was is [left](Pool::has_left). Nothing is changed if it fails.
    pub(super) fn relocate(&mut self, owner: Owner, image: &Image) -> Result<Laid, PoolError> {
        let lane = self.lane_of(owner);
        let need = self.need(lane, image.pages.iter().map(Vec::len));
        if !self.fits(need, 0) {
            return Err(PoolError::Full);
        }
        self.chunks.remove(owner.file);
        self.lay(owner, image, (lane, need))
    }

    fn lay(&mut self, owner: Owner, image: &Image, (lane, need): (usize, Need)) -> Result<Laid, PoolError> {
        let mut filling = std::mem::take(&mut self.lanes[lane]);
        let mut writer = Writer { owner, chunks: &mut self.chunks, written: BTreeMap::new() };
        // First, while there is a run of chunks for them.
        let (first_page, pages) = writer.begin_pages(&mut filling, need.run, image.pages.len())?;
        let mut entries = Vec::with_capacity(image.pages.len());
        for words in &image.pages {
            entries.push(writer.put_rows(&mut filling, words)?);
        }
        writer.put_pages(&mut filling, pages, &entries);
        let mut chunks = writer.written;
        for open in [&filling.rows, &filling.pages].into_iter().flatten() {
            chunks.insert(open.number, open.image.clone());
        }
        self.lanes[lane] = filling;
        Ok(Laid { page_base: first_page.wrapping_sub(image.first_page), chunks })
    }

    fn lane_of(&self, owner: Owner) -> usize {
        usize::from(self.chunks.is_over(owner.process))
    }

    fn need_of(&self, owner: Owner, table: &UnwindTable) -> Need {
        self.need(self.lane_of(owner), table.pages.iter().map(|(_, count)| usize::from(*count)))
    }

    /// What a table with so many rows a page takes.
    fn need(&self, lane: usize, pages: impl ExactSizeIterator<Item = usize>) -> Need {
        let words = pages.len() * ENTRY_WORDS;
        let Lane { rows, pages: filled } = &self.lanes[lane];
        let (mut used, mut need) = (rows.as_ref().map_or(CHUNK_WORDS, |open| open.used), 0);
        for count in pages {
            used += count;
            if used > CHUNK_WORDS {
                (used, need) = (count, need + 1);
            }
        }
        let suffices = filled.as_ref().is_some_and(|open| open.used + words <= CHUNK_WORDS);
        let run = if suffices { 0 } else { u32::try_from(words.div_ceil(CHUNK_WORDS)).unwrap_or(u32::MAX) };
        Need { rows: need, run }
    }

    /// True if that many are free, and so many stay so.
    fn fits(&self, need: Need, reserve: usize) -> bool {
        let all = need.rows + need.run as usize;
        (all == 0 || self.chunks.free() >= all + reserve) && (need.run == 0 || self.chunks.run(need.run).is_some())
    }

    /// Which files must go so that a table may have room, and why; none if it cannot have any. What they leave has to be
    /// [`Pool::drained`], and it may take several turns.
    pub(super) fn victims(
        &mut self,
        owner: Owner,
        table: &UnwindTable,
        uses: &Uses,
        now: u64,
    ) -> Vec<(FileNumber, Eviction)> {
        let need = self.need_of(owner, table);
        let least = need.rows + need.run as usize + RESERVE;
        if least > self.chunks.limit() {
            return Vec::new();
        }
        let missing = least.saturating_sub(self.chunks.free() + self.chunks.left());
        let missing = missing.max(self.chunks.limit() / PART_FREED).max(1);
        let victims = self.chunks.victims(missing, uses, now);
        if !victims.is_empty() || self.lanes.iter().all(Lane::is_closed) {
            return victims;
        }
        // What is being filled may go too.
        self.close_all();
        self.chunks.victims(missing, uses, now)
    }

    /// Files that can be [moved](Pool::relocate) together, so that the chunk that they lie in is left.
    pub(super) fn scattered(&self) -> Option<Vec<Owner>> {
        self.chunks.scattered()
    }

    fn close_all(&mut self) {
        for lane in &mut self.lanes {
            for open in [lane.rows.take(), lane.pages.take()].into_iter().flatten() {
                self.chunks.close(open.number);
            }
        }
    }

    /// True if chunks wait until no walk is in them.
    pub(super) fn has_left(&self) -> bool {
        self.chunks.left() > 0
    }

    /// The file's rows are not needed any more.
    pub(super) fn remove(&mut self, file: FileNumber) {
        self.chunks.remove(file);
    }

    /// No walk is in what files left that were removed before.
    pub(super) fn drained(&mut self) {
        self.chunks.drained();
    }
}

/// Whether a table holds together: by how much its pages are shifted.
fn check(table: &UnwindTable) -> Result<u32, PoolError> {
    let whole = |(first, count): &(u32, u16)| {
        let from = *first as usize;
        usize::from(*count) <= CHUNK_WORDS && from + usize::from(*count) <= table.rows.len()
    };
    let known = |code: u16| code & DICTIONARY == 0 || usize::from(code & !DICTIONARY) < table.rules.len();
    if table.pages.iter().all(whole) && table.rows.iter().all(|(_, code)| known(*code)) {
        return u32::try_from(table.first_page).map_err(|_large| PoolError::Inconsistent);
    }
    Err(PoolError::Inconsistent)
}

/// A row with the code that the dictionary gave to its rule.
fn word(offset: u16, code: u16, codes: &[u16]) -> u32 {
    let code =
        if code & DICTIONARY == 0 { code } else { codes.get(usize::from(code & !DICTIONARY)).copied().unwrap_or(0) };
    u32::from(offset) | u32::from(code) << 16
}

/// Writes one table.
struct Writer<'a> {
    owner: Owner,
    chunks: &'a mut Chunks,
    written: BTreeMap<u32, Box<Chunk>>,
}

impl Writer<'_> {
    fn open(&mut self, length: u32) -> Result<Open, PoolError> {
        Ok(Open { number: self.chunks.take(length).ok_or(PoolError::Full)?, used: 0, image: empty() })
    }

    fn close(&mut self, full: Open) {
        self.chunks.close(full.number);
        self.written.insert(full.number, full.image);
    }

    /// Puts the rows of one page into the open chunk, or a new one if they do not fit.
    fn put_rows(&mut self, lane: &mut Lane, words: &[u32]) -> Result<PageEntry, PoolError> {
        if let Some(full) = lane.rows.take_if(|open| open.used + words.len() > CHUNK_WORDS) {
            self.close(full);
        }
        if lane.rows.is_none() {
            lane.rows = Some(self.open(1)?);
        }
        let open = lane.rows.as_mut().ok_or(PoolError::Full)?;
        let at = u16::try_from(open.used).map_err(|_large| PoolError::Inconsistent)?;
        let count = u16::try_from(words.len()).map_err(|_large| PoolError::Inconsistent)?;
        copy(open, words);
        self.chunks.fill(self.owner, open.number, words.len());
        Ok(PageEntry::new(open.number, at, count))
    }

    /// Chunks for so many page entries, all of them empty but perhaps the first, and the number of the first page.
    fn begin_pages(&mut self, lane: &mut Lane, run: u32, pages: usize) -> Result<(u32, Vec<Open>), PoolError> {
        let mut opens = Vec::new();
        if run > 0 {
            lane.pages.take().into_iter().for_each(|full| self.close(full));
            let first = self.open(run)?;
            let rest = first.number + 1..first.number + run;
            opens.push(first);
            opens.extend(rest.map(|number| Open { number, used: 0, image: empty() }));
        } else if pages > 0 {
            opens.extend(lane.pages.take());
        }
        let first = opens.first().map_or(0, |open| open.number * PAGES_PER_CHUNK + entries_of(open));
        Ok((first, opens))
    }

    /// Puts page entries at consecutive page numbers. The last chunk stays open: small files share it.
    fn put_pages(&mut self, lane: &mut Lane, opens: Vec<Open>, entries: &[PageEntry]) {
        let mut rest: Vec<u32> = entries.iter().flat_map(|entry| halves(entry.0)).collect();
        for mut open in opens {
            let taken = rest.len().min(CHUNK_WORDS - open.used);
            let later = rest.split_off(taken);
            copy(&mut open, &rest);
            self.chunks.fill(self.owner, open.number, taken);
            rest = later;
            if let Some(full) = lane.pages.replace(open) {
                self.close(full);
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a chunk has 8,192 entries")]
fn entries_of(open: &Open) -> u32 {
    (open.used / ENTRY_WORDS) as u32
}

/// Puts words behind those that are there; they fit.
fn copy(open: &mut Open, words: &[u32]) {
    if let Some(to) = open.image.0.get_mut(open.used..open.used + words.len()) {
        to.copy_from_slice(words);
        open.used += words.len();
    }
}

fn halves(word: u64) -> [u32; 2] {
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the word")]
    [word as u32, (word >> 32) as u32]
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
