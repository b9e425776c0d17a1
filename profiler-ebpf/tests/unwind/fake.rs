//! A process for the walk: memory word by word, one chunk of rows, a dictionary, and the loop of `bpf/steps.rs`.

use profiler_ebpf::abi::event::MAX_USER_FRAMES;
use profiler_ebpf::abi::maps::{CHUNK_WORDS, DICTIONARY_SLOTS};
use profiler_ebpf::reasons::Reason;
use profiler_ebpf::unwind::rule::{FIXED, PAGE_BITS, Rule};
use profiler_ebpf::unwind::table::{PageEntry, Rows, search};
use profiler_ebpf::unwind::walk::{Cursor, GO_ON, Memory, Rules, step, zero_return};
use std::collections::BTreeMap;

/// Pairs that one step may read: a dereferenced CFA, the return address, a saved frame pointer.
const READS_PER_STEP: u32 = 3;

/// Memory that has only the words that were written.
#[derive(Debug, Default)]
pub(crate) struct FakeMemory {
    pub(crate) words: BTreeMap<u64, u64>,
    pub(crate) registers: [u64; 16],
    pub(crate) reads: u32,
}

impl FakeMemory {
    pub(crate) fn word(&self, address: u64) -> Option<u64> {
        self.words.get(&address).copied()
    }

    fn count_read(&mut self) {
        self.reads += 1;
        assert!(self.reads <= READS_PER_STEP, "one step reads without end");
    }

    /// One step, with what a step may do watched.
    pub(crate) fn step(&mut self, cursor: &mut Cursor, code: u32, rules: &Dictionary) -> u32 {
        self.reads = 0;
        step(cursor, code, self, rules)
    }
}

impl Memory for FakeMemory {
    fn pair(&mut self, address: u64) -> Option<(u64, u64)> {
        self.count_read();
        Some((self.word(address)?, self.word(address.wrapping_add(8))?))
    }

    fn register(&self, number: u8) -> u64 {
        *self.registers.get(usize::from(number)).expect("a register number is below 16")
    }

    fn signal_frame(&mut self, sp: u64) -> Option<(u64, u64, u64)> {
        self.count_read();
        // struct ucontext: 40 bytes, then r8-r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip.
        let register = |i: u64| self.word(sp.wrapping_add(40 + 8 * i));
        Some((register(16)?, register(15)?, register(10)?))
    }
}

/// The dictionary: the fixed rules, then others.
#[derive(Debug)]
pub(crate) struct Dictionary(pub(crate) Vec<Rule>);

impl Dictionary {
    pub(crate) fn fixed() -> Dictionary {
        Dictionary(FIXED.to_vec())
    }

    /// The code of a rule; takes a slot for it.
    pub(crate) fn code(&mut self, rule: Rule) -> u16 {
        let slot = self.0.iter().position(|known| *known == rule).unwrap_or_else(|| {
            self.0.push(rule);
            self.0.len() - 1
        });
        profiler_ebpf::unwind::rule::DICTIONARY | slot as u16
    }
}

impl Rules for Dictionary {
    fn rule(&self, index: u32) -> Option<&Rule> {
        assert!(index < DICTIONARY_SLOTS, "slot {index} is outside of the dictionary");
        self.0.get(index as usize)
    }
}

/// A chunk; rows behind its end are any rows, as in the kernel.
#[derive(Debug)]
pub(crate) struct Chunk(pub(crate) Vec<u32>);

impl Rows for Chunk {
    fn row(&self, index: u64) -> u32 {
        let index = index as usize & (CHUNK_WORDS - 1);
        self.0.get(index).copied().unwrap_or(0xdead_beef)
    }
}

/// One process: code at its addresses, and the memory of its stack.
#[derive(Debug)]
pub(crate) struct Process {
    /// Page number -> entry.
    pub(crate) pages: BTreeMap<u64, PageEntry>,
    pub(crate) chunk: Chunk,
    pub(crate) dictionary: Dictionary,
    pub(crate) memory: FakeMemory,
}

/// What a walk found: lookup addresses, leaf first, and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Walked {
    pub(crate) frames: Vec<u64>,
    pub(crate) reason: Reason,
}

impl Process {
    /// The loop of `bpf/steps.rs` with its bound.
    pub(crate) fn walk(&mut self, mut cursor: Cursor) -> Walked {
        let mut frames = Vec::new();
        let mut outcome = Reason::Truncated as u32;
        while frames.len() < MAX_USER_FRAMES {
            if cursor.pc == 0 {
                outcome = zero_return(&cursor);
                break;
            }
            let address = cursor.pc.wrapping_sub(cursor.is_return);
            let Some(page) = self.pages.get(&(address >> PAGE_BITS)) else {
                outcome = Reason::NoMapping as u32;
                break;
            };
            frames.push(address);
            let code = search(&self.chunk, *page, address);
            let came_to = self.memory.step(&mut cursor, code, &self.dictionary);
            if came_to != GO_ON {
                outcome = came_to;
                break;
            }
        }
        let reason = Reason::from_code(outcome).expect("a walk ends with a reason");
        Walked { frames, reason }
    }
}
