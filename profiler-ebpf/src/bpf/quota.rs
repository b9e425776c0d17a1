//! How many new files a process may bring in a short time, so that none fills the table of files, or the ring of
//! announcements, at the cost of others. What it holds in the long run is the agent's to judge, who evicts.

use crate::bpf::maps::BROUGHT;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use profiler_ebpf::abi::maps::{FILE_QUOTA, QUOTA_PERIOD_BITS};

/// The part of time that it is now, as the high half of an entry.
#[inline(always)]
fn period() -> u64 {
    // SAFETY: a plain helper call.
    unsafe { bpf_ktime_get_ns() >> QUOTA_PERIOD_BITS << 32 }
}

/// True if the process has brought as many as it may for now.
#[inline(always)]
pub(crate) fn is_used_up(tgid: u32) -> bool {
    // SAFETY: the value is copied at once.
    let Some(brought) = (unsafe { BROUGHT.get(&tgid) }).copied() else { return false };
    brought >= period() + FILE_QUOTA
}

/// Counts a file that the process brought.
#[inline(always)]
pub(crate) fn charge(tgid: u32) {
    let first = period() + 1;
    match BROUGHT.get_ptr_mut(&tgid) {
        // SAFETY: a map value; two CPUs may race and lose a count.
        Some(brought) => unsafe { *brought = if *brought < first { first } else { *brought + 1 } },
        // Without room the next file counts as the first.
        None => _ = BROUGHT.insert(&tgid, &first, 0),
    }
}
