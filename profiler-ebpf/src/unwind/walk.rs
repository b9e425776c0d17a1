//! One step of a walk: from a frame's registers and the rule in force to the caller's registers.

use super::rule::{
    CODE_RBP_FRAME, DICTIONARY, KIND_DEREF, KIND_FRAME_POINTER, KIND_INDEXED, KIND_PLT, KIND_REGISTER, KIND_SIGNAL,
    KIND_STOP, RA_AT_BASE, RA_IN_REGISTER, RBP_AT_BASE, RBP_AT_CFA, RBP_AT_RBP, RBP_IN_REGISTER, RBP_UNDEFINED,
    REGISTER_BP, REGISTER_SP, Rule,
};
use crate::reasons::Reason;

/// Where the walk reads the target's stack.
pub trait Memory {
    /// The two words at `address` and `address + 8`; `None` if they cannot be read.
    fn pair(&mut self, address: u64) -> Option<(u64, u64)>;

    /// A general register by DWARF number (0..=15) as it was in the sampled frame or, behind a signal frame, in the interrupted
    /// one.
    fn register(&self, number: u8) -> u64;

    /// Loads the interrupted registers from a signal frame's ucontext at `sp` and makes [`Memory::register`] answer for
    /// them: (pc, sp, bp).
    fn signal_frame(&mut self, sp: u64) -> Option<(u64, u64, u64)>;
}

/// Where the dictionary's rules come from.
pub trait Rules {
    /// Rule in slot `index` (below 32,768).
    fn rule(&self, index: u32) -> Option<&Rule>;
}

/// Registers that a walk carries from frame to frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Program counter.
    pub pc: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer, [`LOST_FRAME_POINTER`] if it is not known.
    pub bp: u64,
    /// 1 if `pc` is a return address: what is looked up is `pc` - 1.
    pub is_return: u64,
    /// 1 while all general registers are known: in the sampled frame and behind a signal frame.
    pub all_registers: u64,
    /// 1 once a step followed a frame pointer.
    pub by_frame_pointer: u64,
}

/// Stands for an unknown frame pointer: misaligned and unreadable, so that no step can use it unnoticed.
pub const LOST_FRAME_POINTER: u64 = 1;
/// Farthest that a frame pointer may lead up the stack in one step.
const MAX_FRAME: u64 = 1 << 20;

/// Arguments of a program that are believed.
const MAX_ARGUMENTS: u64 = 1 << 16;

/// What a step came to: 0 the walk goes on, else the code of a [`Reason`].
pub type Outcome = u32;
/// The walk goes on.
pub const GO_ON: Outcome = 0;

/// The outcome of a walk that reached the stack's root.
#[inline(always)]
pub fn root(cursor: &Cursor) -> Outcome {
    if cursor.by_frame_pointer != 0 { Reason::CompleteByFramePointer as u32 } else { Reason::Complete as u32 }
}

/// The outcome of a walk that came to a return address of zero. The outermost frame has a frame pointer of zero, too (System V
/// ABI, "Initial Stack and Register State"); without that it may be chance: libgcc, for one, overwrites its own frame while it
/// installs an exception handler's.
#[inline(always)]
pub fn zero_return(cursor: &Cursor) -> Outcome {
    if cursor.bp == 0 { root(cursor) } else { Reason::CompleteAtZero as u32 }
}

/// The code in force at a return address whose instructions are `add $N, %rsp; ret` (`bytes` begin there, little endian): what
/// they do is what the step has to do. Such is the trampoline that CPython 3.12 and 3.13 copy for each function under
/// `-X perf`, which leaves the frame pointer alone.
#[inline(always)]
pub fn code_of_return(bytes: u64) -> Option<u32> {
    let size = bytes >> 24 & 0xff;
    if bytes & 0xff_00ff_ffff == 0xc3_00c4_8348 && size & 0x87 == 0 { Some((size as u32 >> 3) + 1) } else { None }
}

/// How a walk ends whose last step was in memory without a file: code that the process made. Hardly a stack begins there (that
/// of a packed program does), so a frame pointer that leads nowhere, or to a zero, is taken for a register that the compiler
/// uses for something else.
#[inline(always)]
pub fn end_in_made_code(outcome: Outcome) -> Outcome {
    let bad = outcome == Reason::BadFramePointer as u32;
    let zero = outcome == Reason::CompleteByFramePointer as u32 || outcome == Reason::CompleteAtZero as u32;
    if bad || zero { Reason::JitCodeWithoutFramePointer as u32 } else { outcome }
}

/// CFA, where RBP is saved (0 = it is the caller's), and where the return address lies.
struct Frame {
    cfa: u64,
    bp_at: u64,
    return_at: u64,
    /// A return address that is not on the stack, else 0.
    return_address: u64,
    /// 1 if no more than the frame pointer of an interrupted function leads there, which may be any number.
    guessed: u64,
}

impl Frame {
    /// RBP is saved at CFA + `bp_offset` if that is not 0.
    #[inline(always)]
    fn new(cfa: u64, bp_offset: i64) -> Frame {
        let bp_at = if bp_offset == 0 { 0 } else { cfa.wrapping_add(bp_offset as u64) };
        Frame { cfa, bp_at, return_at: cfa.wrapping_sub(8), return_address: 0, guessed: 0 }
    }
}

/// Makes `cursor` the caller's. `code` is the rule in force at the lookup address.
#[inline(always)]
pub fn step<M: Memory, R: Rules>(cursor: &mut Cursor, code: u32, memory: &mut M, rules: &R) -> Outcome {
    let mut frame;
    if code & DICTIONARY as u32 == 0 {
        let cfa = cursor.sp.wrapping_add(((code & 0x1ff) as u64) << 3);
        frame = Frame::new(cfa, -(((code >> 9) as i64) << 3));
    } else if code == CODE_RBP_FRAME as u32 {
        frame = Frame::new(cursor.bp.wrapping_add(16), -16);
    } else {
        let Some(rule) = rules.rule(code & !(DICTIONARY as u32)) else { return Reason::TableDamaged as u32 };
        if rule.kind == KIND_SIGNAL {
            let Some((pc, sp, bp)) = memory.signal_frame(cursor.sp) else { return Reason::UnreadableStack as u32 };
            cursor.pc = pc;
            cursor.sp = sp;
            cursor.bp = bp;
            cursor.is_return = 0;
            cursor.all_registers = 1;
            return GO_ON;
        }
        frame = Frame::new(0, 0);
        let outcome = by_rule(cursor, rule, memory, &mut frame);
        if outcome != GO_ON {
            return outcome;
        }
    }
    let Some((below, on_stack)) = memory.pair(frame.return_at.wrapping_sub(8)) else {
        return Reason::UnreadableStack as u32;
    };
    if frame.guessed != 0 && on_stack == 0 {
        return Reason::BadFramePointer as u32;
    }
    if frame.bp_at.wrapping_add(8) == frame.return_at {
        cursor.bp = below;
    } else if frame.bp_at != 0 {
        let Some((bp, _)) = memory.pair(frame.bp_at) else { return Reason::UnreadableStack as u32 };
        cursor.bp = bp;
    }
    cursor.pc = if frame.return_address != 0 { frame.return_address } else { on_stack };
    cursor.sp = frame.cfa;
    cursor.is_return = 1;
    cursor.all_registers = 0;
    GO_ON
}

/// The stack is as a program finds it (System V ABI, "Initial Stack and Register State"): the number of arguments, and the address
/// of the first, which lies farther up. A frame pointer of zero alone says little of a function that was interrupted: code that
/// keeps none uses its register for other numbers.
#[inline(always)]
fn begins_process<M: Memory>(sp: u64, memory: &mut M) -> bool {
    match memory.pair(sp) {
        Some((count, first)) => count.wrapping_sub(1) < MAX_ARGUMENTS && first > sp && is_near(first, sp),
        None => false,
    }
}

/// Is a little farther up the stack than `sp`, or there.
#[inline(always)]
fn is_near(address: u64, sp: u64) -> bool {
    address.wrapping_sub(sp) <= MAX_FRAME
}

/// Callees give such a register back as it was, and may change it meanwhile: RBX, R12 to R15. A caller that needs one of the others
/// behind a call calls only what leaves it alone (AES-GCM of OpenSSL does): it is as it was in the sampled frame.
#[inline(always)]
fn is_preserved(number: u8) -> bool {
    0xf008 >> number & 1 != 0
}

/// Evaluates a dictionary rule into `frame`.
#[inline(always)]
fn by_rule<M: Memory>(cursor: &mut Cursor, rule: &Rule, memory: &mut M, frame: &mut Frame) -> Outcome {
    match rule.kind {
        KIND_REGISTER | KIND_DEREF | KIND_INDEXED => {
            let in_registers = rule.kind == KIND_INDEXED || rule.ra_kind == RA_IN_REGISTER;
            if in_registers && cursor.all_registers == 0 {
                return Reason::UnsupportedRule as u32;
            }
            let base = match rule.cfa_register {
                REGISTER_SP => cursor.sp,
                REGISTER_BP => cursor.bp,
                other => {
                    let base = memory.register(other & 15);
                    if cursor.all_registers == 0 && (is_preserved(other & 15) || !is_near(base, cursor.sp)) {
                        return Reason::UnsupportedRule as u32;
                    }
                    base
                }
            };
            let mut cfa = base.wrapping_add(rule.cfa_offset as i64 as u64);
            if rule.kind != KIND_REGISTER {
                if rule.kind == KIND_INDEXED {
                    cfa = cfa.wrapping_add(memory.register(rule.threshold & 15) << 3);
                }
                let Some((word, _)) = memory.pair(cfa) else { return Reason::UnreadableStack as u32 };
                cfa = word.wrapping_add(rule.addend as i64 as u64);
            }
            *frame = Frame::new(cfa, 0);
            frame.bp_at = match rule.rbp_kind {
                RBP_AT_CFA => cfa.wrapping_add(rule.rbp_offset as i64 as u64),
                RBP_AT_RBP => cursor.bp.wrapping_add(rule.rbp_offset as i64 as u64),
                RBP_AT_BASE => base.wrapping_add(rule.rbp_offset as i64 as u64),
                _ => 0,
            };
            if rule.rbp_kind == RBP_IN_REGISTER && cursor.all_registers != 0 {
                cursor.bp = memory.register(rule.rbp_offset as u8 & 15);
            } else if rule.rbp_kind == RBP_UNDEFINED || rule.rbp_kind == RBP_IN_REGISTER {
                cursor.bp = LOST_FRAME_POINTER;
            }
            if rule.ra_kind == RA_IN_REGISTER {
                frame.return_address = memory.register(rule.ra_register & 15);
            } else if rule.ra_kind == RA_AT_BASE {
                frame.return_at = base.wrapping_add((rule.ra_register as u64) << 3);
            }
            GO_ON
        }
        KIND_PLT => {
            let pushed = ((cursor.pc & 15) >= rule.threshold as u64) as u64;
            *frame = Frame::new(cursor.sp.wrapping_add(8).wrapping_add(pushed << 3), 0);
            GO_ON
        }
        KIND_FRAME_POINTER => {
            cursor.by_frame_pointer = 1;
            let guessed = (cursor.all_registers != 0 && rule.threshold == 0) as u64;
            if cursor.bp == 0 {
                let is_root = guessed == 0 || begins_process(cursor.sp, memory);
                return if is_root { Reason::CompleteByFramePointer } else { Reason::BadFramePointer } as u32;
            }
            let same_stack = is_near(cursor.bp, cursor.sp);
            if cursor.bp & 7 != 0 || (rule.threshold == 0 && !same_stack) {
                return Reason::BadFramePointer as u32;
            }
            *frame = Frame { guessed, ..Frame::new(cursor.bp.wrapping_add(16), -16) };
            GO_ON
        }
        KIND_STOP => root(cursor),
        _ => Reason::UnsupportedRule as u32,
    }
}
