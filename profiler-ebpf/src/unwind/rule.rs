//! Unwind rules: how to find the caller's frame from a frame's registers, as 16-bit codes and 16-byte dictionary rules.
//!
//! | code | meaning |
//! | --- | --- |
//! | `0kkk kkkc cccc cccc` | CFA = RSP + 8c (c < 512); RBP unchanged if k = 0, else saved at CFA - 8k (k < 64) |
//! | `1iii iiii iiii iiii` | dictionary rule i; the first slots are fixed ([`FIXED`]) |
//!
//! The return address is at CFA - 8. A row is 4 bytes (u16 offset in its page, u16 code); a page covers
//! 2^[`PAGE_BITS`] bytes of the file and begins with the rule in force.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// log2 of the file bytes that one table page covers.
pub const PAGE_BITS: u32 = 11;

/// CFA = register + offset.
pub const KIND_REGISTER: u8 = 0;
/// Procedure linkage table: CFA = RSP + 8, + 8 more if (pc & 15) >= `threshold`.
pub const KIND_PLT: u8 = 1;
/// CFA = *(register + `cfa_offset`) + `addend`.
pub const KIND_DEREF: u8 = 2;
/// Root of the stack.
pub const KIND_STOP: u8 = 3;
/// Signal frame: the interrupted registers lie in the ucontext at RSP.
pub const KIND_SIGNAL: u8 = 4;
/// No unwind information: follow the frame pointer. `threshold` = 1: it may lead to another stack (Go).
pub const KIND_FRAME_POINTER: u8 = 5;
/// A rule that is not evaluated.
pub const KIND_UNSUPPORTED: u8 = 6;
/// As [`KIND_DEREF`], with 8 times the register whose DWARF number is `threshold` added to the address (OpenSSL's Montgomery
/// multiplications: a vector of a size that is known at run time lies below the saved RSP). Valid while all registers are known.
pub const KIND_INDEXED: u8 = 7;

/// `cfa_register`: RSP.
pub const REGISTER_SP: u8 = 0;
/// `cfa_register`: RBP.
pub const REGISTER_BP: u8 = 1;

/// `rbp_kind`: unchanged.
pub const RBP_SAME: u8 = 0;
/// `rbp_kind`: saved at CFA + `rbp_offset`.
pub const RBP_AT_CFA: u8 = 1;
/// `rbp_kind`: unknown from here on.
pub const RBP_UNDEFINED: u8 = 2;
/// `rbp_kind`: saved at RBP + `rbp_offset`.
pub const RBP_AT_RBP: u8 = 3;
/// `rbp_kind`: saved at the CFA register + `rbp_offset`, where the CFA itself is a word in memory.
pub const RBP_AT_BASE: u8 = 4;
/// `rbp_kind`: in the general register whose DWARF number is `rbp_offset` (`longjmp`). Unknown unless all registers
/// are known.
pub const RBP_IN_REGISTER: u8 = 5;

/// `ra_kind`: at CFA - 8.
pub const RA_AT_CFA: u8 = 0;
/// `ra_kind`: in general register `ra_register` (vfork). Valid while all registers are known.
pub const RA_IN_REGISTER: u8 = 1;
/// `ra_kind`: at the CFA register + 8 times `ra_register` (`setcontext`, which takes all from a structure).
pub const RA_AT_BASE: u8 = 2;

/// A rule of the dictionary.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Rule {
    /// `KIND_*`.
    pub kind: u8,
    /// [`REGISTER_SP`], [`REGISTER_BP`], or 16 + the DWARF number of another register, of which only the value in frame 0 and
    /// behind a signal frame is known.
    pub cfa_register: u8,
    /// `RBP_*`.
    pub rbp_kind: u8,
    /// PLT threshold; frame pointer: 1 if the stack may change; [`KIND_INDEXED`]: the index register.
    pub threshold: u8,
    /// Added to the CFA register.
    pub cfa_offset: i32,
    /// Where RBP lies, see `rbp_kind`.
    pub rbp_offset: i32,
    /// [`KIND_DEREF`], [`KIND_INDEXED`]: added to the loaded word (low 16 bits, signed).
    pub addend: i16,
    /// `RA_*`.
    pub ra_kind: u8,
    /// DWARF number of the register that holds the return address, or words above the CFA register, see `ra_kind`.
    pub ra_register: u8,
}
const _: () = assert!(size_of::<Rule>() == 16);
// SAFETY: `repr(C)`, integers only, no padding, any bit pattern is valid.
#[cfg(not(target_arch = "bpf"))]
unsafe impl aya::Pod for Rule {}

/// Bit of a code that says: dictionary.
pub const DICTIONARY: u16 = 0x8000;
/// Code: `push rbp; mov rbp, rsp` frame.
pub const CODE_RBP_FRAME: u16 = DICTIONARY;
/// Code: no unwind information, frame pointer.
pub const CODE_FRAME_POINTER: u16 = DICTIONARY | 1;
/// Code: root of the stack.
pub const CODE_STOP: u16 = DICTIONARY | 2;
/// Code: signal frame.
pub const CODE_SIGNAL: u16 = DICTIONARY | 3;
/// Code: rule that is not evaluated.
pub const CODE_UNSUPPORTED: u16 = DICTIONARY | 4;
/// Code: frame pointer that may lead to another stack (Go).
pub const CODE_FRAME_POINTER_ANY_STACK: u16 = DICTIONARY | 5;

const ZERO: Rule = Rule {
    kind: KIND_REGISTER,
    cfa_register: REGISTER_SP,
    rbp_kind: RBP_SAME,
    threshold: 0,
    cfa_offset: 0,
    rbp_offset: 0,
    addend: 0,
    ra_kind: RA_AT_CFA,
    ra_register: 0,
};

/// The fixed first slots of every dictionary, in the order of the `CODE_*` constants.
pub const FIXED: [Rule; 6] = [
    Rule { cfa_register: REGISTER_BP, rbp_kind: RBP_AT_CFA, cfa_offset: 16, rbp_offset: -16, ..ZERO },
    Rule { kind: KIND_FRAME_POINTER, ..ZERO },
    Rule { kind: KIND_STOP, ..ZERO },
    Rule { kind: KIND_SIGNAL, ..ZERO },
    Rule { kind: KIND_UNSUPPORTED, ..ZERO },
    Rule { kind: KIND_FRAME_POINTER, threshold: 1, ..ZERO },
];

/// The compact code of a rule, if it has one; otherwise it needs a dictionary slot.
pub const fn compact(rule: &Rule) -> Option<u16> {
    if rule.kind != KIND_REGISTER || rule.cfa_register != REGISTER_SP || rule.ra_kind != RA_AT_CFA {
        return None;
    }
    if rule.cfa_offset < 0 || rule.cfa_offset & 7 != 0 || rule.cfa_offset >= 4096 {
        return None;
    }
    let cfa = (rule.cfa_offset / 8) as u16;
    match rule.rbp_kind {
        RBP_SAME => Some(cfa),
        RBP_AT_CFA if rule.rbp_offset < 0 && rule.rbp_offset & 7 == 0 && rule.rbp_offset >= -63 * 8 => {
            Some(cfa | ((-rule.rbp_offset / 8) as u16) << 9)
        }
        _ => None,
    }
}
