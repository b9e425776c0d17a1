//! `sched_switch`: threads that leave their CPU begin a wait, threads that arrive end one. Attached while waits are watched.

use crate::bpf::kernel::{TASK_ARRIVAL, TASK_MM, TASK_PID, TASK_QUEUED, TASK_TGID, member, start_of};
use crate::bpf::kernel_locks::lock_of;
use crate::bpf::maps::{EVENTS, OUTPUT, STATE, add, lose};
use crate::bpf::rate;
use crate::bpf::record::{Subject, describe, finish, kernel_frames, kernel_mode, walk_stack};
use crate::bpf::state::CLASS_WAIT;
use crate::bpf::waits::{
    self, Beginning, OF_SWITCH, call_of, follow, is_sync, keep, run_delay, scratch, unfollow, wait_of, watch_of,
};
use aya_ebpf::EbpfContext;
use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_ringbuf_output};
use aya_ebpf::macros::{btf_map, btf_tracepoint};
use aya_ebpf::programs::BtfTracePointContext;
use core::ffi::c_void;
use core::ptr::read_volatile;
use profiler_ebpf::abi::counters::Counter;
use profiler_ebpf::abi::event::*;
use profiler_ebpf::abi::maps::{WATCH_ALL, WATCH_EXACT, WATCH_SYNC, WaitConfig, Waiting};
use profiler_ebpf::reasons::Reason;

const BPF_RB_NO_WAKEUP: u64 = 1;
/// `TASK_DEAD` of `include/linux/sched.h`: it does not come back.
const DEAD: u64 = 0x80;

/// The last switch of a CPU.
#[repr(C)]
struct Switched {
    /// When, CLOCK_MONOTONIC ns.
    at: u64,
    /// Who arrived.
    tid: u64,
    /// CLOCK_MONOTONIC less the scheduler's clock of this CPU; 0 while it is not known.
    ahead: u64,
}

#[btf_map]
static SWITCHED: PerCpuArray<Switched, 1> = PerCpuArray::new();

/// A CPU goes from one task to another.
#[btf_tracepoint(function = "sched_switch")]
pub(crate) fn switch(context: BtfTracePointContext) -> i32 {
    // SAFETY: the tracepoint's arguments are (preempt, previous task, next task, previous state).
    let (preempt, previous, next, state) = unsafe {
        let arguments = context.as_ptr() as *const u64;
        (
            read_volatile(arguments) & 1,
            read_volatile(arguments.add(1) as *const *const u8),
            read_volatile(arguments.add(2) as *const *const u8),
            read_volatile(arguments.add(3)),
        )
    };
    // SAFETY: a plain helper call.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: tasks by their BTF type.
    let (old, new): (u32, u32) = unsafe { (member(previous, &TASK_PID), member(next, &TASK_PID)) };
    let Some(config) = waits::config() else { return 0 };
    let ahead = if config.any_waits != 0 { clocks(now, previous, old, new) } else { 0 };
    if new != 0 {
        arrive(next, new, now, ahead, config.epoch);
    }
    if old != 0 {
        end_unseen(previous, old, ahead, config.epoch);
        if state & DEAD != DEAD {
            let what = leave(previous, old, preempt != 0 || state as u32 == 0, now, config);
            if what & SAMPLE != 0 {
                sample(now, what);
            }
        }
    }
    0
}

/// How far CLOCK_MONOTONIC is ahead of the scheduler's clock here: the kernel noted by that clock when `previous` arrived, we by
/// the other.
#[inline(always)]
fn clocks(now: u64, previous: *const u8, old: u32, new: u32) -> u64 {
    let Some(switched) = SWITCHED.get_ptr_mut(0) else { return 0 };
    // SAFETY: this CPU's slot, used by this program only, which is not interrupted by itself.
    let switched = unsafe { &mut *switched };
    if old != 0 && switched.tid == old as u64 && TASK_ARRIVAL.load() != 0 {
        // SAFETY: a task by its BTF type.
        let arrival: u64 = unsafe { member(previous, &TASK_ARRIVAL) };
        switched.ahead = switched.at.wrapping_sub(arrival);
    }
    switched.at = now;
    switched.tid = new as u64;
    switched.ahead
}

/// [`leave`]: the stack is to be taken.
const SAMPLE: u64 = 1 << 63;
/// [`leave`]: with kernel frames.
const WITH_KERNEL: u64 = 1 << 62;
/// [`leave`]: from this bit on log2 of for how many it stands; below is the system call.
const SHIFT: u32 = 32;

/// A thread leaves its CPU: it waits, or could go on (`runnable`). What is to be done with its stack: [`SAMPLE`] and more, or 0. A
/// function of its own, so that what it keeps is not on the stack under the walk.
#[inline(never)]
fn leave(task: *const u8, tid: u32, runnable: bool, now: u64, config: &WaitConfig) -> u64 {
    let Some((agent, _)) = rate::agent_and_epoch() else { return 0 };
    // SAFETY: a task by its BTF type.
    let (tgid, mm): (u32, u64) = unsafe { (member(task, &TASK_TGID), member(task, &TASK_MM)) };
    let watch = if config.any_waits != 0 { watch_of(tgid, agent) } else { None };
    if mm == 0 || (watch.is_none() && config.any_wakers == 0) {
        return 0;
    }
    let locked = if config.any_kernel != 0 && !runnable { lock_of(tid, config.epoch) } else { None };
    let call = match locked {
        _ if runnable => RUNNABLE,
        Some(lock) => lock,
        // SAFETY: a task by its BTF type.
        None => unsafe { call_of(task) },
    };
    let sync = is_sync(call);
    // SAFETY: a map value.
    let flags = watch.map_or(0, |watch| unsafe { (*watch).flags });
    let wanted = flags & WATCH_ALL != 0 || (flags & WATCH_SYNC != 0 && sync);
    if !wanted && !((sync || locked.is_some()) && config.any_wakers != 0) {
        return 0;
    }
    let kept = if wanted && let Some(watch) = watch { keep(watch, now) } else { None };
    // SAFETY: a task by its BTF type.
    let run_delay = unsafe { run_delay(task) };
    let known = kept.map_or(0, |shift| WAIT_SAMPLED | (shift & 15) << WAIT_SHIFT);
    let wait = Beginning { tid, since: now, run_delay, call, flags: known, epoch: config.epoch };
    if !follow(OF_SWITCH, &wait) {
        lose(tgid, start_of(task), Reason::WaitNotFollowed as u32, stands_for(known));
        return 0;
    }
    let Some(shift) = kept else { return 0 };
    let with_kernel = if flags & WATCH_EXACT == 0 { WITH_KERNEL } else { 0 };
    SAMPLE | with_kernel | ((shift & 15) as u64) << SHIFT | call as u64
}

/// Sends the stack of the current thread, which is about to wait. `what`: of [`leave`].
#[inline(always)]
fn sample(now: u64, what: u64) {
    let (Some(state), Some(output), Some((_, epoch))) =
        (STATE.get_ptr_mut(CLASS_WAIT), OUTPUT.get_ptr_mut(CLASS_WAIT), rate::agent_and_epoch())
    else {
        return;
    };
    // SAFETY: this CPU's slots of this class; the program is not interrupted by itself, as interrupts are off.
    let (state, output) = unsafe { (&mut *state, &mut *output) };
    let head = &mut output.head;
    // SAFETY: a plain helper call.
    let id = unsafe { bpf_get_current_pid_tgid() };
    head.tgid = (id >> 32) as u32;
    head.tid = id as u32;
    head.time = now;
    describe(state, head, &Subject { class: CLASS_WAIT, value: 0, late: 0, epoch });
    head.flags |= FLAG_KERNEL_MODE;
    head.labels = what as u32;
    head.count = 1 << (16 + ((what >> SHIFT) & 15));
    if what & WITH_KERNEL != 0 {
        kernel_frames(state, output);
    }
    let mut status = kernel_mode(CLASS_WAIT, state);
    if status == 0 {
        status = walk_stack(CLASS_WAIT, MAX_USER_FRAMES as u32, state, output);
        if status == 0 {
            status = Reason::Truncated as u32;
        }
    }
    let tid = output.head.tid;
    if !finish(CLASS_WAIT, state, output, status)
        && let Some(config) = waits::config()
        && let Some(waiting) = wait_of(tid, config.epoch)
    {
        // Its end would tell of nothing. SAFETY: a map value.
        unsafe { (*waiting).flags = 0 }
    }
}

/// A thread is on a CPU again. A function of its own for the same reason.
#[inline(never)]
fn arrive(task: *const u8, tid: u32, now: u64, ahead: u64, epoch: u64) {
    let Some(waiting) = wait_of(tid, epoch) else { return };
    // SAFETY: a map value, and a task by its BTF type.
    let before = unsafe { run_delay(task).wrapping_sub((*waiting).run_delay) };
    end(task, tid, waiting, now, queued(task, now, ahead, before));
}

/// The kernel does not tell of each switch (6.18, measured: one in some thousands that preempt somebody is in no tracepoint). A thread
/// that leaves though it was not seen to come has a wait behind it; the scheduler noted when it came.
#[inline(never)]
fn end_unseen(task: *const u8, tid: u32, ahead: u64, epoch: u64) {
    let Some(waiting) = wait_of(tid, epoch) else { return };
    add(Counter::SwitchesUnseen, 1);
    if TASK_ARRIVAL.load() == 0 {
        unfollow(tid);
        return;
    }
    // SAFETY: a map value, and a task by its BTF type.
    let (arrival, since, delay): (u64, u64, u64) =
        unsafe { (member(task, &TASK_ARRIVAL), (*waiting).since, run_delay(task).wrapping_sub((*waiting).run_delay)) };
    let arrival = arrival.wrapping_add(ahead);
    end(task, tid, waiting, if arrival < since { since } else { arrival }, delay);
}

/// Sends the end of a wait, if anybody wants it.
#[inline(always)]
fn end(task: *const u8, tid: u32, waiting: *const Waiting, now: u64, queued: u64) {
    // SAFETY: a map value; what is removed from a table stays readable while the program runs.
    let (flags, since, call) = unsafe { ((*waiting).flags, (*waiting).since, (*waiting).call) };
    unfollow(tid);
    if flags == 0 {
        return;
    }
    let Some(scratch) = scratch(OF_SWITCH) else { return };
    // SAFETY: this CPU's slot of this program, and a task by its BTF type.
    let sent = unsafe {
        let end = &raw mut (*scratch).end;
        (*end).kind = KIND_WAIT_END;
        (*end).tid = tid;
        (*end).tgid = member(task, &TASK_TGID);
        (*end).flags = flags;
        (*end).since = since;
        (*end).end = now;
        (*end).queued = queued;
        (*end).call = call;
        (*end).reserved = 0;
        let ring = &raw const EVENTS as *mut c_void;
        bpf_ringbuf_output(ring, end as *mut c_void, size_of::<WaitEnd>() as u64, BPF_RB_NO_WAKEUP)
    };
    if sent != 0 {
        // SAFETY: a task by its BTF type.
        let tgid = unsafe { member(task, &TASK_TGID) };
        lose(tgid, start_of(task), Reason::WaitLost as u32, stands_for(flags));
    }
}

/// For how many a wait with these flags stands.
#[inline(always)]
fn stands_for(flags: u32) -> u64 {
    if flags & WAIT_LOOKED != 0 { 1 } else { 1 << ((flags >> WAIT_SHIFT) & 15) }
}

/// How long a task that arrives could have run, ns: in this queue, and in those before it.
#[inline(always)]
fn queued(task: *const u8, now: u64, ahead: u64, before: u64) -> u64 {
    if TASK_QUEUED.load() == 0 || ahead == 0 {
        return 0;
    }
    // SAFETY: a task by its BTF type.
    let since: u64 = unsafe { member(task, &TASK_QUEUED) };
    if since == 0 {
        return before;
    }
    let since = since.wrapping_add(ahead);
    // The two clocks are compared to some hundred ns.
    before + if now > since { now - since } else { 0 }
}
