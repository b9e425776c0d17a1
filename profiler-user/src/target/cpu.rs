//! CPU time of a process by the scheduler's own account: what samples are measured against.

use super::proc::Proc;
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

#[cfg(test)]
mod tests {
    use super::*;
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
