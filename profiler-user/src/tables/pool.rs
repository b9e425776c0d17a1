//! Laying tables out in 64 KiB chunks: rows of a page never cross a chunk, page entries of a file have consecutive
//! numbers. Pure: it says which chunks to write.

use super::dictionary::Dictionary;
use crate::worker::api::UnwindTable;
use profiler_ebpf::abi::maps::{CHUNK_WORDS, Chunk, PAGES_PER_CHUNK};
use profiler_ebpf::unwind::rule::DICTIONARY;
use profiler_ebpf::unwind::table::PageEntry;
use std::collections::BTreeMap;

/// Bytes of a chunk.
pub(super) const CHUNK_BYTES: u64 = CHUNK_WORDS as u64 * 4;

/// Chunks in use and the two that are filled at present.
pub(super) struct Pool {
    /// Chunks that may be used.
    limit: u32,
    next: u32,
    rows: Option<Open>,
    pages: Option<Open>,
}

/// A chunk with free room at its end.
struct Open {
    number: u32,
    used: usize,
    image: Box<Chunk>,
}

/// A table laid out.
pub(super) struct Placed {
    /// See `FileValue::page_base`.
    pub(super) page_base: u32,
    /// Chunks to write, ascending.
    pub(super) chunks: BTreeMap<u32, Box<Chunk>>,
}

/// Why a table was not laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PoolError {
    /// The budget is used up.
    #[error("the budget for unwind tables is full")]
    Full,
    /// The table contradicts itself.
    #[error("the unwind table is inconsistent")]
    Inconsistent,
}

#[expect(clippy::large_stack_arrays, reason = "64 KiB, moved to the heap at once; builder threads have 2 MiB")]
fn empty() -> Box<Chunk> {
    Box::new(Chunk([0; CHUNK_WORDS]))
}

impl Pool {
    /// A pool of at most `bytes`.
    pub(super) fn new(bytes: u64) -> Pool {
        Pool { limit: u32::try_from(bytes / CHUNK_BYTES).unwrap_or(u32::MAX), next: 0, rows: None, pages: None }
    }

    /// Bytes in use.
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.next) * CHUNK_BYTES
    }

    fn allocate(&mut self) -> Result<u32, PoolError> {
        if self.next >= self.limit {
            return Err(PoolError::Full);
        }
        self.next += 1;
        Ok(self.next - 1)
    }

    /// True if a table of that many rows and pages has room for certain.
    fn fits(&self, table: &UnwindTable) -> bool {
        let rows = table.rows.len() / (CHUNK_WORDS / 2) + 2;
        let pages = table.pages.len() / PAGES_PER_CHUNK as usize + 2;
        u64::from(self.next) + (rows + pages) as u64 <= u64::from(self.limit)
    }

    /// Lays `table` out; rules get the dictionary's codes. Nothing is used up if it fails.
    pub(super) fn place(&mut self, table: &UnwindTable, dictionary: &mut Dictionary) -> Result<Placed, PoolError> {
        if !self.fits(table) {
            return Err(PoolError::Full);
        }
        let codes: Vec<u16> = table.rules.iter().map(|rule| dictionary.code(rule)).collect();
        let translate = |code: u16| match code & DICTIONARY {
            0 => Ok(code),
            _ => codes.get(usize::from(code & !DICTIONARY)).copied().ok_or(PoolError::Inconsistent),
        };
        let mut chunks = BTreeMap::new();
        let mut entries = Vec::with_capacity(table.pages.len());
        for (first, count) in &table.pages {
            let from = *first as usize;
            let rows = table.rows.get(from..from + usize::from(*count)).ok_or(PoolError::Inconsistent)?;
            let words = rows
                .iter()
                .map(|(offset, code)| Ok(u32::from(*offset) | u32::from(translate(*code)?) << 16))
                .collect::<Result<Vec<u32>, PoolError>>()?;
            entries.push(self.put_rows(&words, &mut chunks)?);
        }
        let first_page = self.put_pages(&entries, &mut chunks)?;
        self.save_open(&mut chunks);
        let shift = u32::try_from(table.first_page).map_err(|_large| PoolError::Inconsistent)?;
        Ok(Placed { page_base: first_page.wrapping_sub(shift), chunks })
    }

    /// Puts the rows of one page into the open chunk, or a new one if they do not fit.
    fn put_rows(&mut self, words: &[u32], chunks: &mut BTreeMap<u32, Box<Chunk>>) -> Result<PageEntry, PoolError> {
        if self.rows.as_ref().is_none_or(|open| open.used + words.len() > CHUNK_WORDS) {
            if let Some(full) = self.rows.take() {
                chunks.insert(full.number, full.image);
            }
            self.rows = Some(Open { number: self.allocate()?, used: 0, image: empty() });
        }
        let open = self.rows.as_mut().ok_or(PoolError::Full)?;
        let to = open.image.0.get_mut(open.used..open.used + words.len()).ok_or(PoolError::Inconsistent)?;
        to.copy_from_slice(words);
        let at = u16::try_from(open.used).map_err(|_large| PoolError::Inconsistent)?;
        let count = u16::try_from(words.len()).map_err(|_large| PoolError::Inconsistent)?;
        open.used += words.len();
        Ok(PageEntry::new(open.number, at, count))
    }

    /// Puts page entries at consecutive page numbers; returns the first. Small files share a chunk.
    fn put_pages(&mut self, entries: &[PageEntry], chunks: &mut BTreeMap<u32, Box<Chunk>>) -> Result<u32, PoolError> {
        let capacity = PAGES_PER_CHUNK as usize;
        if self.pages.as_ref().is_none_or(|open| open.used + entries.len() > capacity) {
            if let Some(full) = self.pages.take() {
                chunks.insert(full.number, full.image);
            }
            self.pages = Some(Open { number: self.allocate()?, used: 0, image: empty() });
        }
        let first = match &self.pages {
            Some(open) => open.number * PAGES_PER_CHUNK + u32::try_from(open.used).unwrap_or(0),
            None => return Err(PoolError::Full),
        };
        for entry in entries {
            if self.pages.as_ref().is_some_and(|open| open.used == capacity) {
                let number = self.allocate()?;
                if let Some(full) = self.pages.replace(Open { number, used: 0, image: empty() }) {
                    chunks.insert(full.number, full.image);
                }
            }
            let open = self.pages.as_mut().ok_or(PoolError::Full)?;
            let at = open.used * 2;
            let to = open.image.0.get_mut(at..at + 2).ok_or(PoolError::Inconsistent)?;
            let [low, high] = halves(entry.0);
            to.copy_from_slice(&[low, high]);
            open.used += 1;
        }
        Ok(first)
    }

    /// The open chunks are written as far as they are filled.
    fn save_open(&self, chunks: &mut BTreeMap<u32, Box<Chunk>>) {
        for open in [&self.rows, &self.pages].into_iter().flatten() {
            chunks.insert(open.number, open.image.clone());
        }
    }
}

fn halves(word: u64) -> [u32; 2] {
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the word")]
    [word as u32, (word >> 32) as u32]
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "small numbers of a test")]
mod tests {
    use super::*;
    use profiler_ebpf::unwind::rule::{CODE_FRAME_POINTER, CODE_STOP, FIXED, PAGE_BITS};
    use profiler_ebpf::unwind::table::{Rows, search};

    /// The kernel's view of written chunks.
    struct Memory(BTreeMap<u32, Box<Chunk>>);

    struct ChunkRows<'a>(&'a Chunk);

    impl Rows for ChunkRows<'_> {
        fn row(&self, index: u64) -> u32 {
            self.0.0[index as usize & (CHUNK_WORDS - 1)]
        }
    }

    impl Memory {
        fn code(&self, page_base: u32, offset: u64) -> u32 {
            let page = page_base.wrapping_add((offset >> PAGE_BITS) as u32);
            let at = (page % PAGES_PER_CHUNK) as usize * 2;
            let pages = &self.0[&(page / PAGES_PER_CHUNK)].0;
            let entry = PageEntry(u64::from(pages[at]) | u64::from(pages[at + 1]) << 32);
            search(&ChunkRows(&self.0[&entry.chunk()]), entry, offset)
        }
    }

    fn table(first_page: u64, pages: usize, rows_per_page: u16) -> UnwindTable {
        let mut table = UnwindTable { rules: FIXED.to_vec(), first_page, ..UnwindTable::default() };
        for page in 0..pages {
            table.pages.push((table.rows.len() as u32, rows_per_page));
            for row in 0..rows_per_page {
                let code = if row % 3 == 2 { CODE_STOP } else { 1 + (page as u16 + row) % 500 };
                table.rows.push((row * 3, code));
            }
        }
        table
    }

    fn check(tables: &[UnwindTable]) {
        let (mut pool, mut dictionary) = (Pool::new(64 << 20), Dictionary::new());
        let mut memory = Memory(BTreeMap::new());
        let mut bases = vec![];
        for table in tables {
            let placed = pool.place(table, &mut dictionary).expect("fits");
            memory.0.extend(placed.chunks);
            bases.push(placed.page_base);
        }
        for (table, base) in tables.iter().zip(bases) {
            for (page, (first, count)) in table.pages.iter().enumerate() {
                for row in 0..*count {
                    let (offset, code) = table.rows[*first as usize + row as usize];
                    let at = ((table.first_page + page as u64) << PAGE_BITS) + u64::from(offset);
                    assert_eq!(memory.code(base, at), u32::from(code), "page {page} row {row}");
                    assert_eq!(memory.code(base, at + 2), u32::from(code), "page {page} behind row {row}");
                }
            }
        }
    }

    #[test]
    fn every_row_is_found_again_in_small_and_in_large_tables() {
        check(&[table(3, 1, 1), table(0, 5, 7), table(1000, 40, 600), table(7, 20_000, 2), table(1, 9, 16)]);
    }

    #[test]
    fn a_full_pool_refuses_and_keeps_what_it_has() {
        let (mut pool, mut dictionary) = (Pool::new(8 * CHUNK_BYTES), Dictionary::new());
        assert!(pool.place(&table(0, 10, 10), &mut dictionary).is_ok());
        let before = pool.bytes();
        assert_eq!(pool.place(&table(0, 4_000, 100), &mut dictionary).err(), Some(PoolError::Full));
        assert_eq!(pool.bytes(), before);
        assert!(pool.place(&table(0, 10, 10), &mut dictionary).is_ok());
    }

    #[test]
    fn codes_outside_the_rules_are_refused() {
        let mut bad = table(0, 1, 1);
        bad.rows[0].1 = DICTIONARY | 0x4d;
        assert_eq!(Pool::new(1 << 20).place(&bad, &mut Dictionary::new()).err(), Some(PoolError::Inconsistent));
        bad.rows[0].1 = CODE_FRAME_POINTER;
        bad.pages[0].1 = 2;
        assert_eq!(Pool::new(1 << 20).place(&bad, &mut Dictionary::new()).err(), Some(PoolError::Inconsistent));
    }
}
