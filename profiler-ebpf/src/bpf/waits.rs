//! What of waits is watched, and of whom; which waits are followed until their ends.

use crate::bpf::kernel::{self, TASK_RUN_DELAY, member};
use aya_ebpf::bindings::task_struct;
use aya_ebpf::btf_maps::{Array, HashMap, PerCpuArray};
use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_task_pt_regs};
use aya_ebpf::macros::btf_map;
use profiler_ebpf::abi::event::WaitEnd;
use profiler_ebpf::abi::maps::{
    MAX_CROWDED_WAITS, MAX_WAIT_WATCHED, WAIT_PLACES, WATCH_EXACT, WaitConfig, WaitWatch, Waiting,
};

/// Watched processes; 0 stands for all others.
#[btf_map]
static WAITS: HashMap<u32, WaitWatch, { MAX_WAIT_WATCHED as usize }> = HashMap::new();
/// How they are watched.
#[btf_map]
static WAIT_CONFIG: Array<WaitConfig, 1> = Array::new();
/// Waits that are followed, each at its thread's place: writing there costs a tenth of what a hash table does.
#[btf_map]
static WAIT_PLACES_MAP: Array<Waiting, { WAIT_PLACES as usize }> = Array::new();
/// Waits whose thread's place is another's.
#[btf_map]
static CROWDED: HashMap<u32, Waiting, { MAX_CROWDED_WAITS as usize }> = HashMap::new();
/// Not 0: there may be some of those.
#[btf_map]
static ANY_CROWDED: Array<u64, 1> = Array::new();

/// log2 of the ns in which one watch keeps about [`KEPT`] waits: 134 ms.
const PERIOD_BITS: u32 = 27;
/// At 1.2 us each about a thousandth of a CPU.
const KEPT: u64 = 128;
/// One in 4,096 at least.
const MAX_SHIFT: u32 = 12;
/// Place of `orig_ax` in `struct pt_regs`.
const ORIG_AX: u64 = 15 * 8;

/// Records under construction. Older kernels let a program and all that it calls have 512 bytes of stack, of which the walk takes
/// most, so they are not there.
#[repr(C)]
pub(crate) struct Scratch {
    waiting: Waiting,
    pub(crate) end: WaitEnd,
}

/// One slot a program: 0 `switch`, 1 `look`.
#[btf_map]
static WAIT_SCRATCH: PerCpuArray<Scratch, 2> = PerCpuArray::new();
/// [`scratch`] of the program `switch`.
pub(crate) const OF_SWITCH: u32 = 0;
/// [`scratch`] of the program `look`.
pub(crate) const OF_LOOK: u32 = 1;

/// This CPU's slot of a program.
#[inline(always)]
pub(crate) fn scratch(program: u32) -> Option<*mut Scratch> {
    WAIT_SCRATCH.get_ptr_mut(program)
}

/// How waits are watched.
#[inline(always)]
pub(crate) fn config() -> Option<&'static WaitConfig> {
    // SAFETY: the agent writes whole values rarely; a program that reads while it does sees old and new members.
    WAIT_CONFIG.get_ptr(0).map(|config| unsafe { &*config })
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

/// The place of a thread.
#[inline(always)]
fn place(tid: u32) -> Option<*mut Waiting> {
    WAIT_PLACES_MAP.get_ptr_mut(tid & (WAIT_PLACES - 1))
}

#[inline(always)]
fn any_crowded() -> bool {
    ANY_CROWDED.get(0).is_some_and(|any| *any != 0)
}

/// The wait of a thread, if one is followed.
#[inline(always)]
pub(crate) fn wait_of(tid: u32, epoch: u64) -> Option<*mut Waiting> {
    let place = place(tid)?;
    // SAFETY: a map value.
    let (whose, of) = unsafe { ((*place).tid, (*place).epoch) };
    if whose == tid && of == epoch as u32 {
        return Some(place);
    }
    if any_crowded() { CROWDED.get_ptr_mut(&tid) } else { None }
}

/// The beginning of a wait.
pub(crate) struct Beginning {
    pub(crate) tid: u32,
    pub(crate) since: u64,
    pub(crate) run_delay: u64,
    pub(crate) call: u32,
    /// `WAIT_*`.
    pub(crate) flags: u32,
    pub(crate) epoch: u64,
}

/// Follows a wait; false if there is no room. Two threads of one place that begin to wait in the same moment may both take it: the one
/// that loses it is told by the agent, which has its beginning and no end.
#[inline(always)]
pub(crate) fn follow(program: u32, wait: &Beginning) -> bool {
    let (Some(place), Some(scratch)) = (place(wait.tid), scratch(program)) else { return false };
    // SAFETY: a map value.
    let (whose, of) = unsafe { ((*place).tid, (*place).epoch) };
    let is_free = whose == 0 || whose == wait.tid || of != wait.epoch as u32;
    // SAFETY: map values.
    unsafe {
        let to = if is_free { place } else { &raw mut (*scratch).waiting };
        (*to).since = wait.since;
        (*to).run_delay = wait.run_delay;
        (*to).call = wait.call;
        (*to).flags = wait.flags;
        (*to).tid = wait.tid;
        (*to).epoch = wait.epoch as u32;
    }
    if is_free {
        return true;
    }
    if let Some(any) = ANY_CROWDED.get_ptr_mut(0) {
        // SAFETY: a map value.
        unsafe { *any = 1 }
    }
    // SAFETY: this CPU's slot of the program.
    CROWDED.insert(&wait.tid, unsafe { &(*scratch).waiting }, 0).is_ok()
}

/// Follows it no more.
#[inline(always)]
pub(crate) fn unfollow(tid: u32) {
    let Some(place) = place(tid) else { return };
    // SAFETY: a map value.
    if unsafe { (*place).tid } == tid {
        // SAFETY: as above.
        unsafe { (*place).tid = 0 }
    } else if any_crowded() {
        let _gone = CROWDED.remove(&tid);
    }
}

/// For how many wakes one of a wait of that length stands, 16.16 fixed point, if it is kept: always if the wait was at least as long as
/// the rate, else with the probability of its length in that.
#[inline(always)]
pub(crate) fn keep_wake(watch: *mut WaitWatch, now: u64, length: u64, least: u64) -> Option<u32> {
    // SAFETY: a map value; as in `keep`.
    let watch = unsafe { &mut *watch };
    let period = now >> PERIOD_BITS;
    if watch.waker_period != period {
        if watch.waker_kept < KEPT / 4 && watch.waker_shift > 0 {
            watch.waker_shift -= 1;
        }
        watch.waker_period = period;
        watch.waker_kept = 0;
    }
    let rate = least << (watch.waker_shift & 15);
    let mut count = 1 << 16;
    if length < rate {
        // SAFETY: a plain helper call.
        if unsafe { bpf_get_prandom_u32() } as u64 % rate >= length {
            return None;
        }
        let scaled = (rate << 16) / length;
        count = if scaled > u32::MAX as u64 { u32::MAX } else { scaled as u32 };
    }
    watch.waker_kept += 1;
    if watch.waker_kept >= KEPT {
        if watch.waker_shift < MAX_SHIFT as u64 {
            watch.waker_shift += 1;
        }
        watch.waker_kept = KEPT / 2;
    }
    Some(count)
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
