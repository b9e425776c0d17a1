//! Debug information: functions, source lines and inlined calls of an address (DWARF 2 to 5).
//!
//! addr2line recurses once per nesting level of inlined calls, so a hostile file can overflow the stack: it runs on a
//! thread with a large one, in a process that may die.

use super::ParseError;
use super::elf::Elf;
use addr2line::{Context, FrameIter, Location};
use gimli::{
    AttributeValue, DebugInfoOffset, Dwarf, DwarfSections, EndianReader, LittleEndian, Unit, UnitOffset, UnitRef,
    UnitSectionOffset, constants as dw,
};
use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;

type Bytes = EndianReader<LittleEndian, Rc<[u8]>>;

/// Inlined calls of one address that are kept (the innermost).
pub const MAX_INLINED: usize = 256;
/// References that are followed from a function to its declaration.
const MAX_REFERENCES: usize = 8;
/// Units that are kept parsed because a function of another unit refers to them.
const MAX_FOREIGN_UNITS: usize = 16;
/// Units of a file that can be referred to.
const MAX_UNITS: usize = 1 << 20;

/// A function at an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DwarfFrame {
    /// Linkage name, else plain name, else empty.
    pub name: String,
    /// Source file or empty.
    pub file: String,
    /// Line or 0.
    pub line: u32,
    /// Column or 0.
    pub column: u32,
    /// First line of the function or 0.
    pub start_line: u32,
}

/// The debug information of a file.
pub struct DebugInfo {
    context: Context<Bytes>,
    dwarf: Dwarf<Bytes>,
    units: Vec<DebugInfoOffset<usize>>,
    foreign: RefCell<Vec<(usize, Rc<Unit<Bytes>>)>>,
}

impl DebugInfo {
    /// Reads the sections; `None` if there is no debug information.
    pub fn read(elf: &Elf) -> Result<Option<Self>, ParseError> {
        if find(elf, ".debug_info").is_none() {
            return Ok(None);
        }
        let sections = DwarfSections::load(|id| Ok::<_, ParseError>(load(elf, id.name())))?;
        let dwarf = sections.borrow(Clone::clone);
        let context = Context::from_dwarf(sections.borrow(Clone::clone))?;
        let units = unit_offsets(&dwarf);
        Ok(Some(DebugInfo { context, dwarf, units, foreign: RefCell::default() }))
    }

    /// The frames of an address, innermost inlined call first; empty if it is not known.
    pub fn frames(&self, address: u64) -> Vec<DwarfFrame> {
        let unit = self.context.find_dwarf_and_unit(address).skip_all_loads();
        let Ok(mut frames) = self.context.find_frames(address).skip_all_loads() else { return Vec::new() };
        self.collect(&mut frames, unit)
    }

    fn collect(&self, frames: &mut FrameIter<'_, Bytes>, unit: Option<UnitRef<'_, Bytes>>) -> Vec<DwarfFrame> {
        let mut found = Vec::new();
        while let Ok(Some(frame)) = frames.next() {
            // Of a chain that is too long the outermost function stays, because it is the real one.
            if found.len() == MAX_INLINED {
                found.pop();
            }
            let name = frame.function.as_ref().and_then(|f| f.raw_name().ok().map(Cow::into_owned));
            let start = frame.dw_die_offset.zip(unit).and_then(|(die, unit)| self.declaration_line(unit, die));
            found.push(with_location(name.unwrap_or_default(), start.unwrap_or(0), frame.location.as_ref()));
        }
        found
    }

    /// `DW_AT_decl_line` of a function, or of what it is an instance of.
    fn declaration_line(&self, unit: UnitRef<'_, Bytes>, die: UnitOffset<usize>) -> Option<u32> {
        match line_or_reference(unit, die)? {
            Declaration::Line(line) => Some(line),
            Declaration::Elsewhere(mut at) => {
                for _ in 0..MAX_REFERENCES {
                    let unit = self.unit_of(at)?;
                    let die = at.to_unit_offset(&unit.header)?;
                    match line_or_reference(unit.unit_ref(&self.dwarf), die)? {
                        Declaration::Line(line) => return Some(line),
                        Declaration::Elsewhere(next) => at = next,
                    }
                }
                None
            }
        }
    }

    fn unit_of(&self, offset: DebugInfoOffset<usize>) -> Option<Rc<Unit<Bytes>>> {
        let start = *self.units.get(self.units.partition_point(|u| u.0 <= offset.0).checked_sub(1)?)?;
        let mut kept = self.foreign.try_borrow_mut().ok()?;
        if let Some((_, unit)) = kept.iter().find(|(key, _)| *key == start.0) {
            return Some(unit.clone());
        }
        let header = self.dwarf.debug_info.header_from_offset(start).ok()?;
        let unit = Rc::new(self.dwarf.unit(header).ok()?);
        if kept.len() == MAX_FOREIGN_UNITS {
            kept.remove(0);
        }
        kept.push((start.0, unit.clone()));
        Some(unit)
    }
}

enum Declaration {
    Line(u32),
    Elsewhere(DebugInfoOffset<usize>),
}

fn line_or_reference(unit: UnitRef<'_, Bytes>, die: UnitOffset<usize>) -> Option<Declaration> {
    let mut entries = unit.entries_at_offset(die).ok()?;
    let entry = entries.next_dfs().ok()??;
    let inlined = entry.tag() == dw::DW_TAG_inlined_subroutine;
    if let Some(line) = entry.attr_value(dw::DW_AT_decl_line).and_then(|v| v.udata_value()).filter(|_| !inlined) {
        return u32::try_from(line).ok().map(Declaration::Line);
    }
    let reference =
        entry.attr_value(dw::DW_AT_abstract_origin).or_else(|| entry.attr_value(dw::DW_AT_specification))?;
    match reference {
        AttributeValue::UnitRef(offset) => offset.to_debug_info_offset(&unit.header).map(Declaration::Elsewhere),
        AttributeValue::DebugInfoRef(offset) => Some(Declaration::Elsewhere(offset)),
        _ => None,
    }
}

fn with_location(name: String, start_line: u32, location: Option<&Location<'_>>) -> DwarfFrame {
    DwarfFrame {
        name,
        file: location.and_then(|l| l.file).unwrap_or_default().to_owned(),
        line: location.and_then(|l| l.line).unwrap_or(0),
        column: location.and_then(|l| l.column).unwrap_or(0),
        start_line,
    }
}

fn unit_offsets(dwarf: &Dwarf<Bytes>) -> Vec<DebugInfoOffset<usize>> {
    let mut offsets = Vec::new();
    let mut units = dwarf.units();
    while let (true, Ok(Some(header))) = (offsets.len() < MAX_UNITS, units.next()) {
        let UnitSectionOffset(offset) = header.offset();
        offsets.push(DebugInfoOffset(offset));
    }
    offsets
}

fn find<'e>(elf: &'e Elf, name: &str) -> Option<&'e super::elf::Section> {
    let older = || elf.section(&name.replacen(".debug_", ".zdebug_", 1));
    elf.section(name).or_else(older)
}

/// Sections that are not needed for names are not read. One that is damaged is as good as none.
fn load(elf: &Elf, name: &'static str) -> Bytes {
    const NEEDED: [&str; 11] = [
        ".debug_abbrev",
        ".debug_addr",
        ".debug_aranges",
        ".debug_info",
        ".debug_line",
        ".debug_line_str",
        ".debug_ranges",
        ".debug_rnglists",
        ".debug_str",
        ".debug_str_offsets",
        ".debug_types",
    ];
    let section = if NEEDED.contains(&name) { find(elf, name) } else { None };
    let data = section.and_then(|s| elf.data(s).ok()).unwrap_or_default();
    Bytes::new(data.into(), LittleEndian)
}
