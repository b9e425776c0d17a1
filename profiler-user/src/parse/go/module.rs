//! What Go's linker tells the runtime of a module (`runtime.moduledata`): where its parts are.
//!
//! No symbol is needed: it begins with the addresses of the function table and of the names in it. Position-independent files
//! have them in relocations.

use crate::parse::elf::{Elf, Section, read_u64, table as entries};
use crate::parse::pclntab::Pclntab;
use object::LittleEndian as LE;
use object::elf::{R_X86_64_RELATIVE, Rela64, SHT_RELA};

/// Sections that may hold it: its own since Go 1.26, what C's linker makes of it.
const SECTIONS: [&str; 4] = [".go.module", ".noptrdata", ".data", ".data.rel.ro"];
/// Words of it that are looked at.
const WORDS: usize = 52;
/// Which word is the start of the text: Go 1.18 to 1.27 at least.
const TEXT: usize = 22;
/// Which word is the start of the data of functions: 38 in Go 1.18, 40 since 1.20, 43 since 1.27.
const FUNCTION_DATA: std::ops::Range<usize> = 36..50;
/// Sections of relocations that are looked at: linkers make one or two.
const MAX_RELOCATION_SECTIONS: usize = 8;
/// Bytes that are searched at a time, and of one section at most.
const BLOCK: u64 = 1 << 20;
const MAX_SEARCH: u64 = 256 << 20;
const WORD: u64 = 8;
const RELOCATION: u64 = size_of::<Rela64<LE>>() as u64;

/// The words of a module's description, as they are when it has been loaded at its linked address.
pub(super) struct Module {
    words: Vec<u64>,
}

impl Module {
    /// The one of a function table.
    pub(super) fn find(elf: &Elf, table: &Pclntab) -> Option<Module> {
        let (table, names) = table.addresses();
        let check = |module: &Module| module.words.starts_with(&[table, names]);
        let in_place = || places(elf, table).into_iter().filter_map(|at| Module::read(elf, at)).find(check);
        let relocated = || relocated(elf, table).into_iter().filter_map(|at| Module::relocated(elf, at)).find(check);
        in_place().or_else(relocated)
    }

    /// Start of the text.
    pub(super) fn text(&self) -> Option<u64> {
        self.words.get(TEXT).copied()
    }

    /// Where the data that belongs to functions may begin.
    pub(super) fn function_data(&self) -> impl Iterator<Item = u64> {
        self.words.get(FUNCTION_DATA).unwrap_or_default().iter().copied().filter(|address| *address != 0)
    }

    fn read(elf: &Elf, address: u64) -> Option<Module> {
        let bytes = elf.bytes_at("module data", address, WORDS as u64 * WORD)?;
        Some(Module { words: (0..WORDS).map_while(|index| read_u64(&bytes, index * 8)).collect() })
    }

    fn relocated(elf: &Elf, address: u64) -> Option<Module> {
        let mut module = Module::read(elf, address)?;
        relocations(elf, |at, value| {
            let index = at.checked_sub(address).filter(|at| at % WORD == 0).map(|at| at / WORD);
            if let Some(word) = index.and_then(|index| module.words.get_mut(usize::try_from(index).ok()?)) {
                *word = value;
            }
        });
        Some(module)
    }
}

/// Candidates kept of one search: data may hold the same address by chance.
const MAX_PLACES: usize = 64;

/// Where a word of the file has this value.
fn places(elf: &Elf, value: u64) -> Vec<u64> {
    let mut found = Vec::new();
    for section in SECTIONS.iter().filter_map(|name| elf.section(name)) {
        blocks(elf, section, WORD, |at, bytes| {
            let words = bytes.chunks_exact(8).zip((at..).step_by(8));
            let here = words.filter(|(word, _)| read_u64(word, 0) == Some(value));
            found.extend(here.map(|(_, at)| section.address.saturating_add(at)));
            found.truncate(MAX_PLACES);
        });
    }
    found
}

/// Where a relocation puts this value.
fn relocated(elf: &Elf, value: u64) -> Vec<u64> {
    let mut found = Vec::new();
    relocations(elf, |at, put| {
        if put == value && found.len() < MAX_PLACES {
            found.push(at);
        }
    });
    found
}

/// Address and value of each relocation that moves a value with the file.
fn relocations(elf: &Elf, mut each: impl FnMut(u64, u64)) {
    let sections = elf.sections().iter().filter(|section| section.kind == SHT_RELA);
    for section in sections.take(MAX_RELOCATION_SECTIONS) {
        blocks(elf, section, RELOCATION, |_, bytes| {
            let count = bytes.len() / size_of::<Rela64<LE>>();
            for relocation in entries::<Rela64<LE>>(bytes, count) {
                if relocation.r_type(LE, false) == R_X86_64_RELATIVE {
                    each(relocation.r_offset.get(LE), relocation.r_addend.get(LE).cast_unsigned());
                }
            }
        });
    }
}

/// Gives the content of a section in blocks of whole entries, each with where it begins in the section.
fn blocks(elf: &Elf, section: &Section, entry: u64, mut each: impl FnMut(u64, &[u8])) {
    let (size, step) = (section.size.min(MAX_SEARCH), BLOCK / entry * entry);
    let mut at = 0;
    while at < size {
        let length = step.min(size - at);
        let Some(offset) = section.offset.checked_add(at) else { return };
        let Ok(bytes) = elf.source().read("data", offset, length) else { return };
        elf.source().release(length);
        each(at, &bytes);
        at += length;
    }
}
