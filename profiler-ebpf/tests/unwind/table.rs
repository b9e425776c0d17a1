//! The branch-free search finds what a plain one finds.

use crate::fake::Chunk;
use profiler_ebpf::abi::maps::CHUNK_WORDS;
use profiler_ebpf::unwind::rule::PAGE_BITS;
use profiler_ebpf::unwind::table::{PageEntry, search};
use proptest::prelude::*;

const PAGE_BYTES: u32 = 1 << PAGE_BITS;

/// The last row at or below the offset; the first one if all lie above.
fn naive(rows: &[u32], offset: u64) -> u32 {
    let wanted = (offset % u64::from(PAGE_BYTES)) as u32;
    let row = rows.iter().rev().find(|row| **row & 0xffff <= wanted).unwrap_or(&rows[0]);
    row >> 16
}

/// Rows of one page among foreign ones, at `first` of a chunk.
fn check(rows: &[u32], first: usize, foreign: u32, offsets: impl Iterator<Item = u64>) {
    let mut chunk = Chunk(vec![foreign; CHUNK_WORDS]);
    chunk.0[first..first + rows.len()].copy_from_slice(rows);
    let entry = PageEntry::new(7, first as u16, rows.len() as u16);
    for offset in offsets {
        assert_eq!(search(&chunk, entry, offset), naive(rows, offset), "{} rows, offset {offset}", rows.len());
    }
}

fn row(offset: u32, code: u32) -> u32 {
    offset | code << 16
}

#[test]
fn a_page_entry_gives_back_its_parts() {
    for (chunk, first, count) in [(0, 0, 0), (u32::MAX, u16::MAX, u16::MAX), (65_535, 16_383, 2_048), (1, 0, 1)] {
        let entry = PageEntry::new(chunk, first, count);
        assert_eq!((entry.chunk(), entry.first(), entry.count()), (chunk, u64::from(first), u64::from(count)));
    }
}

#[test]
fn numbers_of_rows_at_which_the_search_begins_elsewhere() {
    for count in [1, 2, 7, 8, 9, 15, 16, 17, 63, 64, 65, 1_023, 1_024, 1_025, 2_047, 2_048] {
        let stride = PAGE_BYTES / count;
        let rows: Vec<u32> = (0..count).map(|i| row(i * stride, i + 1)).collect();
        // Foreign rows that would win if they were looked at.
        for foreign in [row(0, 0xffff), row(PAGE_BYTES - 1, 0xffff)] {
            check(&rows, 100, foreign, 0..u64::from(PAGE_BYTES));
            check(&rows, CHUNK_WORDS - rows.len(), foreign, 0..u64::from(PAGE_BYTES));
        }
    }
}

#[test]
fn only_the_offset_in_the_page_counts() {
    check(&[row(0, 1), row(8, 2)], 0, 0, [8 + (5 << PAGE_BITS), (u64::MAX << PAGE_BITS) + 7].into_iter());
}

proptest! {
    #[test]
    fn any_sorted_rows(
        mut offsets in prop::collection::vec(0..PAGE_BYTES, 1..300),
        first in 0..CHUNK_WORDS - 300,
        foreign: u32,
        wanted in prop::collection::vec(any::<u64>(), 32),
    ) {
        offsets.sort_unstable();
        let rows: Vec<u32> = offsets.iter().zip(1..).map(|(offset, code)| row(*offset, code)).collect();
        check(&rows, first, foreign, wanted.into_iter());
    }

    #[test]
    fn any_rows_and_entry_give_an_answer(rows in prop::collection::vec(any::<u32>(), 0..64), entry: u64, offset: u64) {
        prop_assert!(search(&Chunk(rows), PageEntry(entry), offset) <= 0xffff);
    }
}
