//! `threadcreate`: the stacks that created the threads that live. Threads that nobody saw being created are told apart, each by where
//! it began.

use super::KindError;
use super::parameters::Parameters;
use super::profile::{Label, Profile, ValueType};
use super::profiler::Profiler;
use super::snapshot::{self, Look, Rows};
use super::subject::Subject;
use super::viewer::Viewer;
use crate::event::{Frame, FrameWord, ProcessId, Tid};
use crate::record::Creation;
use crate::record::window::Row;
use crate::symbolize::sources::Thread;
use profiler_ebpf::reasons::Reason;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use tokio::task::spawn_blocking;

/// The column, as Go has it.
pub const SAMPLE_TYPES: &[ValueType] = &[PERIOD_TYPE];
/// What a period measures.
pub const PERIOD_TYPE: ValueType = ValueType { kind: "threadcreate", unit: "count" };

/// Outermost frames of a thread that say where it began: the C library's two, and the function that it was created for.
const OUTERMOST: usize = 3;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// One sample a thread, with its number.
    pub each: bool,
}

impl Request {
    /// Reads parameters.
    pub fn parse(parameters: &Parameters) -> Result<Self, KindError> {
        if parameters.given("ago").is_some() {
            let text = "only threads that live are told of: \"ago\" cannot be asked for";
            return Err(KindError::BadRequest(text.to_owned()));
        }
        Ok(Request { each: parameters.debug() >= 2 })
    }
}

/// Makes the profile of what the viewer may see of its subject. Dropping the future gives everything back.
pub async fn collect_for(
    profiler: &Profiler,
    viewer: Viewer,
    subject: Subject,
    request: Request,
) -> Result<Profile, KindError> {
    let profiler = profiler.clone();
    spawn_blocking(move || collect(&profiler, viewer, &subject, request)).await.map_err(KindError::Task)?
}

fn collect(profiler: &Profiler, viewer: Viewer, subject: &Subject, request: Request) -> Result<Profile, KindError> {
    let mut look = snapshot::look(profiler, viewer, subject)?;
    // What was created before the look is in the ring at least.
    profiler.processes.drained(look.time);
    let created = Created::of(profiler, &look);
    let since = profiler.processes.since_boot(profiler.recorder.began());
    let is_missing =
        |thread: &Thread| created.find(thread).is_none() && why_unseen(thread, since) == Reason::CreationNotSeen;
    if look.threads.iter().any(is_missing) {
        // What ended since the look is recorded no more, and lives no more.
        let key = |thread: &Thread| (thread.seen.image.process, thread.seen.tid, thread.seen.start);
        let living: HashSet<_> = snapshot::look(profiler, viewer, subject)?.threads.iter().map(key).collect();
        look.threads.retain(|thread| living.contains(&key(thread)) || !is_missing(thread));
    }
    let mut counts: BTreeMap<Option<Reason>, usize> = BTreeMap::new();
    let row = |thread: &Thread| {
        let creation = created.find(thread);
        let unseen = if creation.is_some() { None } else { Some(why_unseen(thread, since)) };
        let row = match (creation, unseen) {
            (Some(creation), _) => snapshot::row(thread, &creation.stack, creation.status),
            (None, why) => snapshot::row(thread, &beginning(thread, why), Reason::Complete),
        };
        *counts.entry(unseen).or_default() += 1;
        row
    };
    let rows: Vec<Row> = look.threads.iter().map(row).collect();
    let number = |thread: &Thread| Label::Number("tid", i64::from(thread.seen.tid.0));
    let more: Vec<Vec<Label>> =
        look.threads.iter().map(|thread| request.each.then(|| number(thread)).into_iter().collect()).collect();
    let comments = comments(subject, viewer, &look, &counts);
    let rows = Rows { threads: rows, more, kernel: false, time: look.time };
    snapshot::profile(profiler, viewer, subject, rows, PERIOD_TYPE, comments)
}

/// What is recorded of the threads of a look.
struct Created(HashMap<(ProcessId, Tid), Creation>);

impl Created {
    fn of(profiler: &Profiler, look: &Look) -> Created {
        let processes: BTreeSet<ProcessId> = look.threads.iter().map(|thread| thread.seen.image.process).collect();
        let all = processes.into_iter().flat_map(|process| {
            profiler.recorder.created(process).into_iter().map(move |creation| ((process, creation.tid), creation))
        });
        Created(all.collect())
    }

    /// A number that was given again is another thread.
    fn find(&self, thread: &Thread) -> Option<&Creation> {
        let creation = self.0.get(&(thread.seen.image.process, thread.seen.tid))?;
        (creation.start == thread.seen.start && creation.image == thread.seen.image).then_some(creation)
    }
}

/// Why nobody saw its creation. `since`: when recording began, ns since boot.
fn why_unseen(thread: &Thread, since: u64) -> Reason {
    match thread.seen.start {
        _ if thread.seen.tid.0 == thread.seen.image.process.pid.0 => Reason::FirstThread,
        start if start < since => Reason::OlderThanAgent,
        _ => Reason::CreationNotSeen,
    }
}

/// Where it began, as far as its present stack tells, below a frame that says why that is all.
fn beginning(thread: &Thread, why: Option<Reason>) -> Vec<FrameWord> {
    let user: Vec<FrameWord> = thread
        .frames
        .iter()
        .copied()
        .filter(|word| thread.status.is_complete() && !matches!(word.frame(), Some(Frame::Kernel { .. })))
        .collect();
    let outermost = user.iter().skip(user.len().saturating_sub(OUTERMOST)).copied();
    outermost.chain(why.map(|reason| FrameWord::from(Frame::Pseudo { reason }))).collect()
}

/// What the profile says of itself.
fn comments(subject: &Subject, viewer: Viewer, look: &Look, counts: &BTreeMap<Option<Reason>, usize>) -> Vec<String> {
    let all = look.threads.len();
    let whose = match (subject, viewer) {
        (Subject::Process(known), _) => format!("process {}", known.id.pid),
        (Subject::Host, Viewer::All) => "the host".to_owned(),
        (Subject::Host, Viewer::User(uid)) => format!("user {uid}'s processes"),
    };
    let seen = counts.get(&None).copied().unwrap_or(0);
    let mut list = vec![format!(
        "pprofd: {all} threads of {whose} that live, at the stacks that created them; {seen} were seen being created."
    )];
    for (why, count) in counts.iter().filter_map(|(why, count)| why.map(|why| (why, count))) {
        list.push(format!("{count} are told as \"{}\": {}", why.name(), why.sentence()));
    }
    if look.failed > 0 {
        list.push(format!("{} processes could not be looked at.", look.failed));
    }
    list
}

#[cfg(test)]
mod tests;
