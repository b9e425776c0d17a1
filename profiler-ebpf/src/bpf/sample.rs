//! The CPU sampler: `sample` runs at every tick of a CPU's clock, `cont` goes on with a deep stack.

use crate::bpf::log;
use crate::bpf::maps::{OUTPUT, PROGRAMS, STATE, lose};
use crate::bpf::rate;
use crate::bpf::record::{Subject, USER_CS, describe, finish, kernel_mode, walk_stack};
use crate::bpf::state::{CLASS_CPU, Output, State};
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::bpf_perf_event_data;
use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_get_stack, bpf_ktime_get_ns};
use aya_ebpf::macros::perf_event;
use aya_ebpf::programs::PerfEventContext;
use core::ffi::c_void;
use core::ptr::read_volatile;
use profiler_ebpf::abi::event::*;
use profiler_ebpf::reasons::Reason;
use profiler_ebpf::unwind::walk::Cursor;

/// Frames walked by one program before it hands over to the next by tail call.
const FRAMES_PER_PROGRAM: u32 = 128;
/// `PROGRAMS` slot of `cont`.
const CONTINUE: u32 = 0;

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
    describe(state, head, &Subject { class: CLASS_CPU, value: due.value, late: due.late, epoch: due.epoch });
    let mut status = registers(&context, state, output);
    if status == 0 {
        status = walk_stack(CLASS_CPU, FRAMES_PER_PROGRAM, state, output);
        if status == 0 {
            status = go_on(&context);
            log::no_tail_call(tgid, state.frames as u32);
        }
    }
    finish(CLASS_CPU, state, output, status);
    0
}

/// Goes on where the state of the class stands.
#[perf_event]
pub(crate) fn cont(context: PerfEventContext) -> u32 {
    let (Some(state), Some(output)) = (STATE.get_ptr_mut(CLASS_CPU), OUTPUT.get_ptr_mut(CLASS_CPU)) else { return 0 };
    // SAFETY: this CPU's slots of this class; the caller holds `busy`.
    let (state, output) = unsafe { (&mut *state, &mut *output) };
    let mut status = walk_stack(CLASS_CPU, FRAMES_PER_PROGRAM, state, output);
    if status == 0 {
        status = if state.frames < MAX_USER_FRAMES as u64 { go_on(&context) } else { Reason::Truncated as u32 };
        if status == Reason::NoTailCall as u32 {
            log::no_tail_call(output.head.tgid, state.frames as u32);
        }
    }
    finish(CLASS_CPU, state, output, status);
    0
}

/// Hands over to [`cont`]; returns only if that fails: with the reason.
#[inline(always)]
fn go_on(context: &PerfEventContext) -> u32 {
    // SAFETY: the map holds perf-event programs only.
    unsafe { PROGRAMS.tail_call(context, CONTINUE) };
    Reason::NoTailCall as u32
}

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
    kernel_mode(CLASS_CPU, state)
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
