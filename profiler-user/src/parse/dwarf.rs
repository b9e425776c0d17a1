//! Debug information: functions, source lines and inlined calls of an address (DWARF 2 to 5), also where parts of it lie in
//! other files: split units, and what dwz made several files share.
//!
//! addr2line recurses once per nesting level of inlined calls, so a hostile file can overflow the stack: it runs on a
//! thread with a large one, in a process that may die.

mod declaration;
mod sections;
mod split;

use super::ParseError;
use super::debug_file;
use super::elf::Elf;
use super::given::Given;
use crate::worker::api::{Part, PartFit, PartKey};
use addr2line::{Context, FrameIter, Location, SplitDwarfLoad};
use declaration::{Declarations, Units};
use gimli::{Dwarf, Reader, UnitRef};
use sections::Bytes;
use split::SplitUnits;
use std::borrow::Cow;
use std::sync::Arc;

/// Inlined calls of one address that are kept (the innermost).
pub const MAX_INLINED: usize = 256;

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
    dwarf: Arc<Dwarf<Bytes>>,
    declarations: Declarations,
    split: SplitUnits,
}

impl DebugInfo {
    /// Reads the sections, and those of the file that it shares with others, if it does; `None` if there is no debug
    /// information.
    pub fn read(elf: &Elf, shared: Option<&Elf>) -> Result<Option<Self>, ParseError> {
        if !debug_file::has_debug_info(elf) {
            return Ok(None);
        }
        let mut dwarf = sections::main(elf).borrow(Clone::clone);
        if let Some(shared) = shared {
            dwarf.set_sup(sections::main(shared).borrow(Clone::clone));
        }
        #[expect(clippy::arc_with_non_send_sync, reason = "addr2line wants an Arc; a worker parses on one thread")]
        let dwarf = Arc::new(dwarf);
        let context = Context::from_arc_dwarf(Arc::clone(&dwarf))?;
        let declarations = Declarations { own: Units::of(&dwarf), shared: dwarf.sup.as_ref().map(Units::of) };
        Ok(Some(DebugInfo { context, dwarf, declarations, split: SplitUnits::default() }))
    }

    /// Adds to `wanted` the split units at an address that were neither given nor settled, after the package in which all may
    /// be.
    pub fn want(&mut self, address: u64, wanted: &mut Vec<Part>) {
        for (load, resume) in self.context.preload_units(address) {
            match self.split.get(load.dwo_id, &self.dwarf) {
                // One that cannot be used leaves what the skeleton knows.
                Given::Here(unit) => drop(resume(Some(unit))),
                Given::Absent => drop(resume(None)),
                Given::NotYet => {
                    let package = if self.split.knows_package() { None } else { Some(Part::Package) };
                    for part in package.into_iter().chain([unit(&load)]) {
                        if !wanted.contains(&part) {
                            wanted.push(part);
                        }
                    }
                }
            }
        }
    }

    /// Takes a file that may be a part. What is shared with other files is not taken here, but read with the file itself.
    pub fn take(&mut self, part: PartKey, elf: Elf) -> PartFit {
        match part {
            PartKey::Shared => PartFit::Unneeded,
            PartKey::Package => self.split.take_package(elf),
            PartKey::Unit(id) => self.split.take_unit(id, &elf, &self.dwarf),
        }
    }

    /// A part that was not given will not be.
    pub fn settle(&mut self, part: PartKey) {
        match part {
            PartKey::Shared => {}
            PartKey::Package => self.split.settle_package(),
            PartKey::Unit(id) => self.split.settle_unit(id),
        }
    }

    /// The frames of an address, innermost inlined call first; empty if it is not known. Of split units that were not given
    /// there is the line, without a name.
    pub fn frames(&self, address: u64) -> Vec<DwarfFrame> {
        let unit = self.context.find_dwarf_and_unit(address).skip_all_loads();
        let frames = self.context.find_frames(address).skip_all_loads();
        let found = frames.map(|mut frames| self.collect(&mut frames, unit)).unwrap_or_default();
        if !found.is_empty() {
            return found;
        }
        let location = self.context.find_location(address).ok().flatten();
        location.iter().map(|location| with_location(String::new(), 0, Some(location))).collect()
    }

    fn collect(&self, frames: &mut FrameIter<'_, Bytes>, unit: Option<UnitRef<'_, Bytes>>) -> Vec<DwarfFrame> {
        let mut found = Vec::new();
        while let Ok(Some(frame)) = frames.next() {
            // Of a chain that is too long the outermost function stays, because it is the real one.
            if found.len() == MAX_INLINED {
                found.pop();
            }
            let name = frame.function.as_ref().and_then(|f| f.raw_name().ok().map(Cow::into_owned));
            let start = frame.dw_die_offset.zip(unit).and_then(|(die, unit)| self.declarations.line(unit, die));
            found.push(with_location(name.unwrap_or_default(), start.unwrap_or(0), frame.location.as_ref()));
        }
        found
    }
}

fn unit(load: &SplitDwarfLoad<Bytes>) -> Part {
    let text = |bytes: &Option<Bytes>| {
        let text = bytes.as_ref().and_then(|bytes| bytes.to_string_lossy().ok().map(Cow::into_owned));
        text.unwrap_or_default()
    };
    Part::Unit { id: load.dwo_id.0, folder: text(&load.comp_dir), name: text(&load.path) }
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
