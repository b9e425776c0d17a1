//! What all samples share, whatever they are taken for: who runs, the user registers below a system call or an interrupt, the walk,
//! the record. Each class has its own state, as one may interrupt another.

use crate::bpf::copy::copy_stack;
use crate::bpf::kernel::{
    self, CRED_EUID, CRED_SUID, CRED_UID, MM_SEQ, TASK_COMM, TASK_CRED, TASK_EXEC_ID, TASK_FLAGS, TASK_LEADER, TASK_MM,
    TASK_START, member,
};
use crate::bpf::maps::{EVENTS, add, add_at, lose};
use crate::bpf::state::{CLASS_CPU, CLASS_THREAD, CLASS_WAIT, CLASS_WAKE, Output, State, WORDS};
use crate::bpf::steps::{FRAMES_PER_CALL, steps};
use crate::bpf::vma::walk;
use aya_ebpf::helpers::generated::{
    bpf_get_current_comm, bpf_get_current_task_btf, bpf_get_smp_processor_id, bpf_get_task_stack, bpf_ringbuf_output,
    bpf_task_pt_regs,
};
use core::ffi::c_void;
use profiler_ebpf::abi::counters::Counter;
use profiler_ebpf::abi::event::*;
use profiler_ebpf::reasons::Reason;
use profiler_ebpf::unwind::bits::mask;
use profiler_ebpf::unwind::walk::Cursor;
use profiler_ebpf::unwind::window::Window;

/// `flags` of a thread of the kernel.
const PF_KTHREAD: u32 = 0x0020_0000;
/// Code segment of 64-bit user code; 32-bit code runs in 0x23.
pub(crate) const USER_CS: u64 = 0x33;
const SYSCALL_EXECVE: u64 = 59;
const SYSCALL_EXECVEAT: u64 = 322;
const VM_READ: u64 = 1;
const VM_EXEC: u64 = 4;
const BPF_RB_NO_WAKEUP: u64 = 1;
/// Sampled once, 16.16 fixed point.
const ONE: u32 = 1 << 16;

/// What a sample is about.
pub(crate) struct Subject {
    /// See [`SampleHeader::class`]; its state is used.
    pub(crate) class: u32,
    /// See [`SampleHeader::value`].
    pub(crate) value: u64,
    /// See [`SampleHeader::late_ticks`].
    pub(crate) late: u64,
    /// Of the configuration in force.
    pub(crate) epoch: u64,
}

/// Who runs, and what the sample is about.
#[inline(always)]
pub(crate) fn describe(state: &mut State, head: &mut SampleHeader, subject: &Subject) {
    head.kind = KIND_SAMPLE;
    head.class = subject.class;
    head.flags = 0;
    head.value = subject.value;
    head.count = ONE;
    head.labels = 0;
    head.late_ticks = subject.late as u32;
    head.bad_pc = 0;
    head.kernel_frames = 0;
    head.user_frames = 0;
    // SAFETY: BTF pointers and the members' own types; the verifier checks them.
    unsafe {
        head.cpu = bpf_get_smp_processor_id();
        bpf_get_current_comm((&raw mut head.comm) as *mut c_void, COMM_LENGTH as u32);
        let task = bpf_get_current_task_btf() as *const u8;
        let mm: *const u8 = member(task, &TASK_MM);
        let leader: *const u8 = member(task, &TASK_LEADER);
        let cred: *const u8 = member(task, &TASK_CRED);
        let exec_id: u64 = member(task, &TASK_EXEC_ID);
        head.exec_id = exec_id as u32;
        head.start_boottime = member(leader, &TASK_START);
        let name = (&raw mut head.leader_comm) as *mut u64;
        *name = member(leader.add(TASK_COMM.load() as usize), &ZERO);
        *name.add(1) = member(leader.add(TASK_COMM.load() as usize + 8), &ZERO);
        head.ruid = member(cred, &CRED_UID);
        head.euid = member(cred, &CRED_EUID);
        head.suid = member(cred, &CRED_SUID);
        let flags: u32 = member(task, &TASK_FLAGS);
        if flags & PF_KTHREAD != 0 {
            head.flags |= FLAG_KERNEL_THREAD;
        }
        state.mm = mm as u64;
        // With the number of execs: an mm that one exec freed may come back, at the same address, in the next but one.
        state.sequence = if mm.is_null() || MM_SEQ.load() == 0 {
            1
        } else {
            let sequence: u32 = member(mm, &MM_SEQ);
            sequence as u64 | exec_id << 32
        };
    }
    state.start_boottime = head.start_boottime;
    state.tgid = head.tgid as u64;
    state.epoch = subject.epoch;
    state.need = VM_EXEC;
    state.source = 0;
    state.first = 0;
    state.frames = 0;
    state.window = Window::EMPTY;
    state.mapping.start = 0;
    state.mapping.length = 0;
    state.kept_count = 0;
    state.kept[0].length = 0;
    state.kept[1].length = 0;
    state.kept[2].length = 0;
    state.kept[3].length = 0;
}

/// An offset of nothing.
static ZERO: aya_ebpf::Global<u32> = aya_ebpf::Global::new(0);

/// The user registers lie at the top of the task's kernel stack.
#[inline(always)]
pub(crate) fn kernel_mode(class: u32, state: &mut State) -> u32 {
    // SAFETY: the current task.
    let regs = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as u64;
    if !kernel::read((&raw mut state.scratch) as *mut u64, 21 * 8, regs) {
        return Reason::NoRegisters as u32;
    }
    // r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss
    let s = &state.scratch;
    if s[17] & 3 != 3 {
        return Reason::NoRegisters as u32;
    }
    if s[17] != USER_CS {
        return Reason::Compat32 as u32;
    }
    if s[16] == 0 && s[19] == 0 {
        // A thread that the kernel made for a process (io_uring, vhost): it never runs user code.
        return Reason::NoUserStack as u32;
    }
    let system_call = s[15];
    // `syscall` leaves its return address in rcx too. At the first instruction of a program or of a signal handler, which
    // the kernel prepares inside the system call, the two differ. (With FRED always: the word behind `syscall` serves too.)
    let behind_call = system_call != u64::MAX && s[11] == s[16];
    state.registers =
        [s[10], s[12], s[11], s[5], s[13], s[14], s[4], s[19], s[9], s[8], s[7], s[6], s[3], s[2], s[1], s[0]];
    state.cursor =
        Cursor { pc: s[16], sp: s[19], bp: s[4], is_return: behind_call as u64, all_registers: 1, by_frame_pointer: 0 };
    // rax is -ENOSYS from the system call's entry on, and 0 in the registers that the new program begins with.
    if s[10] != 0 && (system_call == SYSCALL_EXECVE || system_call == SYSCALL_EXECVEAT) {
        // After the switch to the new memory the registers are still the old program's: stack or code is in no mapping.
        let (pc, sp) = (state.cursor.pc.wrapping_sub(1), state.cursor.sp);
        let gone = !is_mapped(class, state, sp, VM_READ) || !is_mapped(class, state, pc, VM_EXEC);
        state.need = VM_EXEC;
        state.mapping.length = 0;
        if gone {
            return Reason::InExec as u32;
        }
    }
    0
}

/// A walk that met another thread's change of the tree finds nothing, so it is repeated.
#[inline(always)]
fn is_mapped(class: u32, state: &mut State, address: u64, need: u64) -> bool {
    state.wanted = address;
    state.need = need;
    walk(class) == 0 || walk(class) == 0
}

/// Walks up to `frames` frames. 0: there may be more.
#[inline(always)]
pub(crate) fn walk_stack(class: u32, frames: u32, state: &mut State, output: &mut Output) -> u32 {
    let mut i = 0;
    let mut status = 0;
    while i < frames / FRAMES_PER_CALL {
        status = steps(class);
        if status != 0 {
            break;
        }
        i += 1;
    }
    output.head.user_frames = state.frames as u32;
    if state.cursor.by_frame_pointer != 0 {
        output.head.flags |= FLAG_FRAME_POINTER;
    }
    status
}

/// Takes the kernel's frames of the current task, before the others.
#[inline(always)]
pub(crate) fn kernel_frames(state: &mut State, output: &mut Output) {
    let words = (&raw mut output.words) as *mut c_void;
    // SAFETY: the current task; the buffer has 2,048 words.
    let bytes = unsafe { bpf_get_task_stack(bpf_get_current_task_btf(), words, (MAX_KERNEL_FRAMES * 8) as u32, 0) };
    if bytes > 0 {
        state.first = (bytes as u64 >> 3) & 127;
        output.head.kernel_frames = state.first as u32;
    }
}

/// Sends the record; false if there was no room.
#[inline(always)]
pub(crate) fn finish(class: u32, state: &mut State, output: &mut Output, status: u32) -> bool {
    output.head.status = status;
    if status == Reason::TablePending as u32 {
        copy_stack(class);
    }
    if class == CLASS_CPU {
        add_at(status, 1);
    }
    add(Counter::Frames, state.frames);
    let words = mask::<{ WORDS as i32 - 1 }>(state.first + state.frames);
    let length = size_of::<SampleHeader>() as u64 + (words << 3);
    // SAFETY: the record is at least `length` bytes.
    let sent = unsafe {
        bpf_ringbuf_output(&raw const EVENTS as *mut c_void, output as *mut _ as *mut c_void, length, BPF_RB_NO_WAKEUP)
    };
    if sent == 0 {
        let done = match class {
            CLASS_CPU => Counter::Samples,
            CLASS_WAIT => Counter::Waits,
            CLASS_WAKE => Counter::Wakes,
            _ => Counter::NewThreads,
        };
        add(done, 1);
    } else if class == CLASS_THREAD {
        add(Counter::NewThreadsLost, 1);
    } else {
        let reason = match class {
            CLASS_WAIT => Reason::WaitLost,
            CLASS_WAKE => Reason::WakeLost,
            _ => Reason::RingFull,
        };
        let SampleHeader { tgid, start_boottime, late_ticks, count, .. } = output.head;
        let events = (count >> 16) as u64;
        lose(tgid, start_boottime, reason as u32, if events == 0 { 1 } else { events });
        // The record would have told of them.
        if late_ticks != 0 {
            lose(tgid, start_boottime, Reason::TimerLate as u32, late_ticks as u64);
        }
    }
    state.busy = 0;
    sent == 0
}
