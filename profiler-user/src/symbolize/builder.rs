//! Rows of a window -> the tables of a [`Profile`](crate::kind::profile::Profile), keeping its invariants: dense indexes,
//! no two equal functions, locations or samples, every location in a mapping and with at least one line, the main binary
//! first.

use super::layout::{AddressBook, Addresses, CodePoint, LaidMapping, Layout, Origin};
use super::sources::printable;
use super::{Names, Symbolizer};
use crate::event::{FileOffset, Frame, FrameWord, ImageId};
use crate::kind::profile::{Function, Label, Line, Location, Mapping, ProfileSample};
use crate::record::window::Row;
use crate::worker::api::{SymbolFrame, Symbolized};
use profiler_ebpf::reasons::Reason;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The function in which CPython runs all others. Under `-X perf` each has code of its own around it.
const CPYTHON_LOOP: &str = "_PyEval_EvalFrameDefault";

/// Which labels the samples carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// `thread` and numeric `tid`: a process's tree.
    Threads,
    /// `pid`, `comm` too: trees of many processes.
    Processes,
    /// `thread` alone, so that threads that do the same are one: a process's tree.
    Names,
    /// `comm`, `pid` and `thread`: trees of many processes.
    NamesOfProcesses,
}

impl Labels {
    fn with_process(self) -> bool {
        matches!(self, Labels::Processes | Labels::NamesOfProcesses)
    }

    fn with_number(self) -> bool {
        matches!(self, Labels::Threads | Labels::Processes)
    }
}

/// What a profile is built from.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The samples.
    pub rows: &'a [Row],
    /// More labels, of as many rows as there are lists.
    pub more: &'a [Vec<Label>],
    /// Labels.
    pub labels: Labels,
    /// Addresses.
    pub addresses: Addresses<'a>,
    /// Path of the main binary, as [`super::sources::FileInfo::path`] has it.
    pub main: Option<&'a str>,
    /// Keep kernel frames.
    pub kernel: bool,
}

/// The tables of a profile, and the way back from its addresses.
#[derive(Debug, Default)]
pub struct Built {
    /// Address ranges.
    pub mappings: Vec<Mapping>,
    /// Functions.
    pub functions: Vec<Function>,
    /// Locations.
    pub locations: Vec<Location>,
    /// Samples: (count, ns).
    pub samples: Vec<ProfileSample>,
    /// The way back.
    pub book: AddressBook,
    /// Samples that lack functions of their program, by program and why: a frame in code that the program made has no name,
    /// or an interpreter runs and nothing tells what.
    pub native_only: BTreeMap<(ImageId, Reason), u64>,
}

/// Builds the tables. Blocking: asks the worker for names.
pub fn build(symbolizer: &Symbolizer, input: &Input<'_>) -> Built {
    let stacks: Vec<Vec<CodePoint>> = input.rows.iter().map(|row| stack_of(row, input.kernel)).collect();
    let points: HashSet<CodePoint> = stacks.iter().flatten().copied().collect();
    let layout = Layout::new(&points, input.addresses, symbolizer.files(), symbolizer.kernel());
    let names = symbolizer.names(points.iter().copied());
    let main = main_mapping(&layout, input, &stacks);

    let mut tables = Tables::new(&layout, &names);
    if let Some(main) = main {
        tables.mapping(main);
    }
    let mut samples: BTreeMap<(Vec<usize>, Vec<Label>), (u64, u64)> = BTreeMap::new();
    let mut native_only = BTreeMap::new();
    let more = input.more.iter().map(Vec::as_slice).chain(std::iter::repeat(&[][..]));
    for ((row, stack), more) in input.rows.iter().zip(&stacks).zip(more) {
        if let Some(reason) = lacks_functions(row, stack, &names) {
            *native_only.entry((row.image, reason)).or_default() += row.count;
        }
        let locations = stack.iter().filter_map(|point| tables.location(*point)).collect();
        let sum = samples.entry((locations, labels_of(row, input.labels, more))).or_default();
        sum.0 = sum.0.saturating_add(row.count);
        sum.1 = sum.1.saturating_add(row.value);
    }
    let samples = samples.into_iter().map(|((locations, labels), (count, value))| ProfileSample {
        locations,
        values: vec![to_i64(count), to_i64(value)],
        labels,
    });
    Built {
        samples: samples.collect(),
        book: AddressBook::of_layout(&layout),
        native_only,
        mappings: tables.mappings,
        functions: tables.functions,
        locations: tables.locations,
    }
}

/// The frames of a row, leaf first; never empty: what has no frame says why.
fn stack_of(row: &Row, kernel: bool) -> Vec<CodePoint> {
    let frame = |word: &FrameWord| word.frame().unwrap_or(Frame::Pseudo { reason: Reason::BadRecord });
    let kept = row.stack.iter().map(frame).filter(|frame| kernel || !matches!(frame, Frame::Kernel { .. }));
    let mut stack: Vec<CodePoint> = kept.map(|frame| CodePoint::new(frame, row.image)).collect();
    if stack.is_empty() {
        stack.push(CodePoint::new(Frame::Pseudo { reason: row.status }, row.image));
    }
    stack
}

/// Why functions of the program are missing in a stack, if they are.
fn lacks_functions(row: &Row, stack: &[CodePoint], names: &Names) -> Option<Reason> {
    let made = || stack.iter().filter(|point| matches!(point.frame, Frame::Jit { .. }));
    let missing = made().find_map(|point| match names.get(point).map(AsRef::as_ref) {
        Some(Symbolized::Missing(reason)) => Some(*reason),
        _ => None,
    });
    let interpreted = || {
        let runs = |frame: &SymbolFrame| frame.name == CPYTHON_LOOP;
        stack.iter().any(|point| match names.get(point).map(AsRef::as_ref) {
            Some(Symbolized::Frames(frames)) => frames.iter().any(runs),
            _ => false,
        })
    };
    missing.or_else(|| {
        (row.status.is_complete() && made().next().is_none() && interpreted()).then_some(Reason::AnonymousCode)
    })
}

fn labels_of(row: &Row, labels: Labels, more: &[Label]) -> Vec<Label> {
    let mut list = Vec::with_capacity(5 + more.len());
    list.extend_from_slice(more);
    if labels.with_process() {
        list.push(Label::Text("comm", row.comm.to_text()));
        list.push(Label::Text("pid", row.image.process.pid.to_string()));
    }
    if !row.status.is_complete() {
        list.push(Label::Text("reason", row.status.name().to_owned()));
    }
    list.push(Label::Text("thread", row.thread.to_text()));
    if labels.with_number() {
        list.push(Label::Number("tid", i64::from(row.tid.0)));
    }
    list.sort();
    list
}

/// The mapping of the main binary. Of one process: by its path, else by the path's last part, else the one that holds the
/// outermost frames of the main thread (other threads begin in libc), else the lowest. A dynamic loader that was told to
/// run a program is not that program. Of a family its head's; of the host the kernel's.
fn main_mapping(layout: &Layout, input: &Input<'_>, stacks: &[Vec<CodePoint>]) -> Option<usize> {
    let position = |wanted: &dyn Fn(&LaidMapping) -> bool| layout.mappings.iter().position(wanted);
    if input.labels == Labels::Processes && input.main.is_none() {
        return position(&|laid| matches!(laid.origin, Origin::Kernel(module) if module.0 == 0));
    }
    let by_path = |path: &str| position(&|laid| laid.mapping.file == path);
    let by_last_part = |path: &str| position(&|laid| last_part(&laid.mapping.file) == last_part(path));
    let lowest = || {
        let files = layout.mappings.iter().enumerate().filter(|(_, laid)| matches!(laid.origin, Origin::File(_)));
        files.min_by_key(|(_, laid)| laid.mapping.start).map(|(index, _)| index)
    };
    let main = input.main.map(printable);
    let named = main.as_deref().and_then(|path| by_path(path).or_else(|| by_last_part(path)));
    let program = named.filter(|_| main.is_some_and(|path| !is_loader(&path)));
    program.or_else(|| outermost_of_main_thread(layout, input.rows, stacks)).or(named).or_else(lowest)
}

/// `ld-linux-x86-64.so.2`, `ld-musl-x86_64.so.1`, `ld.so`, `ld-2.31.so`.
fn is_loader(path: &str) -> bool {
    let name = last_part(path);
    name.strip_prefix("ld").is_some_and(|rest| rest.starts_with(['-', '.']) && rest.contains(".so"))
}

fn outermost_of_main_thread(layout: &Layout, rows: &[Row], stacks: &[Vec<CodePoint>]) -> Option<usize> {
    let mut votes: BTreeMap<usize, u64> = BTreeMap::new();
    let of_main_thread = |row: &Row| row.tid.0 == row.image.process.pid.0 && row.status.is_complete();
    for (row, stack) in rows.iter().zip(stacks).filter(|(row, _)| of_main_thread(row)) {
        let outermost = stack.iter().rev().find(|point| matches!(point.frame, Frame::Native { .. }));
        if let Some(place) = outermost.and_then(|point| layout.place(*point)) {
            *votes.entry(place.mapping).or_default() += row.count;
        }
    }
    votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(mapping, _)| mapping)
}

fn last_part(path: &str) -> &str {
    path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(path)
}

/// The tables while they grow.
struct Tables<'a> {
    layout: &'a Layout,
    names: &'a Names,
    mappings: Vec<Mapping>,
    functions: Vec<Function>,
    locations: Vec<Location>,
    mapping_index: HashMap<usize, usize>,
    function_index: HashMap<Function, usize>,
    location_index: HashMap<CodePoint, usize>,
}

impl<'a> Tables<'a> {
    fn new(layout: &'a Layout, names: &'a Names) -> Self {
        Tables {
            layout,
            names,
            mappings: Vec::new(),
            functions: Vec::new(),
            locations: Vec::new(),
            mapping_index: HashMap::new(),
            function_index: HashMap::new(),
            location_index: HashMap::new(),
        }
    }

    /// Index of a mapping of the layout in the profile.
    fn mapping(&mut self, laid: usize) -> Option<usize> {
        if let Some(index) = self.mapping_index.get(&laid) {
            return Some(*index);
        }
        self.mappings.push(self.layout.mappings.get(laid)?.mapping.clone());
        let index = self.mappings.len() - 1;
        self.mapping_index.insert(laid, index);
        Some(index)
    }

    fn location(&mut self, point: CodePoint) -> Option<usize> {
        if let Some(index) = self.location_index.get(&point) {
            return Some(*index);
        }
        let place = self.layout.place(point)?;
        let mapping = self.mapping(place.mapping)?;
        let lines = match self.names.get(&point).map(AsRef::as_ref) {
            Some(Symbolized::Frames(frames)) => frames.iter().map(|frame| self.line(frame)).collect(),
            unnamed => vec![self.line(&nameless(point.frame, unnamed, self.mapping_file(mapping)))],
        };
        self.locations.push(Location { mapping, address: place.address, lines });
        let index = self.locations.len() - 1;
        self.location_index.insert(point, index);
        Some(index)
    }

    fn mapping_file(&self, mapping: usize) -> &str {
        self.mappings.get(mapping).map_or("", |mapping| &mapping.file)
    }

    fn line(&mut self, frame: &SymbolFrame) -> Line {
        let function = Function {
            name: frame.name.clone(),
            system_name: system_name(frame).to_owned(),
            file: frame.file.clone(),
            start_line: i64::from(frame.start_line),
        };
        let next = self.functions.len();
        let index = *self.function_index.entry(function).or_insert_with_key(|function| {
            self.functions.push(function.clone());
            next
        });
        Line { function: index, line: i64::from(frame.line), column: i64::from(frame.column) }
    }
}

/// The frame of an address without a name: where the function begins, if that is known, else where the address is.
pub(crate) fn nameless(frame: Frame, found: Option<&Symbolized>, file: &str) -> SymbolFrame {
    let name = match frame {
        Frame::Native { offset, .. } => match found {
            Some(Symbolized::Nameless { start }) => place_in(file, *start),
            _ => place_in(file, offset),
        },
        Frame::Kernel { offset, .. } => format!("{file}+{offset:#x}"),
        Frame::Jit { .. } => match found {
            Some(Symbolized::Missing(reason)) if *reason != Reason::AnonymousCode => {
                format!("[anonymous code: {}]", reason.name())
            }
            _ => "[anonymous code]".to_owned(),
        },
        Frame::Pseudo { reason: Reason::KernelHidden } => "[kernel]".to_owned(),
        Frame::Pseudo { reason } => format!("[{}]", reason.name()),
    };
    only_name(name)
}

/// The frame of code that has no name, at an offset of a file.
pub(crate) fn nameless_in(file: &str, offset: FileOffset) -> SymbolFrame {
    only_name(place_in(file, offset))
}

fn place_in(file: &str, offset: FileOffset) -> String {
    format!("{}+{:#x}", last_part(file), offset.0)
}

fn only_name(name: String) -> SymbolFrame {
    SymbolFrame { system_name: name.clone(), name, ..SymbolFrame::default() }
}

/// pprof takes a name that equals its system name for one that nobody demangled, and strips what looks like C++
/// parameters from it. A name that DWARF gave plain has no mangled form; without a system name pprof leaves it alone.
fn system_name(frame: &SymbolFrame) -> &str {
    let stripped = frame.name.contains(['<', '(']) && frame.name == frame.system_name;
    if stripped { "" } else { &frame.system_name }
}

fn to_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
