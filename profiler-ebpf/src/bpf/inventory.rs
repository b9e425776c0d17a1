//! `iter/task_vma`: all executable mappings of one process or of all, through the sampler's own identify and announce,
//! so that files are known before the first sample and pprof gets real addresses.

use crate::bpf::file::identify;
use crate::bpf::kernel::{TASK_EXEC_ID, TASK_LEADER, TASK_MM, TASK_PID, TASK_START, TASK_TGID, VMA_MM, member, read};
use crate::bpf::maps::STATE;
use crate::bpf::state::{CLASS_INVENTORY, State};
use crate::bpf::vma::{COPY_BYTES, take};
use aya_ebpf::bindings::seq_file;
use aya_ebpf::helpers::generated::bpf_seq_write;
use core::ffi::c_void;
use core::ptr::read_volatile;
use profiler_ebpf::abi::event::{KIND_MAPPING, MappingRecord};

const VM_EXEC: u64 = 4;

/// The iterator's context: `struct bpf_iter__task_vma`.
#[repr(C)]
struct TaskVma {
    meta: *const *mut seq_file,
    task: *const u8,
    vma: *const u8,
}

/// One mapping of one task.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_vma")]
pub(crate) extern "C" fn inventory(context: *mut c_void) -> i32 {
    let context = context as *const TaskVma;
    // SAFETY: the context of a task_vma iterator; the verifier checks each load.
    let (meta, task, vma) = unsafe {
        (
            read_volatile(&raw const (*context).meta),
            read_volatile(&raw const (*context).task),
            read_volatile(&raw const (*context).vma),
        )
    };
    if task.is_null() || vma.is_null() {
        return 0;
    }
    // SAFETY: BTF pointers and their members.
    let (pid, tgid): (u32, u32) = unsafe { (member(task, &TASK_PID), member(task, &TASK_TGID)) };
    // SAFETY: BTF pointers and their members.
    let (start_boottime, leader_mm, exec_id): (u64, u64, u64) = unsafe {
        let leader: *const u8 = member(task, &TASK_LEADER);
        (member(leader, &TASK_START), member(leader, &TASK_MM), member(task, &TASK_EXEC_ID))
    };
    // Once a process: by its leader, or by each thread when the leader is gone.
    if pid != tgid && leader_mm != 0 {
        return 0;
    }
    let Some(state) = STATE.get_ptr_mut(CLASS_INVENTORY) else { return 0 };
    // SAFETY: this CPU's slot of this class; the agent runs one inventory program at a time.
    let state = unsafe { &mut *state };
    if !prepare(state, vma) {
        return 0;
    }
    state.tgid = tgid as u64;
    if identify(CLASS_INVENTORY) != 0 {
        return 0;
    }
    let record = MappingRecord {
        kind: KIND_MAPPING,
        tgid,
        start_boottime,
        exec_id: exec_id as u32,
        file: state.mapping.file as u32,
        start: state.mapping.start,
        end: state.mapping.start + state.mapping.length,
        offset: state.mapping.start.wrapping_sub(state.mapping.bias),
    };
    // SAFETY: `meta` is the iterator's; the record is a plain structure on the stack.
    unsafe {
        let seq = read_volatile(meta);
        bpf_seq_write(seq, (&raw const record) as *const c_void, size_of::<MappingRecord>() as u32);
    }
    0
}

/// Copies the VMA into the state as `walk` would; false if it is not executable.
#[inline(always)]
fn prepare(state: &mut State, vma: *const u8) -> bool {
    let copy = (&raw mut state.copy) as *mut u64;
    if !read(copy, COPY_BYTES, vma as u64) {
        return false;
    }
    // SAFETY: offsets below COPY_BYTES.
    unsafe {
        state.mm = crate::bpf::kernel::at(copy, &VMA_MM);
        state.wanted = crate::bpf::kernel::at(copy, &crate::bpf::kernel::VMA_START);
    }
    state.need = VM_EXEC;
    state.source = 1;
    take(state) == 0
}
