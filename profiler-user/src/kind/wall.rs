//! `wall`: where the time of each thread of a process goes, on a CPU and off it. The shares come from samples of CPU time and from
//! waits; how much each thread had of the one and of the other, the scheduler knows exactly.

use super::parameters::Parameters;
use super::profile::{Label, Profile, ValueType};
use super::profiler::Profiler;
use super::snapshot::LOOK;
use super::subject::{self, Known, Subject};
use super::viewer::{Viewer, open};
use super::{KindError, blocking, missing_parts, wait};
use crate::event::{Call, ImageId, MappingSeen, MonoTime, ProcessId, Source, Tid};
use crate::record::window::{Row, Samples, Selection, Span};
use crate::symbolize::builder::{self, Input, Labels};
use crate::symbolize::layout::Addresses;
use crate::symbolize::sources::Thread;
use crate::watch::Target;
use crate::watch::waits::Wanted;
use profiler_ebpf::reasons::Reason;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Columns, as `fgprof` has them.
pub const SAMPLE_TYPES: &[ValueType] =
    &[ValueType { kind: "samples", unit: "count" }, ValueType { kind: "time", unit: "nanoseconds" }];
/// What a period measures.
pub const PERIOD_TYPE: ValueType = ValueType { kind: "wallclock", unit: "nanoseconds" };

/// The window if none is asked for, seconds.
const DEFAULT_SECONDS: u32 = 30;
/// Samples of CPU time a second.
const HZ: u32 = 99;
/// ns that one sample stands for.
const PERIOD: u64 = 1_000_000_000 / HZ as u64;
/// How long a request waits for the tables of its target's files.
const PREPARATION: Duration = Duration::from_secs(1);
/// How long its watch outlives the window, at least.
const ANSWER: Duration = Duration::from_secs(30);

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Length of the window.
    pub seconds: u32,
    /// Keep kernel frames.
    pub kernel: bool,
}

impl Request {
    /// Reads parameters.
    pub fn parse(parameters: &Parameters, max_seconds: u32) -> Result<Self, KindError> {
        if parameters.given("ago").is_some() {
            let text = "the time of each thread is not recorded: \"ago\" cannot be asked for";
            return Err(KindError::BadRequest(text.to_owned()));
        }
        let seconds = parameters.difference(max_seconds)?.unwrap_or(DEFAULT_SECONDS.min(max_seconds));
        Ok(Request { seconds, kernel: parameters.switch("kernel", false)? })
    }
}

/// What is known when the window has ended.
struct Collected {
    process: ProcessId,
    viewer: Viewer,
    request: Request,
    span: Span,
    before: Vec<Thread>,
    after: Vec<Thread>,
}

/// Makes the profile of what the viewer may see of a process. Dropping the future gives everything back but the watch.
pub async fn collect_for(
    profiler: &Profiler,
    viewer: Viewer,
    subject: Subject,
    request: Request,
) -> Result<Profile, KindError> {
    let process = match subject {
        Subject::Process(Known { id, alive: true }) => id,
        Subject::Process(known) => {
            return Err(KindError::NotFound(format!("process {} has exited: its time is over", known.id.pid)));
        }
        Subject::Host => {
            let text =
                "the wall time of all threads of a host is mostly sleep: ask for that of a process (/pid/PID/...)";
            return Err(KindError::NotImplemented(text.to_owned()));
        }
    };
    let watched = profiler.watch.sample(Target::Process(process), HZ);
    let length = Duration::from_secs(request.seconds.into());
    let starting = profiler.clone();
    let (before, from) = blocking(move || start(&starting, process, length)).await??;
    tokio::time::sleep(length).await;
    let ending = profiler.clone();
    let (after, to) = blocking(move || look(&ending, process)).await??;
    drop(watched);
    let collected = Collected { process, viewer, request, span: Span { from, to }, before, after };
    let profiler = profiler.clone();
    blocking(move || finish(&profiler, &collected)).await?
}

fn start(profiler: &Profiler, process: ProcessId, length: Duration) -> Result<(Vec<Thread>, MonoTime), KindError> {
    let all = Wanted { sync: true, all: true, ..Wanted::default() };
    let (now, _) = profiler.processes.now();
    profiler.waits.ask(Target::Process(process), all, now, length + ANSWER).map_err(|error| {
        tracing::warn!(%error, "cannot watch waits");
        KindError::NotImplemented(format!("the kernel does not let waits be watched: {error}"))
    })?;
    profiler.processes.prepare(Some(process), PREPARATION);
    look(profiler, process)
}

/// The threads, and the time from which on all that they wait for is known.
fn look(profiler: &Profiler, process: ProcessId) -> Result<(Vec<Thread>, MonoTime), KindError> {
    profiler.processes.look_at_waits(Some(process));
    let (now, _) = profiler.processes.now();
    let threads = profiler.processes.threads(process, LOOK).map_err(KindError::NotImplemented)?;
    if threads.is_empty() {
        return Err(KindError::NotFound(format!("process {} has exited: it has no threads", process.pid)));
    }
    Ok((threads, now))
}

/// What the scheduler says of a thread in the window, ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Exact {
    on_cpu: u64,
    off_cpu: u64,
}

/// By thread that lives at the window's end.
fn exact(collected: &Collected, since_boot: impl Fn(MonoTime) -> u64) -> BTreeMap<Tid, Exact> {
    let before: BTreeMap<Tid, &Thread> = collected.before.iter().map(|thread| (thread.seen.tid, thread)).collect();
    let of = |thread: &Thread| {
        let now = &thread.seen;
        let earlier = before.get(&now.tid).map(|thread| &thread.seen).filter(|seen| seen.start == now.start);
        let (used, lived) = match earlier {
            Some(seen) => (now.runtime - seen.runtime.min(now.runtime), now.time.0.saturating_sub(seen.time.0)),
            None => (now.runtime, since_boot(now.time).saturating_sub(now.start)),
        };
        (now.tid, Exact { on_cpu: used.min(lived), off_cpu: lived.saturating_sub(used) })
    };
    collected.after.iter().map(of).collect()
}

/// Makes the rows of each thread sum up to what the scheduler says. Of whom no sample tells, what it did at the end does.
fn scaled(rows: Vec<Row>, exact: &BTreeMap<Tid, Exact>, after: &[Thread]) -> Vec<Row> {
    let is_on_cpu = |row: &Row| row.source == Source::Cpu;
    let mut sums: BTreeMap<(Tid, bool), u64> = BTreeMap::new();
    for row in &rows {
        *sums.entry((row.tid, is_on_cpu(row))).or_default() += row.value;
    }
    let mut rows = rows;
    for row in &mut rows {
        let (Some(exact), Some(sum)) = (exact.get(&row.tid), sums.get(&(row.tid, is_on_cpu(row)))) else { continue };
        let whole = if is_on_cpu(row) { exact.on_cpu } else { exact.off_cpu };
        if *sum > 0 {
            let share = u128::from(row.value) * u128::from(whole) / u128::from(*sum);
            row.value = u64::try_from(share).unwrap_or(u64::MAX);
        }
    }
    for thread in after {
        let Some(exact) = exact.get(&thread.seen.tid) else { continue };
        for (on_cpu, value) in [(true, exact.on_cpu), (false, exact.off_cpu)] {
            let known = sums.get(&(thread.seen.tid, on_cpu)).copied().unwrap_or(0);
            if known == 0 && value > 0 {
                rows.push(at_the_end(thread, on_cpu, value));
            }
        }
    }
    rows
}

fn at_the_end(thread: &Thread, on_cpu: bool, value: u64) -> Row {
    let seen = &thread.seen;
    let known = !on_cpu && seen.state != 0;
    Row {
        image: seen.image,
        tid: seen.tid,
        thread: seen.thread,
        comm: seen.comm,
        stack: if known { Arc::from(thread.frames.as_slice()) } else { Arc::from([]) },
        status: if known { thread.status } else { Reason::ThreadRan },
        source: if on_cpu { Source::Cpu } else { Source::Wait(Call::NONE) },
        count: 0,
        value,
        events: 0,
    }
}

/// Makes the profile. Blocking.
fn finish(profiler: &Profiler, collected: &Collected) -> Result<Profile, KindError> {
    let Collected { process, viewer, request, span, .. } = *collected;
    let drained = profiler.processes.drained(span.to);
    let sieve = match viewer {
        Viewer::All => None,
        Viewer::User(uid) => Some(open(profiler, uid).sieve),
    };
    let selection = Selection::of([process]);
    let query = |samples| {
        profiler.recorder.query_samples(samples, sieve.as_ref(), selection.clone(), span).map_err(KindError::Recorder)
    };
    let mut rows = query(Samples::Cpu)?.rows;
    rows.extend(query(Samples::Waits)?.rows);
    let open = profiler.recorder.open_waits(sieve.clone(), selection.clone(), span.to).map_err(KindError::Recorder)?;
    let longest = span.to.0.saturating_sub(span.from.0);
    rows.extend(open.into_iter().map(|row| Row { value: row.value.min(longest), ..row }));
    let exact = exact(collected, |time| profiler.processes.since_boot(time));
    let shown =
        |thread: &&Thread| sieve.as_ref().is_none_or(|sieve| sieve.passes(thread.seen.image, thread.seen.uids.into()));
    let after: Vec<Thread> = collected.after.iter().filter(shown).cloned().collect();
    let mut rows = scaled(rows, &exact, &after);
    rows.retain(|row| row.value > 0);
    let kernel = profiler.symbolizer.kernel();
    for row in &mut rows {
        row.count = row.value.div_ceil(PERIOD);
        row.stack = wait::without_ours(&row.stack, kernel);
    }
    let label = |row: &Row| match row.source {
        Source::Wait(call) => vec![
            Label::Text("state", "off cpu".to_owned()),
            Label::Text("wait", wait::reason(&row.stack, call, kernel).to_owned()),
        ],
        Source::Cpu | Source::Wake(_) => vec![Label::Text("state", "on cpu".to_owned())],
    };
    let more: Vec<Vec<Label>> = rows.iter().map(label).collect();
    let mappings: Vec<MappingSeen> = profiler.processes.mappings(process);
    let main = subject::exe(profiler, process);
    let input = Input {
        rows: &rows,
        more: &more,
        labels: Labels::Threads,
        addresses: Addresses::Real(&mappings),
        main: main.as_deref(),
        kernel: request.kernel,
    };
    let built = builder::build(&profiler.symbolizer, &input);
    let mut comments = vec![
        format!(
            "pprofd: time of {} threads of process {}, on a CPU (sampled at {HZ} Hz) and off it (each wait or a part of them).",
            exact.len(),
            process.pid
        ),
        "Of each thread that lives the sums are what the scheduler says; the samples tell how they divide.".to_owned(),
        format!(
            "Window covered: {:.3} s.{}",
            longest as f64 / 1e9,
            if drained { "" } else { " Not all was read in time." }
        ),
    ];
    comments.extend(super::runtimes::sentences(&super::runtimes::Samples {
        rows: &rows,
        native_only: &built.native_only,
        mappings: &mappings,
        files: profiler.symbolizer.files(),
        exe: &|image: ImageId| subject::exe(profiler, image.process),
    }));
    comments.extend(missing_parts::sentences(&rows, profiler.symbolizer.files()));
    profiler.books.put(process, built.book);
    let (now, wall) = profiler.processes.now();
    let back = i64::try_from(now.0.saturating_sub(span.from.0)).unwrap_or(0);
    Ok(Profile {
        sample_types: SAMPLE_TYPES.to_vec(),
        period_type: PERIOD_TYPE,
        period: i64::try_from(PERIOD).unwrap_or(i64::MAX),
        time_nanos: wall.saturating_sub(back),
        duration_nanos: i64::try_from(longest).unwrap_or(i64::MAX),
        mappings: built.mappings,
        functions: built.functions,
        locations: built.locations,
        samples: built.samples,
        comments,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbolize::fakes::{row, usual_stack};

    fn of(tid: u32, source: Source, value: u64) -> Row {
        Row { tid: Tid(tid), source, value, ..row(&usual_stack()) }
    }

    #[test]
    fn the_rows_of_a_thread_sum_up_to_what_the_scheduler_says() {
        let sleep = Source::Wait(Call(230));
        let rows = vec![of(1, Source::Cpu, 30), of(1, Source::Cpu, 10), of(1, sleep, 50), of(2, sleep, 7)];
        let exact = BTreeMap::from([(Tid(1), Exact { on_cpu: 400, off_cpu: 600 })]);
        let values: Vec<u64> = scaled(rows, &exact, &[]).into_iter().map(|row| row.value).collect();
        assert_eq!(values, [300, 100, 600, 7], "of one that has ended nothing else is known");
    }
}
