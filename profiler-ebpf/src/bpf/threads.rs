//! `iter/task`: the threads of one process or of all as they stand: user registers, kernel stack, state.
//!
//! It touches no memory of a target, so nothing that a target does can hold it up.

use crate::bpf::kernel::{
    self, CRED_EUID, CRED_SUID, CRED_UID, TASK_ARRIVAL, TASK_COMM, TASK_CRED, TASK_EXEC_ID, TASK_FLAGS, TASK_LEADER,
    TASK_MM, TASK_ON_CPU, TASK_PID, TASK_RUNTIME, TASK_START, TASK_STATE, TASK_TGID, member,
};
use crate::bpf::maps::THREAD;
use crate::bpf::rate;
use crate::bpf::state::Thread;
use crate::bpf::waits::{self, Beginning, OF_LOOK, call_of, follow, is_sync, run_delay, unfollow, wait_of, watch_of};
use aya_ebpf::Global;
use aya_ebpf::bindings::{seq_file, task_struct};
use aya_ebpf::helpers::generated::{bpf_get_task_stack, bpf_ktime_get_ns, bpf_seq_write, bpf_task_pt_regs};
use core::ffi::c_void;
use core::ptr::read_volatile;
use profiler_ebpf::abi::event::{
    KIND_THREAD, MAX_THREAD_KERNEL_FRAMES, PT_REGS_WORDS, THREAD_NO_REGISTERS, THREAD_ON_CPU, ThreadRecord,
    WAIT_LOOKED, WAIT_SAMPLED,
};
use profiler_ebpf::abi::maps::{WATCH_ALL, WATCH_SYNC};

const PF_KTHREAD: u32 = 0x0020_0000;
/// `TASK_DEAD` and `EXIT_*` of `include/linux/sched.h`.
const DEAD: u32 = 0x80 | 0x10 | 0x20;

/// The iterator's context: `struct bpf_iter__task`.
#[repr(C)]
struct Task {
    meta: *const *mut seq_file,
    task: *const u8,
}

/// One task.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub(crate) extern "C" fn threads(context: *mut c_void) -> i32 {
    let context = context as *const Task;
    // SAFETY: the context of a task iterator; the verifier checks each load.
    let (meta, task) =
        unsafe { (read_volatile(&raw const (*context).meta), read_volatile(&raw const (*context).task)) };
    if !task.is_null() && is_of_a_program(task) {
        let _again_if_not = write(meta, task, 0);
    }
    0
}

/// One task: shown only if it waits, watched, for long enough and nobody saw where it began to.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub(crate) extern "C" fn look(context: *mut c_void) -> i32 {
    let context = context as *const Task;
    // SAFETY: the context of a task iterator; the verifier checks each load.
    let (meta, task) =
        unsafe { (read_volatile(&raw const (*context).meta), read_volatile(&raw const (*context).task)) };
    if !task.is_null() && is_of_a_program(task) {
        let found = unseen_wait(task);
        // Without room the kernel asks for the same task again.
        if found.since != 0 && !write(meta, task, found.since) {
            forget(task, &found);
        }
    }
    0
}

/// False for a thread of the kernel, and one that has left its program.
#[inline(always)]
fn is_of_a_program(task: *const u8) -> bool {
    // SAFETY: BTF pointers and their members.
    let (flags, mm): (u32, *const u8) = unsafe { (member(task, &TASK_FLAGS), member(task, &TASK_MM)) };
    flags & PF_KTHREAD == 0 && !mm.is_null()
}

/// A wait whose stack is to be taken now.
struct Found {
    /// When it began; 0 if there is none.
    since: u64,
    /// It began before it was watched.
    adopted: bool,
}

const NOTHING: Found = Found { since: 0, adopted: false };

/// The wait of a watched thread. Waits that are looked at are marked; those that began before they were watched are followed from now
/// on.
#[inline(always)]
fn unseen_wait(task: *const u8) -> Found {
    // SAFETY: BTF pointers and their members.
    let (tgid, tid): (u32, u32) = unsafe { (member(task, &TASK_TGID), member(task, &TASK_PID)) };
    let (Some((agent, _)), Some(config)) = (rate::agent_and_epoch(), waits::config()) else { return NOTHING };
    let Some(watch) = watch_of(tgid, agent) else { return NOTHING };
    // SAFETY: a map value.
    let flags = unsafe { (*watch).flags };
    let wanted = |call: u32| flags & WATCH_ALL != 0 || (flags & WATCH_SYNC != 0 && is_sync(call));
    // SAFETY: a plain helper call.
    let now = unsafe { bpf_ktime_get_ns() };
    if let Some(waiting) = wait_of(tid, config.epoch) {
        // SAFETY: a map value; if its wait ends meanwhile, a mark on it marks nothing.
        let waiting = unsafe { &mut *waiting };
        let (since, known) = (waiting.since, waiting.flags);
        if now < since + config.look_age || known & WAIT_LOOKED != 0 || !wanted(waiting.call) {
            return NOTHING;
        }
        waiting.flags = known | WAIT_LOOKED;
        return if known & WAIT_SAMPLED != 0 { NOTHING } else { Found { since, adopted: false } };
    }
    if !stands(task) {
        return NOTHING;
    }
    // SAFETY: the iterator's own task.
    let (call, run_delay) = unsafe { (call_of(task), run_delay(task)) };
    let wait = Beginning { tid, since: now, run_delay, call, flags: WAIT_LOOKED, epoch: config.epoch };
    if !wanted(call) || !follow(OF_LOOK, &wait) {
        return NOTHING;
    }
    if !stands(task) {
        // It may have gone before it was in the table, and would stay in it.
        unfollow(tid);
        return NOTHING;
    }
    Found { since: now, adopted: true }
}

/// Takes the mark back.
#[inline(always)]
fn forget(task: *const u8, found: &Found) {
    // SAFETY: BTF pointers and their members.
    let tid: u32 = unsafe { member(task, &TASK_PID) };
    let Some(config) = waits::config() else { return };
    if found.adopted {
        unfollow(tid);
    } else if let Some(waiting) = wait_of(tid, config.epoch) {
        // SAFETY: a map value.
        unsafe { (*waiting).flags &= !WAIT_LOOKED }
    }
}

/// True if it is on no CPU and does not ask for one.
#[inline(always)]
fn stands(task: *const u8) -> bool {
    // SAFETY: BTF pointers and their members.
    let (state, on_cpu): (u32, u32) = unsafe { (member(task, &TASK_STATE), member(task, &TASK_ON_CPU)) };
    state != 0 && state & DEAD == 0 && on_cpu == 0
}

/// Shows a task; false if there was no room.
#[inline(always)]
fn write(meta: *const *mut seq_file, task: *const u8, since: u64) -> bool {
    let Some(thread) = THREAD.get_ptr_mut(0) else { return false };
    // SAFETY: this CPU's slot; the agent runs one iterator over threads at a time.
    let thread = unsafe { &mut *thread };
    describe(task, &mut thread.head);
    thread.head.since = since;
    let words = stack(task, thread) & MAX_THREAD_KERNEL_FRAMES as u64;
    thread.head.kernel_frames = words as u32;
    let length = size_of::<ThreadRecord>() as u64 + (words << 3);
    // SAFETY: `meta` is the iterator's; the record has at least `length` bytes.
    unsafe {
        let seq = read_volatile(meta);
        bpf_seq_write(seq, thread as *mut Thread as *const c_void, length as u32) == 0
    }
}

#[inline(always)]
fn describe(task: *const u8, head: &mut ThreadRecord) {
    head.kind = KIND_THREAD;
    head.flags = 0;
    // SAFETY: BTF pointers and the members' own types; the verifier checks them.
    unsafe {
        let leader: *const u8 = member(task, &TASK_LEADER);
        let cred: *const u8 = member(task, &TASK_CRED);
        let exec_id: u64 = member(task, &TASK_EXEC_ID);
        head.tgid = member(task, &TASK_TGID);
        head.tid = member(task, &TASK_PID);
        head.exec_id = exec_id as u32;
        head.start_boottime = member(leader, &TASK_START);
        head.thread_start = member(task, &TASK_START);
        head.time = bpf_ktime_get_ns();
        head.runtime = member(task, &TASK_RUNTIME);
        head.arrival = if TASK_ARRIVAL.load() == 0 { 0 } else { member(task, &TASK_ARRIVAL) };
        head.state = member(task, &TASK_STATE);
        let on_cpu: u32 = member(task, &TASK_ON_CPU);
        if on_cpu != 0 {
            head.flags |= THREAD_ON_CPU;
        }
        head.ruid = member(cred, &CRED_UID);
        head.euid = member(cred, &CRED_EUID);
        head.suid = member(cred, &CRED_SUID);
        name(task, (&raw mut head.comm) as *mut u64);
        name(leader, (&raw mut head.leader_comm) as *mut u64);
    }
    // SAFETY: the iterator's own task.
    let regs = unsafe { bpf_task_pt_regs(task as *mut task_struct) } as u64;
    if !kernel::read((&raw mut head.registers) as *mut u64, (PT_REGS_WORDS * 8) as u32, regs) {
        head.flags |= THREAD_NO_REGISTERS;
    }
}

/// Copies a task's name.
///
/// # Safety
/// As [`member`]; `to` has 16 bytes.
#[inline(always)]
unsafe fn name(task: *const u8, to: *mut u64) {
    // SAFETY: by the caller's promise.
    unsafe {
        *to = member(task.add(TASK_COMM.load() as usize), &ZERO);
        *to.add(1) = member(task.add(TASK_COMM.load() as usize + 8), &ZERO);
    }
}

/// An offset of nothing.
static ZERO: Global<u32> = Global::new(0);

/// Kernel addresses of where the task stands, leaf first: how many.
#[inline(always)]
fn stack(task: *const u8, thread: &mut Thread) -> u64 {
    let to = (&raw mut thread.words) as *mut c_void;
    // SAFETY: the iterator's own task; the buffer has that many words and one more.
    let bytes = unsafe { bpf_get_task_stack(task as *mut task_struct, to, (MAX_THREAD_KERNEL_FRAMES * 8) as u32, 0) };
    if bytes > 0 { bytes as u64 >> 3 } else { 0 }
}
