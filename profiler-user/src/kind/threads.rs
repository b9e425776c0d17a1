//! `goroutine`: the stacks of all threads as they stand. Nothing is stopped: who sleeps is walked where it stands, who runs is
//! caught by the sampler.

mod comments;

use super::parameters::Parameters;
use super::profile::{Label, Profile, ValueType};
use super::profiler::Profiler;
use super::snapshot::{self, LOOK, Look, Rows};
use super::subject::Subject;
use super::viewer::Viewer;
use super::wait;
use super::{KindError, blocking};
use crate::event::{ImageId, MonoTime, ProcessId, Tid};
use crate::record::window::{Row, Selection, Span};
use crate::symbolize::sources::Thread;
use crate::watch::{Hz, Target};
use profiler_ebpf::reasons::Reason;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// The column, as Go has it.
pub const SAMPLE_TYPES: &[ValueType] = &[PERIOD_TYPE];
/// What a period measures.
pub const PERIOD_TYPE: ValueType = ValueType { kind: "goroutine", unit: "count" };

/// How long the sampler runs to catch those who run.
const CATCH: Duration = Duration::from_millis(50);
/// Times that it does, until somebody who ran each time is shown without a stack.
const CATCHES: usize = 4;
const MINUTE: u64 = 60_000_000_000;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Keep kernel frames.
    pub kernel: bool,
    /// One sample a thread, with its number and its wait in minutes; else equal ones are summed.
    pub each: bool,
}

impl Request {
    /// Reads parameters.
    pub fn parse(parameters: &Parameters) -> Result<Self, KindError> {
        if parameters.given("ago").is_some() {
            return Err(KindError::BadRequest(
                "where threads stood is not recorded: \"ago\" cannot be asked for".to_owned(),
            ));
        }
        Ok(Request { kernel: parameters.switch("kernel", false)?, each: parameters.debug() >= 2 })
    }
}

/// Threads, and how they were found.
struct Found {
    threads: Vec<Thread>,
    /// Those that the sampler caught.
    caught: BTreeSet<(ImageId, Tid)>,
    /// When.
    time: MonoTime,
    /// Processes that could not be looked at.
    failed: usize,
}

/// Makes the profile of what the viewer may see of its subject. Dropping the future gives everything back.
pub async fn collect_for(
    profiler: &Profiler,
    viewer: Viewer,
    subject: Subject,
    request: Request,
) -> Result<Profile, KindError> {
    let looking = profiler.clone();
    let Look { threads, time, failed } = blocking(move || snapshot::look(&looking, viewer, &subject)).await??;
    let mut found = Found { threads, caught: BTreeSet::new(), time, failed };
    for _ in 0..CATCHES {
        let ran: Vec<(ImageId, Tid)> = found.threads.iter().filter(|thread| ran(thread)).map(key).collect();
        if ran.is_empty() {
            break;
        }
        let target = match &subject {
            Subject::Host => Target::Host,
            Subject::Process(known) => Target::Process(known.id),
        };
        let watched = profiler.watch.sample(target, Hz::MAX);
        let (from, _) = profiler.processes.now();
        tokio::time::sleep(CATCH).await;
        drop(watched);
        let catching = profiler.clone();
        found = blocking(move || {
            catch(&catching, &mut found, from);
            found
        })
        .await?;
    }
    let profiler = profiler.clone();
    blocking(move || finish(&profiler, viewer, subject, request, &found)).await?
}

fn ran(thread: &Thread) -> bool {
    thread.status == Reason::ThreadRan
}

fn key(thread: &Thread) -> (ImageId, Tid) {
    (thread.seen.image, thread.seen.tid)
}

/// Gives those who ran the stack in which they were sampled most since `from`; whom no sample met is looked at again. Blocking.
fn catch(profiler: &Profiler, found: &mut Found, from: MonoTime) {
    let (to, _) = profiler.processes.now();
    profiler.processes.drained(to);
    let processes: BTreeSet<ProcessId> =
        found.threads.iter().filter(|thread| ran(thread)).map(|thread| thread.seen.image.process).collect();
    let selection = Selection::Processes(processes.clone());
    let mut most: HashMap<(ImageId, Tid), Row> = HashMap::new();
    for row in profiler.recorder.query(selection, Span { from, to }).map(|window| window.rows).unwrap_or_default() {
        let known = most.entry((row.image, row.tid)).or_insert_with(|| row.clone());
        if (row.status.is_complete(), row.count) > (known.status.is_complete(), known.count) {
            *known = row;
        }
    }
    for thread in found.threads.iter_mut().filter(|thread| ran(thread)) {
        if let Some(row) = most.remove(&key(thread)) {
            (thread.frames, thread.status) = (row.stack.to_vec(), row.status);
            (thread.seen.state, thread.seen.on_cpu) = (0, true);
            found.caught.insert(key(thread));
        }
    }
    let missing: BTreeSet<ProcessId> =
        found.threads.iter().filter(|thread| ran(thread)).map(|thread| thread.seen.image.process).collect();
    for process in missing {
        let Ok(again) = profiler.processes.threads(process, LOOK) else { continue };
        let mut again: HashMap<(ImageId, Tid), Thread> =
            again.into_iter().map(|thread| (key(&thread), thread)).collect();
        // Who is not there any more has ended.
        found.threads.retain_mut(|thread| {
            if thread.seen.image.process != process || !ran(thread) {
                return true;
            }
            again.remove(&key(thread)).map(|now| *thread = now).is_some()
        });
    }
}

/// Makes the profile. Blocking.
fn finish(
    profiler: &Profiler,
    viewer: Viewer,
    subject: Subject,
    request: Request,
    found: &Found,
) -> Result<Profile, KindError> {
    let rows: Vec<Row> = found.threads.iter().map(row).collect();
    let more: Vec<Vec<Label>> = found.threads.iter().map(|thread| labels(profiler, thread, request.each)).collect();
    let comments = comments::sentences(&subject, viewer, found, &rows);
    let Request { kernel, .. } = request;
    snapshot::profile(
        profiler,
        viewer,
        &subject,
        Rows { threads: rows, more, kernel, time: found.time },
        PERIOD_TYPE,
        comments,
    )
}

fn row(thread: &Thread) -> Row {
    snapshot::row(thread, &thread.frames, thread.status)
}

/// What it does, what it waits for; if each thread is shown, its number and for how long it has waited.
fn labels(profiler: &Profiler, thread: &Thread, each: bool) -> Vec<Label> {
    let seen = &thread.seen;
    let mut list = vec![Label::Text("state", wait::state(seen).to_owned())];
    let wait = wait::wait(seen, profiler.symbolizer.kernel());
    list.extend(wait.map(|wait| Label::Text("wait", wait.to_owned())));
    if each {
        list.push(Label::Number("tid", i64::from(seen.tid.0)));
        // When it was last put on a CPU: it has not run long since.
        let since = seen.arrival.filter(|_| seen.state != 0).map_or(seen.time, |arrival| arrival);
        let minutes = seen.time.0.saturating_sub(since.0) / MINUTE;
        list.extend((minutes > 0).then(|| Label::Number("minutes", i64::try_from(minutes).unwrap_or(i64::MAX))));
    }
    list
}

#[cfg(test)]
mod tests;
