//! Jitdump files (`jit-PID.dump`, the format of perf): names and lines of code that a runtime makes. A runtime appends to it, so
//! where code lies over other code, the last record is what lies there now. The code itself is not read.
//!
//! Format: `tools/perf/Documentation/jitdump-specification.txt` of the Linux sources, version 1, byte order of this machine.

use super::ParseError;
use super::elf::{read_u32, read_u64};
use super::perf_map;
use super::source::{ReadAt, Source};
use super::symbols::MAX_NAME;
use crate::worker::api::{SymbolFrame, Symbolized};
use profiler_ebpf::reasons::Reason;
use std::collections::{BTreeSet, HashMap, VecDeque};

/// Bytes of a dump that is looked at; code is passed over.
pub const MAX_SIZE: u64 = 1 << 30;
/// Records that are looked at.
const MAX_RECORDS: usize = 4 << 20;
/// Pieces of code that are remembered, the newest.
const MAX_LOADS: usize = 1 << 19;
/// Bytes of lines of one piece of code.
const MAX_LINES: u64 = 1 << 20;
/// Bytes that are read at a time.
const BUDGET: u64 = 4 << 20;

/// "JiTD".
const MAGIC: u32 = 0x4a69_5444;
const FILE_HEADER: u64 = 40;
/// Id, bytes, time.
const RECORD_HEADER: u64 = 16;
const LOAD: u32 = 0;
const MOVE: u32 = 1;
const LINES: u32 = 2;
/// V8 counts addresses of lines from the beginning of the ELF file that perf will make of a piece of code.
const V8_SHIFT: u64 = 0x40;

/// Names of addresses, in their order and as many.
pub fn symbolize(reader: impl ReadAt + 'static, addresses: &[u64]) -> Result<Vec<Symbolized>, ParseError> {
    let dump = Dump { source: Source::new(reader, BUDGET) };
    let loads = dump.loads()?;
    let newest = newest(&loads, addresses);
    let named = |address: &u64| {
        let frame = newest.get(address).and_then(|load| dump.frame(load, *address));
        frame.map_or(Symbolized::Missing(Reason::NoSymbol), |frame| Symbolized::Frames(vec![frame]))
    };
    Ok(addresses.iter().map(named).collect())
}

/// A piece of code.
#[derive(Clone, Copy, Debug)]
struct Load {
    start: u64,
    /// Where it lay when it was loaded: lines are counted from there.
    loaded: u64,
    size: u64,
    /// Offset of the name.
    name: u64,
    /// Offset and bytes of its lines.
    lines: Option<(u64, u64)>,
}

/// The last load that covers each address. From the last one backwards each address is taken once, so however many overlap,
/// the work is bounded by loads and addresses.
fn newest<'l>(loads: &'l VecDeque<Load>, addresses: &[u64]) -> HashMap<u64, &'l Load> {
    let mut nameless: BTreeSet<u64> = addresses.iter().copied().collect();
    let mut found = HashMap::new();
    for load in loads.iter().rev() {
        let Some(end) = load.start.checked_add(load.size) else { continue };
        while let Some(address) = nameless.range(load.start..end).next().copied() {
            nameless.remove(&address);
            found.insert(address, load);
        }
    }
    found
}

struct Dump {
    source: Source,
}

impl Dump {
    /// All pieces of code, the newest last. A record that is cut short is one that is being written.
    fn loads(&self) -> Result<VecDeque<Load>, ParseError> {
        let size = self.source.size();
        if size > MAX_SIZE {
            return Err(ParseError::TooLarge { what: "a jitdump", size, cap: MAX_SIZE });
        }
        let header = self.piece(0, FILE_HEADER)?;
        let word = |at| read_u32(&header, at).unwrap_or(0);
        if word(0) != MAGIC || word(4) != 1 || u64::from(word(8)) < FILE_HEADER {
            return Err(ParseError::Damaged("not a jitdump of this machine's byte order"));
        }
        let mut at = u64::from(word(8));
        let mut state = Loads::default();
        for _ in 0..MAX_RECORDS {
            let room = size.saturating_sub(at).min(RECORD_HEADER + 48);
            let Ok(start) = self.piece(at, room) else { break };
            let (Some(id), Some(length)) = (read_u32(&start, 0), read_u32(&start, 4).map(u64::from)) else { break };
            if length < RECORD_HEADER || at.checked_add(length).is_none_or(|end| end > size) {
                break;
            }
            // What is behind the end of the record is the next one's.
            let own = start.get(..usize::try_from(length).unwrap_or(usize::MAX)).unwrap_or(&start);
            state.record(id, at, length, own);
            at += length;
        }
        Ok(state.all)
    }

    fn frame(&self, load: &Load, address: u64) -> Option<SymbolFrame> {
        let name = self.text(load.name, MAX_NAME as u64)?;
        let mut frame = perf_map::frame(&name);
        if frame.name.is_empty() {
            return None;
        }
        let shift = if perf_map::is_v8(&name) { V8_SHIFT } else { 0 };
        if let Some((file, line)) = load.lines.and_then(|lines| self.line(load, lines, address, shift)) {
            frame.line = line;
            if frame.file.is_empty() {
                frame.file = String::from_utf8_lossy(&file).into_owned();
            }
        }
        Some(frame)
    }

    /// File and line of the last entry at or before an address. Entries ascend and lie in the code; what does not ends them.
    fn line(&self, load: &Load, (at, length): (u64, u64), address: u64, shift: u64) -> Option<(Vec<u8>, u32)> {
        let bytes = self.piece(at, length.min(MAX_LINES)).ok()?;
        let count = read_u64(&bytes, 24)?;
        let place = load.loaded.checked_add(address.checked_sub(load.start)?)?;
        let end = load.loaded.checked_add(load.size)?;
        let mut rest = bytes.get(32..)?;
        let mut file: &[u8] = &[];
        let mut found = None;
        for _ in 0..count {
            let Some(entry) = read_u64(rest, 0).and_then(|entry| entry.checked_sub(shift)) else { break };
            if entry < load.loaded || entry >= end || entry > place {
                break;
            }
            let (Some(line), Some(text)) = (read_u32(rest, 8), rest.get(16..)) else { break };
            let Some(ended) = text.iter().position(|byte| *byte == 0) else { break };
            match text.get(..ended) {
                // The same as before.
                Some([0xff]) => {}
                name => file = name.unwrap_or_default(),
            }
            found = Some((file, line));
            rest = text.get(ended + 1..).unwrap_or_default();
        }
        found.map(|(file, line)| (file.get(..MAX_NAME).unwrap_or(file).to_vec(), line))
    }

    /// A text that ends with a NUL.
    fn text(&self, at: u64, cap: u64) -> Option<Vec<u8>> {
        let mut text = self.piece(at, self.source.size().saturating_sub(at).min(cap + 1)).ok()?;
        text.truncate(text.iter().position(|byte| *byte == 0)?);
        Some(text)
    }

    fn piece(&self, at: u64, length: u64) -> Result<Vec<u8>, ParseError> {
        let bytes = self.source.read("a jitdump", at, length)?;
        // It is looked at and dropped.
        self.source.release(length);
        Ok(bytes)
    }
}

/// What the records so far say.
#[derive(Default)]
struct Loads {
    all: VecDeque<Load>,
    by_index: HashMap<u64, Load>,
    /// Of code that is not loaded yet: where, and offset and bytes of its lines.
    lines: Option<(u64, u64, u64)>,
}

impl Loads {
    /// Takes a record: its offset, its bytes and the beginning of it.
    fn record(&mut self, id: u32, at: u64, length: u64, start: &[u8]) {
        let word = |at| read_u64(start, at);
        match id {
            LOAD => {
                let (Some(code), Some(size), Some(index)) = (word(32), word(40), word(48)) else { return };
                let lines = self.lines.take().filter(|(of, ..)| *of == code).map(|(_, at, length)| (at, length));
                self.add(index, Load { start: code, loaded: code, size, name: at + 56, lines });
            }
            MOVE => {
                let (Some(code), Some(size), Some(index)) = (word(40), word(48), word(56)) else { return };
                if let Some(load) = self.by_index.get(&index).copied() {
                    self.add(index, Load { start: code, size, ..load });
                }
            }
            LINES => self.lines = word(16).map(|code| (code, at, length)),
            // Unwind information of frames, the end, and what later versions add.
            _ => {}
        }
    }

    fn add(&mut self, index: u64, load: Load) {
        if self.all.len() == MAX_LOADS {
            self.all.pop_front();
        }
        self.all.push_back(load);
        if self.by_index.len() < MAX_LOADS {
            self.by_index.insert(index, load);
        }
    }
}

#[cfg(test)]
#[path = "jit_dump_tests.rs"]
mod tests;
