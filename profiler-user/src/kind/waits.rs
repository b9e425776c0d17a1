//! `block`, `mutex` and their kin: where threads wait, and where what they waited for was released. They count since they have been
//! watched, which the first question begins.

mod comments;
mod lock;
mod rows;

use self::rows::{Before, merged};
use super::parameters::Parameters;
use super::profile::{Label, Profile, ValueType};
use super::profiler::Profiler;
use super::subject::{self, Subject};
use super::viewer::{Viewer, open};
use super::{KindError, missing_parts, wait};
use crate::event::{MappingSeen, MonoTime, ProcessId, Source};
use crate::record::Totals;
use crate::record::window::{Row, Samples, Selection, Sieve, Span};
use crate::symbolize::builder::{self, Input, Labels};
use crate::symbolize::layout::Addresses;
use crate::watch::Target;
use crate::watch::waits::{LOOK_AGE, Wanted, Watched};
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::task::spawn_blocking;

/// Columns, as Go has them.
pub const SAMPLE_TYPES: &[ValueType] = &[PERIOD_TYPE, ValueType { kind: "delay", unit: "nanoseconds" }];
/// What a period measures.
pub const PERIOD_TYPE: ValueType = ValueType { kind: "contentions", unit: "count" };

/// How long the first question collects.
const FIRST: Duration = Duration::from_secs(5);
/// How long an answer may take beside that.
const ANSWER: Duration = Duration::from_secs(20);
/// How long a new watch waits for the tables of its target's files.
const PREPARATION: Duration = Duration::from_secs(1);
/// The window of `ago` if none is asked for, seconds.
const DEFAULT_SECONDS: u32 = 30;
/// The label that says what was released.
const LOCK: &str = "lock";
const SECOND: u64 = 1_000_000_000;
/// Questions for differences that are remembered.
const DELTAS: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// Which of the kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// Waits on synchronisation.
    Block,
    /// All waits.
    OffCpu,
    /// What held others up.
    Mutex,
    /// [`What::Block`] since this was last asked for.
    DeltaBlock,
    /// [`What::Mutex`] since this was last asked for.
    DeltaMutex,
}

impl What {
    /// It is about those who end waits, not about those who wait.
    pub fn is_wakes(self) -> bool {
        matches!(self, What::Mutex | What::DeltaMutex)
    }

    fn is_delta(self) -> bool {
        matches!(self, What::DeltaBlock | What::DeltaMutex)
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which kind.
    pub what: What,
    /// Waits of every kind; of wakes also those that release nothing that was held.
    pub all: bool,
    /// The stack of each wait is taken, not of a part of them.
    pub exact: bool,
    /// Keep kernel frames.
    pub kernel: bool,
    /// What came within so many seconds from now on.
    pub seconds: Option<u32>,
    /// The window ended that many seconds ago, and was that long.
    pub past: Option<(u32, u32)>,
}

impl Request {
    /// Reads parameters.
    pub fn parse(what: What, parameters: &Parameters, max_seconds: u32) -> Result<Self, KindError> {
        let word = |name: &str, words: [&str; 2]| match parameters.given(name) {
            None => Ok(false),
            Some(word) if word == words[0] => Ok(false),
            Some(word) if word == words[1] => Ok(true),
            Some(_) => {
                let text = format!("invalid value for \"{name}\" - must be {} or {}", words[0], words[1]);
                Err(KindError::BadRequest(text))
            }
        };
        let seconds = parameters.difference(max_seconds)?;
        let ago = parameters.number("ago", 0..=u32::MAX)?;
        if what.is_delta() && (seconds.is_some() || ago.is_some()) {
            let text = "what came since the last question is told: neither \"seconds\" nor \"ago\" can be asked for";
            return Err(KindError::BadRequest(text.to_owned()));
        }
        Ok(Request {
            what,
            all: word("wait", ["sync", "all"])? || what == What::OffCpu,
            exact: word("mode", ["sampled", "exact"])?,
            kernel: parameters.switch("kernel", false)?,
            seconds: seconds.filter(|_| ago.is_none()),
            past: ago.map(|ago| (ago, seconds.unwrap_or(DEFAULT_SECONDS.min(max_seconds)))),
        })
    }

    fn samples(self) -> Samples {
        match (self.what.is_wakes(), self.all) {
            (true, _) => Samples::Wakes,
            (false, true) => Samples::Waits,
            (false, false) => Samples::Syncs,
        }
    }

    fn wanted(self) -> Wanted {
        if self.what.is_wakes() {
            return Wanted { wakers: true, ..Wanted::default() };
        }
        Wanted { sync: true, all: self.all, exact: self.exact, wakers: false }
    }
}

/// Who asked for which differences of what: the kind, the process or the host, and the user or somebody who sees all.
type Asked = (What, Option<ProcessId>, Option<u32>);

/// What was counted when differences were last asked for.
pub struct Deltas(Mutex<LruCache<Asked, (MonoTime, Before)>>);

impl Default for Deltas {
    fn default() -> Self {
        Deltas(Mutex::new(LruCache::new(DELTAS)))
    }
}

impl Deltas {
    /// Keeps what is counted now, and gives what was before.
    fn exchange(
        &self,
        request: Request,
        about: &About,
        (time, rows): (MonoTime, &[Row]),
    ) -> Option<(MonoTime, Before)> {
        let user = match about.viewer {
            Viewer::All => None,
            Viewer::User(uid) => Some(uid),
        };
        let key = (request.what, process_of(&about.subject), user);
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(key, (time, Before::of(rows)))
            .map(|(_, before)| before)
    }
}

/// About whom a profile is, and for whom.
#[derive(Clone, Copy)]
struct About {
    subject: Subject,
    viewer: Viewer,
}

/// What was counted.
struct Counted {
    rows: Vec<Row>,
    /// Of what time.
    span: Span,
    /// Since when it has been watched; none of what is recorded.
    watched: Option<Watched>,
    variance: f64,
    withheld: u64,
    /// All that the kernel had was read.
    drained: bool,
}

/// Makes the profile of what the viewer may see of its subject. Dropping the future gives everything back but the watch.
pub async fn collect_for(
    profiler: &Profiler,
    viewer: Viewer,
    subject: Subject,
    request: Request,
) -> Result<Profile, KindError> {
    let about = About { subject, viewer };
    if let Some((ago, seconds)) = request.past {
        let profiler = profiler.clone();
        return blocking(move || {
            let counted = past(&profiler, about, request, ago, seconds)?;
            Ok(profile(&profiler, about, request, counted))
        })
        .await?;
    }
    let watched = watch(profiler, about, request).await?;
    let before = match request.seconds {
        None if watched.is_new => {
            tokio::time::sleep(FIRST).await;
            None
        }
        None => None,
        Some(seconds) => {
            let before = counted_now(profiler, about, request, watched).await?;
            tokio::time::sleep(Duration::from_secs(seconds.into())).await;
            Some(before)
        }
    };
    let mut counted = counted_now(profiler, about, request, watched).await?;
    if let Some(before) = before {
        counted.rows = Before::of(&before.rows).taken_from(counted.rows);
        counted.span.from = before.span.to;
        counted.variance = (counted.variance - before.variance).max(0.0);
    } else if request.what.is_delta()
        && let Some((time, before)) = profiler.deltas.exchange(request, &about, (counted.span.to, &counted.rows))
        && time >= counted.span.from
    {
        counted.rows = before.taken_from(counted.rows);
        counted.span.from = time;
    }
    let profiler = profiler.clone();
    blocking(move || {
        let gone = |process| profiler.processes.mappings(process).is_empty();
        match process_of(&about.subject) {
            Some(process) if counted.rows.is_empty() && gone(process) => {
                Err(KindError::NotFound(format!("process {} has exited, and no wait of it was seen", process.pid)))
            }
            _ => Ok(profile(&profiler, about, request, counted)),
        }
    })
    .await?
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, KindError> {
    spawn_blocking(work).await.map_err(KindError::Task)
}

fn process_of(subject: &Subject) -> Option<ProcessId> {
    match subject {
        Subject::Host => None,
        Subject::Process(known) => Some(known.id),
    }
}

/// Sees to it that what is asked for is watched.
async fn watch(profiler: &Profiler, about: About, request: Request) -> Result<Watched, KindError> {
    let target = match about.subject {
        Subject::Host => Target::Host,
        Subject::Process(known) => {
            if !known.alive {
                let text = format!("process {} has exited; ago=SECONDS asks for what is recorded of it", known.id.pid);
                return Err(KindError::NotFound(text));
            }
            Target::Process(known.id)
        }
    };
    // A question never outlives its watch.
    let least = Duration::from_secs(request.seconds.unwrap_or(0).into()) + FIRST + ANSWER;
    let profiler = profiler.clone();
    blocking(move || {
        let (now, _) = profiler.processes.now();
        let watched = profiler.waits.ask(target, request.wanted(), now, least).map_err(|error| {
            tracing::warn!(%error, "cannot watch waits");
            KindError::NotImplemented(format!("the kernel does not let waits be watched: {error}"))
        })?;
        if watched.is_new {
            let process = process_of(&about.subject);
            profiler.processes.prepare(process, PREPARATION);
            profiler.processes.look_at_waits(process);
        }
        Ok(watched)
    })
    .await?
}

/// What was counted until now.
async fn counted_now(
    profiler: &Profiler,
    about: About,
    request: Request,
    watched: Watched,
) -> Result<Counted, KindError> {
    let profiler = profiler.clone();
    blocking(move || {
        let (selection, sieve) = chosen(&profiler, about)?;
        let open = (!request.what.is_wakes())
            .then(|| (profiler.processes.look_at_waits(process_of(&about.subject)), LOOK_AGE));
        let (now, _) = profiler.processes.now();
        let drained = profiler.processes.drained(now);
        let totals = profiler.recorder.totals(request.samples(), sieve, selection, open);
        let Totals { rows, variance, withheld } = totals.map_err(KindError::Recorder)?;
        let rows = merged(rows);
        let span = Span { from: watched.since, to: now };
        Ok(Counted { rows, span, watched: Some(watched), variance, withheld, drained })
    })
    .await?
}

/// What is recorded of a window that has ended.
fn past(profiler: &Profiler, about: About, request: Request, ago: u32, seconds: u32) -> Result<Counted, KindError> {
    let (now, _) = profiler.processes.now();
    let to = now.0.saturating_sub(u64::from(ago) * SECOND);
    let asked = Span { from: MonoTime(to.saturating_sub(u64::from(seconds) * SECOND)), to: MonoTime(to) };
    let drained = profiler.processes.drained(asked.to);
    let (selection, sieve) = chosen(profiler, about)?;
    let window = profiler
        .recorder
        .query_samples(request.samples(), sieve.as_ref(), selection, asked)
        .map_err(KindError::Recorder)?;
    let rows = merged(window.rows.into_iter().map(without_thread).collect());
    match window.covered {
        Some(covered) if !rows.is_empty() => {
            Ok(Counted { rows, span: covered, watched: None, variance: 0.0, withheld: window.withheld, drained })
        }
        _ => {
            let text = "nothing of that window is recorded: waits are recorded while somebody watches them, or always \
                        (--record)";
            Err(KindError::NotFound(text.to_owned()))
        }
    }
}

fn without_thread(row: Row) -> Row {
    Row { tid: crate::event::Tid(0), ..row }
}

/// Whose waits, and what the viewer may see of them. Blocking.
fn chosen(profiler: &Profiler, about: About) -> Result<(Selection, Option<Sieve>), KindError> {
    let process = process_of(&about.subject);
    let Viewer::User(uid) = about.viewer else {
        return Ok((process.map_or(Selection::Host, |process| Selection::of([process])), None));
    };
    let open = open(profiler, uid);
    match process {
        None => Ok((Selection::Processes(open.processes), Some(open.sieve))),
        Some(process) if open.processes.contains(&process) || about.viewer.sees(profiler, process) => {
            Ok((Selection::of([process]), Some(open.sieve)))
        }
        Some(process) => Err(KindError::Forbidden(format!("process {} is not wholly yours any more", process.pid))),
    }
}

/// Events of a row, rounded.
fn events(row: &Row) -> u64 {
    (row.events + (1 << 15)) >> 16
}

/// Makes the profile. Blocking.
fn profile(profiler: &Profiler, about: About, request: Request, mut counted: Counted) -> Profile {
    let mappings: Vec<MappingSeen> =
        process_of(&about.subject).map(|process| profiler.processes.mappings(process)).unwrap_or_default();
    let (labels, addresses, main) = match &about.subject {
        Subject::Process(known) => (Labels::Names, Addresses::Real(&mappings), subject::exe(profiler, known.id)),
        Subject::Host => (Labels::NamesOfProcesses, Addresses::Synthetic, None),
    };
    let kernel = profiler.symbolizer.kernel();
    for row in &mut counted.rows {
        row.count = events(row);
        row.stack = wait::without_ours(&row.stack, kernel);
    }
    let reason = |row: &Row| match row.source {
        Source::Wait(call) if request.all => {
            vec![Label::Text("reason", wait::reason(&row.stack, call, kernel).to_owned())]
        }
        // The end of a thread needs no name to be known as one.
        Source::Wake(call) if !call.is_sync() => vec![Label::Text(LOCK, lock::JOIN.name.to_owned())],
        _ => Vec::new(),
    };
    let more: Vec<Vec<Label>> = counted.rows.iter().map(reason).collect();
    let input =
        Input { rows: &counted.rows, more: &more, labels, addresses, main: main.as_deref(), kernel: request.kernel };
    let built = builder::build(&profiler.symbolizer, &input);
    let (now, wall) = profiler.processes.now();
    let back = |time: MonoTime| wall.saturating_sub(i64::try_from(now.0.saturating_sub(time.0)).unwrap_or(0));
    let is_window = request.seconds.is_some() || request.past.is_some() || request.what.is_delta();
    let length = counted.span.to.0.saturating_sub(counted.span.from.0);
    let mut profile = Profile {
        sample_types: SAMPLE_TYPES.to_vec(),
        period_type: PERIOD_TYPE,
        period: 1,
        time_nanos: back(counted.span.to),
        duration_nanos: if is_window { i64::try_from(length).unwrap_or(i64::MAX) } else { 0 },
        mappings: built.mappings,
        functions: built.functions,
        locations: built.locations,
        samples: built.samples,
        comments: Vec::new(),
    };
    let apart = if request.what.is_wakes() { tell_locks(&mut profile, request.all) } else { (0, 0) };
    profile.comments = comments::sentences(&comments::Account {
        subject: &about.subject,
        viewer: about.viewer,
        request,
        counted: &counted,
        since: counted.watched.map(|watched| back(watched.since)),
        apart,
        samples: &profile.samples,
    });
    profile.comments.extend(missing_parts::sentences(&counted.rows, profiler.symbolizer.files()));
    if let Subject::Process(known) = &about.subject {
        profiler.books.put(known.id, built.book);
    }
    profile
}

/// Labels each sample with what was released there. Unless `all` is asked for, only what somebody held stays: events and ns of what
/// goes.
fn tell_locks(profile: &mut Profile, all: bool) -> (i64, i64) {
    let mut apart = (0_i64, 0_i64);
    let samples = std::mem::take(&mut profile.samples);
    for mut sample in samples {
        let join = sample.labels.iter().position(|label| *label == Label::Text(LOCK, lock::JOIN.name.to_owned()));
        let lock = if join.is_some() { lock::JOIN } else { lock::of(profile, &sample) };
        if !lock.is_held && !all {
            let value = |at: usize| sample.values.get(at).copied().unwrap_or(0);
            apart = (apart.0.saturating_add(value(0)), apart.1.saturating_add(value(1)));
            continue;
        }
        if join.is_none() {
            sample.labels.push(Label::Text(LOCK, lock.name.to_owned()));
            sample.labels.sort();
        }
        profile.samples.push(sample);
    }
    apart
}

#[cfg(test)]
mod tests;
