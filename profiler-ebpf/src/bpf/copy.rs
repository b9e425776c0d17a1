//! The copy of a stack whose walk met a file without a table: the agent walks it once the table is there.

use crate::bpf::maps::{EVENTS, OUTPUT, STACK_COPY, STATE, add};
use crate::bpf::state::{CopyRecord, KEPT, State};
use aya_ebpf::helpers::generated::{bpf_probe_read_user, bpf_ringbuf_output, bpf_ringbuf_query};
use core::ffi::c_void;
use profiler_ebpf::abi::counters::Counter;
use profiler_ebpf::abi::event::{
    COPIED_MAPPINGS, COPY_PAGES, CopiedMapping, KIND_STACK_COPY, PAGE_BYTES, RED_ZONE, StackCopy,
};

/// log2 of the ns in which a CPU may make [`COPIES`] copies: 134 ms.
const PERIOD_BITS: u32 = 27;
/// With 16 KiB each 16 MiB a second and CPU, for as long as a table is being built.
const COPIES: u64 = 128;
/// Copies use the ring while it holds no more than this part of what it can.
const RING_PART: u64 = 4;
const BPF_RB_NO_WAKEUP: u64 = 1;
const BPF_RB_AVAIL_DATA: u64 = 0;
const BPF_RB_RING_SIZE: u64 = 1;
const _: () = assert!(COPIED_MAPPINGS == KEPT);

/// Sends a copy of the stack of `class`, if the budget allows, before its sample.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn copy_stack(class: u32) -> u32 {
    let (Some(state), Some(output), Some(record)) =
        (STATE.get_ptr_mut(class), OUTPUT.get_ptr_mut(class), STACK_COPY.get_ptr_mut(class))
    else {
        return 1;
    };
    // SAFETY: this CPU's slots of this class.
    let (state, output, record) = unsafe { (&*state, &*output, &mut *record) };
    if !take(record, output.head.time) {
        add(Counter::StackCopiesRefused, 1);
        return 1;
    }
    describe(state, &mut record.head);
    record.head.cpu = output.head.cpu;
    record.head.time = output.head.time;
    let length = copy_pages(record);
    record.head.length = length as u32;
    let total = size_of::<StackCopy>() as u64 + length;
    // SAFETY: head and pages are adjacent, and `total` ends inside of them.
    let sent = unsafe {
        bpf_ringbuf_output(&raw const EVENTS as *mut c_void, record as *mut _ as *mut c_void, total, BPF_RB_NO_WAKEUP)
    };
    add(if sent == 0 { Counter::StackCopies } else { Counter::StackCopiesRefused }, 1);
    0
}

/// Takes one copy from the budget, if there is one left.
#[inline(always)]
fn take(record: &mut CopyRecord, now: u64) -> bool {
    let period = now >> PERIOD_BITS;
    if record.period != period {
        record.period = period;
        record.copies = 0;
    }
    let ring = &raw const EVENTS as *mut c_void;
    // SAFETY: plain helper calls on a ring.
    let (held, size) =
        unsafe { (bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA), bpf_ringbuf_query(ring, BPF_RB_RING_SIZE)) };
    record.copies += 1;
    record.copies <= COPIES && held <= size / RING_PART
}

#[inline(always)]
fn describe(state: &State, head: &mut StackCopy) {
    head.kind = KIND_STACK_COPY;
    head.pc = state.cursor.pc;
    head.sp = state.cursor.sp;
    head.bp = state.cursor.bp;
    head.is_return = state.cursor.is_return as u32;
    head.all_registers = state.cursor.all_registers as u32;
    head.by_frame_pointer = state.cursor.by_frame_pointer as u32;
    head.base = state.cursor.sp.wrapping_sub(RED_ZONE) & !(PAGE_BYTES as u64 - 1);
    head.registers = state.registers;
    let mut i = 0;
    while i < COPIED_MAPPINGS {
        let kept = &state.kept[i];
        head.mappings[i] = CopiedMapping { start: kept.start, length: kept.length, bias: kept.bias, file: kept.file };
        i += 1;
    }
}

/// Copies pages up to the first that cannot be read: the bytes.
#[inline(always)]
fn copy_pages(record: &mut CopyRecord) -> u64 {
    let mut page = 0;
    while page < COPY_PAGES {
        let from = record.head.base.wrapping_add((page * PAGE_BYTES) as u64);
        let to = &raw mut record.pages[page] as *mut c_void;
        // SAFETY: the buffer is a page; the helper checks the address.
        if unsafe { bpf_probe_read_user(to, PAGE_BYTES as u32, from as *const c_void) } != 0 {
            break;
        }
        page += 1;
    }
    (page * PAGE_BYTES) as u64
}
