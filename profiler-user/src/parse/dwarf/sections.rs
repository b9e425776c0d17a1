//! The sections of debug information that names need. One that is damaged or missing is as good as an empty one.

use crate::parse::elf::{Elf, Section};
use gimli::{Dwarf, DwarfSections, EndianReader, LittleEndian, SectionId};
use std::convert::Infallible;
use std::rc::Rc;

/// Sections of one name in a `.dwo` file.
const MAX_SECTIONS: usize = 1 << 12;

/// Bytes that units share.
pub(super) type Bytes = EndianReader<LittleEndian, Rc<[u8]>>;

/// Those of a program, a library, a debug file, or what several of them share.
pub(super) fn main(elf: &Elf) -> DwarfSections<Bytes> {
    let Ok(sections) = DwarfSections::load(|id| -> Result<Bytes, Infallible> {
        let section = if is_needed(id) { find(elf, id.name()) } else { None };
        Ok(section.map_or_else(|| bytes(Vec::new()), |section| whole(elf, section)))
    });
    sections
}

/// Those of a split unit.
pub(super) fn split(elf: &Elf) -> Dwarf<Bytes> {
    let Ok(sections) = DwarfSections::load(|id| -> Result<Bytes, Infallible> {
        let name = if is_needed(id) { id.dwo_name() } else { None };
        let sections = elf.sections().iter().filter(|section| Some(section.name.as_str()) == name);
        // Each description of a type may have a section of its own; units follow each other as well in one.
        let mut all = Vec::new();
        for section in sections.take(MAX_SECTIONS) {
            all.extend(elf.data(section).unwrap_or_default());
        }
        Ok(bytes(all))
    });
    sections.borrow(Clone::clone)
}

/// A section's bytes, unpacked.
pub(super) fn whole(elf: &Elf, section: &Section) -> Bytes {
    bytes(elf.data(section).unwrap_or_default())
}

pub(super) fn bytes(data: Vec<u8>) -> Bytes {
    Bytes::new(data.into(), LittleEndian)
}

/// Locations of variables, macros and tables of names are not.
pub(super) fn is_needed(id: SectionId) -> bool {
    matches!(
        id,
        SectionId::DebugAbbrev
            | SectionId::DebugAddr
            | SectionId::DebugAranges
            | SectionId::DebugInfo
            | SectionId::DebugLine
            | SectionId::DebugLineStr
            | SectionId::DebugRanges
            | SectionId::DebugRngLists
            | SectionId::DebugStr
            | SectionId::DebugStrOffsets
            | SectionId::DebugTypes
    )
}

fn find<'e>(elf: &'e Elf, name: &str) -> Option<&'e Section> {
    let older = || elf.section(&name.replacen(".debug_", ".zdebug_", 1));
    elf.section(name).or_else(older)
}
