//! `block`, `mutex` and their kin: where threads wait, and where what they waited for was released. They count since they have been
//! watched, which the first question begins.

mod comments;
mod lock;
mod rows;

use self::rows::{Before, merged};
use super::chosen::{Choice, Chosen, prepare_children};
use super::parameters::Parameters;
use super::profile::{Label, Profile, ValueType};
use super::profiler::Profiler;
use super::subject::{self, Subject};
use super::viewer::Viewer;
use super::{KindError, blocking, missing_parts, wait};
use crate::event::{MappingSeen, MonoTime, ProcessId, Source};
use crate::record::Totals;
use crate::record::window::{Row, Samples, Span};
use crate::symbolize::builder::{self, Input, Labels};
use crate::symbolize::layout::Addresses;
use crate::watch::Target;
use crate::watch::waits::{LOOK_AGE, Wanted, Watched};
use lru::LruCache;
use profiler_ebpf::reasons::Reason;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

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
    /// Keep kernel frames, and tell locks of the kernel.
    pub kernel: bool,
    /// With all descendants of the process.
    pub children: bool,
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
            children: parameters.switch("children", false)?,
            seconds: seconds.filter(|_| ago.is_none()),
            past: ago.map(|ago| (ago, seconds.unwrap_or(DEFAULT_SECONDS.min(max_seconds)))),
        })
    }

    fn samples(self) -> Samples {
        match (self.what.is_wakes(), self.all) {
            (true, _) if self.kernel => Samples::AllWakes,
            (true, _) => Samples::Wakes,
            (false, true) => Samples::Waits,
            (false, false) => Samples::Syncs,
        }
    }

    fn wanted(self) -> Wanted {
        let kernel = self.kernel && (self.all || self.what.is_wakes());
        if self.what.is_wakes() {
            return Wanted { wakers: true, kernel, ..Wanted::default() };
        }
        Wanted { sync: true, all: self.all, exact: self.exact, wakers: false, kernel }
    }
}

/// Who asked for which differences of what: what counts, the process with or without its descendants or the host, and the user or
/// somebody who sees all.
type Asked = (Samples, Option<ProcessId>, bool, Option<u32>);

/// What was counted when differences were last asked for.
pub struct Deltas(Mutex<LruCache<Asked, (MonoTime, Before, Losses)>>);

impl Default for Deltas {
    fn default() -> Self {
        Deltas(Mutex::new(LruCache::new(DELTAS)))
    }
}

impl Deltas {
    /// Keeps what is counted now, and gives what was before.
    fn exchange(&self, request: Request, about: &About, counted: &Counted) -> Option<(MonoTime, Before, Losses)> {
        let user = match about.viewer {
            Viewer::All => None,
            Viewer::User(uid) => Some(uid),
        };
        let key = (request.samples(), about.subject.process(), request.children, user);
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(key, (counted.span.to, Before::of(&counted.rows), counted.losses.clone()))
            .map(|(_, before)| before)
    }
}

/// Waits or wakes that were lost, by reason.
type Losses = BTreeMap<Reason, u64>;

/// What there is more of.
fn more(losses: &Losses, before: &Losses) -> Losses {
    let more = losses.iter().map(|(reason, count)| (*reason, count - before.get(reason).unwrap_or(&0).min(count)));
    more.filter(|(_, count)| *count > 0).collect()
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
    /// What is missing.
    losses: Losses,
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
        counted.losses = more(&counted.losses, &before.losses);
    } else if request.what.is_delta()
        && let Some((time, before, losses)) = profiler.deltas.exchange(request, &about, &counted)
        && time >= counted.span.from
    {
        counted.rows = before.taken_from(counted.rows);
        counted.losses = more(&counted.losses, &losses);
        counted.span.from = time;
    }
    let profiler = profiler.clone();
    blocking(move || {
        let gone = |process| profiler.processes.mappings(process).is_empty();
        match about.subject.process() {
            Some(process) if counted.rows.is_empty() && gone(process) => {
                Err(KindError::NotFound(format!("process {} has exited, and no wait of it was seen", process.pid)))
            }
            _ => Ok(profile(&profiler, about, request, counted)),
        }
    })
    .await?
}

/// Sees to it that what is asked for is watched.
async fn watch(profiler: &Profiler, about: About, request: Request) -> Result<Watched, KindError> {
    let target = match about.subject {
        Subject::Host => Target::Host,
        Subject::Process(known) if !known.alive => {
            let text = format!("process {} has exited; ago=SECONDS asks for what is recorded of it", known.id.pid);
            return Err(KindError::NotFound(text));
        }
        // Children are made while it is watched: only the host's watch is theirs from their first instant.
        Subject::Process(_) if request.children => Target::Host,
        Subject::Process(known) => Target::Process(known.id),
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
            let process = about.subject.process();
            let end = Instant::now() + PREPARATION;
            profiler.processes.prepare(process, PREPARATION);
            if let Some(process) = process.filter(|_| request.children) {
                prepare_children(&profiler, process, end);
            }
            profiler.processes.look_at_waits(looked_at(about, request));
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
        let choice = choice(about, request, watched.since);
        let Chosen { selection, sieve, .. } = Chosen::of(&profiler, &choice)?;
        let open =
            (!request.what.is_wakes()).then(|| (profiler.processes.look_at_waits(looked_at(about, request)), LOOK_AGE));
        let (now, _) = profiler.processes.now();
        let drained = profiler.processes.drained(now);
        let totals = profiler.recorder.totals(request.samples(), sieve, selection, open);
        let Totals { rows, variance, withheld, losses } = totals.map_err(KindError::Recorder)?;
        let rows = merged(rows);
        let span = Span { from: watched.since, to: now };
        Ok(Counted { rows, span, watched: Some(watched), variance, withheld, losses, drained })
    })
    .await?
}

/// What is recorded of a window that has ended.
fn past(profiler: &Profiler, about: About, request: Request, ago: u32, seconds: u32) -> Result<Counted, KindError> {
    let (now, _) = profiler.processes.now();
    let to = now.0.saturating_sub(u64::from(ago) * SECOND);
    let asked = Span { from: MonoTime(to.saturating_sub(u64::from(seconds) * SECOND)), to: MonoTime(to) };
    let drained = profiler.processes.drained(asked.to);
    let Chosen { selection, sieve, .. } = Chosen::of(profiler, &choice(about, request, asked.from))?;
    let window = profiler
        .recorder
        .query_samples(request.samples(), sieve.as_ref(), selection, asked)
        .map_err(KindError::Recorder)?;
    let rows = merged(window.rows.into_iter().map(without_thread).collect());
    match window.covered {
        Some(covered) if !rows.is_empty() => {
            let losses = window.losses.into_iter().collect();
            let withheld = window.withheld;
            Ok(Counted { rows, span: covered, watched: None, variance: 0.0, withheld, losses, drained })
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

fn choice(About { subject, viewer }: About, request: Request, since: MonoTime) -> Choice {
    Choice { viewer, subject, children: request.children, since }
}

/// Whose waits are to be looked at; none: everybody's.
fn looked_at(about: About, request: Request) -> Option<ProcessId> {
    about.subject.process().filter(|_| !request.children)
}

/// Events of a row, rounded.
fn events(row: &Row) -> u64 {
    (row.events + (1 << 15)) >> 16
}

/// Makes the profile. Blocking.
fn profile(profiler: &Profiler, about: About, request: Request, mut counted: Counted) -> Profile {
    let mappings: Vec<MappingSeen> =
        about.subject.process().map(|process| profiler.processes.mappings(process)).unwrap_or_default();
    let (labels, addresses, main) = match &about.subject {
        Subject::Process(_) if request.children => (Labels::NamesOfProcesses, Addresses::Synthetic, None),
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
        // Neither a lock of the kernel nor the end of a thread needs a name to be known as one.
        Source::Wake(call) if !call.is_sync() => {
            vec![Label::Text(LOCK, call.kernel_lock().unwrap_or(lock::JOIN.name).to_owned())]
        }
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
    // The addresses of a family are made up.
    if let Some(process) = about.subject.process().filter(|_| !request.children) {
        profiler.books.put(process, built.book);
    }
    profile
}

/// Labels each sample with what was released there. Unless `all` is asked for, only what somebody held stays: events and ns of what
/// goes.
fn tell_locks(profile: &mut Profile, all: bool) -> (i64, i64) {
    let mut apart = (0_i64, 0_i64);
    let samples = std::mem::take(&mut profile.samples);
    for mut sample in samples {
        let is_join = sample.labels.iter().any(|label| *label == Label::Text(LOCK, lock::JOIN.name.to_owned()));
        let is_told = sample.labels.iter().any(|label| matches!(label, Label::Text(LOCK, _)));
        let lock = if is_told { None } else { Some(lock::of(profile, &sample)) };
        if !all && (is_join || lock.is_some_and(|lock| !lock.is_held)) {
            let value = |at: usize| sample.values.get(at).copied().unwrap_or(0);
            apart = (apart.0.saturating_add(value(0)), apart.1.saturating_add(value(1)));
            continue;
        }
        if let Some(lock) = lock {
            sample.labels.push(Label::Text(LOCK, lock.name.to_owned()));
            sample.labels.sort();
        }
        profile.samples.push(sample);
    }
    apart
}

#[cfg(test)]
mod tests;
