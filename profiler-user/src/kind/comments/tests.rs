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
        unaccounted: 0,
        descendants: None,
        children: false,
        window,
        viewer: Viewer::All,
        left_out: 0,
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

#[test]
fn descendants_are_mentioned_if_they_used_more_and_it_shows() {
    let subject = Subject::Process(Known { id: process(), alive: true });
    let span = Span { from: MonoTime(0), to: MonoTime(10 * SECOND) };
    let said = |samples: u64, own: Option<u64>, count: usize, used: Option<u64>| {
        let rows = if samples > 0 { rows(&[(Reason::Complete, samples, AT_99)]) } else { Vec::new() };
        let window = Window { rows, ..Window::default() };
        let account = Account {
            subject: &subject,
            asked: span,
            ago: None,
            hz: 99,
            covered: span,
            cpu_ns: own,
            unaccounted: 0,
            exited: false,
            drained: true,
            descendants: Some((count, used)),
            children: false,
            window: &window,
            viewer: Viewer::All,
            left_out: 0,
        };
        descendants(&account)
    };
    let sentence =
        |who: &str, used: &str| Some(format!("Its {who} used {used} of CPU time in the window: children=1 shows it."));
    assert_eq!(said(4, Some(40_000_000), 3, Some(SECOND)), sentence("3 descendants", "1.000 s"));
    assert_eq!(said(4, Some(2 * SECOND), 3, Some(SECOND)), None, "most is its own");
    assert_eq!(said(4, None, 3, Some(2 * 4 * AT_99)), sentence("3 descendants", "0.081 s"));
    assert_eq!(said(4, None, 3, Some(3 * AT_99)), None);
    assert_eq!(said(0, Some(0), 1, Some(1_000_000)), sentence("only descendant", "0.001 s"));
    assert_eq!(said(0, Some(0), 3, Some(999_999)), None, "the number would not show it");
    assert_eq!(said(0, Some(0), 3, None), sentence("3 descendants", "an unknown amount"));
    assert_eq!(said(4, Some(40_000_000), 3, None), None);
}

#[test]
fn ends_that_the_account_lacks_are_said() {
    let wanted = [
        "pprofd: CPU time of process 4711 and its descendants (0 processes with samples), by a timer on each CPU at 99 \
         Hz; stacks were walked in the kernel.",
        "Window asked for: 10.000 s that ended 60 s before it was asked for; covered: 10.000 s.",
        "No sample: the scheduler accounts 0.003 s of CPU time in the window, about 0 samples; none was lost.",
        "7 processes ended in the window: what each used since the scheduler's last tick is not in the account.",
    ];
    let change = |account: &mut Account<'_>| {
        (account.cpu_ns, account.ago) = (Some(3_000_000), Some(60));
        (account.children, account.unaccounted) = (true, 7);
    };
    check(&Window::default(), change, &wanted);
}
