//! Everything that is known of one file, asked by file offset: what the symbol worker keeps of a file.

use super::ParseError;
use super::debug_file;
use super::demangle::{demangle, is_mangled};
use super::dwarf::{DebugInfo, DwarfFrame};
use super::eh_frame::{self, Functions};
use super::elf::Elf;
use super::given::Given;
use super::go::{self, Go};
use super::mini;
use super::source::{ReadAt, Source};
use super::survey;
use super::symbols::Symbols;
use crate::event::FileOffset;
use crate::worker::api::{
    FileFacts, FileSurvey, Fit, Part, PartFit, PartKey, SharedLink, SymbolFrame, Symbolized, UnwindTable,
};
use profiler_ebpf::reasons::Reason;
use std::cell::OnceCell;

/// A parsed file. Tables of names and debug information are read at the first question that they may answer.
pub struct ParsedFile {
    elf: Elf,
    debug_file: Option<Elf>,
    /// What dwz moved into a file for several others.
    shared: Given<Elf>,
    budget: u64,
    go: OnceCell<Option<Go>>,
    symbols: OnceCell<Symbols>,
    debug: OnceCell<Option<DebugInfo>>,
    functions: OnceCell<Functions>,
}

impl ParsedFile {
    /// Reads the headers; at most `budget` bytes of the file are ever held.
    pub fn parse(reader: impl ReadAt + 'static, budget: u64) -> Result<Self, ParseError> {
        let elf = Elf::parse(Source::new(reader, budget))?;
        let (go, symbols, debug, functions) = Default::default();
        Ok(ParsedFile { elf, debug_file: None, shared: Given::NotYet, budget, go, symbols, debug, functions })
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

    /// What this file is and has, for people.
    pub fn survey(&self) -> Result<FileSurvey, ParseError> {
        let symbols = self.symbols.get_or_init(|| self.read_symbols());
        survey::survey(&self.elf, self.debug_file.as_ref(), symbols, |name| self.name(name))
    }

    /// Names of one offset: Go's own, else debug information, completed by the symbol table, else the symbol table alone. Where
    /// none of them knows the function, its unwind information may still tell where it begins.
    pub fn symbolize(&self, offset: FileOffset) -> Symbolized {
        let Some(address) = self.elf.address_of(offset.0) else {
            return Symbolized::Missing(Reason::NoSymbol);
        };
        let left = || self.go().and_then(|go| self.left(go, address));
        let frames = self.gos_own(address).or_else(|| self.linked(address)).or_else(left);
        let named = frames.map(Symbolized::Frames).or_else(|| self.nameless(offset, address));
        named.unwrap_or(Symbolized::Missing(Reason::NoSymbol))
    }

    fn nameless(&self, offset: FileOffset, address: u64) -> Option<Symbolized> {
        // Unwind information that cannot be read is as good as none.
        let functions = self.functions.get_or_init(|| Functions::read(&self.elf).unwrap_or_default());
        let within = address.checked_sub(functions.start_of(address)?)?;
        // Not so where segments overlap.
        let start = offset.0.checked_sub(within)?;
        Some(Symbolized::Nameless { start: FileOffset(start) })
    }

    fn go(&self) -> Option<&Go> {
        self.go.get_or_init(|| Go::read(&self.elf)).as_ref()
    }

    /// Go's table is exact where debug information is not, smaller, and what Go's own profiles say.
    fn gos_own(&self, address: u64) -> Option<Vec<SymbolFrame>> {
        self.go().filter(|go| go.is_complete()).and_then(|go| go.frames(&self.elf, address))
    }

    /// Names that are not Go's own.
    fn linked(&self, address: u64) -> Option<Vec<SymbolFrame>> {
        // First, as in `read_all`.
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

    /// At most `most` parts of the debug information that names of these offsets need and that were neither given nor settled.
    pub fn wanted(&mut self, offsets: &[FileOffset], most: usize) -> Vec<Part> {
        let addresses = offsets.iter().filter_map(|offset| self.elf.address_of(offset.0));
        let addresses: Vec<u64> = addresses.filter(|address| self.gos_own(*address).is_none()).collect();
        if addresses.is_empty() {
            return Vec::new();
        }
        if let Err(link) = self.read_all() {
            return vec![Part::Shared(link)];
        }
        let Some(Some(debug)) = self.debug.get_mut() else { return Vec::new() };
        let mut wanted = Vec::new();
        for address in addresses {
            if wanted.len() >= most {
                break;
            }
            debug.want(address, &mut wanted);
        }
        wanted.truncate(most);
        wanted
    }

    /// Takes a file that may be a part; it is paid from the same budget.
    pub fn take_part(&mut self, part: PartKey, reader: impl ReadAt + 'static) -> PartFit {
        let Ok(elf) = Elf::parse(self.elf.source().beside(reader)) else { return PartFit::Damaged };
        match part {
            PartKey::Shared => self.take_shared(elf),
            // Asked for by another process, this one may need something else before.
            _ if self.read_all().is_err() => PartFit::Unneeded,
            _ => self.debug.get_mut().and_then(Option::as_mut).map_or(PartFit::Unneeded, |debug| debug.take(part, elf)),
        }
    }

    fn take_shared(&mut self, elf: Elf) -> PartFit {
        match self.shared_link().filter(|_| !self.shared.is_known()) {
            None => PartFit::Unneeded,
            Some(link) if elf.build_id().as_ref() != Some(&link.build_id) => PartFit::OtherBuild,
            Some(_) if !debug_file::has_debug_info(&elf) && elf.section(".debug_str").is_none() => PartFit::Damaged,
            Some(_) => {
                self.shared = Given::Here(elf);
                PartFit::Used
            }
        }
    }

    /// A part that was not given will not be.
    pub fn settle_part(&mut self, part: PartKey) {
        match part {
            PartKey::Shared => self.shared.settle(),
            _ => self.debug.get_mut().and_then(Option::as_mut).into_iter().for_each(|debug| debug.settle(part)),
        }
    }

    /// Reads symbol table and debug information, unless what that shares with other files is wanted first.
    fn read_all(&self) -> Result<(), SharedLink> {
        // First, because they are small: debug information may take more than what is left of the budget.
        self.symbols.get_or_init(|| self.read_symbols());
        if !self.shared.is_known()
            && let Some(link) = self.shared_link()
        {
            return Err(link);
        }
        self.debug.get_or_init(|| self.read_debug_info());
        Ok(())
    }

    /// What the debug information shares with other files, and who says so.
    fn shared_link(&self) -> Option<SharedLink> {
        let holder = self.holders().find(|elf| debug_file::has_debug_info(elf))?;
        let (name, build_id) = debug_file::shared_link(holder)?;
        Some(SharedLink { name, build_id, of_debug_file: !std::ptr::eq(holder, &raw const self.elf) })
    }

    /// The files that may hold debug information, in the order in which they are asked.
    fn holders(&self) -> impl Iterator<Item = &Elf> {
        [Some(&self.elf), self.debug_file.as_ref()].into_iter().flatten()
    }

    fn read_debug_info(&self) -> Option<DebugInfo> {
        self.holders().find_map(|elf| DebugInfo::read(elf, self.shared.here()).unwrap_or_default())
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
