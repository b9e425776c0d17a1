//! Go's own table of functions, `.gopclntab`: entry and name, stack depth, source line and inlined call at each instruction.
//! It is there in every Go program, stripped or not; Go code has no `.eh_frame`.
//!
//! The layout follows Go's `runtime/symtab.go` and `runtime/runtime2.go` of the versions that use each magic number.

use super::ParseError;
use super::elf::{Elf, Section, read_u32, read_u64, text_at};
use super::symbols::MAX_NAME;

/// Functions of one table that are looked at.
const MAX_FUNCTIONS: usize = 2 << 20;
/// Steps of one function's table that are taken to a value.
const MAX_STEPS: usize = 1 << 20;

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
    section(elf).is_some() || [".go.buildinfo", ".note.go.buildid"].iter().any(|name| elf.section(name).is_some())
}

/// Where a version has the fields of a function's record.
#[derive(Clone, Copy, Debug)]
struct Record {
    name: usize,
    /// Followed by those of files, lines and the number of further tables, then by where the files of its package begin.
    pcsp: usize,
    start_line: Option<usize>,
    kind: Option<usize>,
    flags: Option<usize>,
    /// Behind it are the offsets of the further tables, then those of data that belongs to the function.
    size: usize,
}

impl Record {
    const OLD: Record = Record { name: 8, pcsp: 20, start_line: None, kind: None, flags: None, size: 40 };
    const V1_16: Record = Record { kind: Some(40), flags: Some(41), size: 44, ..Record::OLD };
    const V1_18: Record = Record { name: 4, pcsp: 16, start_line: None, kind: Some(36), flags: Some(37), size: 40 };
    const V1_20: Record = Record { start_line: Some(36), kind: Some(40), flags: Some(41), size: 44, ..Record::V1_18 };
}

/// Where a version keeps what.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// Entries are offsets of 4 bytes from the start of the text; before they were addresses of 8 bytes.
    relative: bool,
    record: Record,
    /// Start of the text as the header has it; 0: it does not say.
    text: u64,
    functions: usize,
    /// Starts of the parts, in the table.
    names: usize,
    /// Lists of the files of each package, and their names; `None`: an older form, which is not read.
    files: Option<(usize, usize)>,
    pcs: usize,
    records: usize,
    /// The list of entries.
    entries: usize,
}

/// The table of a file.
pub(super) struct Pclntab {
    address: u64,
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
    /// First line, or 0.
    pub(super) start_line: u32,
    /// 0, or what the runtime has to know it for. The numbers differ by version.
    pub(super) kind: u8,
    /// Where its record is.
    record: usize,
    pcsp: usize,
}

/// Where the inlined calls of a function are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InlineTree {
    /// From the start of the data that belongs to functions.
    pub(super) offset: u32,
    /// Which of them an instruction belongs to.
    pcs: usize,
}

/// From `start` to `end` the stack pointer is `depth` bytes below the return address (in other tables: a value is this).
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
            return Self::new(section.address, elf.data(section)?);
        }
        // Where C's linker made a position-independent program, it merged the table with other data.
        let section = elf.section(".data.rel.ro").ok_or(NO_TABLE)?;
        let mut bytes = elf.data(section)?;
        let mut starts = (0..bytes.len()).step_by(8);
        let start = starts.find(|at| bytes.get(*at..).and_then(layout).is_some()).ok_or(NO_TABLE)?;
        bytes.drain(..start);
        bytes.shrink_to_fit();
        elf.source().release(start as u64);
        Self::new(section.address.saturating_add(start as u64), bytes)
    }

    fn new(address: u64, bytes: Vec<u8>) -> Result<Self, ParseError> {
        let layout = layout(&bytes).ok_or(NO_TABLE)?;
        Ok(Pclntab { address, bytes, layout })
    }

    /// Its address as linked, and that of the names in it.
    pub(super) fn addresses(&self) -> (u64, u64) {
        (self.address, self.address.saturating_add(self.layout.names as u64))
    }

    /// It says in which line each function begins: since Go 1.20.
    pub(super) fn has_start_lines(&self) -> bool {
        self.layout.record.start_line.is_some()
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
        self.layout.functions
    }

    /// Function `index`; `None` if it is damaged.
    pub(super) fn function(&self, index: usize) -> Option<Function<'_>> {
        let (layout, first) = (&self.layout, index.checked_mul(2)?);
        let (entry, end) = (self.entry(index)?, self.entry(index.checked_add(1)?)?);
        let at = layout.records.checked_add(usize::try_from(self.word(first.checked_add(1)?)?).ok()?)?;
        let field = |position: usize| self.field(at, position);
        let byte = |position: usize| self.bytes.get(at.checked_add(position)?).copied();
        let flags = layout.record.flags.map_or(Some(0), byte)?;
        (entry < end).then_some(Function {
            entry,
            end,
            name: self.name(field(layout.record.name)?),
            writes_sp: flags & FLAG_WRITES_SP != 0,
            assembly: flags & FLAG_ASSEMBLY != 0,
            start_line: layout.record.start_line.map_or(Some(0), field)?,
            kind: layout.record.kind.map_or(Some(0), byte)?,
            record: at,
            pcsp: usize::try_from(field(layout.record.pcsp)?).ok()?,
        })
    }

    /// The function that covers an address.
    pub(super) fn find(&self, address: u64) -> Option<Function<'_>> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.entry(middle)? <= address { low = middle + 1 } else { high = middle }
        }
        self.function(low.checked_sub(1)?).filter(|function| function.entry <= address && address < function.end)
    }

    /// The stack's depth in a function, by ascending address, without gaps, up to where the table ends or makes no sense.
    pub(super) fn depths(&self, function: &Function<'_>) -> impl Iterator<Item = Stretch> {
        self.steps(function, function.pcsp)
    }

    /// A function has source lines, be it not at every address: the alignment behind it has none.
    pub(super) fn has_lines(&self, function: &Function<'_>) -> bool {
        let position = self.layout.files.and_then(|_| self.layout.record.pcsp.checked_add(8));
        position.and_then(|position| self.field(function.record, position)).is_some_and(|lines| lines != 0)
    }

    /// Source file and line of an address in a function; `None`: not written in Go, alignment, or damaged.
    pub(super) fn line(&self, function: &Function<'_>, address: u64) -> Option<(&[u8], u32)> {
        let (lists, names) = self.layout.files?;
        let field = |position: usize| self.field(function.record, self.layout.record.pcsp.checked_add(position)?);
        let table = |position: usize| usize::try_from(field(position)?).ok();
        let line = u32::try_from(self.value(function, table(8)?, address)?).ok()?;
        let file = u32::try_from(self.value(function, table(4)?, address)?).ok()?;
        let entry = usize::try_from(field(16)?.checked_add(file)?).ok()?.checked_mul(4)?;
        let name = read_u32(&self.bytes, lists.checked_add(entry)?)?;
        Some((text_at(self.bytes.get(names..)?, name, MAX_NAME), line))
    }

    /// The inlined calls of a function; `None`: it has none, or damaged.
    pub(super) fn inline_tree(&self, function: &Function<'_>) -> Option<InlineTree> {
        const PCS: usize = 2;
        const DATA: usize = 3;
        let record = &self.layout.record;
        let field = |position: usize| self.field(function.record, position);
        let tables = usize::try_from(field(record.pcsp.checked_add(12)?)?).ok()?;
        let count = *self.bytes.get(function.record.checked_add(record.size)?.checked_sub(1)?)?;
        if !self.layout.relative || tables <= PCS || usize::from(count) <= DATA {
            return None;
        }
        let slot = |index: usize| field(record.size.checked_add(index.checked_mul(4)?)?);
        let offset = slot(tables.checked_add(DATA)?).filter(|offset| *offset != u32::MAX)?;
        let pcs = usize::try_from(slot(PCS)?).ok().filter(|pcs| *pcs != 0)?;
        Some(InlineTree { offset, pcs })
    }

    /// The inlined call that an address in a function belongs to; `None`: to the function itself.
    pub(super) fn inlined(&self, function: &Function<'_>, tree: InlineTree, address: u64) -> Option<u32> {
        u32::try_from(self.value(function, tree.pcs, address)?).ok()
    }

    /// A name by its offset.
    pub(super) fn name(&self, offset: u32) -> &[u8] {
        text_at(self.bytes.get(self.layout.names..).unwrap_or_default(), offset, MAX_NAME)
    }

    /// A name begins at this offset.
    pub(super) fn is_name(&self, offset: u32) -> bool {
        let before = self.layout.names.checked_add(offset as usize).and_then(|at| at.checked_sub(1));
        let begins = offset == 0 || before.and_then(|at| self.bytes.get(at)) == Some(&0);
        begins && !self.name(offset).is_empty()
    }

    /// What a table of a function says of an address.
    fn value(&self, function: &Function<'_>, table: usize, address: u64) -> Option<i32> {
        let mut steps = self.steps(function, table).take(MAX_STEPS);
        steps.find(|step| address < step.end).map(|step| step.depth)
    }

    fn steps(&self, function: &Function<'_>, table: usize) -> Steps<'_> {
        let from = self.layout.pcs.saturating_add(table);
        let rest = if table == 0 { &[] } else { self.bytes.get(from..).unwrap_or_default() };
        Steps { rest, first: true, at: function.entry, end: function.end, value: -1 }
    }

    /// Where function `index` begins.
    fn entry(&self, index: usize) -> Option<u64> {
        self.word(index.checked_mul(2)?)
    }

    /// Word `index` of the list of entries: address and record by turns.
    fn word(&self, index: usize) -> Option<u64> {
        let at = |size: usize| self.layout.entries.checked_add(index.checked_mul(size)?);
        if self.layout.relative { read_u32(&self.bytes, at(4)?).map(u64::from) } else { read_u64(&self.bytes, at(8)?) }
    }

    fn field(&self, record: usize, position: usize) -> Option<u32> {
        read_u32(&self.bytes, record.checked_add(position)?)
    }
}

fn layout(bytes: &[u8]) -> Option<Layout> {
    // Behind the magic number: two bytes of zero, size of an instruction step, size of an address.
    let (magic, rest) = (read_u32(bytes, 0)?, read_u32(bytes, 4)?);
    if rest != 0x0801_0000 {
        return None;
    }
    let word = |index: usize| usize::try_from(read_u64(bytes, 8 + 8 * index)?).ok();
    let functions = word(0)?;
    let part = |index: usize| word(index).filter(|at| *at < bytes.len());
    // Names, lists of files, files, tables by address, records, one behind the other.
    let parts = |first: usize| {
        let (names, files) = (part(first)?, (part(first + 1)?, part(first + 2)?));
        Some((names, Some(files), part(first + 3)?, part(first + 4)?))
    };
    let (record, text, entries, (names, files, pcs, records)) = match magic {
        MAGIC_1_2 => (Record::OLD, 0, Some(16), (0, None, 0, 0)),
        MAGIC_1_16 => (Record::V1_16, 0, None, parts(2)?),
        MAGIC_1_18 => (Record::V1_18, read_u64(bytes, 24)?, None, parts(3)?),
        MAGIC_1_20 => (Record::V1_20, read_u64(bytes, 24)?, None, parts(3)?),
        _ => return None,
    };
    let (relative, entries) = (record.name == 4, entries.unwrap_or(records));
    // What the header claims costs nothing: a table of a few bytes has no millions of functions that are looked for in vain.
    let room = bytes.len().saturating_sub(entries) / if relative { 8 } else { 16 };
    let functions = functions.min(room).min(MAX_FUNCTIONS);
    Some(Layout { relative, record, text, functions, names, files, pcs, records, entries })
}

/// A table by address. Each step ends behind the one before it, so there are no more steps than bytes in the function.
pub(super) struct Steps<'a> {
    rest: &'a [u8],
    first: bool,
    at: u64,
    end: u64,
    value: i32,
}

impl Iterator for Steps<'_> {
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
        self.value = self.value.wrapping_add(((change >> 1) ^ (change & 1).wrapping_neg()).cast_signed());
        let length = u64::from(varint(&mut self.rest)?);
        let start = self.at;
        self.at = start.checked_add(length)?.min(self.end);
        (self.at > start).then_some(Stretch { start, end: self.at, depth: self.value })
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
            let table = Pclntab::new(0, table(magic)).unwrap();
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

    #[test]
    fn a_function_is_found_by_its_addresses() {
        let table = Pclntab::new(0, table(MAGIC_1_20)).unwrap();
        let found = |address| table.find(address).map(|function| function.name);
        assert_eq!([0xff, 0x100, 0x10f, 0x110, 0x13f, 0x140].map(found), [None, F, F, G, G, None]);
        assert!(table.is_name(0) && table.is_name(2) && !table.is_name(1) && !table.is_name(u32::MAX));
    }

    const F: Option<&[u8]> = Some(b"f");
    const G: Option<&[u8]> = Some(b"g");

    /// All that is asked of a function.
    fn ask(table: &Pclntab, function: &Function<'_>) {
        for address in [function.entry, function.entry.midpoint(function.end), function.end - 1] {
            let _any = (table.find(address).is_some(), table.line(function, address).is_some());
            if let Some(tree) = table.inline_tree(function) {
                let call = table.inlined(function, tree, address);
                let _any = call.is_some_and(|call| table.is_name(call) && !table.name(call).is_empty());
            }
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
            let Ok(table) = Pclntab::new(0, bytes) else { return Ok(()) };
            for function in (0..table.len().min(1000)).filter_map(|i| table.function(i)) {
                let mut at = function.entry;
                for depth in table.depths(&function) {
                    prop_assert!(depth.start == at && depth.end > at && depth.end <= function.end);
                    at = depth.end;
                }
                ask(&table, &function);
            }
        }

        #[test]
        fn any_bytes_behind_a_header_are_survived(tail in proptest::collection::vec(any::<u8>(), 0..600)) {
            for magic in [MAGIC_1_2, MAGIC_1_16, MAGIC_1_18, MAGIC_1_20] {
                let mut bytes = magic.to_le_bytes().to_vec();
                bytes.extend([0, 0, 1, 8]);
                bytes.extend(&tail);
                let Ok(table) = Pclntab::new(0, bytes) else { continue };
                for function in (0..table.len().min(1000)).filter_map(|i| table.function(i)) {
                    table.depths(&function).for_each(drop);
                    ask(&table, &function);
                }
            }
        }
    }
}
