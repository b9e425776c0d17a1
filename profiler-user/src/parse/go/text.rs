//! Where Go's text begins: what the addresses of its function table are relative to.

use super::module::Module;
use super::setting::{SETTING, setting};
use crate::parse::elf::Elf;
use crate::parse::pclntab::{Pclntab, Stretch};

/// Functions by which the start of the text is told.
const PROBES: usize = 32;
/// Code in front of Go's that is searched for the start of the text.
const MAX_SEARCH: u64 = 64 << 20;
/// Go's text is aligned to this at least.
const ALIGNMENT: u64 = 16;

/// The start of the text by what the table's header says, else by what the runtime is told, else where the functions' prologues
/// are: Go 1.26 says nothing in the header, earlier position-independent programs leave it to a relocation, and in front of it
/// may be code in C. 0 if addresses are absolute.
pub(crate) fn start(elf: &Elf, table: &Pclntab) -> Option<u64> {
    if !table.is_relative() {
        return Some(0);
    }
    let probes = probes(table);
    let reach = probes.iter().map(|p| p.start).max()?.checked_add(SETTING as u64)?;
    let is_start = |at: &u64| elf.bytes_at("code", *at, reach).is_some_and(|code| fits(&probes, &code));
    let said = Some(table.text()).filter(is_start);
    let told = || Module::find(elf, table).and_then(|module| module.text()).filter(is_start);
    said.or_else(told).or_else(|| search(elf, &probes, reach))
}

fn search(elf: &Elf, probes: &[Stretch], reach: u64) -> Option<u64> {
    let section = elf.section(".text")?;
    let code = elf.bytes_at("code", section.address, section.size.min(reach.saturating_add(MAX_SEARCH)))?;
    let step = usize::try_from(ALIGNMENT).ok()?;
    let skip = section.address.checked_next_multiple_of(ALIGNMENT)? - section.address;
    let mut starts = (usize::try_from(skip).ok()?..code.len()).step_by(step);
    let found = starts.find(|at| code.get(*at..).is_some_and(|code| fits(probes, code)))?;
    section.address.checked_add(found as u64)
}

/// Most functions set their frame pointers where they should, if the text begins here.
fn fits(probes: &[Stretch], code: &[u8]) -> bool {
    let sets = |probe: &&Stretch| {
        let from = usize::try_from(probe.start).ok().and_then(|at| at.checked_sub(1));
        from.and_then(|at| code.get(at..)?.first_chunk()).is_some_and(|bytes| setting(bytes, probe.depth).is_some())
    };
    probes.iter().filter(sets).count() * 4 >= probes.len() * 3
}

/// Where the first compiled functions get their frames.
fn probes(table: &Pclntab) -> Vec<Stretch> {
    let functions = (0..table.len()).filter_map(|index| table.function(index));
    let compiled = functions.filter(|f| !f.assembly);
    compiled.filter_map(|f| table.depths(&f).find(|d| d.depth != 0)).take(PROBES).collect()
}
