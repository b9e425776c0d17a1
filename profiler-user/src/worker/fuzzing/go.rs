//! Go's function table of a real program, cut down to its first functions: a whole one has thousands.

use super::files::BUDGET;
use crate::fuzzing::bundle::{Piece, pack};
use crate::parse::elf::{Elf, Section};
use crate::parse::source::Source;

/// Functions that are kept.
const FUNCTIONS: usize = 24;
/// Bytes of the names, lists of files, files and tables that are kept.
const PARTS: [usize; 4] = [3_000, 1_000, 3_000, 6_000];
/// Layout of Go 1.18 and later: header of 72 bytes; words of it are where its parts lie, in it from the third word on.
const HEADER: usize = 72;
const FIRST_PART: usize = 32;
/// Where the words of a module's description say where the text and the data of functions begin (Go 1.20 to 1.26).
const MODULE_WORDS: usize = 52;
const MODULE_TEXT: usize = 22;
const MODULE_DATA: usize = 40;
/// Free addresses for what is made here.
const MODULE: u64 = 0x7000_0000;
const DATA: u64 = 0x7100_0000;
/// Bytes of a call in a tree of inlined calls.
const CALL: usize = 16;

/// `.gopclntab` with the code of its functions, a module's description, and trees of inlined calls in which each call is in
/// line 1 of the first function.
pub(crate) fn sections(program: &[u8]) -> Option<Vec<u8>> {
    let elf = Elf::parse(Source::new(program.to_vec(), BUDGET)).ok()?;
    let section = |name: &str| elf.section(name);
    let of_table = section(".gopclntab").or_else(|| section(".data.rel.ro.gopclntab"))?;
    let of_text = section(".text")?;
    let (table, end) = cut(&elf.data(of_table).ok()?)?;
    let mut text = elf.data(of_text).ok()?;
    text.truncate(usize::try_from(end).ok()?);
    Some(bundle(of_table, &table, of_text, &text))
}

fn bundle(of_table: &Section, table: &[u8], of_text: &Section, text: &[u8]) -> Vec<u8> {
    let mut module = vec![0_u64; MODULE_WORDS];
    let names = of_table.address + HEADER as u64;
    for (word, value) in [(0, of_table.address), (1, names), (MODULE_TEXT, of_text.address), (MODULE_DATA, DATA)] {
        if let Some(word) = module.get_mut(word) {
            *word = value;
        }
    }
    let module: Vec<u8> = module.into_iter().flat_map(u64::to_le_bytes).collect();
    // No kind, name 0, made at the first byte, line 1.
    let call = [0_u32, 0, 0, 1].map(u32::to_le_bytes).concat();
    let pieces = [
        Piece { name: ".text", address: of_text.address, bytes: text },
        Piece { name: ".gopclntab", address: of_table.address, bytes: table },
        Piece { name: ".go.module", address: MODULE, bytes: &module },
        Piece { name: ".rodata", address: DATA, bytes: &call.repeat(FUNCTIONS * 2) },
    ];
    pack(b"", &pieces)
}

/// The table of the first functions, and where the last of them ends in the text.
fn cut(table: &[u8]) -> Option<(Vec<u8>, u32)> {
    let part = |index: usize| usize::try_from(word64(table, FIRST_PART + 8 * index)?).ok();
    let mut cut = table.get(..HEADER)?.to_vec();
    put(&mut cut, 8, &(FUNCTIONS as u64).to_le_bytes())?;
    for (index, kept) in PARTS.into_iter().enumerate() {
        let at = (cut.len() as u64).to_le_bytes();
        put(&mut cut, FIRST_PART + 8 * index, &at)?;
        let bytes = table.get(part(index)?..)?;
        cut.extend_from_slice(bytes.get(..kept).unwrap_or(bytes));
        cut.resize(cut.len().next_multiple_of(8), 0);
    }
    let records = table.get(part(PARTS.len())?..)?;
    let at = (cut.len() as u64).to_le_bytes();
    put(&mut cut, FIRST_PART + 8 * PARTS.len(), &at)?;
    let entry = |index: usize| Some((word32(records, index * 8)?, word32(records, index * 8 + 4)?));
    let (_, first) = entry(0)?;
    let (end, behind) = entry(FUNCTIONS)?;
    let list = FUNCTIONS * 8 + 4;
    let mut kept = records.get(first as usize..behind as usize)?.to_vec();
    for index in 0..FUNCTIONS {
        let (start, record) = entry(index)?;
        let record = record.checked_sub(first)?;
        cut.extend_from_slice(&start.to_le_bytes());
        cut.extend_from_slice(&record.checked_add(u32::try_from(list).ok()?)?.to_le_bytes());
        set_tree(&mut kept, record as usize, index);
    }
    cut.extend_from_slice(&end.to_le_bytes());
    cut.extend_from_slice(&kept);
    Some((cut, end))
}

/// Lets a record's tree of inlined calls, if it has one, be one of ours.
fn set_tree(records: &mut [u8], record: usize, index: usize) -> Option<()> {
    let tables = word32(records, record + 28)? as usize;
    let slot = record + 44 + (tables + 3) * 4;
    let has_tree = tables > 2 && *records.get(record + 43)? > 3 && word32(records, slot)? != u32::MAX;
    let tree = u32::try_from(index * CALL).ok()?;
    if has_tree { put(records, slot, &tree.to_le_bytes()) } else { None }
}

fn word64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|word| u64::from_le_bytes(*word))
}

fn word32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) -> Option<()> {
    bytes.get_mut(at..)?.get_mut(..value.len()).map(|place| place.copy_from_slice(value))
}
