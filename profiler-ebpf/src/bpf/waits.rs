//! What of waits is watched, and of whom; which waits are followed until their ends.

use crate::bpf::kernel::{self, TASK_RUN_DELAY, member};
use aya_ebpf::bindings::task_struct;
use aya_ebpf::btf_maps::{Array, HashMap};
use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_task_pt_regs};
use aya_ebpf::macros::btf_map;
use profiler_ebpf::abi::maps::{MAX_WAIT_WATCHED, MAX_WAITS, WATCH_EXACT, WaitConfig, WaitWatch, Waiting};

/// Watched processes; 0 stands for all others.
#[btf_map]
pub(crate) static WAITS: HashMap<u32, WaitWatch, { MAX_WAIT_WATCHED as usize }> = HashMap::new();
/// How they are watched.
#[btf_map]
static WAIT_CONFIG: Array<WaitConfig, 1> = Array::new();
/// Waits that are followed, by thread.
#[btf_map]
pub(crate) static WAITING: HashMap<u32, Waiting, { MAX_WAITS as usize }> = HashMap::new();

/// log2 of the ns in which one watch keeps about [`KEPT`] waits: 134 ms.
const PERIOD_BITS: u32 = 27;
/// At 1.2 us each about a thousandth of a CPU.
const KEPT: u64 = 128;
/// One in 4,096 at least.
const MAX_SHIFT: u32 = 12;
/// Place of `orig_ax` in `struct pt_regs`.
const ORIG_AX: u64 = 15 * 8;

/// How waits are watched.
#[inline(always)]
pub(crate) fn config() -> Option<WaitConfig> {
    WAIT_CONFIG.get(0).copied()
}

/// What is watched of a process, if anything is.
#[inline(always)]
pub(crate) fn watch_of(tgid: u32, agent: u64) -> Option<*mut WaitWatch> {
    // Not a constant: a pointer to one that lies in read-only data finds nothing.
    let mut key = tgid;
    match WAITS.get_ptr_mut(&key) {
        None if tgid as u64 == agent => None,
        None => {
            key = 0;
            WAITS.get_ptr_mut(&key)
        }
        found => found,
    }
}

/// Whether this wait is kept, and then for how many it stands: log2 of that.
#[inline(always)]
pub(crate) fn keep(watch: *mut WaitWatch, now: u64) -> Option<u32> {
    // SAFETY: a map value. CPUs may race: then a few waits more or fewer are kept, each with the weight that was in force.
    let watch = unsafe { &mut *watch };
    if watch.flags & WATCH_EXACT != 0 {
        return Some(0);
    }
    let period = now >> PERIOD_BITS;
    if watch.period != period {
        if watch.kept < KEPT / 4 && watch.shift > 0 {
            watch.shift -= 1;
        }
        watch.period = period;
        watch.kept = 0;
    }
    let shift = watch.shift & 15;
    // SAFETY: a plain helper call.
    if unsafe { bpf_get_prandom_u32() } & ((1 << shift) - 1) != 0 {
        return None;
    }
    watch.kept += 1;
    if watch.kept >= KEPT {
        if watch.shift < MAX_SHIFT {
            watch.shift += 1;
        }
        watch.kept = KEPT / 2;
    }
    Some(shift)
}

/// Place of the second argument of a system call (rsi) there.
const SECOND_ARGUMENT: u64 = 13 * 8;
/// `FUTEX_CMD_MASK` of `include/uapi/linux/futex.h`, as far as there are commands.
const FUTEX_COMMAND: u32 = 15;
/// The commands WAKE, REQUEUE, CMP_REQUEUE, WAKE_OP, UNLOCK_PI, WAKE_BITSET and CMP_REQUEUE_PI, a bit each.
const RELEASING: u32 = 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 10 | 1 << 12;

/// The system call in which a task is; -1 in an interrupt or a fault.
///
/// # Safety
/// `task` must be a pointer that the verifier knows as a task.
#[inline(always)]
pub(crate) unsafe fn call_of(task: *const u8) -> u32 {
    // SAFETY: by the caller's promise.
    let regs = unsafe { bpf_task_pt_regs(task as *mut task_struct) } as u64;
    kernel::half(regs + ORIG_AX).unwrap_or(u32::MAX)
}

/// futex, futex_waitv, futex_wake, futex_wait, futex_requeue of `arch/x86/entry/syscalls/syscall_64.tbl`.
#[inline(always)]
pub(crate) fn is_sync(call: u32) -> bool {
    call == 202 || call == 449 || (call >= 454 && call <= 456)
}

/// Whether a task is in a system call that may end others' waits on synchronisation, rather than begin one itself: an interrupt may wake
/// somebody while it does that.
///
/// # Safety
/// As [`call_of`].
#[inline(always)]
pub(crate) unsafe fn releases(task: *const u8, call: u32) -> bool {
    if call == 454 || call == 456 {
        return true; // futex_wake, futex_requeue
    }
    if call != 202 {
        return false;
    }
    // SAFETY: by the caller's promise.
    let regs = unsafe { bpf_task_pt_regs(task as *mut task_struct) } as u64;
    let operation = kernel::half(regs + SECOND_ARGUMENT).unwrap_or(0) & FUTEX_COMMAND;
    RELEASING & (1 << operation) != 0
}

/// ns in a task's life in which it waited for CPUs, up to the last time that it changed its queue.
///
/// # Safety
/// As [`call_of`].
#[inline(always)]
pub(crate) unsafe fn run_delay(task: *const u8) -> u64 {
    // SAFETY: by the caller's promise.
    if TASK_RUN_DELAY.load() == 0 { 0 } else { unsafe { member(task, &TASK_RUN_DELAY) } }
}
