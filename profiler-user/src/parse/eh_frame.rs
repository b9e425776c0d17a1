//! Call frame information -> unwind rows by file offset, in pages. Go code has none: its rows come from Go's function table.
//!
//! Two passes, so that the memory for a huge file is its list of functions and its finished pages: first every function's
//! range is listed and sorted, then each one's rules are evaluated in order and go straight into pages.

mod go;
mod init;
mod pages;
mod rules;
mod spans;

use super::ParseError;
use super::elf::Elf;
use super::symbols::Symbols;
use crate::worker::api::{Segment, UnwindTable};
use gimli::{BaseAddresses, DebugFrame, EhFrame, EndianSlice, LittleEndian, UnwindContext, UnwindSection};
use go::{Code, Go};
use pages::Pages;
use profiler_ebpf::unwind::rule::{
    CODE_FRAME_POINTER, CODE_FRAME_POINTER_ANY_STACK, CODE_SIGNAL, CODE_STOP, CODE_UNSUPPORTED,
};
use rules::Rules;
use spans::{Cover, Span, Spans};

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// Code behind a function that is not executed: alignment.
const PADDING: u64 = 15;
/// Length of the entry code, bytes, where it has no unwind information.
const ENTRY_LENGTH: u64 = 64;
/// Functions at which a Go stack begins, or behind which lies another stack.
const GO_ROOTS: [&[u8]; 4] = [b"runtime.goexit", b"runtime.mstart", b"runtime.mcall", b"runtime.rt0_go"];

/// Makes the unwind table of a file.
pub fn unwind_table(elf: &Elf) -> Result<UnwindTable, ParseError> {
    let mut rules = Rules::new();
    if !elf.is_x86_64() {
        rules.unsupported("code of another CPU");
        let (rules, unsupported) = rules.finish();
        return Ok(UnwindTable { rules, unsupported, ..UnwindTable::default() });
    }
    let go = elf.is_go();
    let read = |name| elf.section(name).map(|s| Ok::<_, ParseError>((s.address, elf.data(s)?))).transpose();
    let eh_frame: Option<(u64, Vec<u8>)> = read(".eh_frame")?;
    // Go's .debug_frame ends at the switch from one stack to another, which its frame pointers cross.
    let debug_frame: Option<(u64, Vec<u8>)> = if go { None } else { read(".debug_frame").unwrap_or_default() };
    let sections = Sections {
        eh_frame: EhFrame::new(eh_frame.as_ref().map_or(&[], |s| s.1.as_slice()), LittleEndian),
        debug_frame: DebugFrame::new(debug_frame.as_ref().map_or(&[], |s| s.1.as_slice()), LittleEndian),
        bases: bases(elf, eh_frame.as_ref().map_or(0, |s| s.0)),
    };
    let segments = elf.executable();
    let functions = Go::read(elf, &mut rules);
    let mut spans = Spans::new(&segments);
    spans.add_functions(&sections.eh_frame, &sections.bases, Cover::EhFrame, &mut rules);
    spans.sort();
    spans.add_functions(&sections.debug_frame, &sections.bases, Cover::DebugFrame, &mut rules);
    spans.sort();
    if let Some(functions) = &functions {
        functions.add_functions(&mut spans);
        spans.sort();
    }
    let has_unwind_info = !spans.is_empty();
    init::add(elf, &mut spans);
    add_roots(elf, go && functions.is_none(), &mut spans);
    let filler = if go { CODE_FRAME_POINTER_ANY_STACK } else { CODE_FRAME_POINTER };
    let pages = if spans.is_empty() {
        Pages::new(&[], filler)?
    } else {
        let (code, context) = (Code::new(elf), UnwindContext::new());
        Builder { sections, go: functions.as_ref(), code, rules: &mut rules, filler, context }
            .build(&segments, &spans.sorted())?
    };
    let (first_page, pages, rows) = pages.finish();
    let (rules, unsupported) = rules.finish();
    Ok(UnwindTable { rules, first_page, pages, rows, has_unwind_info, any_stack: go, unsupported })
}

fn bases(elf: &Elf, eh_frame: u64) -> BaseAddresses {
    let address = |name: &str| elf.sections().iter().find(|s| s.name == name).map_or(0, |s| s.address);
    BaseAddresses::default().set_eh_frame(eh_frame).set_text(address(".text")).set_got(address(".got"))
}

/// Known ends of stacks that no unwind information marks. `go`: of Go code without a table that could be read.
fn add_roots(elf: &Elf, go: bool, spans: &mut Spans<'_>) {
    if go {
        for symbol in Symbols::read(elf, &[]).iter() {
            let name = symbol.name.strip_suffix(b".abi0").unwrap_or(symbol.name);
            // The return address into goexit is its second byte, so the lookup address lies inside it.
            if GO_ROOTS.contains(&name) {
                spans.add_uncovered(Span { start: symbol.address, end: symbol.end, cover: Cover::Code(CODE_STOP) });
            }
        }
    }
    if elf.entry() != 0 {
        let end = elf.entry().saturating_add(ENTRY_LENGTH);
        spans.add_uncovered(Span { start: elf.entry(), end, cover: Cover::Code(CODE_STOP) });
    }
}

struct Sections<'a> {
    eh_frame: EhFrame<Bytes<'a>>,
    debug_frame: DebugFrame<Bytes<'a>>,
    bases: BaseAddresses,
}

/// The second pass.
struct Builder<'a> {
    sections: Sections<'a>,
    go: Option<&'a Go>,
    code: Code<'a>,
    rules: &'a mut Rules,
    filler: u16,
    context: UnwindContext<usize>,
}

impl Builder<'_> {
    fn build(&mut self, segments: &[Segment], spans: &[Span]) -> Result<Pages, ParseError> {
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
        let Ok(fde) = fde else {
            self.rules.unsupported("unreadable function");
            return at(span.start, CODE_UNSUPPORTED);
        };
        if fde.is_signal_trampoline() {
            // It is returned to, not called: the lookup address (return address - 1) lies one byte before it.
            return at(span.start.saturating_sub(1).max(lowest), CODE_SIGNAL);
        }
        let encoding = fde.cie().encoding();
        let mut reached = span.start;
        let damaged = match fde.rows(section, bases, &mut self.context) {
            Err(_) => true,
            Ok(mut table) => loop {
                match table.next_row() {
                    Ok(Some(row)) => {
                        reached = row.end_address().clamp(reached, span.end);
                        if row.start_address() >= span.start && row.start_address() < span.end {
                            at(row.start_address(), self.rules.code(row, section, encoding))?;
                        }
                    }
                    Ok(None) => break false,
                    Err(_) => break true,
                }
            },
        };
        if damaged {
            self.rules.unsupported("unreadable function");
            at(reached, CODE_UNSUPPORTED)?;
        }
        Ok(())
    }
}
