//! `task_newtask`: the stack that creates a thread, in the context of who creates it.

use crate::bpf::kernel::{self, TASK_PID, TASK_START};
use crate::bpf::maps::{OUTPUT, STATE, add};
use crate::bpf::rate;
use crate::bpf::record::{Subject, describe, finish, kernel_mode, walk_stack};
use crate::bpf::state::CLASS_THREAD;
use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use core::ptr::read_volatile;
use profiler_ebpf::abi::counters::Counter;
use profiler_ebpf::abi::event::{FLAG_KERNEL_MODE, FLAG_KERNEL_THREAD, MAX_USER_FRAMES};
use profiler_ebpf::reasons::Reason;

/// The new task is a thread of its creator's process (`include/uapi/linux/sched.h`).
const CLONE_THREAD: u64 = 0x10000;

/// A task was made.
#[btf_tracepoint(function = "task_newtask")]
pub(crate) fn new_thread(context: BtfTracePointContext) -> i32 {
    // SAFETY: the tracepoint's arguments are (task, clone flags).
    let (task, flags) = unsafe {
        let arguments = context.as_ptr() as *const u64;
        (read_volatile(arguments), read_volatile(arguments.add(1)))
    };
    if flags & CLONE_THREAD == 0 {
        return 0;
    }
    let (Some(config), Some(state), Some(output)) =
        (rate::config(), STATE.get_ptr_mut(CLASS_THREAD), OUTPUT.get_ptr_mut(CLASS_THREAD))
    else {
        return 0;
    };
    // SAFETY: this CPU's slots of this class; `busy` keeps a nested run out.
    let (state, output) = unsafe { (&mut *state, &mut *output) };
    // SAFETY: plain helper calls.
    let (id, now) = unsafe { (bpf_get_current_pid_tgid(), bpf_ktime_get_ns()) };
    let tgid = (id >> 32) as u32;
    if state.busy != 0 {
        add(Counter::NewThreadsLost, 1);
        return 0;
    }
    state.busy = 1;
    let head = &mut output.head;
    head.tgid = tgid;
    head.tid = id as u32;
    head.time = now;
    let start = kernel::word(task + TASK_START.load() as u64).unwrap_or(0);
    describe(state, head, &Subject { class: CLASS_THREAD, value: start, late: 0, epoch: config.epoch });
    head.flags |= FLAG_KERNEL_MODE;
    head.labels = kernel::half(task + TASK_PID.load() as u64).unwrap_or(0);
    if head.flags & FLAG_KERNEL_THREAD != 0 || state.mm == 0 {
        state.busy = 0;
        return 0;
    }
    let mut status = kernel_mode(CLASS_THREAD, state);
    if status == 0 {
        status = walk_stack(CLASS_THREAD, MAX_USER_FRAMES as u32, state, output);
        if status == 0 {
            status = Reason::Truncated as u32;
        }
    }
    finish(CLASS_THREAD, state, output, status);
    0
}
