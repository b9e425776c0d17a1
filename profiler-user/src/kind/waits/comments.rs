//! What a profile of waits says about itself, in sentences.

use super::{Counted, Request, What};
use crate::kind::profile::ProfileSample;
use crate::kind::subject::Subject;
use crate::kind::viewer::Viewer;
use crate::watch::waits::{LOOK_AGE, WAKER_RATE};
use profiler_ebpf::reasons::Reason;

/// Everything that the sentences are made of.
pub(super) struct Account<'a> {
    pub(super) subject: &'a Subject,
    pub(super) viewer: Viewer,
    pub(super) request: Request,
    pub(super) counted: &'a Counted,
    /// Since when it has been watched, ns since the epoch.
    pub(super) since: Option<i64>,
    /// Events and ns that are kept apart because nothing was held.
    pub(super) apart: (i64, i64),
    pub(super) samples: &'a [ProfileSample],
}

impl Account<'_> {
    fn delay(&self) -> u64 {
        self.counted.rows.iter().fold(0, |sum, row| sum.saturating_add(row.value))
    }
}

/// One sentence a comment.
pub(super) fn sentences(account: &Account<'_>) -> Vec<String> {
    let mut list = vec![source(account), meaning(account), window(account)];
    list.extend(error(account));
    list.extend(lost(account));
    list.extend(nothing(account));
    list.extend(apart(account));
    list.extend(stacks(account));
    list.extend(left_out(account));
    list
}

fn source(account: &Account<'_>) -> String {
    let whose = match (account.subject, account.viewer) {
        (Subject::Process(known), _) if account.request.children => {
            format!("process {} and all that descend from it (everybody's are watched for that)", known.id.pid)
        }
        (Subject::Process(known), _) => format!("process {}", known.id.pid),
        (Subject::Host, Viewer::All) => "the whole host".to_owned(),
        (Subject::Host, Viewer::User(uid)) => format!("all processes of user {uid}"),
    };
    match account.request.what {
        What::Mutex | What::DeltaMutex => {
            let kernel = if account.request.kernel { ", or as a lock of the kernel on which they slept" } else { "" };
            format!(
                "pprofd: what {whose} held and others waited for on synchronisation (futexes){kernel}, at the stack that \
                 released it. Of waiters in a row each is counted where the one before it released, not where the first one \
                 held."
            )
        }
        _ if account.request.all => {
            format!("pprofd: time in which threads of {whose} were not on a CPU, at the stack that left it, by reason.")
        }
        _ => format!("pprofd: waits of {whose} on synchronisation (futexes), at the stack that waits."),
    }
}

fn meaning(account: &Account<'_>) -> String {
    let Request { what, exact, .. } = account.request;
    if what.is_wakes() {
        return format!(
            "A wait of {} us or more counts always, a shorter one with the probability of its length in that, for as many. Its \
             delay ends when it is woken. Time-outs, signals and interrupts release nothing and are left out.",
            WAKER_RATE / 1_000
        );
    }
    let ends = "A delay ends when the thread could run again; the time until a CPU took it is \"run queue\".";
    if account.counted.watched.is_none() {
        return format!(
            "{ends} Of short waits a part may have been kept, each for as many; how large the error is, is not known of what is \
             recorded. Waits that have not ended are not in it."
        );
    }
    if exact {
        return ends.to_owned();
    }
    format!(
        "{ends} Waits below {} ms are kept with a probability that falls as there are more, each for as many; longer ones are \
         looked at and count once; those that go on count up to now.",
        LOOK_AGE / 1_000_000
    )
}

fn window(account: &Account<'_>) -> String {
    let Counted { span, watched, drained, .. } = account.counted;
    let length = span.to.0.saturating_sub(span.from.0) as f64 / 1e9;
    let rest = if *drained { "" } else { " Not all that the kernel had was read in time." };
    match (account.since, watched) {
        (Some(since), Some(watched)) => {
            let how = if watched.is_new { ", when this question began to watch" } else { "" };
            format!("Counted over {length:.3} s; watched since {}{how}.{rest}", utc(since))
        }
        _ => format!("Recorded; window covered: {length:.3} s.{rest}"),
    }
}

fn error(account: &Account<'_>) -> Option<String> {
    let delay = account.delay() as f64;
    let error = account.counted.variance.max(0.0).sqrt();
    (error > 0.0 && delay > 0.0)
        .then(|| format!("Standard error of the sum of the delays: {:.2} %.", error / delay * 100.0))
}

fn lost(account: &Account<'_>) -> Option<String> {
    let losses = &account.counted.losses;
    let count: u64 = losses.values().sum();
    let reasons: Vec<String> = losses.iter().map(|(reason, count)| format!("{} {count}", reason.name())).collect();
    (count > 0)
        .then(|| format!("Up to {count} more were lost ({}): the columns are too low by these.", reasons.join(", ")))
}

fn nothing(account: &Account<'_>) -> Option<String> {
    let text = if account.request.what.is_wakes() {
        "Nobody was let go on in that time."
    } else {
        "No thread waited so in that time."
    };
    (account.samples.is_empty() && account.apart.0 == 0).then(|| text.to_owned())
}

fn apart(account: &Account<'_>) -> Option<String> {
    let (events, delay) = account.apart;
    (events > 0 || delay > 0).then(|| {
        format!(
            "{events} waits ({:.3} s) ended by condition variables, semaphores, barriers, channels or the ends of threads are \
             left out: nobody held anything. wait=all shows them.",
            delay as f64 / 1e9
        )
    })
}

/// How much of the delay has a whole stack, and why the rest has none.
fn stacks(account: &Account<'_>) -> Option<String> {
    let rows = &account.counted.rows;
    let all = account.delay();
    if all == 0 {
        return None;
    }
    let mut parts: std::collections::BTreeMap<Reason, u64> = std::collections::BTreeMap::new();
    for row in rows.iter().filter(|row| !row.status.is_complete()) {
        *parts.entry(row.status).or_default() += row.value;
    }
    let share = |value: u64| value as f64 / all as f64 * 100.0;
    let whole = all - parts.values().sum::<u64>().min(all);
    let why: Vec<String> =
        parts.iter().map(|(reason, value)| format!("{} {:.2} %", reason.name(), share(*value))).collect();
    let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join(", ")) };
    Some(format!("{:.2} % of the delay is at complete stacks{why}.", share(whole)))
}

fn left_out(account: &Account<'_>) -> Option<String> {
    let withheld = account.counted.withheld;
    let Viewer::User(uid) = account.viewer else { return None };
    (withheld > 0).then(|| format!("{withheld} were left out: the process was not user {uid}'s alone then."))
}

/// A time since the epoch, ns, as a date and time of day.
fn utc(nanos: i64) -> String {
    let since = std::time::Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + since)
}
