//! CPU clocks at the ends of a window: of a process or the host, and of all that descends from a process.

use super::profiler::Profiler;
use crate::event::{MonoTime, ProcessId};
use std::collections::BTreeSet;

/// Of a process that ended, the recorder's account lacks what it used since the scheduler last accounted for it: a tick
/// (HZ is 100 at least), ns.
const UNACCOUNTED: u64 = 10_000_000;

/// CPU time so far: number of CPUs (0: it does not matter) and ns.
type CpuClock = (usize, u64);

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
fn used_between(start: Option<CpuClock>, end: Option<CpuClock>) -> Option<u64> {
    let ((cpus, start), (still, end)) = start.zip(end)?;
    if cpus == still { end.checked_sub(start) } else { None }
}

/// What is read at an end of a window.
pub(super) struct Reading {
    /// A window that begins or ends then has readings of all around it.
    pub(super) time: MonoTime,
    own: Option<CpuClock>,
    told: Option<u64>,
}

/// What was used between two readings, ns, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// By the process, or the host.
    pub(super) own: Option<u64>,
    /// By all that descend from the process, as whoever waited for them was told.
    pub(super) told: Option<u64>,
}

impl Reading {
    /// Reads the clocks of a process and of what descends from it, or the host's, for a window that begins now. Blocking.
    pub(super) fn at_start(profiler: &Profiler, process: Option<ProcessId>) -> Self {
        // Asked for first: the recorder may be busy, and the window begins with readings that lie close together.
        let members = all_descendants(profiler, process);
        tell(profiler, &members);
        let own = read(profiler, process);
        let time = profiler.processes.now().0;
        Reading { time, own, told: process.and_then(|process| told_of(profiler, process, &members)) }
    }

    /// The same for a window that ends now. Blocking.
    pub(super) fn at_end(profiler: &Profiler, process: Option<ProcessId>) -> Self {
        let members = all_descendants(profiler, process);
        let time = profiler.processes.now().0;
        let own = read(profiler, process);
        Reading { time, own, told: process.and_then(|process| told_of(profiler, process, &members)) }
    }

    /// What was used since an earlier reading.
    pub(super) fn since(&self, earlier: &Reading) -> Difference {
        let told = self.told.zip(earlier.told).and_then(|(end, start)| end.checked_sub(start));
        Difference { own: used_between(earlier.own, self.own), told }
    }
}

/// What all that descend from a process have used so far, ns: what those that are there used, and what the process and they
/// were told when they waited for a child. The time of a child passes, exact, to whoever waits for it, so the difference of two
/// readings is what all used between, if nobody's end was left to a stranger; else it is too little. The recorder is told the
/// clocks of those that are there. None without the process. Blocking.
fn told_of(profiler: &Profiler, process: ProcessId, members: &BTreeSet<ProcessId>) -> Option<u64> {
    let mut by_age: Vec<_> = members.iter().copied().collect();
    by_age.sort_unstable_by_key(|id| (id.start, id.pid));
    // Parents first: a child that is waited for meanwhile counts for nobody, and never twice.
    let mut sum = profiler.processes.reaped_clock(process)?;
    for member in by_age {
        let Some((_, own)) = read(profiler, Some(member)) else { continue };
        let reaped = profiler.processes.reaped_clock(member).unwrap_or(0);
        sum = sum.saturating_add(own).saturating_add(reaped);
    }
    Some(sum)
}

/// All that descend from a process, also those that are dead and not waited for yet; nobody from the host.
fn all_descendants(profiler: &Profiler, process: Option<ProcessId>) -> BTreeSet<ProcessId> {
    process.map(|process| others(profiler, process, MonoTime(0))).unwrap_or_default()
}

/// All that descend from a process and live, as far as it is known.
pub(super) fn living_descendants(profiler: &Profiler, process: ProcessId) -> BTreeSet<ProcessId> {
    others(profiler, process, profiler.processes.now().0)
}

/// All that descend from a process and lived after `since`. The recorder is told their clocks, or is given the time to learn of
/// their exit: its account of a window ends with either. Blocking.
pub(super) fn descendants(profiler: &Profiler, process: ProcessId, since: MonoTime) -> BTreeSet<ProcessId> {
    let members = others(profiler, process, since);
    if tell(profiler, &members) < members.len() {
        profiler.processes.drained(profiler.processes.now().0);
    }
    members
}

fn others(profiler: &Profiler, process: ProcessId, since: MonoTime) -> BTreeSet<ProcessId> {
    let mut members = profiler.recorder.family(process, since);
    members.remove(&process);
    members
}

/// Tells the recorder the clocks of those that are there; how many it were.
pub(super) fn tell(profiler: &Profiler, members: &BTreeSet<ProcessId>) -> usize {
    members.iter().filter(|member| read(profiler, Some(**member)).is_some()).count()
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
    }
}
