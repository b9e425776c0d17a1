//! `profile`: where CPU time went, from the recorder's log. Waits for the window [now, now + seconds], or answers at once
//! for one that has ended (`ago`). A request starts no sampler: it asks the watch for a rate and reads what is recorded.

use super::chosen::{Choice, Chosen, prepare_children, tell_clocks};
use super::clocks::{self, Difference, Reading};
use super::comments::{self, Account};
use super::parameters::Parameters;
use super::profile::{Profile, ValueType};
use super::profiler::Profiler;
use super::runtimes;
use super::subject::{self, Subject};
use super::viewer::Viewer;
use super::{KindError, blocking, missing_parts};
use crate::event::{ImageId, MappingSeen, MonoTime, ProcessId};
use crate::record::window::{Selection, Span, Window};
use crate::symbolize::builder::{self, Input, Labels};
use crate::symbolize::layout::Addresses;
use crate::watch::Target;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Columns, as Go has them.
pub const SAMPLE_TYPES: &[ValueType] =
    &[ValueType { kind: "samples", unit: "count" }, ValueType { kind: "cpu", unit: "nanoseconds" }];
/// What a period measures.
pub const PERIOD_TYPE: ValueType = ValueType { kind: "cpu", unit: "nanoseconds" };

/// Go's window if none or a bad one is asked for, seconds.
const DEFAULT_SECONDS: u32 = 30;
/// The rate while a request is open, unless it asks for more.
const DEFAULT_HZ: u32 = 99;
/// The highest rate.
const MAX_HZ: u32 = 999;
/// How long a request waits for the tables of its target's files before its window begins.
const PREPARATION: Duration = Duration::from_secs(1);
const SECOND: u64 = 1_000_000_000;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Length of the window.
    pub seconds: u32,
    /// The window ended that many seconds ago.
    pub ago: Option<u32>,
    /// Samples per second of CPU time.
    pub hz: u32,
    /// Keep kernel frames.
    pub kernel: bool,
    /// With all descendants of the process.
    pub children: bool,
}

impl Request {
    /// Reads parameters: `seconds` by Go's rules, ours strictly.
    pub fn parse(parameters: &Parameters, max_seconds: u32) -> Result<Self, KindError> {
        let seconds = parameters.get("seconds").and_then(|text| text.parse::<i64>().ok());
        let seconds = match seconds {
            Some(seconds) if seconds > i64::from(max_seconds) => {
                let text = format!("\"seconds\" is at most {max_seconds} here (--max-seconds)");
                return Err(KindError::BadRequest(text));
            }
            Some(seconds) if seconds > 0 => u32::try_from(seconds).unwrap_or(max_seconds),
            _ => DEFAULT_SECONDS.min(max_seconds),
        };
        Ok(Request {
            seconds,
            ago: parameters.number("ago", 0..=u32::MAX)?,
            hz: parameters.number("hz", 1..=MAX_HZ)?.unwrap_or(DEFAULT_HZ).max(DEFAULT_HZ),
            kernel: parameters.switch("kernel", true)?,
            children: parameters.switch("children", false)?,
        })
    }
}

/// What is known when the window has ended.
struct Collected {
    viewer: Viewer,
    subject: Subject,
    request: Request,
    asked: Span,
    /// The process's mappings, the newest first.
    mappings: Vec<MappingSeen>,
    /// What was used between readings at the window's ends.
    used: Difference,
    exited: bool,
}

/// Makes a profile for somebody who may see all. Dropping the future gives everything back.
pub async fn collect(profiler: &Profiler, subject: Subject, request: Request) -> Result<Profile, KindError> {
    collect_for(profiler, Viewer::All, subject, request).await
}

/// Makes a profile of what the viewer may see of its subject. Dropping the future gives everything back.
pub async fn collect_for(
    profiler: &Profiler,
    viewer: Viewer,
    subject: Subject,
    request: Request,
) -> Result<Profile, KindError> {
    let collected = match (&subject, request.ago) {
        (_, Some(ago)) => past(profiler, viewer, subject, request, ago),
        (Subject::Process(known), None) if !known.alive => {
            return Err(KindError::NotFound(format!(
                "process {} has exited; ago=SECONDS asks for what is recorded of it",
                known.id.pid
            )));
        }
        (_, None) => live(profiler, viewer, subject, request).await?,
    };
    let profiler = profiler.clone();
    blocking(move || finish(&profiler, collected)).await?
}

fn past(profiler: &Profiler, viewer: Viewer, subject: Subject, request: Request, ago: u32) -> Collected {
    let (now, _) = profiler.processes.now();
    let to = now.0.saturating_sub(u64::from(ago) * SECOND);
    let from = to.saturating_sub(u64::from(request.seconds) * SECOND);
    Collected {
        viewer,
        subject,
        request,
        asked: Span { from: MonoTime(from), to: MonoTime(to) },
        mappings: Vec::new(),
        used: Difference::default(),
        exited: false,
    }
}

/// Waits for the window's end, or the exit of the process.
async fn live(profiler: &Profiler, viewer: Viewer, subject: Subject, request: Request) -> Result<Collected, KindError> {
    let process = subject.process();
    // Children are forked while the window is open: only the host's rate is theirs from their first instant.
    let target = process.filter(|_| !request.children).map_or(Target::Host, Target::Process);
    let watched = profiler.watch.sample(target, request.hz);
    let preparing = profiler.clone();
    let start = move || {
        let end = Instant::now() + PREPARATION;
        preparing.processes.prepare(process, PREPARATION);
        if let Some(process) = process.filter(|_| request.children) {
            prepare_children(&preparing, process, end);
        }
        tell_clocks(&preparing, viewer, &subject);
        let mappings = process.map(|process| preparing.processes.mappings(process)).unwrap_or_default();
        (mappings, Reading::at_start(&preparing, process))
    };
    let (mappings, start) = blocking(start).await?;
    // Whoever asks for a family wants the window of the family, whose head may be a shell that is gone at once.
    let head = process.filter(|_| !request.children);
    let exited = wait(profiler, head, Duration::from_secs(u64::from(request.seconds))).await;
    let ending = profiler.clone();
    let end = blocking(move || Reading::at_end(&ending, process)).await?;
    drop(watched);
    let asked = Span { from: start.time, to: end.time };
    Ok(Collected { viewer, subject, request, asked, mappings, used: end.since(&start), exited })
}

/// True if the process exited before the time was over.
async fn wait(profiler: &Profiler, process: Option<ProcessId>, time: Duration) -> bool {
    match process {
        None => {
            tokio::time::sleep(time).await;
            false
        }
        Some(process) => tokio::time::timeout(time, profiler.processes.wait_exit(process)).await.is_ok(),
    }
}

/// Reads the window from the recorder and makes the profile. Blocking.
fn finish(profiler: &Profiler, mut collected: Collected) -> Result<Profile, KindError> {
    let process = collected.subject.process();
    if collected.request.ago.is_some() {
        clocks::read(profiler, process);
    }
    if let Some(process) = process {
        let mut newest = profiler.processes.mappings(process);
        newest.append(&mut collected.mappings);
        collected.mappings = newest;
    }
    let drained = profiler.processes.drained(collected.asked.to);
    tell_clocks(profiler, collected.viewer, &collected.subject);
    let Collected { viewer, subject, request: Request { children, .. }, asked, .. } = collected;
    let chosen = Chosen::of(profiler, &Choice { viewer, subject, children, since: asked.from })?;
    // Where what a program mapped lies is its secret, too.
    collected.mappings.retain(|mapping| chosen.shows(mapping.image));
    let window = profiler
        .recorder
        .query_for(chosen.sieve.as_ref(), chosen.selection.clone(), collected.asked)
        .map_err(KindError::Recorder)?;
    let covered = covered(&collected, &window)?;
    let used = used(profiler, &collected, &window, &chosen);
    let account = Account {
        subject: &collected.subject,
        asked: collected.asked,
        ago: collected.request.ago,
        hz: collected.request.hz,
        covered,
        cpu_ns: used.cpu_ns,
        unaccounted: used.unaccounted,
        exited: collected.exited,
        drained,
        children: collected.request.children,
        descendants: used.descendants,
        window: &window,
        viewer: collected.viewer,
        left_out: if collected.request.children { chosen.left_out } else { 0 },
    };
    Ok(profile(profiler, &collected, &account))
}

/// CPU time in the window.
struct Used {
    /// Of those that the profile is about.
    cpu_ns: Option<u64>,
    /// Processes whose last moments are not in it.
    unaccounted: u64,
    /// How many descend from the process, and what they used; none if they are summed already.
    descendants: Option<(usize, Option<u64>)>,
}

fn used(profiler: &Profiler, collected: &Collected, window: &Window, chosen: &Chosen) -> Used {
    let Difference { own, told } = collected.used;
    if !chosen.is_whole(&collected.subject) {
        return Used { cpu_ns: window.cpu_ns, unaccounted: window.ended, descendants: None };
    }
    // What whoever waited was told is the sum of all, also of those who are not shown.
    let told = told.filter(|_| chosen.left_out == 0);
    if collected.request.children {
        let told = own.zip(told).map(|(own, others)| own.saturating_add(others));
        let cpu_ns = clocks::completed(window.cpu_ns, window.ended, told);
        return Used { cpu_ns, unaccounted: if told.is_none() { window.ended } else { 0 }, descendants: None };
    }
    let used_by = |others: &BTreeSet<ProcessId>| {
        let window = profiler.recorder.query(Selection::Processes(others.clone()), collected.asked).ok()?;
        clocks::completed(window.cpu_ns, window.ended, told)
    };
    let others = &chosen.others;
    let descendants = (!others.is_empty()).then(|| (others.len(), used_by(others)));
    Used { cpu_ns: own.or(window.cpu_ns), unaccounted: 0, descendants }
}

/// The part of the window that the profile is about.
fn covered(collected: &Collected, window: &Window) -> Result<Span, KindError> {
    let held = window
        .covered
        .map(|held| Span { from: held.from.max(collected.asked.from), to: held.to.min(collected.asked.to) });
    match held {
        Some(held) if held.from < held.to => Ok(held),
        // The log begins with its first sample; a window that was waited for was watched all the time.
        _ if collected.request.ago.is_none() => Ok(collected.asked),
        _ => Err(KindError::NotFound("the recorder holds nothing of that window".to_owned())),
    }
}

fn profile(profiler: &Profiler, collected: &Collected, account: &Account<'_>) -> Profile {
    let (labels, addresses) = match &collected.subject {
        Subject::Process(_) if collected.request.children => (Labels::Processes, Addresses::Synthetic),
        Subject::Process(_) => (Labels::Threads, Addresses::Real(&collected.mappings)),
        Subject::Host => (Labels::Processes, Addresses::Synthetic),
    };
    // Asked for at the end: the process may have become another program.
    let main = collected.subject.process().and_then(|process| subject::exe(profiler, process));
    let main = main.as_deref();
    let input =
        Input { rows: &account.window.rows, more: &[], labels, addresses, main, kernel: collected.request.kernel };
    let built = builder::build(&profiler.symbolizer, &input);
    let mut comments = comments::sentences(account);
    comments.extend(runtimes::sentences(&runtimes::Samples {
        rows: &account.window.rows,
        native_only: &built.native_only,
        mappings: &collected.mappings,
        files: profiler.symbolizer.files(),
        exe: &|image: ImageId| subject::exe(profiler, image.process),
    }));
    comments.extend(missing_parts::sentences(&account.window.rows, profiler.symbolizer.files()));
    // The addresses of a family are made up, and not its head's.
    if let Subject::Process(known) = &collected.subject
        && !collected.request.children
    {
        profiler.books.put(known.id, built.book);
    }
    let (now, wall) = profiler.processes.now();
    let back = i64::try_from(now.0.saturating_sub(account.covered.from.0)).unwrap_or(0);
    Profile {
        sample_types: SAMPLE_TYPES.to_vec(),
        period_type: PERIOD_TYPE,
        period: i64::try_from(account.period()).unwrap_or(i64::MAX),
        time_nanos: wall.saturating_sub(back),
        duration_nanos: i64::try_from(account.covered.to.0.saturating_sub(account.covered.from.0)).unwrap_or(i64::MAX),
        mappings: built.mappings,
        functions: built.functions,
        locations: built.locations,
        samples: built.samples,
        comments,
    }
}

#[cfg(test)]
mod tests;
