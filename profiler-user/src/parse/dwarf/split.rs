//! Split units (`-gsplit-dwarf`, DWARF 5 and GNU's extension of 4). What a program holds of a unit is its skeleton: addresses
//! and lines. Its functions and inlined calls lie in a `.dwo` file, or with others in a package of them (`.dwp`); the
//! skeleton and the unit carry the same number.

use super::sections::{self, Bytes};
use crate::parse::ParseError;
use crate::parse::elf::{Elf, Section as ElfSection};
use crate::parse::given::Given;
use crate::worker::api::PartFit;
use gimli::{DebugCuIndex, Dwarf, DwarfSections, DwoId, Reader, Section, SectionId, UnitIndex, UnitSectionOffset};
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

/// Split units of a file that are looked at; a file can have skeletons without end.
pub(super) const MAX_SPLIT_UNITS: usize = 1 << 16;
/// Units of a `.dwo` file among which the one with the right number may be (the others describe types).
const MAX_UNITS: usize = 1 << 14;

/// The sections of a split unit; the unit is the first in them.
type SplitUnit = Arc<Dwarf<Bytes>>;

/// The split units of a file, as far as they were given.
#[derive(Default)]
pub(super) struct SplitUnits {
    package: Given<Package>,
    /// By number; [`Given::NotYet`] are those that are not in it.
    units: HashMap<u64, Given<SplitUnit>>,
}

impl SplitUnits {
    /// The unit with that number, from wherever it was given.
    pub(super) fn get(&mut self, id: DwoId, parent: &Dwarf<Bytes>) -> Given<SplitUnit> {
        let room = self.units.len() < MAX_SPLIT_UNITS;
        match self.units.get(&id.0) {
            Some(Given::Here(unit)) => return Given::Here(Arc::clone(unit)),
            Some(Given::Absent) => return Given::Absent,
            Some(Given::NotYet) | None => {}
        }
        let Some(unit) = self.package.here().filter(|_| room).and_then(|package| package.unit(id, parent)) else {
            return Given::NotYet;
        };
        self.units.insert(id.0, Given::Here(Arc::clone(&unit)));
        Given::Here(unit)
    }

    /// Whether the package, or that there is none, is known.
    pub(super) fn knows_package(&self) -> bool {
        self.package.is_known()
    }

    /// Takes what may be the package.
    pub(super) fn take_package(&mut self, elf: Elf) -> PartFit {
        match Package::read(elf) {
            _ if self.package.here().is_some() => PartFit::Unneeded,
            Some(package) => {
                self.package = Given::Here(package);
                PartFit::Used
            }
            None => PartFit::Damaged,
        }
    }

    /// Takes what may be the unit with that number.
    pub(super) fn take_unit(&mut self, id: u64, elf: &Elf, parent: &Dwarf<Bytes>) -> PartFit {
        if matches!(self.units.get(&id), Some(Given::Here(_))) || self.units.len() >= MAX_SPLIT_UNITS {
            return PartFit::Unneeded;
        }
        let mut dwarf = sections::split(elf);
        if dwarf.debug_info.reader().is_empty() {
            return PartFit::Damaged;
        }
        dwarf.make_dwo(parent);
        match beginning_with(dwarf, DwoId(id)) {
            Some(unit) => {
                self.units.insert(id, Given::Here(share(unit)));
                PartFit::Used
            }
            None => PartFit::OtherBuild,
        }
    }

    /// No package will be given, if none was.
    pub(super) fn settle_package(&mut self) {
        self.package.settle();
    }

    /// That unit will not be given, if it was not.
    pub(super) fn settle_unit(&mut self, id: u64) {
        if self.units.len() < MAX_SPLIT_UNITS {
            self.units.entry(id).or_default().settle();
        }
    }
}

/// A package: read where a unit is wanted, since a whole one may have many gigabytes.
struct Package {
    elf: Elf,
    index: UnitIndex<Bytes>,
    strings: Bytes,
}

impl Package {
    fn read(elf: Elf) -> Option<Package> {
        let of = |name| elf.section(name).map(|section| sections::whole(&elf, section));
        let index = DebugCuIndex::from(of(".debug_cu_index")?).index().ok()?;
        let strings = of(".debug_str.dwo").unwrap_or_else(|| sections::bytes(Vec::new()));
        (index.unit_count() > 0).then_some(Package { elf, index, strings })
    }

    fn unit(&self, id: DwoId, parent: &Dwarf<Bytes>) -> Option<SplitUnit> {
        let mut pieces = HashMap::new();
        for piece in self.index.sections(self.index.find(id.0)?).ok()? {
            let section = piece.section.section_id();
            if sections::is_needed(section) {
                let bytes = self.piece(piece.section.dwo_name(), piece.offset.into(), piece.size.into()).ok()?;
                pieces.insert(section, bytes);
            }
        }
        pieces.insert(SectionId::DebugStr, self.strings.clone());
        let Ok(sections) = DwarfSections::load(|id| -> Result<Bytes, Infallible> {
            Ok(pieces.remove(&id).unwrap_or_else(|| sections::bytes(Vec::new())))
        });
        let mut dwarf = sections.borrow(Clone::clone);
        dwarf.make_dwo(parent);
        beginning_with(dwarf, id).map(share)
    }

    /// What a unit has in a section.
    fn piece(&self, name: &str, offset: u64, size: u64) -> Result<Bytes, ParseError> {
        const OUTSIDE: ParseError = ParseError::Damaged("a unit of a package lies outside of its section");
        let section = self.elf.section(name).ok_or(OUTSIDE)?;
        if section.compressed {
            return self.packed_piece(section, offset, size).ok_or(OUTSIDE);
        }
        let end = offset.checked_add(size).filter(|end| *end <= section.size);
        let at = end.and_then(|_| section.offset.checked_add(offset)).ok_or(OUTSIDE)?;
        Ok(sections::bytes(self.elf.source().read("a split unit", at, size)?))
    }

    /// The same of a packed section, which is unpacked each time: no linker packs packages.
    fn packed_piece(&self, section: &ElfSection, offset: u64, size: u64) -> Option<Bytes> {
        let unpacked = self.elf.data(section).ok()?;
        let (from, length) = (usize::try_from(offset).ok()?, usize::try_from(size).ok()?);
        let piece = unpacked.get(from..from.checked_add(length)?).map(<[u8]>::to_vec);
        self.elf.source().release((unpacked.len() as u64).saturating_sub(piece.as_ref().map_or(0, |_| size)));
        piece.map(sections::bytes)
    }
}

/// The sections, cut so that the unit with that number is the first in them. What it refers to lies in the unit itself.
fn beginning_with(mut dwarf: Dwarf<Bytes>, id: DwoId) -> Option<Dwarf<Bytes>> {
    let mut units = dwarf.units();
    for _ in 0..MAX_UNITS {
        let header = units.next().ok()??;
        let UnitSectionOffset(offset) = header.offset();
        // One that is damaged may be another than this.
        if dwarf.unit(header).is_ok_and(|unit| unit.dwo_id == Some(id)) {
            let mut rest = dwarf.debug_info.reader().clone();
            rest.skip(offset).ok()?;
            dwarf.debug_info = rest.into();
            return Some(dwarf);
        }
    }
    None
}

#[expect(clippy::arc_with_non_send_sync, reason = "addr2line wants an Arc; a worker parses on one thread")]
fn share(dwarf: Dwarf<Bytes>) -> SplitUnit {
    Arc::new(dwarf)
}
