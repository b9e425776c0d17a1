//! CPU clocks at the ends of a window: of a process or the host, and of all that descends from a process.

use super::profiler::Profiler;
use crate::event::{MonoTime, ProcessId};
use crate::record::window::{Selection, Span};
use std::collections::BTreeSet;

/// Of a process that ended, the recorder's account lacks what it used since the scheduler last accounted for it: a tick
/// (HZ is 100 at least), ns.
const UNACCOUNTED: u64 = 10_000_000;

/// CPU time so far: number of CPUs (0: it does not matter) and ns.
pub(super) type CpuClock = (usize, u64);

/// CPU time of a process, or of the host, so far. The recorder is told too: its account of a window ends with the exit, if
/// there is one.
pub(super) fn read(profiler: &Profiler, process: Option<ProcessId>) -> Option<CpuClock> {
    let Some(process) = process else { return profiler.processes.host_clock() };
    let time = profiler.processes.now().0;
    let clock = profiler.processes.cpu_clock(process)?;
    profiler.recorder.cpu_clocks(vec![(process, time, clock)]);
    Some((0, clock))
}

/// CPU time between two readings.
pub(super) fn used_between(start: Option<CpuClock>, end: Option<CpuClock>) -> Option<u64> {
    let ((cpus, start), (still, end)) = start.zip(end)?;
    if cpus == still { end.checked_sub(start) } else { None }
}

/// All that descends from a process, as it was found once.
#[derive(Debug, Default)]
pub(super) struct Descendants {
    /// Who lived then or since, without the process itself.
    pub(super) members: BTreeSet<ProcessId>,
    /// What those that are there had used, and what the process and they have waited for, ns: the exact time of a child
    /// passes to whoever waits for it, so the difference of two such sums is what all used between. None without the process.
    sum: Option<u64>,
}

impl Descendants {
    /// Finds those that lived after `since` and reads their clocks; the recorder is told too. Blocking.
    pub(super) fn read(profiler: &Profiler, process: ProcessId, since: MonoTime) -> Self {
        let mut members = profiler.recorder.family(process, since);
        members.remove(&process);
        // Parents first: a child that is waited for meanwhile counts for nobody, and never twice.
        let mut sum = profiler.processes.reaped_clock(process);
        let mut by_age: Vec<_> = members.iter().copied().collect();
        by_age.sort_unstable_by_key(|id| (id.start, id.pid));
        let mut is_any_gone = false;
        for member in by_age {
            let reaped = profiler.processes.reaped_clock(member);
            let own = read(profiler, Some(member)).map(|(_, own)| own);
            is_any_gone |= own.is_none();
            sum = sum.map(|sum| sum.saturating_add(own.unwrap_or(0)).saturating_add(reaped.unwrap_or(0)));
        }
        if is_any_gone {
            // What the recorder knows of them begins or ends with the news of their exit.
            profiler.processes.drained(profiler.processes.now().0);
        }
        Descendants { members, sum }
    }

    /// CPU time that they used since an earlier reading, ns: exact if each was waited for by one of them, else too little.
    pub(super) fn used_since(&self, earlier: &Descendants) -> Option<u64> {
        self.sum?.checked_sub(earlier.sum?)
    }

    /// What they used in the span, between whose ends `told` is known: none if they are none, or that is not known.
    pub(super) fn used(&self, profiler: &Profiler, span: Span, told: Option<u64>) -> Option<u64> {
        let window = profiler.recorder.query(Selection::Processes(self.members.clone()), span).ok()?;
        completed(window.cpu_ns, window.ended, told)
    }
}

/// The recorder's account of processes of which so many ended, completed by what whoever waited for them was told: as
/// far as the account can lack it, for both say too little if at all, and readings in clock ticks are rounded.
pub(super) fn completed(recorded: Option<u64>, ended: u64, told: Option<u64>) -> Option<u64> {
    let recorded = recorded?;
    let most = recorded.saturating_add(ended.saturating_mul(UNACCOUNTED));
    Some(told.map_or(recorded, |told| told.clamp(recorded, most)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_completed_as_far_as_exits_can_lack() {
        let check = |recorded, ended, told, wanted| assert_eq!(completed(recorded, ended, told), wanted);
        check(Some(80_000_000), 20, Some(106_000_000), Some(106_000_000));
        check(Some(80_000_000), 20, None, Some(80_000_000));
        check(Some(80_000_000), 20, Some(30_000_000), Some(80_000_000));
        check(Some(80_000_000), 2, Some(9_000_000_000), Some(100_000_000));
        check(Some(80_000_000), 0, Some(90_000_000), Some(80_000_000));
        check(None, 20, Some(106_000_000), None);
    }

    #[test]
    fn time_is_compared_between_readings_of_the_same() {
        assert_eq!(used_between(Some((2, 10)), Some((2, 17))), Some(7));
        assert_eq!(used_between(Some((2, 10)), Some((4, 17))), None);
        assert_eq!(used_between(None, Some((0, 17))), None);
        let sum = |sum| Descendants { sum, ..Descendants::default() };
        assert_eq!(sum(Some(9)).used_since(&sum(Some(4))), Some(5));
        assert_eq!(sum(Some(3)).used_since(&sum(Some(4))), None, "somebody's time went to a stranger");
        assert_eq!(sum(None).used_since(&sum(Some(4))), None);
    }
}
