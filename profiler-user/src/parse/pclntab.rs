//! Go's own table of functions, `.gopclntab`: entry, name and stack depth at each instruction. It is there in every Go
//! program, stripped or not; Go code has no `.eh_frame`.
//!
//! The layout follows Go's `runtime/symtab.go` and `runtime/runtime2.go` of the versions that use each magic number.

use super::ParseError;
use super::elf::{Elf, Section, text_at};

/// Functions of one table that are looked at.
const MAX_FUNCTIONS: usize = 2 << 20;
/// Bytes of a function's name that are looked at.
const MAX_NAME: usize = 256;

const MAGIC_1_2: u32 = 0xffff_fffb;
const MAGIC_1_16: u32 = 0xffff_fffa;
const MAGIC_1_18: u32 = 0xffff_fff0;
const MAGIC_1_20: u32 = 0xffff_fff1;

const NO_TABLE: ParseError = ParseError::Damaged("no function table of a known Go version");

/// Flags of a function (`internal/abi.FuncFlag`); versions before 1.17 have none.
const FLAG_WRITES_SP: u8 = 2;
const FLAG_ASSEMBLY: u8 = 4;

/// The section that holds the table. Position-independent programs before Go 1.26 have it among the relocated data.
fn section(elf: &Elf) -> Option<&Section> {
    elf.section(".gopclntab").or_else(|| elf.section(".data.rel.ro.gopclntab"))
}

/// Holds Go code.
pub(super) fn is_go(elf: &Elf) -> bool {
    section(elf).is_some() || elf.section(".go.buildinfo").is_some()
}

/// Where a version keeps what.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// Entries are offsets of 4 bytes from the start of the text; before they were addresses of 8 bytes.
    relative: bool,
    /// Position in a function's record.
    pcsp: usize,
    /// Position in a function's record; `None`: it has no flags.
    flags: Option<usize>,
    /// Start of the text as the header has it; 0: it does not say.
    text: u64,
    functions: usize,
    /// Starts of the parts, in the table.
    names: usize,
    pcs: usize,
    records: usize,
    /// The list of entries.
    entries: usize,
}

/// The table of a file.
pub(super) struct Pclntab {
    bytes: Vec<u8>,
    layout: Layout,
}

/// A function. Addresses are relative to the start of the text, or absolute if [`Pclntab::is_relative`] says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Function<'a> {
    pub(super) entry: u64,
    /// Where the next one begins.
    pub(super) end: u64,
    pub(super) name: &'a [u8],
    /// Sets the stack pointer to arbitrary values, which the depth does not follow.
    pub(super) writes_sp: bool,
    /// Written in assembly language.
    pub(super) assembly: bool,
    pcsp: usize,
}

/// From `start` to `end` the stack pointer is `depth` bytes below the return address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) depth: i32,
}

impl Pclntab {
    /// Reads the table of a file that [`is_go`].
    pub(super) fn read(elf: &Elf) -> Result<Self, ParseError> {
        if let Some(section) = section(elf) {
            return Self::new(elf.data(section)?);
        }
        // Where C's linker made a position-independent program, it merged the table with other data.
        let section = elf.section(".data.rel.ro").ok_or(NO_TABLE)?;
        let mut bytes = elf.data(section)?;
        let mut starts = (0..bytes.len()).step_by(8);
        let start = starts.find(|at| bytes.get(*at..).and_then(layout).is_some()).ok_or(NO_TABLE)?;
        bytes.drain(..start);
        Self::new(bytes)
    }

    fn new(bytes: Vec<u8>) -> Result<Self, ParseError> {
        let layout = layout(&bytes).ok_or(NO_TABLE)?;
        Ok(Pclntab { bytes, layout })
    }

    /// Addresses are relative to the start of the text.
    pub(super) fn is_relative(&self) -> bool {
        self.layout.relative
    }

    /// Start of the text by the header, or 0.
    pub(super) fn text(&self) -> u64 {
        self.layout.text
    }

    /// Number of functions.
    pub(super) fn len(&self) -> usize {
        self.layout.functions.min(MAX_FUNCTIONS)
    }

    /// Function `index`; `None` if it is damaged.
    pub(super) fn function(&self, index: usize) -> Option<Function<'_>> {
        let layout = &self.layout;
        let word = |index: usize| -> Option<u64> {
            let at = |size: usize| layout.entries.checked_add(index.checked_mul(size)?);
            if layout.relative { self.u32(at(4)?).map(u64::from) } else { self.u64(at(8)?) }
        };
        let first = index.checked_mul(2)?;
        let (entry, record, end) = (word(first)?, word(first.checked_add(1)?)?, word(first.checked_add(2)?)?);
        let record = layout.records.checked_add(usize::try_from(record).ok()?)?;
        let field = |position: usize| self.u32(record.checked_add(position)?);
        let name = usize::try_from(field(if layout.relative { 4 } else { 8 })?).ok()?;
        let flags = layout.flags.map_or(Some(0), |at| self.bytes.get(record.checked_add(at)?).copied())?;
        let pcsp = usize::try_from(field(layout.pcsp)?).ok()?;
        (entry < end).then_some(Function {
            entry,
            end,
            name: text_at(self.bytes.get(layout.names..).unwrap_or_default(), u32::try_from(name).ok()?, MAX_NAME),
            writes_sp: flags & FLAG_WRITES_SP != 0,
            assembly: flags & FLAG_ASSEMBLY != 0,
            pcsp,
        })
    }

    /// The stack's depth in a function, by ascending address, without gaps, up to where the table ends or makes no sense.
    pub(super) fn depths(&self, function: &Function<'_>) -> Depths<'_> {
        let from = self.layout.pcs.saturating_add(function.pcsp);
        let rest = if function.pcsp == 0 { &[] } else { self.bytes.get(from..).unwrap_or_default() };
        Depths { rest, first: true, at: function.entry, end: function.end, depth: -1 }
    }

    fn u32(&self, at: usize) -> Option<u32> {
        u32_at(&self.bytes, at)
    }

    fn u64(&self, at: usize) -> Option<u64> {
        u64_at(&self.bytes, at)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn layout(bytes: &[u8]) -> Option<Layout> {
    // Behind the magic number: two bytes of zero, size of an instruction step, size of an address.
    let (magic, rest) = (u32_at(bytes, 0)?, u32_at(bytes, 4)?);
    if rest != 0x0801_0000 {
        return None;
    }
    let word = |index: usize| usize::try_from(u64_at(bytes, 8 + 8 * index)?).ok();
    let functions = word(0)?;
    let part = |index: usize| word(index).filter(|at| *at < bytes.len());
    let layout = match magic {
        MAGIC_1_2 => Layout {
            relative: false,
            pcsp: 20,
            flags: None,
            text: 0,
            functions,
            names: 0,
            pcs: 0,
            records: 0,
            entries: 16,
        },
        MAGIC_1_16 => {
            let records = part(6)?;
            let (names, pcs) = (part(2)?, part(5)?);
            Layout {
                relative: false,
                pcsp: 20,
                flags: Some(41),
                text: 0,
                functions,
                names,
                pcs,
                records,
                entries: records,
            }
        }
        MAGIC_1_18 | MAGIC_1_20 => {
            let (text, records) = (u64_at(bytes, 24)?, part(7)?);
            let (names, pcs) = (part(3)?, part(6)?);
            let flags = Some(if magic == MAGIC_1_20 { 41 } else { 37 });
            Layout { relative: true, pcsp: 16, flags, text, functions, names, pcs, records, entries: records }
        }
        _ => return None,
    };
    Some(layout)
}

/// See [`Pclntab::depths`]. Each step ends behind the one before it, so there are no more steps than bytes in the function.
pub(super) struct Depths<'a> {
    rest: &'a [u8],
    first: bool,
    at: u64,
    end: u64,
    depth: i32,
}

impl Iterator for Depths<'_> {
    type Item = Stretch;

    fn next(&mut self) -> Option<Stretch> {
        if self.at >= self.end {
            return None;
        }
        let change = varint(&mut self.rest)?;
        if change == 0 && !self.first {
            return None;
        }
        self.first = false;
        self.depth = self.depth.wrapping_add(((change >> 1) ^ (change & 1).wrapping_neg()).cast_signed());
        let length = u64::from(varint(&mut self.rest)?);
        let start = self.at;
        self.at = start.checked_add(length)?.min(self.end);
        (self.at > start).then_some(Stretch { start, end: self.at, depth: self.depth })
    }
}

/// A number of up to 32 bits in groups of 7, the lowest first.
fn varint(rest: &mut &[u8]) -> Option<u32> {
    let mut value = 0;
    for shift in (0..35).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The parts of a table with two functions, in the layout of a version: `f` (0x10 bytes, depth 0, then 8 from its second
    /// byte on) and `g` without depths.
    fn table(magic: u32) -> Vec<u8> {
        let relative = magic == MAGIC_1_18 || magic == MAGIC_1_20;
        let header = match magic {
            MAGIC_1_2 => 16,
            MAGIC_1_16 => 8 + 7 * 8,
            _ => 8 + 8 * 8,
        };
        let (names, pcs) = (header + 200, header + 210);
        let records = if magic == MAGIC_1_2 { 0 } else { header };
        let mut bytes = vec![0; header + 220];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &magic.to_le_bytes());
        put(4, &[0, 0, 1, 8]);
        let words: &[usize] = match magic {
            MAGIC_1_2 => &[2],
            MAGIC_1_16 => &[2, 0, names, 0, 0, pcs, records],
            _ => &[2, 0, 0x40_1000, names, 0, 0, pcs, records],
        };
        for (i, word) in words.iter().enumerate() {
            put(8 + 8 * i, &(*word as u64).to_le_bytes());
        }
        let record = |i: usize| header + 60 + 60 * i - records;
        for (i, word) in [0x100, record(0), 0x110, record(1), 0x140].into_iter().enumerate() {
            if relative {
                put(header + 4 * i, &(word as u32).to_le_bytes());
            } else {
                put(header + 8 * i, &(word as u64).to_le_bytes());
            }
        }
        let base = if magic == MAGIC_1_2 { (names, pcs) } else { (0, 0) };
        let (name, pcsp) = if relative { (4, 16) } else { (8, 20) };
        for (i, at) in [(0, 0), (1, 1)] {
            put(records + record(i) + name, &((base.0 + 2 * at) as u32).to_le_bytes());
        }
        put(records + record(0) + pcsp, &((base.1 + 1) as u32).to_le_bytes());
        if magic == MAGIC_1_20 {
            put(records + record(1) + 41, &[6]);
        }
        put(names, b"f\0g\0");
        // From -1 by +1 for 1 byte, by +8 for 15 bytes.
        put(pcs + 1, &[2, 1, 16, 15, 0]);
        bytes
    }

    #[test]
    fn each_version_is_read() {
        for magic in [MAGIC_1_2, MAGIC_1_16, MAGIC_1_18, MAGIC_1_20] {
            let table = Pclntab::new(table(magic)).unwrap();
            assert_eq!((table.len(), table.is_relative()), (2, magic == MAGIC_1_18 || magic == MAGIC_1_20));
            assert_eq!(table.text(), if table.is_relative() { 0x40_1000 } else { 0 });
            let (f, g) = (table.function(0).unwrap(), table.function(1).unwrap());
            assert_eq!((f.entry, f.end, f.name, f.assembly), (0x100, 0x110, &b"f"[..], false), "{magic:x}");
            assert_eq!((g.entry, g.end, g.name), (0x110, 0x140, &b"g"[..]));
            assert_eq!((g.writes_sp, g.assembly), (magic == MAGIC_1_20, magic == MAGIC_1_20));
            let depths: Vec<_> = table.depths(&f).map(|d| (d.start, d.end, d.depth)).collect();
            assert_eq!(depths, [(0x100, 0x101, 0), (0x101, 0x110, 8)]);
            assert_eq!(table.depths(&g).count(), 0);
            assert_eq!(table.function(2), None);
        }
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_depths_ascend_and_end(
            magic in prop_oneof![Just(MAGIC_1_2), Just(MAGIC_1_16), Just(MAGIC_1_18), Just(MAGIC_1_20)],
            damage in proptest::collection::vec((0usize..300, any::<u8>()), 0..40),
        ) {
            let mut bytes = table(magic);
            for (at, byte) in damage {
                if let Some(b) = bytes.get_mut(at) { *b = byte; }
            }
            let Ok(table) = Pclntab::new(bytes) else { return Ok(()) };
            for function in (0..table.len().min(1000)).filter_map(|i| table.function(i)) {
                let mut at = function.entry;
                for depth in table.depths(&function) {
                    prop_assert!(depth.start == at && depth.end > at && depth.end <= function.end);
                    at = depth.end;
                }
            }
        }

        #[test]
        fn any_bytes_behind_a_header_are_survived(tail in proptest::collection::vec(any::<u8>(), 0..600)) {
            for magic in [MAGIC_1_2, MAGIC_1_16, MAGIC_1_18, MAGIC_1_20] {
                let mut bytes = magic.to_le_bytes().to_vec();
                bytes.extend([0, 0, 1, 8]);
                bytes.extend(&tail);
                let Ok(table) = Pclntab::new(bytes) else { continue };
                for function in (0..table.len().min(1000)).filter_map(|i| table.function(i)) {
                    table.depths(&function).for_each(drop);
                }
            }
        }
    }
}
