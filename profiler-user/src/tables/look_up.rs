//! Finding rules in the chunks that were given to the kernel, by the search that the kernel side uses.

use super::pool::Image;
use crate::event::FileOffset;
use crate::kernel::{KernelError, TableMaps};
use profiler_ebpf::abi::maps::{CHUNK_WORDS, Chunk, PAGES_PER_CHUNK};
use profiler_ebpf::unwind::rule::PAGE_BITS;
use profiler_ebpf::unwind::table::{PageEntry, Rows, search};
use std::collections::HashMap;

/// Chunks at hand: 4 MiB.
const MAX_CHUNKS: usize = 64;
/// Bytes of them.
pub(super) const CACHE_BYTES: u64 = (MAX_CHUNKS * size_of::<Chunk>()) as u64;

/// Chunks read back from the kernel.
#[derive(Default)]
pub(super) struct ChunkCache(HashMap<u32, Box<Chunk>>);

/// Where chunks are read from.
pub(super) trait Chunks {
    fn read(&self, number: u32) -> Result<Box<Chunk>, KernelError>;
}

impl Chunks for TableMaps {
    fn read(&self, number: u32) -> Result<Box<Chunk>, KernelError> {
        self.read_chunk(number)
    }
}

impl ChunkCache {
    /// A chunk changes: rows were added behind those of earlier files.
    pub(super) fn forget(&mut self, number: u32) {
        self.0.remove(&number);
    }

    /// A whole table of so many pages as it lies in chunks; `None` if what is read is none.
    pub(super) fn image(&mut self, chunks: &impl Chunks, page_base: u32, first_page: u32, pages: u32) -> Option<Image> {
        let page = |page| {
            let entry = self.entry(chunks, page_base.wrapping_add(page))?;
            let rows = self.chunk(chunks, entry.chunk())?;
            let from = usize::try_from(entry.first()).ok()?;
            Some(rows.0.get(from..from + usize::try_from(entry.count()).ok()?)?.to_vec())
        };
        let pages = (first_page..first_page.checked_add(pages)?).map(page).collect::<Option<_>>()?;
        Some(Image { first_page, pages })
    }

    /// Code in force at an offset of the file whose table begins at `page_base`.
    pub(super) fn look_up(&mut self, chunks: &impl Chunks, page_base: u32, offset: FileOffset) -> Option<u16> {
        // As on the kernel side the sum wraps: the base of a file whose first page is not its table's first is "negative".
        let page = page_base.wrapping_add(u32::try_from(offset.0 >> PAGE_BITS).ok()?);
        let entry = self.entry(chunks, page)?;
        let rows = self.chunk(chunks, entry.chunk())?;
        u16::try_from(search(&ChunkRows(rows), entry, offset.0)).ok()
    }

    fn entry(&mut self, chunks: &impl Chunks, page: u32) -> Option<PageEntry> {
        let pages = self.chunk(chunks, page / PAGES_PER_CHUNK)?;
        let at = (page % PAGES_PER_CHUNK) as usize * 2;
        let (low, high) = (*pages.0.get(at)?, *pages.0.get(at + 1)?);
        Some(PageEntry(u64::from(low) | u64::from(high) << 32))
    }

    fn chunk(&mut self, chunks: &impl Chunks, number: u32) -> Option<&Chunk> {
        if !self.0.contains_key(&number) {
            if self.0.len() >= MAX_CHUNKS {
                self.0.clear();
            }
            let read = chunks.read(number);
            let read =
                read.inspect_err(|error| tracing::debug!(%error, number, "cannot read an unwind table back")).ok()?;
            self.0.insert(number, read);
        }
        self.0.get(&number).map(AsRef::as_ref)
    }
}

struct ChunkRows<'a>(&'a Chunk);

impl Rows for ChunkRows<'_> {
    fn row(&self, index: u64) -> u32 {
        // Any row serves outside of the chunk.
        let index = usize::try_from(index).unwrap_or(0) % CHUNK_WORDS;
        self.0.0.get(index).copied().unwrap_or(0)
    }
}
