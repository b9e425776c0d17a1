//! Whose samples a profile is made of: a process, its family or the host, as far as the viewer may see them.

use super::{Collected, process_of};
use crate::event::{ImageId, ProcessId};
use crate::kind::KindError;
use crate::kind::clocks;
use crate::kind::profiler::Profiler;
use crate::kind::subject::Subject;
use crate::kind::viewer::{Viewer, open};
use crate::record::window::{Selection, Sieve};
use std::collections::BTreeSet;

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
    pub(super) fn of(profiler: &Profiler, collected: &Collected) -> Result<Chosen, KindError> {
        let process = process_of(&collected.subject);
        let descendants =
            process.map(|process| clocks::descendants(profiler, process, collected.asked.from)).unwrap_or_default();
        let chosen = match collected.viewer {
            Viewer::All => Chosen { selection: Selection::Host, sieve: None, others: descendants, left_out: 0 },
            Viewer::User(uid) => {
                let open = open(profiler, uid);
                // Those that died without a sample are in no list, but known all the same.
                let is_open = |id: &ProcessId| open.processes.contains(id) || collected.viewer.sees(profiler, *id);
                let (others, shut): (BTreeSet<_>, BTreeSet<_>) = descendants.into_iter().partition(is_open);
                let selection = Selection::Processes(open.processes);
                Chosen { selection, sieve: Some(open.sieve), others, left_out: shut.len() }
            }
        };
        match process {
            None => Ok(chosen),
            Some(process) if !chosen.selection.holds(process) && !collected.viewer.sees(profiler, process) => {
                let text = format!("process {} is not wholly yours any more", process.pid);
                Err(KindError::Forbidden(text))
            }
            Some(process) if collected.request.children => {
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

/// Tells the recorder the CPU clocks of all that the viewer sees, where the sum of theirs is asked for and not the host's.
pub(super) fn tell_clocks(profiler: &Profiler, viewer: Viewer, subject: &Subject) {
    if let (Viewer::User(uid), Subject::Host) = (viewer, subject) {
        clocks::tell(profiler, &open(profiler, uid).processes);
    }
}
