//! Who belongs to a family, and what selected processes used of the CPU in a span.

use super::{Entry, Processes};
use crate::event::{MonoTime, Pid, ProcessId};
use crate::record::window::{Selection, Span};
use std::collections::{BTreeSet, HashMap};

impl Processes {
    /// A process and all that descend from it and lived after `since`, as far as they are known. A child is one that was
    /// forked by whoever had the parent's number then; who was orphaned before it was met, or whose parent has been dead
    /// for more than a minute and is forgotten, is not known to be one.
    pub(in crate::record) fn family(&self, root: ProcessId, since: MonoTime) -> BTreeSet<ProcessId> {
        // In the order of their starts, so that a parent comes before its children.
        let forked_by = |entry: &Entry| (entry.info.id, entry.forked_by.unwrap_or(Pid(0)));
        let mut all: Vec<(ProcessId, Pid)> = self.known.values().map(forked_by).collect();
        all.sort_unstable_by_key(|(id, _)| (id.start, id.pid));
        let mut holders: HashMap<Pid, ProcessId> = HashMap::new();
        let mut family = BTreeSet::from([root]);
        for (id, parent) in all {
            if holders.get(&parent).is_some_and(|parent| family.contains(parent)) {
                family.insert(id);
            }
            holders.insert(id.pid, id);
        }
        let lived = |id: &ProcessId| {
            self.known.get(id).and_then(|entry| entry.info.exited).is_none_or(|exited| exited >= since)
        };
        family.retain(|id| *id == root || lived(id));
        family
    }

    /// CPU time of the selected processes in the span; none if it is not known of one of them that lived then. Of the whole
    /// host it is not known here: the clocks of processes that came and went in the span were never read.
    pub(in crate::record) fn cpu_within(&self, selection: &Selection, span: Span) -> Option<u64> {
        let lived = |entry: &&Entry| entry.info.exited.is_none_or(|exited| exited >= span.from);
        let used: Option<Vec<u64>> =
            self.selected(selection).filter(lived).map(|entry| entry.clock.within(span)).collect();
        used.filter(|used| !used.is_empty()).map(|used| used.iter().sum())
    }

    /// How many of the selected processes were seen to end in the span. What the kernel tells of an exit lacks what the
    /// process used since the scheduler last brought its account up to date, a tick at most.
    pub(in crate::record) fn ended_within(&self, selection: &Selection, span: Span) -> u64 {
        let ended =
            |entry: &&Entry| entry.info.cpu_ns.is_some() && entry.info.exited.is_some_and(|exited| span.holds(exited));
        self.selected(selection).filter(ended).count() as u64
    }

    fn selected<'a>(&'a self, selection: &'a Selection) -> impl Iterator<Item = &'a Entry> {
        let ids = match selection {
            Selection::Host => None,
            Selection::Processes(ids) => Some(ids),
        };
        ids.into_iter().flatten().filter_map(|id| self.known.get(id))
    }
}
