//! Tests of the layout: every row is found again, also where others lay before.
#![allow(clippy::cast_possible_truncation, reason = "small numbers of a test")]

use super::*;
use crate::event::Pid;
use crate::kernel::KernelError;
use crate::tables::look_up::{self, ChunkCache};
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

impl look_up::Chunks for Memory {
    fn read(&self, number: u32) -> Result<Box<Chunk>, KernelError> {
        self.0.get(&number).cloned().ok_or(KernelError::Missing("POOL"))
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
        let placed = pool.place(owner(1), table, &mut dictionary).expect("fits");
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

const MIB: u64 = 1 << 20;

fn owner(file: u32) -> Owner {
    Owner { file: FileNumber(file), process: Pid(file / 100) }
}

#[test]
fn a_full_pool_refuses_and_keeps_what_it_has() {
    let (mut pool, mut dictionary) = (Pool::new(MIB), Dictionary::new());
    assert!(pool.place(owner(1), &table(0, 10, 10), &mut dictionary).is_ok());
    let before = pool.bytes();
    assert_eq!(pool.place(owner(2), &table(0, 4_000, 100), &mut dictionary).err(), Some(PoolError::Full));
    assert_eq!(pool.bytes(), before);
    assert!(pool.place(owner(3), &table(0, 10, 10), &mut dictionary).is_ok());
}

#[test]
fn codes_outside_the_rules_are_refused() {
    let mut bad = table(0, 1, 1);
    bad.rows[0].1 = DICTIONARY | 0x4d;
    let place = |bad: &UnwindTable| Pool::new(MIB).place(owner(1), bad, &mut Dictionary::new()).err();
    assert_eq!(place(&bad), Some(PoolError::Inconsistent));
    bad.rows[0].1 = CODE_FRAME_POINTER;
    bad.pages[0].1 = 2;
    assert_eq!(place(&bad), Some(PoolError::Inconsistent));
}

/// A pool with the kernel's view of it, as the publisher works with it.
struct Bench {
    pool: Pool,
    dictionary: Dictionary,
    memory: Memory,
    uses: Uses,
    /// Milliseconds.
    now: u64,
    evicted: Vec<(FileNumber, Eviction)>,
    /// Base, first page and pages of each file.
    bases: BTreeMap<FileNumber, (u32, u32, u32)>,
    moved: Vec<FileNumber>,
}

impl Bench {
    fn new(bytes: u64) -> Bench {
        let (memory, uses) = (Memory(BTreeMap::new()), Uses::default());
        let (pool, dictionary) = (Pool::new(bytes), Dictionary::new());
        let (evicted, bases, moved) = (vec![], BTreeMap::new(), vec![]);
        Bench { pool, dictionary, memory, uses, now: 1_000_000, evicted, bases, moved }
    }

    /// Moves what lies scattered; true if there was something.
    fn gather(&mut self) -> bool {
        let before = self.moved.len();
        while let Some(files) = self.pool.scattered() {
            for owner in files {
                let (base, first_page, pages) = self.bases[&owner.file];
                let image = ChunkCache::default().image(&self.memory, base, first_page, pages).expect("it lies there");
                let Ok(laid) = self.pool.relocate(owner, &image) else { return self.moved.len() > before };
                self.memory.0.extend(laid.chunks);
                self.bases.insert(owner.file, (laid.page_base, first_page, pages));
                self.moved.push(owner.file);
            }
        }
        self.moved.len() > before
    }

    /// The base of the table's pages; others go or are moved for it.
    fn place(&mut self, owner: Owner, table: &UnwindTable) -> Result<u32, PoolError> {
        self.uses.touch(owner.file, self.now);
        loop {
            match self.pool.place(owner, table, &mut self.dictionary) {
                Err(PoolError::Full) => {}
                other => {
                    let laid = other?;
                    self.memory.0.extend(laid.chunks);
                    let place = (laid.page_base, table.first_page as u32, table.pages.len() as u32);
                    self.bases.insert(owner.file, place);
                    return Ok(laid.page_base);
                }
            }
            let victims = self.pool.victims(owner, table, &self.uses, self.now);
            if victims.is_empty() && !self.gather() && !self.pool.has_left() {
                return Err(PoolError::Full);
            }
            for (file, _) in &victims {
                self.pool.remove(*file);
            }
            // What is free from now on is written anew: walks that rely on what lay there go astray.
            self.pool.drained();
            self.evicted.extend(victims);
        }
    }

    fn assert_whole(&self, base: u32, table: &UnwindTable) {
        for (page, (first, count)) in table.pages.iter().enumerate() {
            for (offset, code) in &table.rows[*first as usize..][..usize::from(*count)] {
                let at = ((table.first_page + page as u64) << PAGE_BITS) + u64::from(*offset);
                assert_eq!(self.memory.code(base, at), u32::from(*code), "page {page}");
            }
        }
    }
}

#[test]
fn the_longest_unused_go_and_those_in_use_stay_whole() {
    let mut bench = Bench::new(2 * MIB);
    let kept = table(5, 30, 100);
    let base = bench.place(owner(1), &kept).expect("an empty pool");
    for file in 2..400 {
        bench.now += 1_000;
        bench.uses.touch(FileNumber(1), bench.now);
        // Each of its own process, which holds less than its part.
        let owner = Owner { file: FileNumber(file), process: Pid(file) };
        bench.place(owner, &table(0, 20 + file as usize % 40, 200)).expect("others go");
    }
    bench.assert_whole(base, &kept);
    let order: Vec<u32> = bench.evicted.iter().map(|(file, _)| file.0).collect();
    assert!(order.len() > 250 && !order.contains(&1), "{order:?}");
    // Chunks hold several files, so the order is that of the chunks.
    assert!(order.windows(2).all(|pair| pair[1] + 8 > pair[0]), "{order:?}");
    assert!(bench.evicted.iter().all(|(_, why)| *why == Eviction::TableBudget));
}

#[test]
fn what_is_all_in_use_makes_no_room() {
    let mut bench = Bench::new(MIB);
    let (mut file, mut placed) = (1, 0);
    let result = loop {
        let owner = Owner { file: FileNumber(file), process: Pid(file) };
        match bench.place(owner, &table(0, 40, 300)) {
            Ok(_) => placed += 1,
            Err(error) => break error,
        }
        file += 1;
    };
    assert_eq!((result, bench.evicted.len()), (PoolError::Full, 0));
    assert!(placed >= 9, "{placed} tables of about a chunk each fit into 16, of which 5 are for what is moved");
    bench.now += 60_000;
    assert!(bench.place(Owner { file: FileNumber(file), process: Pid(file) }, &table(0, 40, 300)).is_ok());
}

#[test]
fn what_a_process_holds_beyond_its_part_goes_before_what_others_hold() {
    let mut bench = Bench::new(4 * MIB);
    let old = table(0, 100, 100);
    let bases: Vec<u32> = (1..=20)
        .map(|file| bench.place(Owner { file: FileNumber(file), process: Pid(file) }, &old).expect("an empty pool"))
        .collect();
    // All of it is used less lately than anything of the greedy one.
    bench.now += 100_000;
    for file in 1_000..2_000 {
        let greedy = Owner { file: FileNumber(file), process: Pid(99) };
        bench.place(greedy, &table(0, 60, 100)).expect("its own go");
    }
    assert!(bench.evicted.iter().all(|(file, why)| file.0 >= 1_000 && *why == Eviction::Share));
    for base in bases {
        bench.assert_whole(base, &old);
    }
}

#[test]
fn a_program_that_all_stacks_lead_through_stays_among_the_many_files_of_its_process() {
    let mut bench = Bench::new(4 * MIB);
    let of_one = |file| Owner { file: FileNumber(file), process: Pid(7) };
    let (program, table) = (of_one(1), table(0, 60, 100));
    let base = bench.place(program, &table).expect("an empty pool");
    // All of them within a second; the pool holds about 150.
    for file in 2..320 {
        bench.now += 3;
        bench.place(of_one(file), &table).expect("its own go");
        bench.uses.touch(program.file, bench.now);
    }
    assert!(bench.evicted.len() > 100, "{:?}", bench.evicted);
    assert!(bench.evicted.iter().all(|(file, why)| *file != program.file && *why == Eviction::Share));
    bench.assert_whole(base, &table);
}

#[test]
fn what_is_in_use_and_lies_scattered_is_moved_together() {
    let mut bench = Bench::new(2 * MIB);
    // Each chunk of rows has one file that stays in use and one that does not.
    let kept = table(3, 10, 200);
    for file in 1..=50 {
        let owner = Owner { file: FileNumber(file), process: Pid(file) };
        bench.place(owner, &if file % 2 == 0 { kept.clone() } else { table(0, 10, 1_300) }).expect("it fits");
    }
    bench.now += 100_000;
    (2..=50).step_by(2).for_each(|file| bench.uses.touch(FileNumber(file), bench.now));
    for file in (1..=50).step_by(2) {
        bench.pool.remove(FileNumber(file));
    }
    for file in 100..112 {
        let owner = Owner { file: FileNumber(file), process: Pid(file) };
        bench.place(owner, &table(0, 20, 700)).expect("chunks that are mostly empty make room");
    }
    assert!(bench.moved.len() >= 10 && bench.evicted.is_empty(), "{:?} {:?}", bench.moved, bench.evicted);
    for file in (2..=50).step_by(2) {
        bench.assert_whole(bench.bases[&FileNumber(file)].0, &kept);
    }
}

#[test]
fn a_table_of_many_pages_finds_chunks_in_a_row() {
    let mut bench = Bench::new(2 * MIB);
    for file in 1..=50 {
        let owner = Owner { file: FileNumber(file), process: Pid(file) };
        bench.place(owner, &table(0, 40, 200)).expect("it fits");
    }
    bench.now += 100_000;
    let large = table(0, 40_000, 2);
    let base = bench.place(Owner { file: FileNumber(99), process: Pid(99) }, &large).expect("others go");
    bench.assert_whole(base, &large);
}

#[test]
fn a_table_that_is_larger_than_the_pool_makes_nobody_go() {
    let mut bench = Bench::new(MIB);
    bench.place(owner(1), &table(0, 10, 10)).expect("it fits");
    bench.now += 100_000;
    assert_eq!(bench.place(owner(2), &table(0, 4_000, 100)).err(), Some(PoolError::Full));
    assert!(bench.evicted.is_empty());
}
