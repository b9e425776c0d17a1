//! What a CPU profile says about itself, in sentences: what was measured, never what was configured. The numbers come
//! from the window and the scheduler's account of CPU time.

use super::subject::Subject;
use super::viewer::Viewer;
use crate::record::window::{Row, Span, Window};
use profiler_ebpf::reasons::Reason;
use std::collections::{BTreeMap, BTreeSet};

const SECOND: u64 = 1_000_000_000;
/// The least that seconds are shown to, ns.
const SHOWN: u64 = 1_000_000;

/// Everything that the sentences are made of.
pub(super) struct Account<'a> {
    pub(super) subject: &'a Subject,
    pub(super) asked: Span,
    /// The window ended that many seconds before it was asked for.
    pub(super) ago: Option<u32>,
    /// The rate that the request asked for.
    pub(super) hz: u32,
    pub(super) covered: Span,
    /// CPU time by the scheduler's own account.
    pub(super) cpu_ns: Option<u64>,
    /// The process exited within the window.
    pub(super) exited: bool,
    /// All that the kernel had until the window's end was read.
    pub(super) drained: bool,
    /// Processes of which `cpu_ns` lacks what they used since the scheduler's last tick before their end.
    pub(super) unaccounted: u64,
    /// How many descendants the process has, if they are not in the profile, and their CPU time in the window, ns.
    pub(super) descendants: Option<(usize, Option<u64>)>,
    /// The samples are those of the process and its descendants.
    pub(super) children: bool,
    pub(super) window: &'a Window,
    pub(super) viewer: Viewer,
    /// Descendants that the viewer may not see.
    pub(super) left_out: usize,
}

impl Account<'_> {
    /// Records, and the CPU time that they stand for.
    fn got(&self) -> (u64, u64) {
        self.window.rows.iter().fold((0, 0), |(count, value), row| (count + row.count, value + row.value))
    }

    /// CPU time per record, ns.
    pub(super) fn period(&self) -> u64 {
        match self.got() {
            (0, _) => SECOND / u64::from(self.hz.max(1)),
            (count, value) => ((value + count / 2) / count).max(1),
        }
    }
}

/// One sentence a comment.
pub(super) fn sentences(account: &Account<'_>) -> Vec<String> {
    let mut list = vec![source(account), window(account), amount(account)];
    list.extend(completeness(account));
    list.extend(ends(account));
    list.extend(rates(account));
    list.extend(turns(account));
    list.extend(withheld(account));
    list
}

fn source(account: &Account<'_>) -> String {
    let sampled = || account.window.rows.iter().map(|row| row.image.process).collect::<BTreeSet<_>>().len();
    let subject = match (account.subject, account.viewer) {
        (Subject::Host, Viewer::All) => "the whole host".to_owned(),
        (Subject::Host, Viewer::User(uid)) => format!("all processes of user {uid} ({} with samples)", sampled()),
        (Subject::Process(known), _) if account.children => {
            format!("process {} and its descendants ({} processes with samples)", known.id.pid, sampled())
        }
        (Subject::Process(known), _) => format!("process {}", known.id.pid),
    };
    let rates = rates_in_force(account).into_keys().map(|rate| format!("{rate} Hz")).collect::<Vec<_>>();
    let rates = if rates.is_empty() { format!("{} Hz", account.hz) } else { rates.join(" and ") };
    format!("pprofd: CPU time of {subject}, by a timer on each CPU at {rates}; stacks were walked in the kernel.")
}

/// What the viewer was not shown.
fn withheld(account: &Account<'_>) -> Vec<String> {
    let Viewer::User(uid) = account.viewer else { return Vec::new() };
    let mut list = Vec::new();
    if account.left_out > 0 {
        list.push(format!("{} of its descendants are not user {uid}'s alone and are left out.", account.left_out));
    }
    if account.window.withheld > 0 {
        list.push(format!(
            "{} samples were left out: the process was not user {uid}'s alone when they were taken.",
            account.window.withheld
        ));
    }
    list
}

/// Samples per second of CPU time, by the weights of the samples, and how many samples were taken at each rate.
fn rates_in_force(account: &Account<'_>) -> BTreeMap<u64, u64> {
    let mut rates = BTreeMap::new();
    for (period, count) in account.window.periods.iter().filter(|(period, _)| *period > 0) {
        *rates.entry((SECOND + period / 2) / period).or_default() += count;
    }
    rates
}

fn window(account: &Account<'_>) -> String {
    let length = |span: Span| seconds(span.to.0.saturating_sub(span.from.0));
    let ended = account.ago.map(|ago| format!(" that ended {ago} s before it was asked for")).unwrap_or_default();
    format!("Window asked for: {}{ended}; covered: {}.", length(account.asked), length(account.covered))
}

fn amount(account: &Account<'_>) -> String {
    let (got, _) = account.got();
    let lost: u64 = account.window.losses.iter().map(|(_, count)| count).sum();
    let reasons = by_reason(account.window.losses.iter().copied(), None);
    let lost = if lost == 0 { "none was lost".to_owned() } else { format!("{lost} were lost ({reasons})") };
    match (account.cpu_ns, got) {
        (Some(cpu), 0) => format!(
            "No sample: the scheduler accounts {} of CPU time in the window, about {} samples; {lost}.",
            seconds(cpu),
            cpu / account.period()
        ),
        (None, 0) => format!("No sample; how much CPU time was used in the window is not known; {lost}."),
        (Some(cpu), got) => {
            let expected = (cpu + account.period() / 2) / account.period();
            let cpu = seconds(cpu);
            // Which ticks meet a process that runs now and then is chance: two standard errors of a count, at most.
            let chance = 2.0 * (expected as f64).sqrt();
            format!(
                "CPU time by the scheduler's account: {cpu}, so {expected} samples expected (give or take {chance:.0} by \
                 chance); {got} got, {lost}."
            )
        }
        (None, got) => format!("CPU time by the scheduler's account is not known; {got} samples got, {lost}."),
    }
}

fn completeness(account: &Account<'_>) -> Option<String> {
    complete_stacks(&account.window.rows)
}

/// How many stacks are whole, and why the others are not.
pub(super) fn complete_stacks(rows: &[Row]) -> Option<String> {
    let got: u64 = rows.iter().map(|row| row.count).sum();
    if got == 0 {
        return None;
    }
    let statuses = || rows.iter().map(|row| (row.status, row.count));
    let complete: u64 = statuses().filter(|(status, _)| status.is_complete()).map(|(_, count)| count).sum();
    let share = percent(complete, got);
    let rest = by_reason(statuses().filter(|(status, _)| !status.is_complete()), Some(got));
    let rest = if rest.is_empty() { String::new() } else { format!("; not complete: {rest}") };
    Some(format!("Complete stacks: {complete} of {got} ({share}){rest}."))
}

/// How sure the ends of complete stacks are, where no unwind table marks them.
fn ends(account: &Account<'_>) -> Vec<String> {
    let count = |wanted: Reason| {
        account.window.rows.iter().filter(|row| row.status == wanted).map(|row| row.count).sum::<u64>()
    };
    let sentence = |reason, how: &str| match count(reason) {
        0 => None,
        count => Some(format!("{count} of the complete stacks {how}.")),
    };
    let by_frame_pointer = "were walked by frame pointers for a part, through code without an unwind table";
    let at_zero = "end at a return address of zero, as those of fibers do, where no unwind table says that they end";
    [sentence(Reason::CompleteByFramePointer, by_frame_pointer), sentence(Reason::CompleteAtZero, at_zero)]
        .into_iter()
        .flatten()
        .collect()
}

fn rates(account: &Account<'_>) -> Option<String> {
    let rates = rates_in_force(account);
    if rates.len() < 2 {
        return None;
    }
    let each = rates.iter().map(|(rate, count)| format!("{count} samples at {rate} Hz")).collect::<Vec<_>>();
    let each = each.join(", ");
    Some(format!(
        "The rate changed in the window ({each}): nanoseconds are right, counts of samples are not comparable."
    ))
}

/// What happened to the process, and what else to know.
fn turns(account: &Account<'_>) -> Vec<String> {
    let mut list = Vec::new();
    if account.exited {
        let after = account.asked.to.0.saturating_sub(account.asked.from.0);
        list.push(format!("The process exited {} after the window began; the window ends there.", seconds(after)));
    }
    if account.unaccounted > 0 {
        list.push(format!(
            "{} processes ended in the window: what each used since the scheduler's last tick is not in the account.",
            account.unaccounted
        ));
    }
    list.extend(descendants(account));
    if let Subject::Process(known) = account.subject
        && !account.children
    {
        let images: BTreeSet<u32> = account.window.rows.iter().map(|row| row.image.exec_id).collect();
        if images.len() > 1 {
            let count = images.len();
            list.push(format!("Process {} became another program within the window: {count} programs.", known.id.pid));
        }
    }
    if !account.drained {
        list.push("Not all that the kernel had recorded by the window's end was read in time.".to_owned());
    }
    list
}

/// Where to look if most of the time is not the process's own (the master of a server, a shell): said if its descendants
/// used more than it did, as far as the number shows it, or if it has no sample and theirs is not known.
fn descendants(account: &Account<'_>) -> Option<String> {
    let (count, used) = account.descendants?;
    let (samples, sampled) = account.got();
    let used = match used {
        Some(used) if used < SHOWN || used <= account.cpu_ns.unwrap_or(sampled) => return None,
        Some(used) => seconds(used),
        None if samples > 0 => return None,
        None => "an unknown amount".to_owned(),
    };
    let who = if count == 1 { "only descendant".to_owned() } else { format!("{count} descendants") };
    Some(format!("Its {who} used {used} of CPU time in the window: children=1 shows it."))
}

/// `ring full 3, timer late 1`, with shares if there is a whole; the most frequent first.
fn by_reason(counts: impl Iterator<Item = (Reason, u64)>, whole: Option<u64>) -> String {
    let mut sums: BTreeMap<Reason, u64> = BTreeMap::new();
    for (reason, count) in counts.filter(|(_, count)| *count > 0) {
        *sums.entry(reason).or_default() += count;
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(reason, count)| (std::cmp::Reverse(*count), *reason));
    let text = |(reason, count): &(Reason, u64)| match whole {
        Some(whole) => format!("{} {count} ({})", reason.name(), percent(*count, whole)),
        None => format!("{} {count}", reason.name()),
    };
    sums.iter().map(text).collect::<Vec<_>>().join(", ")
}

pub(super) fn percent(part: u64, whole: u64) -> String {
    format!("{:.2} %", part as f64 * 100.0 / whole.max(1) as f64)
}

fn seconds(ns: u64) -> String {
    format!("{:.3} s", ns as f64 / SECOND as f64)
}

#[cfg(test)]
mod tests;
