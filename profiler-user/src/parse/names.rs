//! Everything that is known of one file, asked by file offset: what the symbol worker keeps of a file.

use super::ParseError;
use super::debug_file;
use super::demangle::{demangle, is_mangled};
use super::dwarf::{DebugInfo, DwarfFrame};
use super::eh_frame;
use super::elf::Elf;
use super::go::{self, Go};
use super::mini;
use super::source::{ReadAt, Source};
use super::symbols::Symbols;
use crate::event::FileOffset;
use crate::worker::api::{FileFacts, Fit, SymbolFrame, Symbolized, UnwindTable};
use profiler_ebpf::reasons::Reason;
use std::cell::OnceCell;

/// A parsed file. Tables of names and debug information are read at the first question that they may answer.
pub struct ParsedFile {
    elf: Elf,
    debug_file: Option<Elf>,
    budget: u64,
    go: OnceCell<Option<Go>>,
    symbols: OnceCell<Symbols>,
    debug: OnceCell<Option<DebugInfo>>,
}

impl ParsedFile {
    /// Reads the headers; at most `budget` bytes of the file are ever held.
    pub fn parse(reader: impl ReadAt + 'static, budget: u64) -> Result<Self, ParseError> {
        let elf = Elf::parse(Source::new(reader, budget))?;
        let (go, symbols, debug) = Default::default();
        Ok(ParsedFile { elf, debug_file: None, budget, go, symbols, debug })
    }

    /// Takes a debug file, which was found fit, within the same budget.
    pub fn with_debug_file(mut self, reader: impl ReadAt + 'static) -> Result<Self, ParseError> {
        let debug = Elf::parse(self.elf.source().beside(reader))?;
        // It may have been written in place since.
        if !debug_file::same_build(&self.elf, &debug) {
            return Err(ParseError::Damaged("a debug file of another build"));
        }
        self.debug_file = Some(debug);
        Ok(self)
    }

    /// Whether a file is the debug file of this one.
    pub fn fit(&self, reader: impl ReadAt + 'static, crc: Option<u32>) -> Result<Fit, ParseError> {
        debug_file::fit(&self.elf, &Elf::parse(self.elf.source().beside(reader))?, crc)
    }

    /// Bytes of the file that are held.
    pub fn held(&self) -> u64 {
        self.budget.saturating_sub(self.elf.source().left())
    }

    /// Facts of the file.
    pub fn facts(&self) -> FileFacts {
        self.elf.facts()
    }

    /// Unwind rows of the file.
    pub fn unwind_table(&self) -> Result<UnwindTable, ParseError> {
        eh_frame::unwind_table(&self.elf)
    }

    /// Names of one offset: Go's own, else debug information, completed by the symbol table, else the symbol table alone.
    pub fn symbolize(&self, offset: FileOffset) -> Symbolized {
        let Some(address) = self.elf.address_of(offset.0) else {
            return Symbolized::Missing(Reason::NoSymbol);
        };
        let go = self.go.get_or_init(|| Go::read(&self.elf)).as_ref();
        // Go's table is exact where debug information is not, smaller, and what Go's own profiles say.
        let frames = go.filter(|go| go.is_complete()).and_then(|go| go.frames(&self.elf, address));
        let frames = frames.or_else(|| self.linked(address)).or_else(|| go.and_then(|go| self.left(go, address)));
        frames.map_or(Symbolized::Missing(Reason::NoSymbol), Symbolized::Frames)
    }

    /// Names that are not Go's own.
    fn linked(&self, address: u64) -> Option<Vec<SymbolFrame>> {
        // First, because they are small: debug information may take more than what is left of the budget.
        let symbols = self.symbols.get_or_init(|| self.read_symbols());
        // Debug information that cannot be read leaves the symbol table.
        let debug = self.debug.get_or_init(|| self.read_debug_info());
        let symbol = symbols.find(address).map(|s| String::from_utf8_lossy(s.name).into_owned());
        let frames = debug.as_ref().map(|d| d.frames(address)).unwrap_or_default();
        self.frames(frames, symbol)
    }

    /// What Go's own table knows where nothing else is left: it lists functions in C too, without lines.
    fn left(&self, go: &Go, address: u64) -> Option<Vec<SymbolFrame>> {
        let named = || Some(vec![self.by_symbol(String::from_utf8_lossy(go.name(address)?).into_owned())]);
        go.frames(&self.elf, address).or_else(named)
    }

    fn read_debug_info(&self) -> Option<DebugInfo> {
        let files = [Some(&self.elf), self.debug_file.as_ref()];
        files.into_iter().flatten().find_map(|elf| DebugInfo::read(elf).unwrap_or_default())
    }

    fn read_symbols(&self) -> Symbols {
        // One that is damaged is as good as none.
        let inside = mini::read(&self.elf).unwrap_or_default();
        let others: Vec<&Elf> = inside.iter().chain(&self.debug_file).collect();
        let symbols = Symbols::read(&self.elf, &others);
        if let Some(inside) = inside {
            self.elf.source().release(inside.source().size());
        }
        symbols
    }

    fn frames(&self, frames: Vec<DwarfFrame>, symbol: Option<String>) -> Option<Vec<SymbolFrame>> {
        let mut named: Vec<SymbolFrame> = frames.into_iter().map(|f| self.frame(f)).collect();
        match (named.last_mut(), symbol) {
            (Some(outermost), Some(symbol)) => self.complete(outermost, symbol),
            (None, Some(symbol)) => named.push(self.by_symbol(symbol)),
            _ => {}
        }
        // A line without any function is no name.
        named.retain(|f| !f.name.is_empty());
        if named.is_empty() { None } else { Some(named) }
    }

    fn frame(&self, frame: DwarfFrame) -> SymbolFrame {
        SymbolFrame {
            name: self.name(&frame.name),
            system_name: frame.name,
            file: frame.file,
            line: frame.line,
            column: frame.column,
            start_line: frame.start_line,
        }
    }

    fn by_symbol(&self, symbol: String) -> SymbolFrame {
        SymbolFrame { name: self.name(&symbol), system_name: symbol, ..SymbolFrame::default() }
    }

    /// The symbol table knows the linkage name of a function whose debug information has only its plain name.
    fn complete(&self, outermost: &mut SymbolFrame, symbol: String) {
        if outermost.name.is_empty() || (is_mangled(&symbol) && !is_mangled(&outermost.system_name)) {
            outermost.name = self.name(&symbol);
            outermost.system_name = symbol;
        } else if !is_mangled(&outermost.system_name) && !self.elf.is_go() {
            outermost.system_name = symbol;
        }
    }

    /// Go names are as Go shows them. Elsewhere `name@@VERSION` is a name and its version.
    fn name(&self, system_name: &str) -> String {
        if self.elf.is_go() && !is_mangled(system_name) {
            return go::shown(system_name);
        }
        let plain = system_name.split_once('@').map_or(system_name, |(name, _)| name);
        demangle(plain).into_owned()
    }
}
