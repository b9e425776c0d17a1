//! Whose samples a profile is made of: a process, its family or the host, as far as the viewer may see them.

use super::profiler::Profiler;
use super::subject::Subject;
use super::viewer::{Viewer, open};
use super::{KindError, clocks};
use crate::event::{ImageId, MonoTime, ProcessId};
use crate::record::window::{Selection, Sieve};
use std::collections::BTreeSet;
use std::time::Instant;

/// What a choice is made by.
pub(super) struct Choice {
    pub(super) viewer: Viewer,
    pub(super) subject: Subject,
    /// With all that descend from the process.
    pub(super) children: bool,
    /// Of those that lived after this.
    pub(super) since: MonoTime,
}

/// Whose samples.
pub(super) struct Chosen {
    pub(super) selection: Selection,
    /// What passes of them; none if the viewer may see all.
    pub(super) sieve: Option<Sieve>,
    /// Who descends from the process and may be seen.
    pub(super) others: BTreeSet<ProcessId>,
    /// How many descend from it and may not be seen.
    pub(super) left_out: usize,
}

impl Chosen {
    /// Chooses when the window is over: what became of a process meanwhile counts. Blocking.
    pub(super) fn of(profiler: &Profiler, choice: &Choice) -> Result<Chosen, KindError> {
        let Choice { viewer, subject, children, since } = *choice;
        let process = subject.process();
        let descendants = process.map(|process| clocks::descendants(profiler, process, since)).unwrap_or_default();
        let chosen = match viewer {
            Viewer::All => Chosen { selection: Selection::Host, sieve: None, others: descendants, left_out: 0 },
            Viewer::User(uid) => {
                let open = open(profiler, uid);
                // Those that died without a sample are in no list, but known all the same.
                let is_open = |id: &ProcessId| open.processes.contains(id) || viewer.sees(profiler, *id);
                let (others, shut): (BTreeSet<_>, BTreeSet<_>) = descendants.into_iter().partition(is_open);
                let selection = Selection::Processes(open.processes);
                Chosen { selection, sieve: Some(open.sieve), others, left_out: shut.len() }
            }
        };
        match process {
            None => Ok(chosen),
            Some(process) if !chosen.selection.holds(process) && !viewer.sees(profiler, process) => {
                let text = format!("process {} is not wholly yours any more", process.pid);
                Err(KindError::Forbidden(text))
            }
            Some(process) if children => {
                let selection = Selection::of(chosen.others.iter().copied().chain([process]));
                Ok(Chosen { selection, ..chosen })
            }
            Some(process) => Ok(Chosen { selection: Selection::of([process]), ..chosen }),
        }
    }

    /// True if the viewer may see this program of a process.
    pub(super) fn shows(&self, image: ImageId) -> bool {
        self.sieve.as_ref().is_none_or(|sieve| sieve.images.contains(&image))
    }

    /// The clocks of a single process, or the host's, tell what all that is chosen used.
    pub(super) fn is_whole(&self, subject: &Subject) -> bool {
        self.sieve.is_none() || matches!(subject, Subject::Process(_))
    }
}

/// Has the tables of a process's living descendants built, as far as there is time. Blocking.
pub(super) fn prepare_children(profiler: &Profiler, process: ProcessId, end: Instant) {
    for child in clocks::living_descendants(profiler, process) {
        let left = end.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            profiler.processes.prepare(Some(child), left);
        }
    }
}

/// Tells the recorder the CPU clocks of all that the viewer sees, where the sum of theirs is asked for and not the host's.
pub(super) fn tell_clocks(profiler: &Profiler, viewer: Viewer, subject: &Subject) {
    if let (Viewer::User(uid), Subject::Host) = (viewer, subject) {
        clocks::tell(profiler, &open(profiler, uid).processes);
    }
}
