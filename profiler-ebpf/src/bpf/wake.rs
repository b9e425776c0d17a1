//! `sched_waking`: the stack that ends another thread's wait on synchronisation, in the context of who ends it. Attached while wakers
//! are watched.

use crate::bpf::kernel::{TASK_PID, member, start_of};
use crate::bpf::maps::{OUTPUT, STATE, add, lose};
use crate::bpf::rate;
use crate::bpf::record::{Subject, describe, finish, kernel_frames, kernel_mode, walk_stack};
use crate::bpf::state::CLASS_WAKE;
use crate::bpf::waits::{self, call_of, is_sync, keep_wake, releases, wait_of, watch_of};
use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_get_current_task_btf, bpf_ktime_get_ns};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use core::ptr::read_volatile;
use profiler_ebpf::abi::counters::Counter;
use profiler_ebpf::abi::event::*;
use profiler_ebpf::abi::maps::{WATCH_KERNEL, WATCH_WAKERS};
use profiler_ebpf::reasons::Reason;

/// exit and exit_group: the end of a thread wakes whoever joins it.
#[inline(always)]
fn is_exit(call: u32) -> bool {
    call == 60 || call == 231
}

/// A task is about to be woken by the current one.
#[btf_tracepoint(function = "sched_waking")]
pub(crate) fn wake(context: BtfTracePointContext) -> i32 {
    // SAFETY: the tracepoint's argument is the task.
    let task = unsafe { read_volatile(context.as_ptr() as *const *const u8) };
    // SAFETY: a task by its BTF type.
    let woken: u32 = unsafe { member(task, &TASK_PID) };
    let (Some((agent, epoch)), Some(config)) = (rate::agent_and_epoch(), waits::config()) else { return 0 };
    let Some(waiting) = wait_of(woken, config.epoch) else { return 0 };
    // SAFETY: a map value; the thread cannot come back to a CPU before this program has ended.
    let (call, since) = unsafe { ((*waiting).call, (*waiting).since) };
    let lock = if call & !KERNEL_LOCK_FLAGS == KERNEL_LOCK { call } else { 0 };
    if !is_sync(call) && lock == 0 {
        return 0;
    }
    // SAFETY: plain helper calls.
    let (id, now) = unsafe { (bpf_get_current_pid_tgid(), bpf_ktime_get_ns()) };
    let (tgid, tid) = ((id >> 32) as u32, id as u32);
    if tgid == 0 || tid == woken || now <= since {
        return 0;
    }
    let Some(watch) = watch_of(tgid, agent) else { return 0 };
    let wanted = if lock == 0 { WATCH_WAKERS } else { WATCH_WAKERS | WATCH_KERNEL };
    // SAFETY: a map value.
    if unsafe { (*watch).flags } & wanted != wanted {
        return 0;
    }
    // SAFETY: the current task.
    let (call, releases) = unsafe {
        let current = bpf_get_current_task_btf() as *const u8;
        let call = call_of(current);
        (call, releases(current, call))
    };
    // Locks of the kernel are released by threads, in whatever call or fault.
    if lock == 0 && !releases && !is_exit(call) {
        add(Counter::WakesOfNobody, 1);
        return 0;
    }
    let length = now - since;
    let Some(count) = keep_wake(watch, now, length, config.waker_rate) else { return 0 };
    let released = if lock == 0 { call } else { lock };
    sample(&Wake { tgid, tid, now, released, length, count, epoch });
    0
}

/// A thread ends another one's wait.
struct Wake {
    tgid: u32,
    tid: u32,
    now: u64,
    /// The system call that does it, or what lock of the kernel was waited for.
    released: u32,
    length: u64,
    count: u32,
    epoch: u64,
}

/// Sends the stack of the current thread.
#[inline(always)]
fn sample(wake: &Wake) {
    let Wake { tgid, tid, now, released, length, count, epoch } = *wake;
    let (Some(state), Some(output)) = (STATE.get_ptr_mut(CLASS_WAKE), OUTPUT.get_ptr_mut(CLASS_WAKE)) else { return };
    // SAFETY: this CPU's slots of this class; interrupts are off while a task is woken, `busy` keeps what else there may be out.
    let (state, output) = unsafe { (&mut *state, &mut *output) };
    if state.busy != 0 {
        // SAFETY: the current task.
        let start = start_of(unsafe { bpf_get_current_task_btf() } as *const u8);
        lose(tgid, start, Reason::WakeLost as u32, 1);
        return;
    }
    state.busy = 1;
    let head = &mut output.head;
    head.tgid = tgid;
    head.tid = tid;
    head.time = now;
    describe(state, head, &Subject { class: CLASS_WAKE, value: length, late: 0, epoch });
    head.flags |= FLAG_KERNEL_MODE;
    head.labels = released;
    head.count = count;
    if released & !KERNEL_LOCK_FLAGS == KERNEL_LOCK {
        kernel_frames(state, output);
    }
    if state.mm == 0 {
        // It has given up its memory on its way to exit, and ends a join by that.
        let is_kernels = output.head.flags & FLAG_KERNEL_THREAD != 0;
        let reason = if is_kernels { Reason::NoUserStack } else { Reason::Exiting };
        finish(CLASS_WAKE, state, output, reason as u32);
        return;
    }
    let mut status = kernel_mode(CLASS_WAKE, state);
    if status == 0 {
        status = walk_stack(CLASS_WAKE, MAX_USER_FRAMES as u32, state, output);
        if status == 0 {
            status = Reason::Truncated as u32;
        }
    }
    finish(CLASS_WAKE, state, output, status);
}
