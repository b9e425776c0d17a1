//! Finding the mapping of an address in the kernel's own VMA tree, without a lock: 0.3 us.
//!
//! Nodes are freed by RCU and the programs that call this run with interrupts or migration off inside an RCU read
//! section, so what is read was a node of this tree; a dead node's parent word points to itself.

use crate::bpf::kernel::{self, MM_TREE, VMA_END, VMA_FILE, VMA_FLAGS, VMA_MM, VMA_PGOFF, VMA_START, at, read};
use crate::bpf::maps::{STATE, add};
use crate::bpf::state::State;
use core::ptr::read_volatile;
use profiler_ebpf::abi::counters::Counter;
use profiler_ebpf::unwind::bits::{mask, one_if_negative};

/// Levels of a maple tree that are followed: 262,144 mappings with half-full nodes need 8.
const MAX_LEVELS: u32 = 10;
/// Bytes of a node.
const NODE_BYTES: u32 = 256;
/// Bytes of a VMA (and of an inode) that hold all members in use.
pub(crate) const COPY_BYTES: u32 = 192;

/// Descends to the VMA at `wanted`; fills `mapping`'s addresses and `file`. 0 found, 1 not.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn walk(class: u32) -> u32 {
    let Some(state) = STATE.get_ptr_mut(class) else { return 1 };
    // SAFETY: this CPU's slot of this class: nobody else uses it while the program runs.
    let state = unsafe { &mut *state };
    add(Counter::Walks, 1);
    let Some(vma) = descend(state) else { return 1 };
    if !read((&raw mut state.copy) as *mut u64, COPY_BYTES, vma) {
        return 1;
    }
    take(state)
}

/// Address of the VMA whose range holds `wanted`.
#[inline(always)]
fn descend(state: &mut State) -> Option<u64> {
    let mut entry = kernel::word(state.mm + MM_TREE.load() as u64 + 8)?;
    // The root entry is tagged 2, child entries are not.
    if entry & 3 != 2 || entry <= 4096 {
        return None;
    }
    let node = (&raw mut state.node) as *mut u64;
    let wanted = (state.wanted >> 1) as i64;
    let mut level = 0;
    while level < MAX_LEVELS {
        level += 1;
        let address = entry & !255;
        let kind = (entry >> 3) & 15;
        if !read(node, NODE_BYTES, address) {
            return None;
        }
        // leaf_64 and range_64 (kinds 1, 2): 15 pivots, slots from word 16; arange_64 (3): 9 pivots, slots from word 10.
        let wide = one_if_negative(kind as i64 - 3);
        let mut below = 0u64;
        let mut i = 0;
        while i < 15 {
            // SAFETY: words 1 to 15 of a 32-word node.
            let pivot = unsafe { read_volatile(node.add(1 + i)) };
            // A zero pivot is unused and never counts: minus one it is the greatest.
            let is_below = one_if_negative(((pivot.wrapping_sub(1) >> 1) as i64).wrapping_sub(wanted));
            below += if i < 9 { is_below } else { is_below & wide };
            i += 1;
        }
        let slot = mask::<31>(below + 10 + wide * 6);
        // SAFETY: word 0 of the node.
        if unsafe { read_volatile(node) } & !255 == address {
            return None;
        }
        // SAFETY: the mask bounds the slot to the node's 32 words.
        entry = unsafe { read_volatile(node.add(slot as usize)) };
        if kind < 2 {
            return if entry == 0 { None } else { Some(entry) };
        }
    }
    None
}

/// Takes range, offset and file from the copied VMA, if it is this process's and holds `wanted` with the needed right.
#[inline(always)]
pub(crate) fn take(state: &mut State) -> u32 {
    let copy = (&raw const state.copy) as *const u64;
    // SAFETY: the offsets in use lie below COPY_BYTES (the agent checks it before loading).
    let (start, end, mm, file, flags, pgoff) = unsafe {
        (
            at(copy, &VMA_START),
            at(copy, &VMA_END),
            at(copy, &VMA_MM),
            at(copy, &VMA_FILE),
            at(copy, &VMA_FLAGS),
            at(copy, &VMA_PGOFF),
        )
    };
    if mm != state.mm || state.wanted.wrapping_sub(start) >= end.wrapping_sub(start) || flags & state.need == 0 {
        return 1;
    }
    state.mapping.start = start;
    state.mapping.length = end - start;
    state.mapping.bias = start.wrapping_sub(pgoff << 12);
    state.mapping.file = 0;
    state.mapping.page_base = 0;
    state.file = file;
    0
}
