//! Steps by rules that only leaves have, and steps that must not be taken.

use crate::fake::{Dictionary, FakeMemory};
use profiler_ebpf::reasons::Reason;
use profiler_ebpf::unwind::rule::*;
use profiler_ebpf::unwind::walk::{Cursor, GO_ON, LOST_FRAME_POINTER, code_of_return, end_in_made_code, zero_return};

const SP: u64 = 0x7000_0000;
/// A word of the stack says where it lies.
const MARK: u64 = 0x5555_0000_0000;

fn leaf() -> Cursor {
    Cursor { pc: 0x40_0008, sp: SP, bp: SP + 64, is_return: 0, all_registers: 1, by_frame_pointer: 0 }
}

fn caller() -> Cursor {
    Cursor { is_return: 1, all_registers: 0, ..leaf() }
}

/// One step over 32 words of stack and the one below it; register n holds `SP + 8 n`.
fn step(rule: Rule, mut cursor: Cursor) -> (u32, Cursor) {
    let words = (0..32).map(|i| (SP + 8 * i, MARK + i)).chain([(SP - 8, 0)]).collect();
    let registers = std::array::from_fn(|n| SP + 8 * n as u64);
    let mut memory = FakeMemory { words, registers, ..FakeMemory::default() };
    let mut dictionary = Dictionary::fixed();
    let code = dictionary.code(rule);
    let outcome = memory.step(&mut cursor, u32::from(code), &dictionary);
    (outcome, cursor)
}

fn stepped(rule: Rule, cursor: Cursor) -> Cursor {
    let (outcome, cursor) = step(rule, cursor);
    assert_eq!(outcome, GO_ON, "{rule:?}");
    assert_eq!((cursor.is_return, cursor.all_registers), (1, 0));
    cursor
}

fn ends(rule: Rule, cursor: Cursor, reason: Reason) {
    assert_eq!(Reason::from_code(step(rule, cursor).0), Some(reason), "{rule:?} {cursor:?}");
}

#[test]
fn a_procedure_linkage_table_has_pushed_from_its_threshold_on() {
    let rule = Rule { kind: KIND_PLT, threshold: 11, ..Rule::default() };
    for (pc, pushed) in [(0x40_0000, 0), (0x40_000a, 0), (0x40_000b, 1), (0x40_000f, 1)] {
        let cursor = stepped(rule, Cursor { pc, ..leaf() });
        assert_eq!((cursor.sp, cursor.pc), (SP + 8 + 8 * pushed, MARK + pushed));
        assert_eq!(cursor.bp, leaf().bp);
    }
}

#[test]
fn other_registers_count_while_they_are_known() {
    let rule = Rule { cfa_register: 16 + 10, cfa_offset: 8, ..Rule::default() };
    assert_eq!(stepped(rule, leaf()).sp, SP + 8 * 10 + 8);
    // Behind a call it is what it was in the leaf, unless the leaf may have changed it, or it leads elsewhere.
    assert_eq!(stepped(rule, caller()).sp, SP + 8 * 10 + 8);
    ends(rule, Cursor { sp: SP + 8 * 11, ..caller() }, Reason::UnsupportedRule);
    ends(rule, Cursor { sp: SP - (2 << 20), ..caller() }, Reason::UnsupportedRule);
    for preserved in [3, 12, 13, 14, 15] {
        let rule = Rule { cfa_register: 16 + preserved, ..rule };
        assert_eq!(stepped(rule, leaf()).sp, SP + 8 * u64::from(preserved) + 8);
        ends(rule, caller(), Reason::UnsupportedRule);
    }
    let in_register = Rule { cfa_offset: 16, ra_kind: RA_IN_REGISTER, ra_register: 5, ..Rule::default() };
    assert_eq!(stepped(in_register, leaf()).pc, SP + 8 * 5);
    ends(in_register, caller(), Reason::UnsupportedRule);
}

#[test]
fn a_saved_cfa_may_lie_behind_a_vector_of_a_size_in_a_register() {
    // CFA = *(RSP + 8 + 8 R9) + 8, where R9 is made to be 6 by an offset.
    let rule = Rule { kind: KIND_INDEXED, cfa_offset: 8, threshold: 9, addend: 8, ..Rule::default() };
    let words = |cfa: u64| [(SP + 56, cfa - 8), (SP + 64, 0), (cfa - 16, MARK), (cfa - 8, MARK + 1), (cfa, 0)].into();
    let mut registers = [0; 16];
    registers[9] = 6;
    let mut memory = FakeMemory { words: words(SP + 512), registers, ..FakeMemory::default() };
    let mut dictionary = Dictionary::fixed();
    let code = u32::from(dictionary.code(rule));
    let mut cursor = leaf();
    assert_eq!(memory.step(&mut cursor, code, &dictionary), GO_ON);
    assert_eq!((cursor.sp, cursor.pc, cursor.bp), (SP + 512, MARK + 1, leaf().bp));
    ends(rule, caller(), Reason::UnsupportedRule);
}

#[test]
fn a_frame_pointer_may_be_in_another_register() {
    let rule = Rule { cfa_offset: 16, rbp_kind: RBP_IN_REGISTER, rbp_offset: 9, ..Rule::default() };
    assert_eq!(stepped(rule, leaf()).bp, SP + 8 * 9);
    // Where it is not known the stack goes on, and a frame pointer that is needed later is missed.
    assert_eq!(stepped(rule, caller()).bp, LOST_FRAME_POINTER);
    // A jump to a saved place: nothing is taken from the stack that is left.
    let jump = Rule { cfa_register: 16 + 8, cfa_offset: 0, ra_kind: RA_IN_REGISTER, ra_register: 1, ..rule };
    let cursor = stepped(jump, leaf());
    assert_eq!((cursor.sp, cursor.bp, cursor.pc), (SP + 64, SP + 72, SP + 8));
}

#[test]
fn all_may_lie_in_a_structure_that_a_register_points_to() {
    // RBP, RSP and the return address 3, 5 and 4 words into it.
    let structure = Rule {
        kind: KIND_DEREF,
        cfa_register: 16 + 2,
        cfa_offset: 40,
        rbp_kind: RBP_AT_BASE,
        rbp_offset: 24,
        ra_kind: RA_AT_BASE,
        ra_register: 4,
        ..Rule::default()
    };
    let cursor = stepped(structure, leaf());
    // Register 2 is SP + 16, two words up.
    assert_eq!((cursor.sp, cursor.bp, cursor.pc), (MARK + 2 + 5, MARK + 2 + 3, MARK + 2 + 4));
    ends(Rule { cfa_register: 16 + 3, ..structure }, caller(), Reason::UnsupportedRule);
    let on_stack = Rule { cfa_register: REGISTER_SP, ..structure };
    let cursor = stepped(on_stack, caller());
    assert_eq!((cursor.sp, cursor.bp, cursor.pc), (MARK + 5, MARK + 3, MARK + 4));
    ends(Rule { ra_register: 200, ..on_stack }, caller(), Reason::UnreadableStack);
}

#[test]
fn a_frame_pointer_that_is_gone_is_not_followed() {
    let undefined = Rule { cfa_offset: 16, rbp_kind: RBP_UNDEFINED, ..Rule::default() };
    let cursor = stepped(undefined, leaf());
    assert_eq!(cursor.bp, LOST_FRAME_POINTER);
    ends(FIXED[1], cursor, Reason::BadFramePointer);
    ends(FIXED[0], cursor, Reason::UnreadableStack);
}

#[test]
fn a_frame_pointer_without_a_table_leads_up_a_little_or_ends() {
    let at = |bp| Cursor { bp, ..caller() };
    let cursor = stepped(FIXED[1], at(SP + 16));
    assert_eq!((cursor.sp, cursor.bp, cursor.pc), (SP + 32, MARK + 2, MARK + 3));
    assert_eq!(cursor.by_frame_pointer, 1);
    ends(FIXED[1], at(0), Reason::CompleteByFramePointer);
    ends(FIXED[1], at(SP - 8), Reason::BadFramePointer);
    ends(FIXED[1], at(SP + 20), Reason::BadFramePointer);
    ends(FIXED[1], at(SP + (1 << 20) + 8), Reason::BadFramePointer);
    ends(FIXED[1], at(SP + (1 << 19)), Reason::UnreadableStack);
}

#[test]
fn the_frame_pointer_of_an_interrupted_function_is_no_proof_of_the_root() {
    let at = |bp| Cursor { bp, ..leaf() };
    ends(FIXED[1], at(0), Reason::BadFramePointer);
    ends(FIXED[5], at(0), Reason::CompleteByFramePointer);
    let with = |written: &[(u64, u64)], mut cursor: Cursor| {
        let words = (0..32).map(|i| (SP + 8 * i, MARK + i)).chain(written.iter().copied()).collect();
        let mut memory = FakeMemory { words, ..FakeMemory::default() };
        Reason::from_code(memory.step(&mut cursor, CODE_FRAME_POINTER.into(), &Dictionary::fixed()))
    };
    let begins = [(SP, 2), (SP + 8, SP + 4000)];
    assert_eq!(with(&begins, at(0)), Some(Reason::CompleteByFramePointer), "the first instructions of a program");
    assert_eq!(with(&[(SP, 0), begins[1]], at(0)), Some(Reason::BadFramePointer));
    assert_eq!(with(&[begins[0], (SP + 8, SP - 8)], at(0)), Some(Reason::BadFramePointer));
    assert_eq!(with(&[(SP + 16, 0), (SP + 24, 0)], at(SP + 16)), Some(Reason::BadFramePointer));
    assert_eq!(with(&[(SP + 16, 0), (SP + 24, 0)], Cursor { bp: SP + 16, ..caller() }), None, "zero_return decides");
}

#[test]
fn a_frame_pointer_of_go_may_lead_to_another_stack() {
    let elsewhere = Cursor { sp: SP + (4 << 20), bp: SP + 16, ..caller() };
    ends(FIXED[1], elsewhere, Reason::BadFramePointer);
    assert_eq!(stepped(FIXED[5], elsewhere).sp, SP + 32);
    ends(FIXED[5], Cursor { bp: 0, ..elsewhere }, Reason::CompleteByFramePointer);
    ends(FIXED[5], Cursor { bp: SP + 4, ..elsewhere }, Reason::BadFramePointer);
}

#[test]
fn the_end_says_whether_frame_pointers_were_followed() {
    ends(FIXED[2], caller(), Reason::Complete);
    ends(FIXED[2], Cursor { by_frame_pointer: 1, ..caller() }, Reason::CompleteByFramePointer);
}

#[test]
fn a_zero_return_address_is_the_root_only_without_a_frame_pointer() {
    let zero = Cursor { pc: 0, ..caller() };
    let check = |cursor, reason| assert_eq!(Reason::from_code(zero_return(&cursor)), Some(reason), "{cursor:?}");
    check(Cursor { bp: 0, ..zero }, Reason::Complete);
    check(Cursor { bp: 0, by_frame_pointer: 1, ..zero }, Reason::CompleteByFramePointer);
    check(zero, Reason::CompleteAtZero);
    check(Cursor { bp: LOST_FRAME_POINTER, ..zero }, Reason::CompleteAtZero);
}

#[test]
fn what_cannot_be_read_or_evaluated_ends_the_walk() {
    ends(FIXED[4], leaf(), Reason::UnsupportedRule);
    ends(Rule { kind: 200, ..Rule::default() }, leaf(), Reason::UnsupportedRule);
    ends(FIXED[3], Cursor { sp: SP + 8 * 20, ..leaf() }, Reason::UnreadableStack); // a ucontext is longer
    ends(Rule { cfa_offset: 8 * 40, ..Rule::default() }, leaf(), Reason::UnreadableStack);
    ends(Rule { kind: KIND_DEREF, cfa_offset: -16, ..Rule::default() }, leaf(), Reason::UnreadableStack);
    let far = Rule { cfa_offset: 16, rbp_kind: RBP_AT_CFA, rbp_offset: -4096, ..Rule::default() };
    ends(far, leaf(), Reason::UnreadableStack);
    let (mut memory, mut cursor) = (FakeMemory::default(), leaf());
    let outcome = memory.step(&mut cursor, u32::from(DICTIONARY) | 0x77, &Dictionary::fixed());
    assert_eq!(Reason::from_code(outcome), Some(Reason::TableDamaged));
}

#[test]
fn code_that_a_process_made_holds_no_root() {
    let rule = FIXED[usize::from(CODE_FRAME_POINTER & !DICTIONARY)];
    for bp in [0, LOST_FRAME_POINTER, SP - 64, SP + (1 << 21)] {
        let (outcome, _) = step(rule, Cursor { bp, ..caller() });
        assert_eq!(Reason::from_code(end_in_made_code(outcome)), Some(Reason::JitCodeWithoutFramePointer), "{bp:#x}");
    }
    assert_eq!(end_in_made_code(zero_return(&caller())), Reason::JitCodeWithoutFramePointer as u32);
    for other in [Reason::UnreadableStack, Reason::NoMapping, Reason::TablePending] {
        assert_eq!(end_in_made_code(other as u32), other as u32);
    }
}

#[test]
fn a_return_that_only_drops_what_was_pushed_needs_no_frame_pointer() {
    let bytes = |text: [u8; 5]| u64::from_le_bytes([text[0], text[1], text[2], text[3], text[4], 0xcc, 0x90, 1]);
    assert_eq!(code_of_return(bytes([0x48, 0x83, 0xc4, 0x08, 0xc3])), Some(2));
    assert_eq!(code_of_return(bytes([0x48, 0x83, 0xc4, 0x78, 0xc3])), Some(16));
    for other in [
        [0x48, 0x83, 0xc4, 0x09, 0xc3],
        [0x48, 0x83, 0xc4, 0x88, 0xc3],
        [0x48, 0x83, 0xc4, 0x08, 0x5d],
        [0x48, 0x83, 0xec, 0x08, 0xc3],
        [0x49, 0x83, 0xc4, 0x08, 0xc3],
    ] {
        assert_eq!(code_of_return(bytes(other)), None, "{other:x?}");
    }
    let code = code_of_return(bytes([0x48, 0x83, 0xc4, 0x18, 0xc3])).expect("a code");
    let words = (0..32).map(|i| (SP + 8 * i, MARK + i)).collect();
    let mut memory = FakeMemory { words, ..FakeMemory::default() };
    let mut cursor = caller();
    assert_eq!(memory.step(&mut cursor, code, &Dictionary::fixed()), GO_ON);
    assert_eq!((cursor.pc, cursor.sp, cursor.bp), (MARK + 3, SP + 32, caller().bp));
}
