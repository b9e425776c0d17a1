//! Where a function is declared, by the references from its instance to what it is an instance of: in its unit, in another one
//! of the same file, or in what several files share.

use super::sections::Bytes;
use gimli::{AttributeValue, DebugInfoOffset, Dwarf, Unit, UnitOffset, UnitRef, UnitSectionOffset, constants as dw};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// References that are followed from a function to its declaration.
const MAX_REFERENCES: usize = 8;
/// Units that are kept parsed because a function of another unit refers to them.
const MAX_FOREIGN_UNITS: usize = 16;
/// Units of a file that can be referred to.
const MAX_UNITS: usize = 1 << 20;

/// The units of a file that others refer to.
pub(super) struct Units {
    dwarf: Arc<Dwarf<Bytes>>,
    /// In their order.
    offsets: Vec<DebugInfoOffset<usize>>,
    kept: RefCell<Vec<(usize, Rc<Unit<Bytes>>)>>,
}

impl Units {
    pub(super) fn of(dwarf: &Arc<Dwarf<Bytes>>) -> Units {
        let mut offsets = Vec::new();
        let mut units = dwarf.units();
        while let (true, Ok(Some(header))) = (offsets.len() < MAX_UNITS, units.next()) {
            let UnitSectionOffset(offset) = header.offset();
            offsets.push(DebugInfoOffset(offset));
        }
        Units { dwarf: Arc::clone(dwarf), offsets, kept: RefCell::default() }
    }

    /// The unit in which something lies, and where in it.
    fn find(&self, offset: DebugInfoOffset<usize>) -> Option<(Rc<Unit<Bytes>>, UnitOffset<usize>)> {
        let start = *self.offsets.get(self.offsets.partition_point(|u| u.0 <= offset.0).checked_sub(1)?)?;
        let unit = self.unit(start)?;
        let at = offset.to_unit_offset(&unit.header)?;
        Some((unit, at))
    }

    fn unit(&self, start: DebugInfoOffset<usize>) -> Option<Rc<Unit<Bytes>>> {
        let mut kept = self.kept.try_borrow_mut().ok()?;
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

/// The units of a file, and of what it shares with others.
pub(super) struct Declarations {
    pub(super) own: Units,
    pub(super) shared: Option<Units>,
}

impl Declarations {
    /// `DW_AT_decl_line` of a function, or of what it is an instance of.
    pub(super) fn line(&self, unit: UnitRef<'_, Bytes>, die: UnitOffset<usize>) -> Option<u32> {
        let mut step = step_from(unit, die)?;
        for _ in 0..MAX_REFERENCES {
            step = match step {
                Step::Line(line) => return Some(line),
                Step::Here(die) => step_from(unit, die)?,
                Step::Own(at) => return self.line_elsewhere(&self.own, at),
                Step::Shared(at) => return self.line_elsewhere(self.shared.as_ref()?, at),
            };
        }
        None
    }

    fn line_elsewhere(&self, units: &Units, at: DebugInfoOffset<usize>) -> Option<u32> {
        let (mut units, mut at) = (units, at);
        for _ in 0..MAX_REFERENCES {
            let (unit, die) = units.find(at)?;
            match step_from(unit.unit_ref(&units.dwarf), die)? {
                Step::Line(line) => return Some(line),
                Step::Here(die) => at = die.to_debug_info_offset(&unit.header)?,
                Step::Own(next) => at = next,
                Step::Shared(next) => (units, at) = (self.shared.as_ref()?, next),
            }
        }
        None
    }
}

/// What an entry says of its declaration.
enum Step {
    Line(u32),
    /// Elsewhere in the unit.
    Here(UnitOffset<usize>),
    /// In another unit of the file. A split unit has no reference to another one.
    Own(DebugInfoOffset<usize>),
    /// In what several files share.
    Shared(DebugInfoOffset<usize>),
}

fn step_from(unit: UnitRef<'_, Bytes>, die: UnitOffset<usize>) -> Option<Step> {
    let mut entries = unit.entries_at_offset(die).ok()?;
    let entry = entries.next_dfs().ok()??;
    let inlined = entry.tag() == dw::DW_TAG_inlined_subroutine;
    if let Some(line) = entry.attr_value(dw::DW_AT_decl_line).and_then(|v| v.udata_value()).filter(|_| !inlined) {
        return u32::try_from(line).ok().map(Step::Line);
    }
    let reference =
        entry.attr_value(dw::DW_AT_abstract_origin).or_else(|| entry.attr_value(dw::DW_AT_specification))?;
    match reference {
        AttributeValue::UnitRef(offset) => Some(Step::Here(offset)),
        AttributeValue::DebugInfoRef(offset) => Some(Step::Own(offset)),
        AttributeValue::DebugInfoRefSup(offset) => Some(Step::Shared(offset)),
        _ => None,
    }
}
