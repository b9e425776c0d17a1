//! Addresses in a profile: gives each point of code one address in a mapping that a pprof reader accepts. Mappings never
//! overlap.
//!
//! - Code of a file that the process is known to map has its real address, in the mapping that holds it.
//! - Other code of files gets ONE synthetic mapping per executable segment, with the segment's own size, page-aligned
//!   offset and build ID: by these pprof matches mappings when it merges profiles, whatever the addresses are.
//! - The kernel and its modules lie where they would without KASLR; no real kernel address leaves the host.
//! - Code without a file keeps its real address in a process's tree, else it gets a synthetic one per image.

mod book;
mod space;

pub use book::AddressBook;

use super::sources::{Files, KernelNames};
use crate::event::{FileNumber, Frame, ImageId, MappingSeen, ModuleNumber};
use crate::kind::profile::Mapping;
use space::Space;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

pub(super) const PAGE: u64 = 4096;
/// Where the kernel's text begins without KASLR.
const KERNEL_BASE: u64 = 0xffff_ffff_8100_0000;
/// Modules begin at multiples of this.
const MODULE_ALIGNMENT: u64 = 2 << 20;
/// Real mappings of a file that are tried for an offset, beginning with the one that starts nearest before it.
const TRIED: usize = 16;
/// Size of the mapping of a file whose segments are not known, at least.
const UNKNOWN_FILE_SIZE: u64 = 1 << 20;
/// Offsets in frame words are below this, so no segment needs to be larger.
const MAX_SIZE: u64 = 1 << 40;

/// A frame as the layout tells them apart: addresses of code without a file belong to an image, all others to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodePoint {
    /// The frame.
    pub frame: Frame,
    /// The image; present for [`Frame::Jit`] only.
    pub image: Option<ImageId>,
}

impl From<Frame> for CodePoint {
    /// The point of a frame of which no image is known.
    fn from(frame: Frame) -> Self {
        CodePoint { frame, image: None }
    }
}

impl CodePoint {
    /// The point of a frame in a sample of an image.
    pub fn new(frame: Frame, image: ImageId) -> Self {
        CodePoint { frame, image: matches!(frame, Frame::Jit { .. }).then_some(image) }
    }
}

/// Which addresses a profile shows.
#[derive(Clone, Copy, Debug)]
pub enum Addresses<'a> {
    /// Those of one process, as far as its mappings are known (the newest knowledge first).
    Real(&'a [MappingSeen]),
    /// Synthetic ones: many processes.
    Synthetic,
}

/// Whose code a mapping holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file's.
    File(FileNumber),
    /// The kernel's or a module's.
    Kernel(ModuleNumber),
    /// Nobody's file.
    Anonymous,
    /// None: says what is missing.
    Pseudo,
}

/// A mapping and whose code it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaidMapping {
    /// As pprof has it.
    pub mapping: Mapping,
    /// Whose code it is.
    pub origin: Origin,
}

/// Where a point of code lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index of [`Layout::mappings`].
    pub mapping: usize,
    /// Address inside it.
    pub address: u64,
}

/// The addresses of a profile.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// All mappings, also real ones that hold none of the points.
    pub mappings: Vec<LaidMapping>,
    places: HashMap<CodePoint, Place>,
}

impl Layout {
    /// Gives every point an address.
    pub fn new(
        points: &HashSet<CodePoint>,
        addresses: Addresses<'_>,
        files: &dyn Files,
        kernel: &dyn KernelNames,
    ) -> Self {
        let groups = Groups::of(points);
        let mut builder = Builder { files, kernel, space: Space::default(), layout: Layout::default() };
        let real = match addresses {
            Addresses::Real(seen) => builder.real_mappings(seen),
            Addresses::Synthetic => RealFiles::new(),
        };
        builder.native(&groups.native, &real);
        builder.kernel(&groups.kernel);
        builder.anonymous(&groups.anonymous, addresses);
        builder.pseudo(&groups.pseudo);
        builder.layout
    }

    /// Where a point lies; every point that was given has a place.
    pub fn place(&self, point: CodePoint) -> Option<Place> {
        self.places.get(&point).copied()
    }
}

/// Points by what they need, in a stable order.
#[derive(Default)]
struct Groups {
    native: BTreeMap<FileNumber, BTreeSet<u64>>,
    kernel: BTreeMap<ModuleNumber, BTreeSet<u64>>,
    anonymous: BTreeMap<std::cmp::Reverse<ImageId>, BTreeSet<u64>>,
    pseudo: Vec<CodePoint>,
}

impl Groups {
    fn of(points: &HashSet<CodePoint>) -> Self {
        let mut groups = Groups::default();
        for point in points {
            match (point.frame, point.image) {
                (Frame::Native { file, offset }, _) => {
                    groups.native.entry(file).or_default().insert(offset.0);
                }
                (Frame::Kernel { module, offset }, _) => {
                    groups.kernel.entry(module).or_default().insert(offset);
                }
                (Frame::Jit { address }, Some(image)) => {
                    groups.anonymous.entry(std::cmp::Reverse(image)).or_default().insert(address);
                }
                (Frame::Jit { .. }, None) | (Frame::Pseudo { .. }, _) => groups.pseudo.push(*point),
            }
        }
        groups
    }
}

/// Real mappings of files: (offset at which it begins) -> index, per file.
type RealFiles = HashMap<FileNumber, BTreeMap<u64, usize>>;

struct Builder<'a> {
    files: &'a dyn Files,
    kernel: &'a dyn KernelNames,
    space: Space,
    layout: Layout,
}

impl Builder<'_> {
    /// Takes the real mappings over: those of the newest program first, and of two that overlap the first.
    fn real_mappings(&mut self, seen: &[MappingSeen]) -> RealFiles {
        let mut order: Vec<&MappingSeen> = seen.iter().collect();
        order.sort_by_key(|m| std::cmp::Reverse(m.image));
        let mut real = RealFiles::new();
        for mapping in order {
            let Some(file) = mapping.file else { continue };
            if !self.space.reserve(mapping.start, mapping.end) {
                continue;
            }
            let index = self.add_file(file, mapping.start, mapping.end, mapping.offset.0);
            let lowest = real.entry(file).or_default().entry(mapping.offset.0).or_insert(index);
            if self.start_of(*lowest) > mapping.start {
                *lowest = index;
            }
        }
        real
    }

    fn native(&mut self, points: &BTreeMap<FileNumber, BTreeSet<u64>>, real: &RealFiles) {
        for (file, offsets) in points {
            let mut rest = BTreeSet::new();
            for offset in offsets {
                match real.get(file).and_then(|starts| self.real_place(starts, *offset)) {
                    Some(place) => self.put_native(*file, *offset, place),
                    None => {
                        rest.insert(*offset);
                    }
                }
            }
            if !rest.is_empty() {
                self.synthetic_file(*file, &rest);
            }
        }
    }

    fn real_place(&self, starts: &BTreeMap<u64, usize>, offset: u64) -> Option<Place> {
        let candidates = starts.range(..=offset).rev().take(TRIED);
        let places = candidates.filter_map(|(_, index)| {
            let mapping = &self.layout.mappings.get(*index)?.mapping;
            let address = mapping.start.checked_add(offset.checked_sub(mapping.offset)?)?;
            (address < mapping.limit).then_some(Place { mapping: *index, address })
        });
        places.min_by_key(|place| place.address)
    }

    /// One mapping per executable segment that holds some of the offsets.
    fn synthetic_file(&mut self, file: FileNumber, offsets: &BTreeSet<u64>) {
        let segments = self.segments(file);
        let unknown = (0, offsets.last().map_or(0, |last| last + 1).next_power_of_two().max(UNKNOWN_FILE_SIZE));
        let mut laid: HashMap<(u64, u64), usize> = HashMap::new();
        for offset in offsets {
            let holds = |(start, size): &&(u64, u64)| *offset >= *start && offset - start < *size;
            let segment = segments.iter().find(holds).copied().unwrap_or(unknown);
            let index = *laid.entry(segment).or_insert_with(|| {
                let start = self.space.reserve_anywhere(segment.1);
                self.add_file(file, start, start + segment.1, segment.0)
            });
            let address = self.start_of(index) + (offset - segment.0);
            self.put_native(file, *offset, Place { mapping: index, address });
        }
    }

    /// Executable segments as the kernel maps them: (page-aligned offset, size in whole pages).
    fn segments(&self, file: FileNumber) -> Vec<(u64, u64)> {
        let facts = self.files.info(file).and_then(|info| info.facts);
        let segments = facts.as_deref().map_or(&[][..], |facts| &facts.segments);
        let pages = segments.iter().filter(|s| s.size > 0 && s.offset < MAX_SIZE).map(|segment| {
            let start = segment.offset / PAGE * PAGE;
            let end = segment.offset.saturating_add(segment.size).min(MAX_SIZE);
            (start, end.next_multiple_of(PAGE) - start)
        });
        pages.collect()
    }

    fn kernel(&mut self, points: &BTreeMap<ModuleNumber, BTreeSet<u64>>) {
        let size_of = |module: Option<&super::sources::KernelModule>, last: u64| {
            let size = module.map_or(0, |module| module.size.min(MAX_SIZE));
            size.max(last.saturating_add(1)).next_multiple_of(PAGE)
        };
        let own = self.kernel.module(ModuleNumber(0));
        let after_kernel = KERNEL_BASE.saturating_add(size_of(own.as_ref(), 0));
        let mut next = after_kernel;
        for (number, offsets) in points {
            let module = self.kernel.module(*number);
            let size = size_of(module.as_ref(), offsets.last().copied().unwrap_or(0));
            let wanted = match number.0 {
                0 => Some(KERNEL_BASE),
                _ => next.checked_next_multiple_of(MODULE_ALIGNMENT),
            };
            let start = match wanted.and_then(|start| Some((start, start.checked_add(size)?))) {
                Some((start, limit)) => {
                    next = next.max(limit);
                    start
                }
                None => self.space.reserve_anywhere(size),
            };
            let file = module.map_or_else(|| "[kernel]".to_owned(), |module| module.name);
            let index = self.add(start, start + size, 0, file, String::new(), Origin::Kernel(*number));
            for offset in offsets {
                let frame = Frame::Kernel { module: *number, offset: *offset };
                self.put(CodePoint { frame, image: None }, Place { mapping: index, address: start + offset });
            }
        }
    }

    fn anonymous(&mut self, points: &BTreeMap<std::cmp::Reverse<ImageId>, BTreeSet<u64>>, addresses: Addresses<'_>) {
        for (std::cmp::Reverse(image), wanted) in points {
            let rest = match addresses {
                Addresses::Real(seen) => self.real_anonymous(*image, wanted, seen),
                Addresses::Synthetic => wanted.clone(),
            };
            if !rest.is_empty() {
                self.synthetic_anonymous(*image, &rest);
            }
        }
    }

    /// Real addresses in their area; returns those whose area is taken.
    fn real_anonymous(&mut self, image: ImageId, wanted: &BTreeSet<u64>, seen: &[MappingSeen]) -> BTreeSet<u64> {
        let mut rest = wanted.clone();
        let known = seen.iter().filter(|m| m.file.is_none() && m.image == image).map(|m| (m.start, m.end));
        for (start, end) in known.chain(page_runs(wanted)) {
            let inside: Vec<u64> = rest.range(start..end.max(start)).copied().collect();
            if inside.is_empty() || !self.space.reserve(start, end) {
                continue;
            }
            // The start as offset keeps pprof from taking two areas of one size for the same.
            let index = self.add(start, end, start, "//anon".to_owned(), String::new(), Origin::Anonymous);
            for address in inside {
                rest.remove(&address);
                let point = CodePoint { frame: Frame::Jit { address }, image: Some(image) };
                self.put(point, Place { mapping: index, address });
            }
        }
        rest
    }

    /// The touched pages of an image, side by side.
    fn synthetic_anonymous(&mut self, image: ImageId, wanted: &BTreeSet<u64>) {
        let pages: BTreeSet<u64> = wanted.iter().map(|address| address / PAGE).collect();
        let size = pages.len() as u64 * PAGE;
        let start = self.space.reserve_anywhere(size);
        let index = self.add(start, start + size, start, "//anon".to_owned(), String::new(), Origin::Anonymous);
        for (position, page) in (0_u64..).zip(&pages) {
            for address in wanted.range(page * PAGE..=page * PAGE + (PAGE - 1)) {
                let point = CodePoint { frame: Frame::Jit { address: *address }, image: Some(image) };
                self.put(point, Place { mapping: index, address: start + position * PAGE + address % PAGE });
            }
        }
    }

    fn pseudo(&mut self, points: &[CodePoint]) {
        if points.is_empty() {
            return;
        }
        let start = self.space.reserve_anywhere(PAGE);
        let index = self.add(start, start + PAGE, 0, "[pprofd]".to_owned(), String::new(), Origin::Pseudo);
        for point in points {
            let code = match point.frame {
                Frame::Pseudo { reason } => reason as u32,
                _ => 0,
            };
            self.put(*point, Place { mapping: index, address: start + u64::from(code) % PAGE });
        }
    }

    fn add_file(&mut self, file: FileNumber, start: u64, limit: u64, offset: u64) -> usize {
        let info = self.files.info(file).unwrap_or_default();
        let build_id = info.facts.as_deref().map_or_else(String::new, |facts| facts.build_id.clone());
        let path = if info.path.is_empty() { format!("[file {}]", file.0) } else { info.path };
        self.add(start, limit, offset, path, build_id, Origin::File(file))
    }

    fn add(&mut self, start: u64, limit: u64, offset: u64, file: String, build_id: String, origin: Origin) -> usize {
        let mapping = Mapping { start, limit, offset, file, build_id };
        self.layout.mappings.push(LaidMapping { mapping, origin });
        self.layout.mappings.len() - 1
    }

    fn start_of(&self, index: usize) -> u64 {
        self.layout.mappings.get(index).map_or(0, |laid| laid.mapping.start)
    }

    fn put_native(&mut self, file: FileNumber, offset: u64, place: Place) {
        let frame = Frame::Native { file, offset: crate::event::FileOffset(offset) };
        self.put(CodePoint { frame, image: None }, place);
    }

    fn put(&mut self, point: CodePoint, place: Place) {
        self.layout.places.insert(point, place);
    }
}

/// Runs of neighboring pages that hold the addresses, as (start, end).
fn page_runs(addresses: &BTreeSet<u64>) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for page in addresses.iter().map(|address| address / PAGE * PAGE) {
        match runs.last_mut() {
            Some(run) if page <= run.1 => run.1 = page.saturating_add(PAGE),
            _ => runs.push((page, page.saturating_add(PAGE))),
        }
    }
    runs
}

#[cfg(test)]
mod tests;
