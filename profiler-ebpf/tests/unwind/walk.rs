//! Stacks of a program that really called are walked to their root, frame by frame.

use crate::machine::{Call, Machine, Shape, call};
use profiler_ebpf::abi::event::MAX_USER_FRAMES;
use profiler_ebpf::reasons::Reason;
use proptest::prelude::*;

fn check(calls: &[Call], at: u64, in_kernel: bool) {
    let mut machine = Machine::new();
    for call in calls {
        machine.call(*call);
    }
    let (mut process, cursor, expected) = machine.sample(at, in_kernel);
    let found = process.walk(cursor);
    if expected.frames.len() <= MAX_USER_FRAMES {
        assert_eq!(found, expected);
    } else {
        assert_eq!(found.reason, Reason::Truncated);
        assert_eq!(found.frames, expected.frames[..MAX_USER_FRAMES]);
    }
}

const CALLS: [Call; 9] = [
    (1, Shape::Stack { words: 1, saved: None }),
    (64, Shape::Stack { words: 9, saved: Some(2) }),
    (33, Shape::BigStack { words: 520 }),
    (5, Shape::RbpFrame { words: 4 }),
    (63, Shape::RbpBased { above: 6 }),
    (17, Shape::Realigned { words: 8 }),
    (2, Shape::Saved { words: 7, at: 1, addend: -8 }),
    (30, Shape::FramePointer { words: 5 }),
    (7, Shape::Kept { words: 9, at: 2 }),
];

#[test]
fn the_root_alone() {
    check(&[], 0, false);
    check(&[], 7, true);
}

#[test]
fn each_shape_alone_and_behind_a_signal() {
    for call in CALLS {
        check(&[call], 3, false);
        check(&[call], 3, true);
        check(&[call, (9, Shape::Signal), (12, Shape::Stack { words: 2, saved: None })], 0, false);
    }
    check(&CALLS, 0, false);
}

#[test]
fn an_interrupted_first_instruction_is_looked_up_itself() {
    // Offset 0: one byte less would be the function before it.
    check(&[CALLS[1], CALLS[3], (64, Shape::Signal), CALLS[0]], 0, false);
}

#[test]
fn a_handler_in_a_handler() {
    let signal = (20, Shape::Signal);
    check(&[CALLS[3], signal, CALLS[1], CALLS[4], signal, CALLS[0], signal, CALLS[3]], 1, false);
}

#[test]
fn stacks_around_the_number_of_frames_that_is_kept() {
    for depth in [MAX_USER_FRAMES - 2, MAX_USER_FRAMES - 1, MAX_USER_FRAMES, MAX_USER_FRAMES + 1, 5_000] {
        let calls: Vec<Call> = CALLS.iter().cycle().copied().take(depth).collect();
        check(&calls, 0, false);
    }
}

proptest! {
    #[test]
    fn any_well_formed_stack(
        calls in prop::collection::vec(call(), 0..120),
        at in 0..63u64,
        in_kernel: bool,
    ) {
        check(&calls, at, in_kernel);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn any_deep_stack(calls in prop::collection::vec(call(), 900..1_100)) {
        check(&calls, 0, false);
    }
}
