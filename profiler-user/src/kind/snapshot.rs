//! What kinds share that tell of threads as they stand: looking at them, and the profile of rows of which each is a thread.

use super::KindError;
use super::profile::{Label, Profile, ValueType};
use super::profiler::Profiler;
use super::subject::{self, Subject};
use super::viewer::Viewer;
use super::{missing_parts, runtimes};
use crate::event::{Call, FrameWord, ImageId, MappingSeen, MonoTime, Source};
use crate::record::Filter;
use crate::record::window::Row;
use crate::symbolize::builder::{self, Input, Labels};
use crate::symbolize::layout::Addresses;
use crate::symbolize::sources::Thread;
use profiler_ebpf::reasons::Reason;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a request waits for the tables of its target's files.
const PREPARATION: Duration = Duration::from_secs(3);
/// The same of the whole host: files that have no table then are named as such.
const HOST_PREPARATION: Duration = Duration::from_secs(10);
/// How long the threads of one process may take; ten thousand take well below a second.
pub(super) const LOOK: Duration = Duration::from_secs(5);

/// Threads as they stood.
pub(super) struct Look {
    pub(super) threads: Vec<Thread>,
    /// When.
    pub(super) time: MonoTime,
    /// Processes that could not be looked at.
    pub(super) failed: usize,
}

/// Looks at all threads that the viewer may see. Blocking.
pub(super) fn look(profiler: &Profiler, viewer: Viewer, subject: &Subject) -> Result<Look, KindError> {
    let mut found = Look { threads: Vec::new(), time: profiler.processes.now().0, failed: 0 };
    match subject {
        Subject::Process(known) => {
            let gone = || KindError::NotFound(format!("process {} has exited: it has no threads", known.id.pid));
            if !known.alive {
                return Err(gone());
            }
            profiler.processes.prepare(Some(known.id), PREPARATION);
            found.threads = profiler.processes.threads(known.id, LOOK).map_err(KindError::NotImplemented)?;
            if found.threads.is_empty() {
                return Err(gone());
            }
        }
        Subject::Host => {
            let mut listed = viewer.visible(profiler, profiler.recorder.processes(Filter::Alive));
            // As in profiles of CPU time: who asks is no part of what is asked about.
            listed.retain(|info| info.id.pid.0 != std::process::id());
            let end = Instant::now() + HOST_PREPARATION;
            for info in &listed {
                let left = end.saturating_duration_since(Instant::now());
                if !left.is_zero() {
                    profiler.processes.prepare(Some(info.id), left);
                }
            }
            for info in listed {
                match profiler.processes.threads(info.id, LOOK) {
                    Ok(mut threads) => found.threads.append(&mut threads),
                    Err(_) => found.failed += 1,
                }
            }
        }
    }
    if let Viewer::User(uid) = viewer {
        let his = |thread: &Thread| {
            let uids = thread.seen.uids;
            [uids.real, uids.effective, uids.saved].iter().all(|id| *id == uid)
        };
        found.threads.retain(his);
    }
    found.time = profiler.processes.now().0;
    Ok(found)
}

/// A thread's row, with a stack.
pub(super) fn row(thread: &Thread, stack: &[FrameWord], status: Reason) -> Row {
    Row {
        image: thread.seen.image,
        tid: thread.seen.tid,
        thread: thread.seen.thread,
        comm: thread.seen.comm,
        stack: Arc::from(stack),
        status,
        source: Source::Wait(Call::NONE),
        count: 1,
        value: 0,
        events: 1 << 16,
    }
}

/// What a profile is made of.
pub(super) struct Rows {
    /// One a thread.
    pub(super) threads: Vec<Row>,
    /// As many: labels beside the thread's name.
    pub(super) more: Vec<Vec<Label>>,
    /// Keep kernel frames.
    pub(super) kernel: bool,
    /// When the threads were seen.
    pub(super) time: MonoTime,
}

/// Makes the profile, whose one column counts threads. Blocking.
pub(super) fn profile(
    profiler: &Profiler,
    viewer: Viewer,
    subject: &Subject,
    Rows { threads: rows, more, kernel, time }: Rows,
    column: ValueType,
    mut comments: Vec<String>,
) -> Result<Profile, KindError> {
    let mappings: Vec<MappingSeen> = match subject {
        Subject::Host => Vec::new(),
        Subject::Process(known) => profiler.processes.mappings(known.id),
    };
    if let (Subject::Process(known), Viewer::User(uid)) = (subject, viewer)
        && rows.is_empty()
    {
        return Err(KindError::Forbidden(format!("process {} is not wholly user {uid}'s any more", known.id.pid)));
    }
    let (labels, addresses, main) = match subject {
        Subject::Process(known) => (Labels::Names, Addresses::Real(&mappings), subject::exe(profiler, known.id)),
        Subject::Host => (Labels::NamesOfProcesses, Addresses::Synthetic, None),
    };
    let input = Input { rows: &rows, more: &more, labels, addresses, main: main.as_deref(), kernel };
    let built = builder::build(&profiler.symbolizer, &input);
    comments.extend(runtimes::sentences(&runtimes::Samples {
        rows: &rows,
        native_only: &built.native_only,
        mappings: &mappings,
        files: profiler.symbolizer.files(),
        exe: &|image: ImageId| subject::exe(profiler, image.process),
    }));
    comments.extend(missing_parts::sentences(&rows, profiler.symbolizer.files()));
    if let Subject::Process(known) = subject {
        profiler.books.put(known.id, built.book);
    }
    let (now, wall) = profiler.processes.now();
    let back = i64::try_from(now.0.saturating_sub(time.0)).unwrap_or(0);
    let mut samples = built.samples;
    for sample in &mut samples {
        // A thread is counted; it has no value beside that.
        sample.values.truncate(1);
    }
    Ok(Profile {
        sample_types: vec![column.clone()],
        period_type: column,
        period: 1,
        time_nanos: wall.saturating_sub(back),
        duration_nanos: 0,
        mappings: built.mappings,
        functions: built.functions,
        locations: built.locations,
        samples,
        comments,
    })
}
