//! `contention_begin` and `contention_end`: which threads wait for a lock of the kernel. Attached while somebody watches those. Nothing is
//! sent from here: a lock may be one under a ring or a table, and whoever took it in here again would wait for itself.

use crate::bpf::waits;
use aya_ebpf::EbpfContext;
use aya_ebpf::btf_maps::Array;
use aya_ebpf::helpers::generated::bpf_get_current_pid_tgid;
use aya_ebpf::macros::{btf_map, btf_tracepoint};
use aya_ebpf::programs::BtfTracePointContext;
use core::ptr::read_volatile;
use profiler_ebpf::abi::event::{KERNEL_LOCK, KERNEL_LOCK_FLAGS};
use profiler_ebpf::abi::maps::WAIT_PLACES;

/// `LCB_F_SPIN` and `LCB_F_MUTEX` of `include/trace/events/lock.h`.
const SPINS: u64 = 1;
const MUTEX: u64 = 32;

/// A thread that waits for a lock of the kernel.
#[repr(C)]
struct Contended {
    /// Its address.
    lock: u64,
    /// The thread; 0: nobody's.
    tid: u32,
    /// `LCB_F_*`, and above 16 bits of the epoch.
    what: u32,
}

/// Of threads that share a place the last one counts: the wait of another one is told by its system call.
#[btf_map]
static KERNEL_LOCKS: Array<Contended, { WAIT_PLACES as usize }> = Array::new();

fn place(tid: u32) -> Option<*mut Contended> {
    KERNEL_LOCKS.get_ptr_mut(tid & (WAIT_PLACES - 1))
}

/// A thread begins to wait for a lock. Whoever spins for one that is only spun for does not sleep.
#[btf_tracepoint(function = "contention_begin")]
pub(crate) fn contended(context: BtfTracePointContext) -> i32 {
    // SAFETY: the tracepoint's arguments are (lock, flags).
    let (lock, flags) = unsafe {
        let arguments = context.as_ptr() as *const u64;
        (read_volatile(arguments), read_volatile(arguments.add(1)) as u32 as u64)
    };
    if flags & (SPINS | MUTEX) == SPINS {
        return 0;
    }
    // SAFETY: a plain helper call.
    let tid = unsafe { bpf_get_current_pid_tgid() } as u32;
    let (Some(place), Some(config)) = (place(tid), waits::config()) else { return 0 };
    // SAFETY: a map value; who reads it is the same thread.
    unsafe {
        (*place).lock = lock;
        (*place).what = flags as u32 & KERNEL_LOCK_FLAGS | (config.epoch as u32) << 16;
        (*place).tid = tid;
    }
    0
}

/// It has the lock, or has given up.
#[btf_tracepoint(function = "contention_end")]
pub(crate) fn acquired(context: BtfTracePointContext) -> i32 {
    // SAFETY: the tracepoint's first argument is the lock.
    let lock = unsafe { read_volatile(context.as_ptr() as *const u64) };
    // SAFETY: a plain helper call.
    let tid = unsafe { bpf_get_current_pid_tgid() } as u32;
    let Some(place) = place(tid) else { return 0 };
    // SAFETY: a map value. An interrupt's lock is another one.
    unsafe {
        if (*place).tid == tid && (*place).lock == lock {
            (*place).tid = 0;
        }
    }
    0
}

/// For what lock of the kernel a thread waits, if it does: as a system call's number, from [`KERNEL_LOCK`] on.
#[inline(always)]
pub(crate) fn lock_of(tid: u32, epoch: u64) -> Option<u32> {
    let place = place(tid)?;
    // SAFETY: a map value.
    let (whose, what) = unsafe { ((*place).tid, (*place).what) };
    (whose == tid && what >> 16 == epoch as u32 & 0xffff).then_some(KERNEL_LOCK | what & KERNEL_LOCK_FLAGS)
}
