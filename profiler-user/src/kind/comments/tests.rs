//! Tests of `kind/comments`.

use super::*;
use crate::event::MonoTime;
use crate::kind::subject::Known;
use crate::record::window::Row;
use crate::symbolize::fakes::{process, row, usual_stack};

fn rows(counts: &[(Reason, u64, u64)]) -> Vec<Row> {
    let row = |(status, count, period): &(Reason, u64, u64)| Row {
        status: *status,
        count: *count,
        value: count * period,
        ..row(&usual_stack())
    };
    counts.iter().map(row).collect()
}

fn check(window: &Window, change: impl Fn(&mut Account<'_>), wanted: &[&str]) {
    let subject = Subject::Process(Known { id: process(), alive: true });
    let span = Span { from: MonoTime(0), to: MonoTime(10 * SECOND) };
    let mut account = Account {
        subject: &subject,
        asked: span,
        ago: None,
        hz: 99,
        covered: span,
        cpu_ns: Some(10 * SECOND),
        exited: false,
        drained: true,
        descendants: None,
        children: false,
        window,
    };
    change(&mut account);
    assert_eq!(sentences(&account), wanted);
}

const AT_99: u64 = 10_101_010;

#[test]
fn a_good_profile_accounts_for_all_of_its_time() {
    let rows =
        rows(&[(Reason::Complete, 985, AT_99), (Reason::Truncated, 2, AT_99), (Reason::UnreadableStack, 1, AT_99)]);
    let losses = vec![(Reason::TimerLate, 1), (Reason::RingFull, 1)];
    let window = Window { rows, losses, periods: vec![(AT_99, 988)], ..Window::default() };
    let wanted = [
        "pprofd: CPU time of process 4711, by a timer on each CPU at 99 Hz; stacks were walked in the kernel.",
        "Window asked for: 10.000 s; covered: 10.000 s.",
        "CPU time by the scheduler's account: 10.000 s, so 990 samples expected (give or take 63 by chance); 988 got, 2 were lost (ring full 1, \
         timer late 1).",
        "Complete stacks: 985 of 988 (99.70 %); not complete: truncated 2 (0.20 %), unreadable stack 1 (0.10 %).",
    ];
    check(&window, |_| {}, &wanted);
}

#[test]
fn no_sample_says_how_much_cpu_was_used() {
    let wanted = [
        "pprofd: CPU time of process 4711, by a timer on each CPU at 99 Hz; stacks were walked in the kernel.",
        "Window asked for: 10.000 s that ended 60 s before it was asked for; covered: 4.000 s.",
        "No sample: the scheduler accounts 0.003 s of CPU time in the window, about 0 samples; none was lost.",
        "Not all that the kernel had recorded by the window's end was read in time.",
    ];
    let change = |account: &mut Account<'_>| {
        account.cpu_ns = Some(3_000_000);
        account.ago = Some(60);
        account.covered.from = MonoTime(6 * SECOND);
        account.drained = false;
    };
    check(&Window::default(), change, &wanted);
}

#[test]
fn changes_within_the_window_are_named() {
    let mut rows = rows(&[(Reason::Complete, 19, 52_631_579), (Reason::Complete, 99, AT_99)]);
    rows[1].image.exec_id = 2;
    let window = Window { rows, periods: vec![(52_631_579, 19), (AT_99, 99)], ..Window::default() };
    let wanted = [
        "pprofd: CPU time of process 4711, by a timer on each CPU at 19 Hz and 99 Hz; stacks were walked in the kernel.",
        "Window asked for: 10.000 s; covered: 10.000 s.",
        "CPU time by the scheduler's account is not known; 118 samples got, none was lost.",
        "Complete stacks: 118 of 118 (100.00 %).",
        "The rate changed in the window (19 samples at 19 Hz, 99 samples at 99 Hz): nanoseconds are right, counts of \
         samples are not comparable.",
        "The process exited 10.000 s after the window began; the window ends there.",
        "Process 4711 became another program within the window: 2 programs.",
    ];
    let change = |account: &mut Account<'_>| {
        account.cpu_ns = None;
        account.exited = true;
    };
    check(&window, change, &wanted);
}

#[test]
fn a_master_without_samples_points_to_its_children() {
    let window = Window::default();
    let change = |account: &mut Account<'_>| {
        account.cpu_ns = Some(0);
        account.descendants = Some((3, Some(2 * SECOND)));
    };
    let wanted = [
        "pprofd: CPU time of process 4711, by a timer on each CPU at 99 Hz; stacks were walked in the kernel.",
        "Window asked for: 10.000 s; covered: 10.000 s.",
        "No sample: the scheduler accounts 0.000 s of CPU time in the window, about 0 samples; none was lost.",
        "Its 3 descendants used 2.000 s of CPU time in the window: children=1 shows it.",
    ];
    check(&window, change, &wanted);
}
