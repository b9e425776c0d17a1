//! The CPU sampler: `sample` runs at every tick of a CPU's clock, `cont` goes on with a deep stack.

use crate::bpf::copy::copy_stack;
use crate::bpf::kernel::{
    self, CRED_EUID, CRED_SUID, CRED_UID, MM_SEQ, TASK_COMM, TASK_CRED, TASK_EXEC_ID, TASK_FLAGS, TASK_LEADER, TASK_MM,
    TASK_START, member,
};
use crate::bpf::log;
use crate::bpf::maps::{EVENTS, OUTPUT, PROGRAMS, STATE, add, add_at, lose};
use crate::bpf::rate::{self, Due};
use crate::bpf::state::{CLASS_CPU, Output, State, WORDS};
use crate::bpf::steps::{FRAMES_PER_CALL, steps};
use crate::bpf::vma::walk;
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::bpf_perf_event_data;
use aya_ebpf::helpers::generated::{
    bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_task_btf, bpf_get_smp_processor_id, bpf_get_stack,
    bpf_ktime_get_ns, bpf_ringbuf_output, bpf_task_pt_regs,
};
use aya_ebpf::macros::perf_event;
use aya_ebpf::programs::PerfEventContext;
use core::ffi::c_void;
use core::ptr::read_volatile;
use profiler_ebpf::abi::counters::Counter;
use profiler_ebpf::abi::event::*;
use profiler_ebpf::reasons::Reason;
use profiler_ebpf::unwind::bits::mask;
use profiler_ebpf::unwind::walk::Cursor;
use profiler_ebpf::unwind::window::Window;

/// Frames walked by one program before it hands over to the next by tail call.
const FRAMES_PER_PROGRAM: u32 = 128;
/// `PROGRAMS` slot of `cont`.
const CONTINUE: u32 = 0;
const PF_KTHREAD: u32 = 0x0020_0000;
/// Code segment of 64-bit user code; 32-bit code runs in 0x23.
const USER_CS: u64 = 0x33;
const SYSCALL_EXECVE: u64 = 59;
const SYSCALL_EXECVEAT: u64 = 322;
const VM_READ: u64 = 1;
const VM_EXEC: u64 = 4;
const BPF_RB_NO_WAKEUP: u64 = 1;
/// Sampled once, 16.16 fixed point.
const ONE: u32 = 1 << 16;

/// One tick of this CPU's clock.
#[perf_event]
pub(crate) fn sample(context: PerfEventContext) -> u32 {
    // SAFETY: plain helper calls.
    let (id, now) = unsafe { (bpf_get_current_pid_tgid(), bpf_ktime_get_ns()) };
    let tgid = (id >> 32) as u32;
    let Some(config) = rate::config() else { return 0 };
    let Some(advance) = rate::advance(now, id as u32, &config) else { return 0 };
    if tgid == 0 {
        return 0; // the idle task
    }
    let Some(due) = rate::due(&advance, tgid, &config) else { return 0 };
    let (Some(state), Some(output)) = (STATE.get_ptr_mut(CLASS_CPU), OUTPUT.get_ptr_mut(CLASS_CPU)) else { return 0 };
    // SAFETY: this CPU's slots of this class; `busy` keeps a nested run out.
    let (state, output) = unsafe { (&mut *state, &mut *output) };
    if state.busy != 0 {
        lose(tgid, state.start_boottime, Reason::Busy as u32, 1);
        return 0;
    }
    state.busy = 1;
    let head = &mut output.head;
    head.tgid = tgid;
    head.tid = id as u32;
    head.time = now;
    describe(state, head, &due);
    let mut status = registers(&context, state, output);
    if status == 0 {
        status = walk_stack(state, output);
        if status == 0 {
            status = go_on(&context);
            log::no_tail_call(tgid, state.frames as u32);
        }
    }
    finish(state, output, status);
    0
}

/// Goes on where the state of the class stands.
#[perf_event]
pub(crate) fn cont(context: PerfEventContext) -> u32 {
    let (Some(state), Some(output)) = (STATE.get_ptr_mut(CLASS_CPU), OUTPUT.get_ptr_mut(CLASS_CPU)) else { return 0 };
    // SAFETY: this CPU's slots of this class; the caller holds `busy`.
    let (state, output) = unsafe { (&mut *state, &mut *output) };
    let mut status = walk_stack(state, output);
    if status == 0 {
        status = if state.frames < MAX_USER_FRAMES as u64 { go_on(&context) } else { Reason::Truncated as u32 };
        if status == Reason::NoTailCall as u32 {
            log::no_tail_call(output.head.tgid, state.frames as u32);
        }
    }
    finish(state, output, status);
    0
}

/// Hands over to [`cont`]; returns only if that fails: with the reason.
#[inline(always)]
fn go_on(context: &PerfEventContext) -> u32 {
    // SAFETY: the map holds perf-event programs only.
    unsafe { PROGRAMS.tail_call(context, CONTINUE) };
    Reason::NoTailCall as u32
}

/// Who runs, and what the tick stands for.
#[inline(always)]
fn describe(state: &mut State, head: &mut SampleHeader, due: &Due) {
    head.kind = KIND_SAMPLE;
    head.class = CLASS_CPU;
    head.flags = 0;
    head.value = due.value;
    head.count = ONE;
    head.labels = 0;
    head.late_ticks = due.late as u32;
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
    state.epoch = due.epoch;
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

/// Kernel frames and the user registers to begin with. 0, or why there is no user stack to walk.
#[inline(always)]
fn registers(context: &PerfEventContext, state: &mut State, output: &mut Output) -> u32 {
    let data = context.as_ptr() as *const bpf_perf_event_data;
    // SAFETY: a perf event program's context; constant offsets.
    let cs = unsafe { read_volatile(&raw const (*data).regs.cs) };
    if cs & 3 == 3 {
        if cs != USER_CS {
            return Reason::Compat32 as u32;
        }
        user_mode(data, state);
        return 0;
    }
    output.head.flags |= FLAG_KERNEL_MODE;
    let words = (&raw mut output.words) as *mut c_void;
    // SAFETY: the buffer has 2,048 words.
    let bytes = unsafe { bpf_get_stack(context.as_ptr(), words, (MAX_KERNEL_FRAMES * 8) as u32, 0) };
    if bytes > 0 {
        state.first = (bytes as u64 >> 3) & 127;
        output.head.kernel_frames = state.first as u32;
    }
    if output.head.flags & FLAG_KERNEL_THREAD != 0 {
        return Reason::NoUserStack as u32;
    }
    if state.mm == 0 {
        return Reason::Exiting as u32;
    }
    kernel_mode(state)
}

/// The interrupted registers are the user's.
#[inline(always)]
fn user_mode(data: *const bpf_perf_event_data, state: &mut State) {
    // SAFETY: a perf event program's context; constant offsets.
    unsafe {
        let r = &raw const (*data).regs;
        state.cursor = Cursor {
            pc: read_volatile(&raw const (*r).rip),
            sp: read_volatile(&raw const (*r).rsp),
            bp: read_volatile(&raw const (*r).rbp),
            is_return: 0,
            all_registers: 1,
            by_frame_pointer: 0,
        };
        state.registers = [
            read_volatile(&raw const (*r).rax),
            read_volatile(&raw const (*r).rdx),
            read_volatile(&raw const (*r).rcx),
            read_volatile(&raw const (*r).rbx),
            read_volatile(&raw const (*r).rsi),
            read_volatile(&raw const (*r).rdi),
            read_volatile(&raw const (*r).rbp),
            read_volatile(&raw const (*r).rsp),
            read_volatile(&raw const (*r).r8),
            read_volatile(&raw const (*r).r9),
            read_volatile(&raw const (*r).r10),
            read_volatile(&raw const (*r).r11),
            read_volatile(&raw const (*r).r12),
            read_volatile(&raw const (*r).r13),
            read_volatile(&raw const (*r).r14),
            read_volatile(&raw const (*r).r15),
        ];
    }
}

/// The user registers lie at the top of the task's kernel stack.
#[inline(always)]
fn kernel_mode(state: &mut State) -> u32 {
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
        let gone = !is_mapped(state, sp, VM_READ) || !is_mapped(state, pc, VM_EXEC);
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
fn is_mapped(state: &mut State, address: u64, need: u64) -> bool {
    state.wanted = address;
    state.need = need;
    walk(CLASS_CPU) == 0 || walk(CLASS_CPU) == 0
}

/// Walks up to [`FRAMES_PER_PROGRAM`] frames. 0: there may be more.
#[inline(always)]
fn walk_stack(state: &mut State, output: &mut Output) -> u32 {
    let mut i = 0;
    let mut status = 0;
    while i < FRAMES_PER_PROGRAM / FRAMES_PER_CALL {
        status = steps(CLASS_CPU);
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

/// Sends the record.
#[inline(always)]
fn finish(state: &mut State, output: &mut Output, status: u32) {
    output.head.status = status;
    if status == Reason::TablePending as u32 {
        copy_stack(CLASS_CPU);
    }
    add_at(status, 1);
    add(Counter::Frames, state.frames);
    let words = mask::<{ WORDS as i32 - 1 }>(state.first + state.frames);
    let length = size_of::<SampleHeader>() as u64 + (words << 3);
    // SAFETY: the record is at least `length` bytes.
    let sent = unsafe {
        bpf_ringbuf_output(&raw const EVENTS as *mut c_void, output as *mut _ as *mut c_void, length, BPF_RB_NO_WAKEUP)
    };
    if sent != 0 {
        lose(output.head.tgid, output.head.start_boottime, Reason::RingFull as u32, 1);
        // The record would have told of them.
        if output.head.late_ticks != 0 {
            lose(output.head.tgid, output.head.start_boottime, Reason::TimerLate as u32, output.head.late_ticks as u64);
        }
    } else {
        add(Counter::Samples, 1);
    }
    state.busy = 0;
}
