//! The symbol table: functions of `.symtab` and `.dynsym` in one list, sorted by address.

use super::ParseError;
use super::elf::{Elf, Section, table, text_at};
use crate::worker::api::Segment;
use object::LittleEndian as LE;
use object::elf::{
    SHN_LORESERVE, SHN_UNDEF, SHT_DYNSYM, SHT_SYMTAB, STB_LOCAL, STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE, Sym64,
};
use std::cmp::Reverse;

/// Symbols of one table that are looked at.
const MAX_SYMBOLS: u64 = 4 << 20;
/// Bytes of a name that are kept.
pub const MAX_NAME: usize = 4_096;
/// Symbols behind the nearest one that are asked whether they reach an address (functions nest at most a little).
const LOOK_BACK: usize = 16;

/// A function of the symbol table.
#[derive(Clone, Copy, Debug)]
struct Entry {
    address: u64,
    end: u64,
    name: u32,
    table: u8,
    rank: u8,
}

/// The functions of a file, by address.
#[derive(Default)]
pub struct Symbols {
    entries: Vec<Entry>,
    strings: Vec<Vec<u8>>,
}

/// A symbol that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// Its name as in the file.
    pub name: &'a [u8],
    /// Address as linked.
    pub address: u64,
    /// First address behind it.
    pub end: u64,
}

impl Symbols {
    /// Reads the tables of a file and of others that describe it. A table that is damaged is as good as none.
    pub fn read(file: &Elf, others: &[&Elf]) -> Self {
        let mut symbols = Symbols::default();
        let segments = file.executable();
        for elf in [&[file], others].concat() {
            for kind in [SHT_SYMTAB, SHT_DYNSYM] {
                if let Some(section) = elf.sections().iter().find(|s| s.kind == kind) {
                    // What cannot be read has no names; another table may still have some.
                    let _damaged = symbols.add(elf, section, &segments).is_err();
                }
            }
        }
        symbols.settle();
        symbols
    }

    /// The function that covers an address.
    pub fn find(&self, address: u64) -> Option<Symbol<'_>> {
        let behind = self.entries.partition_point(|e| e.address <= address);
        let before = self.entries.get(..behind)?;
        before.iter().rev().take(LOOK_BACK).find(|e| e.end > address).map(|e| self.symbol(e))
    }

    /// All functions, by address.
    pub fn iter(&self) -> impl Iterator<Item = Symbol<'_>> {
        self.entries.iter().map(|e| self.symbol(e))
    }

    fn symbol(&self, entry: &Entry) -> Symbol<'_> {
        Symbol { name: self.name(entry), address: entry.address, end: entry.end }
    }

    fn name(&self, entry: &Entry) -> &[u8] {
        self.strings.get(usize::from(entry.table)).map_or(&[], |s| text_at(s, entry.name, MAX_NAME))
    }

    fn add(&mut self, elf: &Elf, section: &Section, segments: &[Segment]) -> Result<(), ParseError> {
        const SIZE: u64 = size_of::<Sym64<LE>>() as u64;
        let count = (section.size / SIZE).min(MAX_SYMBOLS);
        let linked = elf.sections().get(section.link as usize);
        let strings = elf.data(linked.ok_or(ParseError::Damaged("a symbol table without names"))?)?;
        let bytes = elf.source().read("a symbol table", section.offset, count * SIZE)?;
        let number = u8::try_from(self.strings.len()).unwrap_or(u8::MAX);
        for symbol in table::<Sym64<LE>>(&bytes, usize::try_from(count).unwrap_or(0)) {
            let address = symbol.st_value.get(LE);
            let holds = |s: &&Segment| address.checked_sub(s.address).is_some_and(|at| at < s.size);
            if let (Some(rank), Some(segment)) = (rank(symbol, &strings), segments.iter().find(holds)) {
                let limit = match symbol.st_size.get(LE) {
                    0 => section_end(elf, symbol, address),
                    size => address.saturating_add(size),
                };
                let end = limit.min(segment.address.saturating_add(segment.size));
                self.entries.push(Entry { address, end, name: symbol.st_name.get(LE), table: number, rank });
            }
        }
        elf.source().release(count * SIZE);
        self.strings.push(strings);
        Ok(())
    }

    /// One symbol an address; symbols without a size end where the next begins and do not cut a symbol that has one.
    fn settle(&mut self) {
        let mut entries = std::mem::take(&mut self.entries);
        entries.sort_by_key(|e| (e.address, Reverse(e.rank), e.table));
        entries.dedup_by_key(|e| e.address);
        let mut sized_end = 0;
        entries.retain(|e| {
            let sized = e.rank & SIZED != 0;
            if sized {
                sized_end = sized_end.max(e.end);
            }
            sized || (e.address >= sized_end && e.end > e.address)
        });
        let mut next = u64::MAX;
        for entry in entries.iter_mut().rev() {
            if entry.rank & SIZED == 0 {
                entry.end = entry.end.min(next);
            }
            next = entry.address;
        }
        entries.shrink_to_fit();
        self.entries = entries;
    }
}

const SIZED: u8 = 0x80;
const FUNCTION: u8 = 0x40;
const NOT_LOCAL: u8 = 0x20;
/// The number fits below these bits.
const MAX_UNDERSCORES: usize = 15;

/// How good a name is among several of one address: has a size, is a function, is visible outside, few underscores
/// (`write`, not `__libc_write`). `None` if it names no code of this file.
fn rank(symbol: &Sym64<LE>, strings: &[u8]) -> Option<u8> {
    let (section, kind) = (symbol.st_shndx.get(LE), symbol.st_info & 0xf);
    // Names can be one in the other: more of each than what is looked at would be read without end.
    let name = text_at(strings, symbol.st_name.get(LE), MAX_UNDERSCORES + 1);
    let code = matches!(kind, STT_FUNC | STT_GNU_IFUNC | STT_NOTYPE);
    if !code || section == SHN_UNDEF || name.is_empty() || (kind == STT_NOTYPE && section >= SHN_LORESERVE) {
        return None;
    }
    let sized = if symbol.st_size.get(LE) != 0 { SIZED } else { 0 };
    let function = if kind == STT_NOTYPE { 0 } else { FUNCTION };
    let visible = if symbol.st_info >> 4 == STB_LOCAL { 0 } else { NOT_LOCAL };
    let underscores = name.iter().take(MAX_UNDERSCORES).take_while(|b| **b == b'_').count();
    Some(sized | function | visible | u8::try_from(MAX_UNDERSCORES - underscores).unwrap_or(0))
}

fn section_end(elf: &Elf, symbol: &Sym64<LE>, address: u64) -> u64 {
    match elf.sections().get(usize::from(symbol.st_shndx.get(LE))) {
        Some(section) if section.address <= address => section.address.saturating_add(section.size),
        _ => u64::MAX,
    }
}
