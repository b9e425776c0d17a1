//! The CPU clock of any process. rustix knows dynamic clocks of descriptors only, so the one call is made here.
#![allow(unsafe_code, reason = "clock_gettime of a process clock has no safe wrapper in rustix")]

use crate::event::Pid;
use std::io;

/// `CPUCLOCK_SCHED` of the kernel: the scheduler's own account, not rounded to ticks.
const CPUCLOCK_SCHED: i32 = 2;

/// ns of CPU time of the process, of all its threads, ended ones included. `EINVAL` if there is none with this number.
pub fn process_cpu_clock(pid: Pid) -> io::Result<u64> {
    let number = i32::try_from(pid.0).ok().filter(|number| *number > 0);
    // Number 0 would be the agent's own clock.
    let number = number.filter(|number| *number < 1 << 28).ok_or(io::ErrorKind::InvalidInput)?;
    let clock: libc::clockid_t = (!number << 3) | CPUCLOCK_SCHED;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec that the call may write; any clock id may be given.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Ok(seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0)))
}
