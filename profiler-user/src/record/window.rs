//! What a query on the log store answers: the additive samples of a window.

use crate::event::{Comm, FrameWord, ImageId, MonoTime, ProcessId, SoleUser, Source, Tid};
use profiler_ebpf::reasons::Reason;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// Which processes a query is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All processes of the host.
    Host,
    /// These.
    Processes(BTreeSet<ProcessId>),
}

impl Selection {
    /// These processes.
    pub fn of(processes: impl IntoIterator<Item = ProcessId>) -> Self {
        Selection::Processes(processes.into_iter().collect())
    }

    /// True if it is about that process too.
    pub fn holds(&self, process: ProcessId) -> bool {
        match self {
            Selection::Host => true,
            Selection::Processes(processes) => processes.contains(&process),
        }
    }
}

/// What a query is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Samples {
    /// CPU time.
    #[default]
    Cpu,
    /// All waits.
    Waits,
    /// Waits on synchronisation.
    Syncs,
    /// Ends of others' waits on synchronisation.
    Wakes,
    /// Those, and ends of others' waits for locks of the kernel.
    AllWakes,
}

impl Samples {
    /// True if it is about those, too.
    pub fn hold(self, source: Source) -> bool {
        match source {
            Source::Cpu => self == Samples::Cpu,
            Source::Wait(call) => self == Samples::Waits || (self == Samples::Syncs && call.is_sync()),
            Source::Wake(call) => self == Samples::AllWakes || (self == Samples::Wakes && call.kernel_lock().is_none()),
        }
    }

    /// True if what was lost for that reason may have been some of those.
    pub fn lose(self, reason: Reason) -> bool {
        match reason {
            Reason::WaitLost => matches!(self, Samples::Waits | Samples::Syncs),
            Reason::WakeLost => matches!(self, Samples::Wakes | Samples::AllWakes),
            Reason::WaitNotFollowed => self != Samples::Cpu,
            Reason::RecorderFull => true,
            _ => self == Samples::Cpu,
        }
    }
}

/// What passes of a selection's samples where somebody may not see all: those of these programs that were taken while all
/// user ids of the task were this user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sieve {
    /// The user.
    pub uid: u32,
    /// The programs.
    pub images: HashSet<ImageId>,
}

impl Sieve {
    /// True if a sample of that program, taken while it was that user's, passes.
    pub fn passes(&self, image: ImageId, user: SoleUser) -> bool {
        user.is(self.uid) && self.images.contains(&image)
    }
}

/// A time span, half open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First instant.
    pub from: MonoTime,
    /// First instant behind it.
    pub to: MonoTime,
}

/// Equal samples of a window, summed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Program.
    pub image: ImageId,
    /// Thread.
    pub tid: Tid,
    /// Thread's name at sample time.
    pub thread: Comm,
    /// Leader's name at sample time.
    pub comm: Comm,
    /// Frames, leaf first.
    pub stack: Arc<[FrameWord]>,
    /// How the stack ended.
    pub status: Reason,
    /// What the values are of.
    pub source: Source,
    /// Records.
    pub count: u64,
    /// Sum of their values, ns.
    pub value: u64,
    /// Events that they stand for, 16.16 fixed point.
    pub events: u64,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Samples.
    pub rows: Vec<Row>,
    /// Losses in the window by reason (ring full, timer late, ...), of the selected processes where it is known whose.
    pub losses: Vec<(Reason, u64)>,
    /// Distinct sample weights (periods, ns) and how many records had each.
    pub periods: Vec<(u64, u64)>,
    /// Samples that did not pass the sieve.
    pub withheld: u64,
    /// CPU time of the selected processes in the window by the scheduler's own account, ns, where it was recorded; none for
    /// the whole host.
    pub cpu_ns: Option<u64>,
    /// Selected processes that were seen to end in the window. Of each, `cpu_ns` lacks what it used since the scheduler last
    /// accounted for it.
    pub ended: u64,
    /// The part of the asked window that the log still holds.
    pub covered: Option<Span>,
}

impl Span {
    /// True if that instant lies in it.
    pub fn holds(self, time: MonoTime) -> bool {
        self.from <= time && time < self.to
    }
}

impl Default for Span {
    fn default() -> Self {
        Span { from: MonoTime(0), to: MonoTime(0) }
    }
}
