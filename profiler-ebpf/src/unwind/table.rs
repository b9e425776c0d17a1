//! Finding the rule in force at an offset: page entry, then a branch-free search in the page's rows.

use super::bits::ones_if_negative;
use super::rule::PAGE_BITS;

/// Rows of one chunk.
pub trait Rows {
    /// Row `index` of the chunk: offset in its page | code << 16. Any index is allowed; outside the chunk it is any row.
    fn row(&self, index: u64) -> u32;
}

/// A page entry: chunk number (32 bits) | first row (16) | rows (16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageEntry(pub u64);

impl PageEntry {
    /// Builds an entry. `first` and `count` are below 65,536.
    pub const fn new(chunk: u32, first: u16, count: u16) -> Self {
        PageEntry(chunk as u64 | (first as u64) << 32 | (count as u64) << 48)
    }

    /// Chunk that holds the rows.
    #[inline(always)]
    pub const fn chunk(self) -> u32 {
        self.0 as u32
    }

    /// First row of the page in that chunk.
    #[inline(always)]
    pub const fn first(self) -> u64 {
        (self.0 >> 32) & 0xffff
    }

    /// Rows of the page.
    #[inline(always)]
    pub const fn count(self) -> u64 {
        self.0 >> 48
    }
}

/// Code in force at `offset` (of the file; only its low [`PAGE_BITS`] count) among the page's rows.
///
/// The verifier sees one path: the search doubles down from a power of two above the count, and each step is arithmetic.
#[inline(always)]
pub fn search<R: Rows>(rows: &R, entry: PageEntry, offset: u64) -> u32 {
    let (first, count) = (entry.first(), entry.count() as i64);
    let wanted = (offset & ((1 << PAGE_BITS) - 1)) as i64;
    let mut low: u64 = 0;
    let mut step: u64 = 1 << (PAGE_BITS - 1);
    if count <= 8 {
        step = 4;
    } else if count <= 16 {
        step = 8;
    } else if count <= 64 {
        step = 32;
    }
    while step != 0 {
        let probe = low | step;
        let at = i64::from(rows.row(first + probe) & 0xffff);
        low |= step & ones_if_negative(probe as i64 - count) & ones_if_negative(at - wanted - 1);
        step >>= 1;
    }
    rows.row(first + low) >> 16
}
