//! A small machine that calls functions of every frame shape that compilers make, and so knows the stack that a walk must
//! find.

use crate::fake::{Chunk, Dictionary, FakeMemory, Process, Walked};
use profiler_ebpf::reasons::Reason;
use profiler_ebpf::unwind::rule::*;
use profiler_ebpf::unwind::table::PageEntry;
use profiler_ebpf::unwind::walk::Cursor;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Bytes of a function.
const FUNCTION_BYTES: u64 = 64;
const TEXT: u64 = 0x40_0000;
const STACK_TOP: u64 = 0x7fff_ffff_f000;
/// What a function keeps in RBP when that is an ordinary register to it.
const GARBAGE: u64 = 0xbad_bad_bad;

/// How a function lays out its frame; sizes in words from the CFA down.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// CFA = RSP + 8 `words`; RBP saved `saved` words below the CFA, if at all.
    Stack { words: u16, saved: Option<u16> },
    /// A frame too big for a code.
    BigStack { words: u16 },
    /// push rbp; mov rbp, rsp.
    RbpFrame { words: u16 },
    /// CFA = RBP + 8 `above`.
    RbpBased { above: u16 },
    /// A frame pointer, but no unwind information.
    FramePointer { words: u16 },
    /// A realigned stack: the CFA lies in a word below RBP, RBP is saved where it points.
    Realigned { words: u16 },
    /// The CFA less `addend` is saved at RSP + 8 `at`.
    Saved { words: u16, at: u16, addend: i16 },
    /// CFA, RBP and return address are saved one after the other from RSP + 8 `at` on, and nowhere else.
    Kept { words: u16, at: u8 },
    /// A signal handler's caller: the kernel put the registers of the function before it on the stack.
    Signal,
}

/// Shapes of functions that may call others.
pub(crate) fn shape() -> impl Strategy<Value = Shape> {
    let words = || 3..60u16;
    prop_oneof![
        (1..500u16).prop_map(|words| Shape::Stack { words, saved: None }),
        (2..63u16, 0..400u16).prop_map(|(at, more)| Shape::Stack { words: at + more, saved: Some(at) }),
        (512..600u16).prop_map(|words| Shape::BigStack { words }),
        words().prop_map(|words| Shape::RbpFrame { words }),
        words().prop_map(|above| Shape::RbpBased { above }),
        words().prop_map(|words| Shape::FramePointer { words }),
        words().prop_map(|words| Shape::Realigned { words }),
        (words(), 0..2u16, -64..64i16).prop_map(|(words, at, addend)| Shape::Saved { words, at, addend }),
        (words(), 0..3u8).prop_map(|(words, at)| Shape::Kept { words: words + 4, at }),
        Just(Shape::Signal),
    ]
}

/// A call: where in its function the caller stood (the return address's offset), and the callee's shape.
pub(crate) type Call = (u64, Shape);

/// Offsets of return addresses: up to the very end of the function, as behind a call that never returns.
pub(crate) fn call() -> impl Strategy<Value = Call> {
    (1..=FUNCTION_BYTES, shape())
}

/// The machine.
pub(crate) struct Machine {
    sp: u64,
    bp: u64,
    memory: FakeMemory,
    dictionary: Dictionary,
    /// Code of each function.
    functions: Vec<u16>,
    /// Lookup addresses, root first; the running function's comes at the end.
    chain: Vec<u64>,
    by_frame_pointer: bool,
}

impl Machine {
    /// At the program's entry.
    pub(crate) fn new() -> Machine {
        Machine {
            sp: STACK_TOP,
            bp: 0,
            memory: FakeMemory::default(),
            dictionary: Dictionary::fixed(),
            functions: vec![CODE_STOP],
            chain: Vec::new(),
            by_frame_pointer: false,
        }
    }

    fn base(&self) -> u64 {
        TEXT + (self.functions.len() as u64 - 1) * FUNCTION_BYTES
    }

    fn put(&mut self, address: u64, word: u64) {
        self.memory.words.insert(address, word);
    }

    /// The running function calls another.
    pub(crate) fn call(&mut self, (at, shape): Call) {
        if let Shape::Signal = shape {
            self.signal(at % FUNCTION_BYTES);
            return;
        }
        let return_address = self.base() + at;
        self.chain.push(return_address - 1);
        self.sp -= 8;
        self.put(self.sp, return_address);
        let code = self.enter(shape, return_address);
        self.functions.push(code);
    }

    fn enter(&mut self, shape: Shape, return_address: u64) -> u16 {
        let cfa = self.sp + 8;
        let below = |words: u16| cfa - 8 * u64::from(words);
        match shape {
            Shape::Stack { words, saved } => {
                let rule = Rule { cfa_offset: 8 * i32::from(words), ..Rule::default() };
                self.sp = below(words);
                let Some(at) = saved else { return compact(&rule).expect("a small frame has a code") };
                self.put(below(at), self.bp);
                self.bp = GARBAGE;
                let rule = Rule { rbp_kind: RBP_AT_CFA, rbp_offset: -8 * i32::from(at), ..rule };
                compact(&rule).expect("a small frame has a code")
            }
            Shape::BigStack { words } => {
                self.sp = below(words);
                self.dictionary.code(Rule { cfa_offset: 8 * i32::from(words), ..Rule::default() })
            }
            Shape::RbpFrame { words } => {
                self.push_frame_pointer(cfa, words);
                CODE_RBP_FRAME
            }
            Shape::FramePointer { words } => {
                self.push_frame_pointer(cfa, words);
                self.by_frame_pointer = true;
                CODE_FRAME_POINTER
            }
            Shape::RbpBased { above } => {
                self.put(cfa - 16, self.bp);
                self.bp = below(above);
                self.sp = self.bp;
                let (cfa_register, cfa_offset) = (REGISTER_BP, 8 * i32::from(above));
                let rule = Rule { cfa_register, cfa_offset, rbp_kind: RBP_AT_CFA, rbp_offset: -16, ..Rule::default() };
                self.dictionary.code(rule)
            }
            Shape::Realigned { words } => {
                let aligned = (cfa - 8) & !31;
                self.put(aligned - 8, return_address);
                self.put(aligned - 16, self.bp);
                self.bp = aligned - 16;
                self.put(self.bp - 8, cfa);
                self.put(self.bp, self.memory.word(self.bp).unwrap_or(0));
                self.sp = self.bp - 8 * u64::from(words);
                let (kind, cfa_register) = (KIND_DEREF, REGISTER_BP);
                self.dictionary.code(Rule {
                    kind,
                    cfa_register,
                    cfa_offset: -8,
                    rbp_kind: RBP_AT_RBP,
                    ..Rule::default()
                })
            }
            Shape::Saved { words, at, addend } => {
                self.sp = below(words);
                let word = cfa.wrapping_sub(i64::from(addend).cast_unsigned());
                self.put(self.sp + 8 * u64::from(at), word);
                let rule = Rule { kind: KIND_DEREF, cfa_offset: 8 * i32::from(at), addend, ..Rule::default() };
                self.dictionary.code(rule)
            }
            Shape::Kept { words, at } => {
                self.sp = below(words);
                let kept = self.sp + 8 * u64::from(at);
                self.put(cfa - 8, GARBAGE);
                for (word, value) in [(0, cfa), (1, self.bp), (2, return_address)] {
                    self.put(kept + 8 * word, value);
                }
                self.bp = GARBAGE;
                self.dictionary.code(Rule {
                    kind: KIND_DEREF,
                    cfa_offset: 8 * i32::from(at),
                    rbp_kind: RBP_AT_BASE,
                    rbp_offset: 8 * i32::from(at + 1),
                    ra_kind: RA_AT_BASE,
                    ra_register: at + 2,
                    ..Rule::default()
                })
            }
            Shape::Signal => CODE_SIGNAL,
        }
    }

    fn push_frame_pointer(&mut self, cfa: u64, words: u16) {
        self.put(cfa - 16, self.bp);
        self.bp = cfa - 16;
        self.sp = cfa - 8 * u64::from(words);
    }

    /// A signal interrupts the running function at offset `at`; what runs next is the code that the handler returns to.
    fn signal(&mut self, at: u64) {
        let pc = self.base() + at;
        self.chain.push(pc);
        let frame = (self.sp - 128 - 512) & !15;
        for (register, value) in [(16, pc), (15, self.sp), (10, self.bp)] {
            self.put(frame + 40 + 8 * register, value);
        }
        self.sp = frame;
        self.bp = GARBAGE;
        self.functions.push(CODE_SIGNAL);
    }

    /// A sample at offset `at` of the running function; `in_kernel`: in a system call. The walk must find the expected.
    pub(crate) fn sample(mut self, at: u64, in_kernel: bool) -> (Process, Cursor, Walked) {
        // Behind a system call the pc is a return address; a leaf in user mode is where it is.
        let is_return = u64::from(in_kernel);
        let pc = self.base() + at + is_return;
        self.chain.push(pc - is_return);
        // Every word that a step looks at beside the one it wants is mapped memory.
        let written: Vec<u64> = self.memory.words.keys().copied().collect();
        for address in written {
            for near in [address.wrapping_sub(8), address + 8] {
                self.memory.words.entry(near).or_insert(GARBAGE);
            }
        }
        let cursor = Cursor { pc, sp: self.sp, bp: self.bp, is_return, all_registers: 1, by_frame_pointer: 0 };
        self.chain.reverse();
        let reason = if self.by_frame_pointer { Reason::CompleteByFramePointer } else { Reason::Complete };
        let (pages, chunk) = lay_out(&self.functions);
        let process = Process { pages, chunk, dictionary: self.dictionary, memory: self.memory };
        (process, cursor, Walked { frames: self.chain, reason })
    }
}

/// One row a function.
fn lay_out(functions: &[u16]) -> (BTreeMap<u64, PageEntry>, Chunk) {
    let per_page = (1 << PAGE_BITS) / FUNCTION_BYTES;
    let mut pages = BTreeMap::new();
    let mut rows = Vec::new();
    for (page, functions) in functions.chunks(per_page as usize).enumerate() {
        let entry = PageEntry::new(0, rows.len() as u16, functions.len() as u16);
        pages.insert((TEXT >> PAGE_BITS) + page as u64, entry);
        let at = (0..).step_by(FUNCTION_BYTES as usize);
        rows.extend(at.zip(functions).map(|(offset, code): (u32, &u16)| offset | u32::from(*code) << 16));
    }
    (pages, Chunk(rows))
}
