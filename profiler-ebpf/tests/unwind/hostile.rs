//! Whatever rows, rules, memory and registers hold: the walk ends, within its bound, with a reason. The fake panics at a
//! read too many and at a slot outside of the dictionary.

use crate::fake::{Chunk, Dictionary, FakeMemory, Process};
use profiler_ebpf::abi::event::MAX_USER_FRAMES;
use profiler_ebpf::unwind::rule::{PAGE_BITS, Rule};
use profiler_ebpf::unwind::table::PageEntry;
use profiler_ebpf::unwind::walk::Cursor;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use zerocopy::FromBytes;

/// Codes of the walk's ends: 1..=31.
const WALK_CODES: std::ops::RangeInclusive<u32> = 1..=31;
const STACK: u64 = 0x7fff_0000_0000;
const TEXT_PAGE: u64 = 0x40_0000 >> PAGE_BITS;

/// Words that lead somewhere: into the text, to the stack, nowhere, or anything.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0..4u64 << PAGE_BITS).prop_map(|offset| (TEXT_PAGE << PAGE_BITS) + offset),
        4 => (0..64u64).prop_map(|i| STACK + 8 * i),
        1 => Just(0),
        1 => Just(1),
        1 => Just(u64::MAX),
        1 => any::<u64>(),
    ]
}

fn cursor() -> impl Strategy<Value = Cursor> {
    (word(), word(), word(), 0..2u64, 0..2u64).prop_map(|(pc, sp, bp, is_return, all_registers)| Cursor {
        pc,
        sp,
        bp,
        is_return,
        all_registers,
        by_frame_pointer: 0,
    })
}

/// Any bytes, but kinds and offsets often among those that are evaluated.
fn rule() -> impl Strategy<Value = Rule> {
    let tame = |byte: u8, below: u8| if byte < 0xe0 { byte % below } else { byte };
    any::<[u8; 16]>().prop_map(move |mut bytes| {
        bytes[0] = tame(bytes[0], 8);
        bytes[1] = tame(bytes[1], 32);
        bytes[2] = tame(bytes[2], 6);
        bytes[14] = tame(bytes[14], 3);
        let mut rule = Rule::read_from_bytes(&bytes).unwrap_or_default();
        if bytes[13] < 0xc0 {
            rule.cfa_offset = rule.cfa_offset % 64 * 8;
            rule.rbp_offset = rule.rbp_offset % 64 * 8;
            rule.addend = rule.addend % 64 * 8;
        }
        rule
    })
}

fn process() -> impl Strategy<Value = Process> {
    let pages = btree_map(0..5u64, prop_oneof![any::<u64>(), 0..32u64], 1..5);
    let memory = btree_map((0..80u64).prop_map(|i| STACK + 8 * i), word(), 0..80);
    (pages, vec(any::<u32>(), 1..64), vec(rule(), 0..40), memory, any::<[u64; 16]>()).prop_map(
        |(pages, rows, rules, words, registers)| {
            // Rows of few codes of the dictionary, so that its rules are met.
            let few = |row: u32| if row & 1 == 0 { row & 0x802f_07ff } else { row };
            let mut dictionary = Dictionary::fixed();
            dictionary.0.extend(rules);
            let entry = |small: u64| if small < 32 { PageEntry::new(0, small as u16, 32) } else { PageEntry(small) };
            Process {
                pages: pages.into_iter().map(|(page, small)| (TEXT_PAGE + page, entry(small))).collect(),
                chunk: Chunk(rows.into_iter().map(few).collect()),
                dictionary,
                memory: FakeMemory { words, registers, ..FakeMemory::default() },
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_024, ..ProptestConfig::default() })]

    #[test]
    fn any_process_gives_an_end(mut process in process(), cursor in cursor()) {
        let walked = process.walk(cursor);
        prop_assert!(walked.frames.len() <= MAX_USER_FRAMES);
        prop_assert!(WALK_CODES.contains(&(walked.reason as u32)), "{:?}", walked.reason);
    }

    #[test]
    fn any_code_and_rule_give_an_outcome(rule in rule(), cursor in cursor(), code: u16, process in process()) {
        let mut dictionary = process.dictionary;
        dictionary.0.push(rule);
        let own = u32::from(profiler_ebpf::unwind::rule::DICTIONARY) | (dictionary.0.len() as u32 - 1);
        let mut memory = process.memory;
        for code in [own, u32::from(code)] {
            let mut cursor = cursor;
            let outcome = memory.step(&mut cursor, code, &dictionary);
            prop_assert!(outcome == 0 || WALK_CODES.contains(&outcome), "{outcome}");
        }
    }
}

/// Rows that lead to their own frame again do not hold the walk: it ends at the number of frames that is kept.
#[test]
fn a_circle_ends() {
    let pc = TEXT_PAGE << PAGE_BITS;
    // CFA = RSP: the "return address" is the word below the stack pointer, and nothing moves.
    let words = (0..4).map(|i| (STACK + 8 * i, pc + 1)).collect();
    let mut process = Process {
        pages: [(TEXT_PAGE, PageEntry::new(0, 0, 1))].into(),
        chunk: Chunk(vec![0]),
        dictionary: Dictionary::fixed(),
        memory: FakeMemory { words, ..FakeMemory::default() },
    };
    let walked = process.walk(Cursor { pc, sp: STACK + 16, ..Cursor::default() });
    assert_eq!(walked.frames.len(), MAX_USER_FRAMES);
    assert_eq!(walked.reason, profiler_ebpf::reasons::Reason::Truncated);
}
