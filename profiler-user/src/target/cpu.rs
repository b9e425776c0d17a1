//! CPU time of a process by the scheduler's own account: what samples are measured against.

use super::proc::{Proc, same_process};
use crate::event::{Pid, ProcessId};
use crate::kernel::cpu_clock::process_cpu_clock;

/// ns of CPU time of all threads of the process so far, ended ones included; `None` if no process has this number.
/// A zombie still answers. Needs no capability.
pub fn cpu_clock(pid: Pid) -> Option<u64> {
    process_cpu_clock(pid).ok()
}

/// As [`cpu_clock`], for this very process: `None` if another one has its number.
pub fn cpu_clock_of(proc: &Proc, process: ProcessId) -> Option<u64> {
    let clock = cpu_clock(process.pid)?;
    // It was alive before this call, so if the number is still its own now, the clock was its own, too.
    proc.is_alive(process).then_some(clock)
}

/// ns of CPU time of the whole lives of the children that this very process has waited for, and of those that they had waited
/// for: exact, but told in clock ticks. `None` if another one has its number.
pub fn reaped_clock_of(proc: &Proc, process: ProcessId) -> Option<u64> {
    let stat = proc.stat(process.pid).ok().filter(|stat| same_process(process.start, stat.start_ticks))?;
    stat.reaped_ticks.checked_mul(super::proc::tick_ns())
}

/// ns of CPU time of the whole host since boot, and of how many CPUs: two readings can be compared if they are as many. It
/// is the time in which they were not idle, from `/proc/stat`, whose idle times are exact (to 10 ms; the others are counted
/// by ticks).
pub fn host_clock(proc: &Proc) -> Option<(usize, u64)> {
    let text = proc.host("stat").ok()?;
    let (cpus, not_ours) = not_ours(&text)?;
    let now = super::clock::mono_now().0;
    Some((cpus, now.saturating_mul(cpus as u64).saturating_sub(not_ours)))
}

/// From `/proc/stat`: how many CPUs, and ns in which they were idle, waited, or were another guest's.
pub(super) fn not_ours(text: &[u8]) -> Option<(usize, u64)> {
    let text = str::from_utf8(text).ok()?;
    let cpus = text.lines().filter(|line| line.starts_with("cpu")).count().checked_sub(1)?;
    let first = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = first.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let [_user, _nice, _system, idle, waiting, _irq, _softirq, stolen, ..] = *ticks.as_slice() else { return None };
    let ticks = idle.checked_add(waiting)?.checked_add(stolen)?;
    Some((cpus, ticks.checked_mul(super::proc::tick_ns())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_clock_runs_at_least_as_fast_as_a_burning_child() {
        let proc = Proc::default();
        let (cpus, start) = host_clock(&proc).expect("/proc/stat");
        let child = Child::shell("while :; do :; done");
        eventually("the child has used 300 ms", || cpu_clock(child.pid()).is_some_and(|ns| ns > 300_000_000));
        let (still, end) = host_clock(&proc).expect("/proc/stat");
        // Idle time is told in ticks of 10 ms.
        assert!(still == cpus && end - start > 250_000_000, "{start} to {end} ns of {cpus} CPUs");
    }
    use crate::target::proc::{start_ns, tick_ns};
    use crate::target::testing::{Child, eventually};

    #[test]
    fn the_clock_of_a_burning_child_is_what_proc_accounts() {
        let child = Child::shell("while :; do :; done");
        let proc = Proc::default();
        eventually("the child has used 300 ms", || cpu_clock(child.pid()).is_some_and(|ns| ns > 300_000_000));
        let ticks = |pid| proc.stat(pid).map(|stat| (stat.user_ticks + stat.system_ticks) * tick_ns()).expect("stat");
        let (before, clock, after) = (ticks(child.pid()), cpu_clock(child.pid()).expect("clock"), ticks(child.pid()));
        // /proc rounds user and system time down to a tick each.
        assert!(clock + 1_000_000 >= before && clock <= after + 2 * tick_ns(), "{before} {clock} {after}");
    }

    #[test]
    fn what_children_used_is_accounted_once_they_are_waited_for() {
        // Each uses many ticks, however fast the CPU is.
        let burn = "(i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done)";
        let child = Child::shell(&format!("{burn}; {burn}; read line"));
        let proc = Proc::default();
        let start = start_ns(proc.stat(child.pid()).expect("stat").start_ticks);
        let id = ProcessId { pid: child.pid(), start };
        eventually("both were waited for", || reaped_clock_of(&proc, id).is_some_and(|ns| ns >= 2 * tick_ns()));
        assert_eq!(reaped_clock_of(&proc, ProcessId { start: start - tick_ns(), ..id }), None, "of another one");
    }

    #[test]
    fn a_reused_number_does_not_answer() {
        let child = Child::shell("sleep 60");
        let proc = Proc::default();
        let start = start_ns(proc.stat(child.pid()).expect("stat").start_ticks);
        assert!(cpu_clock_of(&proc, ProcessId { pid: child.pid(), start }).is_some());
        assert_eq!(cpu_clock_of(&proc, ProcessId { pid: child.pid(), start: start - tick_ns() }), None);
    }

    #[test]
    fn nobody_has_no_clock() {
        assert_eq!(cpu_clock(Pid(0)), None);
        assert_eq!(cpu_clock(Pid(u32::MAX)), None);
        assert_eq!(cpu_clock(Pid(5_000_000)), None);
    }
}
