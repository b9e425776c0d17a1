//! Tests of the log store: exact cutting, the budget, the part of one process, late samples.

use super::*;
use crate::event::{FrameWord, ImageId, UserIds};
use crate::record::fixtures::{image, process, sample};
use crate::record::sum::sum;
use crate::record::window::{Samples, Selection, Sieve, Window};
use proptest::prelude::*;
use std::collections::HashSet;

fn span(from: u64, to: u64) -> Span {
    Span { from: MonoTime(from), to: MonoTime(to) }
}

fn window(log: &Log, selection: &Selection, span: Span) -> Window {
    sum(&log.blocks(span), selection, Samples::Cpu, None, span)
}

fn of(pid: u32) -> Selection {
    Selection::of([process(pid)])
}

fn count(window: &Window) -> u64 {
    window.rows.iter().map(|row| row.count).sum()
}

fn lost(window: &Window, reason: Reason) -> u64 {
    window.losses.iter().filter(|loss| loss.0 == reason).map(|loss| loss.1).sum()
}

const ALL: Span = Span { from: MonoTime(0), to: MonoTime(u64::MAX) };

#[test]
fn a_window_is_cut_to_the_nanosecond() {
    let mut log = Log::new(MonoTime(0));
    for time in [5 * SECOND - 1, 5 * SECOND, 5 * SECOND + 1, 6 * SECOND] {
        log.push(&sample(7, time, &[1, 2]));
    }
    let check = |from, to, expected| assert_eq!(count(&window(&log, &Selection::Host, span(from, to))), expected);
    check(0, 5 * SECOND, 1);
    check(5 * SECOND, 5 * SECOND + 1, 1);
    check(5 * SECOND - 1, 6 * SECOND, 3);
    check(5 * SECOND - 1, 6 * SECOND + 1, 4);
    check(6 * SECOND + 1, 7 * SECOND, 0);
    check(6 * SECOND, 6 * SECOND, 0);
}

#[test]
fn equal_samples_are_summed_over_blocks_and_others_are_not() {
    let mut log = Log::new(MonoTime(0));
    for second in 0..3 {
        log.push(&sample(7, second * SECOND, &[1, 2]));
        log.push(&sample(7, second * SECOND + 1, &[1, 3]));
        log.push(&sample(8, second * SECOND + 2, &[1, 2]));
    }
    let window = window(&log, &of(7), ALL);
    let rows: Vec<_> = window.rows.iter().map(|row| (row.stack[1].0, row.count, row.value)).collect();
    assert_eq!(rows, [(2, 3, 30_303_030), (3, 3, 30_303_030)]);
    assert_eq!(window.periods, [(10_101_010, 6)]);
}

#[test]
fn a_query_keeps_its_blocks_while_the_log_goes_on() {
    let mut log = Log::new(MonoTime(0));
    log.push(&sample(7, 1, &[1]));
    let blocks = log.blocks(ALL);
    log.push(&sample(7, 2, &[1]));
    assert_eq!(count(&sum(&blocks, &Selection::Host, Samples::Cpu, None, ALL)), 1);
    assert_eq!(count(&window(&log, &Selection::Host, ALL)), 2);
}

#[test]
fn a_late_sample_goes_into_its_second_though_it_is_sealed() {
    let mut log = Log::new(MonoTime(0));
    log.push(&sample(7, SECOND, &[1]));
    log.seal(MonoTime(60 * SECOND));
    assert!(log.slots.values().all(|slot| slot.index.is_none()));
    log.push(&sample(7, SECOND + 1, &[1]));
    log.push(&sample(7, 3 * SECOND, &[1]));
    let window = window(&log, &Selection::Host, span(SECOND, 4 * SECOND));
    assert_eq!(window.rows.iter().map(|row| row.count).collect::<Vec<_>>(), [3]);
    assert!(log.slots.values().all(|slot| slot.index.is_none()));
    log.evict_to(0);
    assert!(log.held.is_empty() && log.bytes == 0);
}

#[test]
fn a_sample_of_a_second_that_is_gone_is_counted() {
    let mut log = Log::new(MonoTime(10 * SECOND));
    log.push(&sample(7, 9 * SECOND, &[1]));
    log.push(&sample(7, 10 * SECOND, &[1]));
    log.evict_to(0);
    log.push(&sample(7, 11 * SECOND - 1, &[1]));
    log.push(&sample(7, 11 * SECOND, &[1]));
    assert_eq!(log.gone(), Gone { aged: 1, crowded: 0, too_late: 2 });
    assert_eq!(log.covered(span(0, 12 * SECOND)), Some(span(11 * SECOND, 12 * SECOND)));
    assert_eq!(log.covered(span(0, 11 * SECOND)), None);
}

#[test]
fn the_oldest_seconds_go_first_and_the_budget_holds() {
    let (mut log, budget) = (Log::new(MonoTime(0)), 200_000);
    for i in 0..100_000 {
        log.push(&sample(1 + u32::try_from(i % 10).unwrap(), i * SECOND / 100, &[i / 1_000, i % 7, i % 10]));
        log.seal(MonoTime(i * SECOND / 100));
        log.evict_to(budget);
        assert!(log.bytes() <= budget);
    }
    let real: u64 = log.slots.values().map(|slot| slot.block.bytes()).sum();
    assert!(real <= log.bytes() && log.bytes() < 2 * real, "{real} bytes in blocks, {} counted", log.bytes());
    let first = *log.slots.keys().next().unwrap();
    assert_eq!(log.floor(), MonoTime(first * SECOND));
    assert_eq!(log.slots.len() as u64, 1_000 - first, "no second is missing after the oldest");
    assert_eq!(count(&window(&log, &Selection::Host, ALL)) + log.gone().aged, 100_000);
}

#[test]
fn one_process_with_a_million_stacks_does_not_push_others_out() {
    let (mut log, budget) = (Log::new(MonoTime(0)), 4 << 20);
    let greedy = 99;
    for i in 0..1_000_000u64 {
        let time = i * SECOND / 10_000;
        log.push(&sample(greedy, time, &[i, i + 1, i + 2, i + 3]));
        if i % 1_000 == 0 {
            log.push(&sample(7, time, &[1, 2, 3]));
            log.seal(MonoTime(time));
            log.evict_to(budget);
            assert!(log.bytes() <= budget);
        }
    }
    let (others, theirs) = (window(&log, &of(7), ALL), window(&log, &of(greedy), ALL));
    assert_eq!((count(&others), lost(&others, Reason::RecorderFull)), (1_000, 0));
    assert_eq!(log.covered(span(0, 100 * SECOND)), Some(span(0, 100 * SECOND)));
    assert!(count(&theirs) > 5_000, "{}", count(&theirs));
    assert_eq!(count(&theirs) + lost(&theirs, Reason::RecorderFull), 1_000_000);
    assert_eq!(lost(&theirs, Reason::RecorderFull), log.gone().crowded);
}

#[test]
fn a_process_alone_may_have_it_all() {
    let (mut log, budget) = (Log::new(MonoTime(0)), 1 << 20);
    for i in 0..100_000 {
        log.push(&sample(7, i * SECOND / 1_000, &[i]));
        log.seal(MonoTime(i * SECOND / 1_000));
        log.evict_to(budget);
    }
    assert_eq!(log.gone().crowded, 0);
    assert!(log.bytes() > budget / 2);
}

#[test]
fn lost_ticks_are_those_of_the_process_that_the_sample_found() {
    let mut log = Log::new(MonoTime(0));
    log.push(&crate::event::Sample { late_ticks: 4, ..sample(7, SECOND, &[1]) });
    let host_wide = Loss { time: MonoTime(SECOND), process: None, reason: Reason::QueueFull, count: 2 };
    log.lose(host_wide);
    log.lose(Loss { process: Some(process(8)), reason: Reason::RingFull, ..host_wide });
    let losses = |selection: &Selection, to| window(&log, selection, span(0, to)).losses;
    assert_eq!(losses(&of(7), SECOND + 1), [(Reason::TimerLate, 4), (Reason::QueueFull, 2)]);
    assert_eq!(losses(&of(8), SECOND + 1), [(Reason::RingFull, 2), (Reason::QueueFull, 2)]);
    assert_eq!(losses(&Selection::Host, SECOND), []);
}

#[test]
fn a_stack_that_two_processes_share_is_held_by_who_is_left() {
    let mut log = Log::new(MonoTime(0));
    log.push(&sample(7, 1, &[1, 2, 3]));
    log.push(&sample(8, 2, &[1, 2, 3]));
    assert!(log.held[&process(7)] > log.held[&process(8)]);
    assert!(log.evict_oldest_of(process(7)));
    assert_eq!(log.held.keys().collect::<Vec<_>>(), [&process(8)]);
    assert_eq!(log.slots[&0].block.holders(), log.held);
    let window = window(&log, &Selection::Host, ALL);
    assert_eq!(window.rows[0].stack.as_ref(), [1, 2, 3].map(FrameWord));
    assert_eq!(window.losses, [(Reason::RecorderFull, 1)]);
}

proptest! {
    /// What went in is in some window, or is counted; and what processes are said to hold is what they hold.
    #[test]
    fn nothing_is_lost_uncounted(
        samples in proptest::collection::vec((1u32..6, 0u64..20_000, 0u64..40, 0usize..30), 1..600),
        budget in 2_000u64..60_000,
        cuts in proptest::collection::vec(0u64..20 * SECOND, 0..5),
    ) {
        let mut log = Log::new(MonoTime(0));
        for (i, (pid, ms, stack, depth)) in samples.iter().enumerate() {
            // Time goes on, with samples up to 20 s late.
            let time = i as u64 * SECOND / 10 + ms * 1_000_000;
            log.push(&sample(*pid, time, &vec![*stack; *depth]));
            log.seal(MonoTime(time));
            log.evict_to(budget);
            prop_assert!(log.bytes() <= budget);
        }
        let gone = log.gone();
        let whole = window(&log, &Selection::Host, ALL);
        prop_assert_eq!(count(&whole) + gone.aged + gone.crowded + gone.too_late, samples.len() as u64);
        prop_assert!(lost(&whole, Reason::RecorderFull) <= gone.crowded);

        let mut edges = [vec![0, u64::MAX], cuts].concat();
        edges.sort_unstable();
        let parts: u64 = edges.windows(2).map(|edge| count(&window(&log, &Selection::Host, span(edge[0], edge[1])))).sum();
        prop_assert_eq!(parts, count(&whole));

        let mut held: HashMap<ProcessId, u64> = HashMap::new();
        for slot in log.slots.values() {
            slot.block.holders().into_iter().for_each(|(process, bytes)| *held.entry(process).or_default() += bytes);
        }
        prop_assert_eq!(held, log.held);
    }
}

#[test]
fn a_sieve_holds_back_what_is_not_wholly_the_users() {
    let mut log = Log::new(MonoTime(0));
    let with = |real, effective, saved| UserIds { real, effective, saved };
    for (time, uids) in
        [(1, with(1000, 1000, 1000)), (2, with(1000, 0, 0)), (3, with(1000, 1000, 0)), (4, with(0, 0, 0))]
    {
        log.push(&Sample { uids, ..sample(7, time, &[1]) });
    }
    log.push(&Sample { image: ImageId { exec_id: 9, ..image(7) }, ..sample(7, 5, &[1]) });
    log.push(&sample(8, 6, &[1]));
    let sieve = Sieve { uid: 1000, images: HashSet::from([image(7)]) };
    let of = |selection| {
        let window = sum(&log.blocks(ALL), &selection, Samples::Cpu, Some(&sieve), ALL);
        (count(&window), window.withheld, window.periods.iter().map(|(_, count)| count).sum::<u64>())
    };
    assert_eq!(of(Selection::of([process(7)])), (1, 4, 1));
    assert_eq!(of(Selection::Host), (1, 5, 1));
}
