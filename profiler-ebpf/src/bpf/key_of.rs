//! The kernel's own key of an opened file: the agent maps a page of it and runs this program on that address
//! (BPF_PROG_TEST_RUN; loaded, never attached). `stat` cannot answer: overlayfs, btrfs and swapped files fool it.

use crate::bpf::file::key;
use crate::bpf::kernel::{TASK_MM, member};
use crate::bpf::maps::{KEY_OF, STATE};
use crate::bpf::state::CLASS_INVENTORY;
use crate::bpf::vma::walk;
use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_get_current_task_btf;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use core::ptr::read_volatile;

/// A file on a noexec mount can be checked too.
const VM_READ: u64 = 1;

/// Argument: an address in a mapping of the caller. Result 0 and the key in `KEY_OF`, or 1. One caller at a time.
#[raw_tracepoint(tracepoint = "sys_enter")]
pub(crate) fn key_of(context: RawTracePointContext) -> i32 {
    let Some(state) = STATE.get_ptr_mut(CLASS_INVENTORY) else { return 1 };
    // SAFETY: this CPU's slot of this class; the agent runs one inventory program at a time.
    let state = unsafe { &mut *state };
    // SAFETY: BTF pointer and member; the context of a test run is the agent's argument.
    unsafe {
        let mm: *const u8 = member(bpf_get_current_task_btf() as *const u8, &TASK_MM);
        state.mm = mm as u64;
        state.wanted = read_volatile(context.as_ptr() as *const u64);
    }
    state.need = VM_READ;
    if state.mm == 0 || walk(CLASS_INVENTORY) != 0 || state.file == 0 || !key(state) {
        return 1;
    }
    let Some(answer) = KEY_OF.get_ptr_mut(0) else { return 1 };
    // SAFETY: a map value; one caller at a time.
    unsafe { *answer = state.key };
    0
}
