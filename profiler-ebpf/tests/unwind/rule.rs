//! A code and the rule that it stands for lead to the same caller.

use crate::fake::{Dictionary, FakeMemory};
use profiler_ebpf::unwind::rule::*;
use profiler_ebpf::unwind::walk::Cursor;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The rule of a compact code, from the table in `unwind/rule.rs`.
fn expand(code: u16) -> Rule {
    let cfa_offset = 8 * i32::from(code & 0x1ff);
    let saved = i32::from(code >> 9);
    let rbp_kind = if saved == 0 { RBP_SAME } else { RBP_AT_CFA };
    Rule { cfa_offset, rbp_kind, rbp_offset: -8 * saved, ..Rule::default() }
}

#[test]
fn every_compact_code_is_the_code_of_its_rule() {
    for code in 0..DICTIONARY {
        assert_eq!(compact(&expand(code)), Some(code), "{code:#x}");
    }
}

#[test]
fn what_a_code_cannot_say_needs_the_dictionary() {
    let small = Rule { cfa_offset: 16, ..Rule::default() };
    assert_eq!(compact(&small), Some(2));
    let saved = Rule { rbp_kind: RBP_AT_CFA, rbp_offset: -16, ..small };
    assert_eq!(compact(&saved), Some(2 | 2 << 9));
    let not = |rule: Rule| assert_eq!(compact(&rule), None, "{rule:?}");
    for cfa_offset in [-8, 12, 4096, i32::MIN, i32::MAX] {
        not(Rule { cfa_offset, ..small });
    }
    for rbp_offset in [0, 8, -12, -64 * 8, i32::MIN, i32::MAX] {
        not(Rule { rbp_offset, ..saved });
    }
    for rbp_kind in [RBP_UNDEFINED, RBP_AT_RBP, RBP_AT_BASE, RBP_IN_REGISTER, 77] {
        not(Rule { rbp_kind, ..small });
    }
    let others = [KIND_PLT, KIND_DEREF, KIND_STOP, KIND_SIGNAL, KIND_FRAME_POINTER, KIND_UNSUPPORTED, KIND_INDEXED, 99];
    for kind in others {
        not(Rule { kind, ..small });
    }
    not(Rule { cfa_register: REGISTER_BP, ..small });
    not(Rule { ra_kind: RA_IN_REGISTER, ..small });
    not(Rule { ra_kind: RA_AT_BASE, ..small });
}

#[test]
fn the_fixed_codes_are_the_slots_of_the_fixed_rules() {
    let at = |code: u16| FIXED[usize::from(code & !DICTIONARY)];
    assert_eq!(at(CODE_RBP_FRAME).cfa_register, REGISTER_BP);
    assert_eq!((at(CODE_FRAME_POINTER).kind, at(CODE_FRAME_POINTER).threshold), (KIND_FRAME_POINTER, 0));
    assert_eq!(at(CODE_STOP).kind, KIND_STOP);
    assert_eq!(at(CODE_SIGNAL).kind, KIND_SIGNAL);
    assert_eq!(at(CODE_UNSUPPORTED).kind, KIND_UNSUPPORTED);
    let any_stack = at(CODE_FRAME_POINTER_ANY_STACK);
    assert_eq!((any_stack.kind, any_stack.threshold), (KIND_FRAME_POINTER, 1));
    assert!(FIXED.iter().all(|rule| compact(rule).is_none()));
}

/// Steps once from the same frame by a code and by a rule.
fn same_step(code: u16, rule: Rule, words: &BTreeMap<u64, u64>, cursor: Cursor) {
    let mut dictionary = Dictionary::fixed();
    dictionary.0.push(rule);
    let by_slot = u32::from(DICTIONARY) | (dictionary.0.len() as u32 - 1);
    let step = |code| {
        let mut memory = FakeMemory { words: words.clone(), ..FakeMemory::default() };
        let mut cursor = cursor;
        let outcome = memory.step(&mut cursor, code, &dictionary);
        (outcome, cursor)
    };
    assert_eq!(step(u32::from(code)), step(by_slot), "{code:#x} {rule:?}");
}

const SP: u64 = 0x7000_0000;

/// A stack of `words` words from [`SP`] up, the later ones unreadable.
fn stack(words: u64) -> BTreeMap<u64, u64> {
    (0..words).map(|i| (SP + 8 * i, 0x40_0000 + i)).collect()
}

proptest! {
    #[test]
    fn a_code_steps_as_its_rule(code in 0..DICTIONARY, words in 0..600u64, bp: u64) {
        let cursor = Cursor { pc: 0x40_0000, sp: SP, bp, is_return: 1, ..Cursor::default() };
        same_step(code, expand(code), &stack(words), cursor);
    }

    #[test]
    fn the_usual_frame_steps_as_its_rule(words in 0..64u64, at in 0..80u64) {
        let cursor = Cursor { pc: 0x40_0000, sp: SP, bp: SP + 8 * at, is_return: 1, ..Cursor::default() };
        same_step(CODE_RBP_FRAME, FIXED[0], &stack(words), cursor);
    }
}
