//! `sched_waking`: the stack that ends another thread's wait on synchronisation, in the context of who ends it. Attached while wakers
//! are watched.

use crate::bpf::kernel::{TASK_PID, member};
use crate::bpf::maps::{OUTPUT, STATE, add};
use crate::bpf::rate;
use crate::bpf::record::{Subject, describe, finish, kernel_mode, walk_stack};
use crate::bpf::state::CLASS_WAKE;
use crate::bpf::waits::{self, call_of, is_sync, keep_wake, releases, wait_of, watch_of};
use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_get_current_task_btf, bpf_ktime_get_ns};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use core::ptr::read_volatile;
use profiler_ebpf::abi::counters::Counter;
use profiler_ebpf::abi::event::*;
use profiler_ebpf::abi::maps::WATCH_WAKERS;
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
    if !is_sync(call) {
        return 0;
    }
    // SAFETY: plain helper calls.
    let (id, now) = unsafe { (bpf_get_current_pid_tgid(), bpf_ktime_get_ns()) };
    let (tgid, tid) = ((id >> 32) as u32, id as u32);
    if tgid == 0 || tid == woken || now <= since {
        return 0;
    }
    let Some(watch) = watch_of(tgid, agent) else { return 0 };
    // SAFETY: a map value.
    if unsafe { (*watch).flags } & WATCH_WAKERS == 0 {
        return 0;
    }
    // SAFETY: the current task.
    let (call, releases) = unsafe {
        let current = bpf_get_current_task_btf() as *const u8;
        let call = call_of(current);
        (call, releases(current, call))
    };
    if !releases && !is_exit(call) {
        add(Counter::WakesOfNobody, 1);
        return 0;
    }
    let length = now - since;
    let Some(count) = keep_wake(watch, now, length, config.waker_rate) else { return 0 };
    sample(tgid, tid, now, call, length, count, epoch);
    0
}

/// Sends the stack of the current thread.
#[inline(always)]
fn sample(tgid: u32, tid: u32, now: u64, call: u32, length: u64, count: u32, epoch: u64) {
    let (Some(state), Some(output)) = (STATE.get_ptr_mut(CLASS_WAKE), OUTPUT.get_ptr_mut(CLASS_WAKE)) else { return };
    // SAFETY: this CPU's slots of this class; interrupts are off while a task is woken, `busy` keeps what else there may be out.
    let (state, output) = unsafe { (&mut *state, &mut *output) };
    if state.busy != 0 {
        add(Counter::WaitsLost, 1);
        return;
    }
    state.busy = 1;
    let head = &mut output.head;
    head.tgid = tgid;
    head.tid = tid;
    head.time = now;
    describe(state, head, &Subject { class: CLASS_WAKE, value: length, late: 0, epoch });
    head.flags |= FLAG_KERNEL_MODE;
    head.labels = call;
    head.count = count;
    if state.mm == 0 {
        // It has given up its memory on its way to exit, and ends a join by that.
        finish(CLASS_WAKE, state, output, Reason::Exiting as u32);
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
