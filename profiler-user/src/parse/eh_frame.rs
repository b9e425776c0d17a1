//! Call frame information -> unwind rows by file offset, in pages. Go code has none: its rows come from Go's function table.
//!
//! Two passes, so that the memory for a huge file is its list of functions and its finished pages: first every function's
//! range is listed and sorted, then each one's rules are evaluated in order and go straight into pages.

mod callee;
mod coverage;
mod functions;
mod go;
mod init;
mod musl;
mod pages;
mod row;
mod rules;
mod spans;

pub use coverage::{Coverage, Hole};
pub use functions::Functions;

use super::ParseError;
use super::elf::Elf;
use super::symbols::{Symbol, Symbols};
use crate::worker::api::{Segment, UnwindTable};
use callee::Callees;
use gimli::{
    BaseAddresses, DebugFrame, EhFrame, EndianSlice, FrameDescriptionEntry, LittleEndian, UnwindContext, UnwindSection,
    UnwindTableRow,
};
use go::{Code, Go};
use pages::Pages;
use profiler_ebpf::unwind::rule::{
    CODE_FRAME_POINTER, CODE_FRAME_POINTER_ANY_STACK, CODE_SIGNAL, CODE_STOP, CODE_UNSUPPORTED, RBP_UNDEFINED, Rule,
};
use row::Evaluate;
use rules::Rules;
use spans::{Cover, Span, Spans};

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// Code behind a function that is not executed: alignment.
const PADDING: u64 = 15;
/// Bytes of a common entry: its rules are evaluated for each function that names it. Compilers write less than 40.
const MAX_COMMON_ENTRY: usize = 1 << 10;
/// Functions that are looked at to find the roots of Go's stacks: each of [`GO_ROOTS`] has a name or two.
const MAX_GO_ROOTS: usize = 16;
/// Length of the entry code, bytes, where it has no unwind information.
const ENTRY_LENGTH: u64 = 64;
/// Functions at which a Go stack begins, or behind which lies another stack.
const GO_ROOTS: [&[u8]; 4] = [b"runtime.goexit", b"runtime.mstart", b"runtime.mcall", b"runtime.rt0_go"];

/// What is not evaluated, and the addresses of the first rows of that kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Of what kind it is.
    pub kind: &'static str,
    /// Rows of that kind.
    pub rows: u64,
    /// Addresses of some.
    pub places: Vec<u64>,
}

/// The unwind table of a file, and what became of the file's unwind information.
#[derive(Debug, Default)]
pub struct Examined {
    /// The table.
    pub table: UnwindTable,
    /// What covers the file's code, and what is covered by nothing.
    pub coverage: Coverage,
    /// What is not evaluated.
    pub refused: Vec<Refused>,
}

/// Makes the unwind table of a file.
pub fn unwind_table(elf: &Elf) -> Result<UnwindTable, ParseError> {
    examine(elf).map(|examined| examined.table)
}

/// Makes the unwind table of a file and tells how.
pub fn examine(elf: &Elf) -> Result<Examined, ParseError> {
    let mut rules = Rules::new();
    if !elf.is_x86_64() {
        rules.unsupported("code of another CPU", None);
        return Ok(finish(UnwindTable::default(), Coverage::default(), rules));
    }
    let go = elf.is_go();
    let information = Information::read(elf)?;
    let sections = information.sections(elf);
    let segments = elf.executable();
    let functions = Go::read(elf, &mut rules);
    let mut spans = sections.spans(&segments, &mut rules);
    if let Some(functions) = &functions {
        functions.add_functions(&mut spans);
        spans.sort();
    }
    let has_unwind_info = !spans.is_empty();
    let coverage = Coverage::of(elf, spans.sorted_so_far());
    init::add(elf, &mut spans);
    musl::add(elf, &mut spans);
    add_roots(elf, go && functions.is_none(), &mut spans);
    let filler = if go { CODE_FRAME_POINTER_ANY_STACK } else { CODE_FRAME_POINTER };
    let pages = if spans.is_empty() {
        Pages::new(&[], filler)?
    } else {
        let (code, context, spans) = (Code::new(elf), UnwindContext::new(), spans.sorted());
        let callees = Callees::new(sections.eh_frame, &sections.bases, &spans, Code::new(elf));
        Builder {
            sections: &sections,
            go: functions.as_ref(),
            spans: &spans,
            callees,
            code,
            rules: &mut rules,
            filler,
            context,
        }
        .build(&segments)?
    };
    let (first_page, pages, rows) = pages.finish();
    let table = UnwindTable { first_page, pages, rows, has_unwind_info, any_stack: go, ..UnwindTable::default() };
    Ok(finish(table, coverage, rules))
}

fn finish(mut table: UnwindTable, coverage: Coverage, rules: Rules) -> Examined {
    let (dictionary, refused) = rules.finish();
    table.rules = dictionary;
    table.unsupported = refused.iter().map(|(kind, refused)| ((*kind).to_owned(), refused.rows)).collect();
    let refused = refused.into_iter().map(|(kind, rules::Refused { rows, places })| Refused { kind, rows, places });
    Examined { table, coverage, refused: refused.collect() }
}

fn bases(elf: &Elf, eh_frame: u64) -> BaseAddresses {
    let address = |name: &str| elf.sections().iter().find(|s| s.name == name).map_or(0, |s| s.address);
    BaseAddresses::default().set_eh_frame(eh_frame).set_text(address(".text")).set_got(address(".got"))
}

/// Known ends of stacks that no unwind information marks. `go`: of Go code without a table that could be read.
fn add_roots(elf: &Elf, go: bool, spans: &mut Spans<'_>) {
    if go {
        let symbols = Symbols::read(elf, &[]);
        let is_root =
            |symbol: &Symbol<'_>| GO_ROOTS.contains(&symbol.name.strip_suffix(b".abi0").unwrap_or(symbol.name));
        for symbol in symbols.iter().filter(is_root).take(MAX_GO_ROOTS) {
            // The return address into goexit is its second byte, so the lookup address lies inside it.
            spans.add_uncovered(Span { start: symbol.address, end: symbol.end, cover: Cover::Code(CODE_STOP) });
        }
    }
    if elf.entry() != 0 {
        let end = elf.entry().saturating_add(ENTRY_LENGTH);
        spans.add_uncovered(Span { start: elf.entry(), end, cover: Cover::Code(CODE_STOP) });
    }
}

/// The bytes of a file's call frame information; none where it has none.
struct Information {
    eh_frame: Vec<u8>,
    /// Address of the former.
    address: u64,
    debug_frame: Vec<u8>,
}

impl Information {
    fn read(elf: &Elf) -> Result<Self, ParseError> {
        let read = |name| elf.section(name).map(|s| Ok::<_, ParseError>((s.address, elf.data(s)?))).transpose();
        let (address, eh_frame) = read(".eh_frame")?.unwrap_or_default();
        // Go's .debug_frame ends at the switch from one stack to another, which its frame pointers cross.
        let debug_frame = if elf.is_go() { None } else { read(".debug_frame").unwrap_or_default() };
        Ok(Information { eh_frame, address, debug_frame: debug_frame.unwrap_or_default().1 })
    }

    /// Bytes that are held.
    fn size(&self) -> u64 {
        (self.eh_frame.len() + self.debug_frame.len()) as u64
    }

    fn sections(&self, elf: &Elf) -> Sections<'_> {
        Sections {
            eh_frame: EhFrame::new(&self.eh_frame, LittleEndian),
            debug_frame: DebugFrame::new(&self.debug_frame, LittleEndian),
            bases: bases(elf, self.address),
        }
    }
}

struct Sections<'a> {
    eh_frame: EhFrame<Bytes<'a>>,
    debug_frame: DebugFrame<Bytes<'a>>,
    bases: BaseAddresses,
}

impl Sections<'_> {
    /// All functions, sorted; `.debug_frame` has those that `.eh_frame` leaves.
    fn spans<'s>(&self, segments: &'s [Segment], rules: &mut Rules) -> Spans<'s> {
        let mut spans = Spans::new(segments);
        spans.add_functions(&self.eh_frame, &self.bases, Cover::EhFrame, rules);
        spans.sort();
        spans.add_functions(&self.debug_frame, &self.bases, Cover::DebugFrame, rules);
        spans.sort();
        spans
    }
}

/// The second pass.
struct Builder<'a> {
    sections: &'a Sections<'a>,
    go: Option<&'a Go>,
    spans: &'a [Span],
    callees: Callees<'a>,
    code: Code<'a>,
    rules: &'a mut Rules,
    filler: u16,
    context: UnwindContext<usize>,
}

impl Builder<'_> {
    fn build(&mut self, segments: &[Segment]) -> Result<Pages, ParseError> {
        let spans = self.spans;
        let mut pages = Pages::new(segments, self.filler)?;
        for segment in segments {
            let end = segment.address.saturating_add(segment.size);
            let from = spans.partition_point(|s| s.start < segment.address);
            let until = spans.partition_point(|s| s.start < end);
            pages.push(segment.offset, self.filler)?;
            self.segment(segment, spans.get(from..until).unwrap_or_default(), &mut pages)?;
            pages.push(segment.offset.saturating_add(segment.size), self.filler)?;
        }
        Ok(pages)
    }

    fn segment(&mut self, segment: &Segment, spans: &[Span], pages: &mut Pages) -> Result<(), ParseError> {
        let segment_end = segment.address.saturating_add(segment.size);
        let mut following = spans.iter().skip(1);
        for span in spans {
            let next = following.next().map_or(segment_end, |s| s.start);
            let mut at =
                |address: u64, code| pages.push(segment.offset + address.saturating_sub(segment.address), code);
            match span.cover {
                Cover::Code(code) => at(span.start, code)?,
                Cover::Go(number) => {
                    if let Some(go) = self.go {
                        go.function(number, span.clip(next), &mut self.code, self.rules, &mut at)?;
                    }
                }
                Cover::EhFrame(offset) => {
                    let section = self.sections.eh_frame;
                    self.function(&section, offset, span.clip(next), segment.address, &mut at)?;
                }
                Cover::DebugFrame(offset) => {
                    let section = self.sections.debug_frame;
                    self.function(&section, offset, span.clip(next), segment.address, &mut at)?;
                }
            }
            if next > span.end.saturating_add(PADDING) || (span.is_code() && next > span.end) {
                at(span.end.min(segment_end), self.filler)?;
            }
        }
        Ok(())
    }

    /// Rows of one function. Rows outside of its range are dropped; what cannot be evaluated is marked so.
    fn function<'a, S: UnwindSection<Bytes<'a>>>(
        &mut self,
        section: &S,
        offset: u32,
        span: Span,
        lowest: u64,
        at: &mut impl FnMut(u64, u16) -> Result<(), ParseError>,
    ) -> Result<(), ParseError> {
        let bases = &self.sections.bases;
        let fde = section.fde_from_offset(bases, S::Offset::from(offset as usize), S::cie_from_offset);
        let Some(fde) = fde.ok().filter(is_bounded) else {
            self.rules.unsupported("unreadable function", Some(span.start));
            return at(span.start, CODE_UNSUPPORTED);
        };
        if fde.is_signal_trampoline() {
            // It is returned to, not called: the lookup address (return address - 1) lies one byte before it.
            return at(span.start.saturating_sub(1).max(lowest), CODE_SIGNAL);
        }
        let evaluate = Evaluate { section, encoding: fde.cie().encoding() };
        let mut reached = span.start;
        let damaged = match fde.rows(section, bases, &mut self.context) {
            Err(_) => true,
            Ok(mut table) => loop {
                match table.next_row() {
                    Ok(Some(row)) => {
                        reached = row.end_address().clamp(reached, span.end);
                        if row.start_address() >= span.start && row.start_address() < span.end {
                            let (code, rule) = code(row, &evaluate, self.rules);
                            let (start, end) = (row.start_address(), row.end_address().min(span.end));
                            at(start, code)?;
                            let changes = rule.map(|rule| self.callees.changes(start, end, &rule)).unwrap_or_default();
                            for (address, rule) in changes {
                                at(address, self.rules.code_of(rule))?;
                            }
                        }
                    }
                    Ok(None) => break false,
                    Err(_) => break true,
                }
            },
        };
        if damaged {
            self.rules.unsupported("unreadable function", Some(reached));
            at(reached, CODE_UNSUPPORTED)?;
        }
        Ok(())
    }
}

/// The rules of its common entry are few, so that those of all functions together are no more than the section has.
fn is_bounded(fde: &FrameDescriptionEntry<Bytes<'_>>) -> bool {
    fde.cie().entry_len() <= MAX_COMMON_ENTRY
}

/// The code of a row, and its rule.
fn code<'a, S: UnwindSection<Bytes<'a>>>(
    row: &UnwindTableRow<usize>,
    evaluate: &Evaluate<'_, S>,
    rules: &mut Rules,
) -> (u16, Option<Rule>) {
    match evaluate.rule(row) {
        Ok(None) => (CODE_STOP, None),
        Ok(Some(rule)) => {
            if rule.rbp_kind == RBP_UNDEFINED {
                rules.unsupported("frame pointer rule", Some(row.start_address()));
            }
            (rules.code_of(rule), Some(rule))
        }
        Err(kind) => {
            rules.unsupported(kind, Some(row.start_address()));
            (CODE_UNSUPPORTED, None)
        }
    }
}
