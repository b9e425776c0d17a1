//! The mapping of an address: from those at hand, from the cache, else by a walk of the tree.

use crate::bpf::file::identify;
use crate::bpf::kernel::MM_SEQ;
use crate::bpf::maps::{CACHE_SLOTS, MAPPINGS, STATE, add};
use crate::bpf::state::{Cached, KEPT, MAPPING_STOP, Mapping, State};
use crate::bpf::vma::walk;
use profiler_ebpf::abi::counters::Counter;
use profiler_ebpf::unwind::bits::mask;

/// Makes `state.mapping` the mapping of `state.wanted`. 0 found, 1 not.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn find(class: u32) -> u32 {
    let Some(state) = STATE.get_ptr_mut(class) else { return 1 };
    // SAFETY: this CPU's slot of this class.
    let state = unsafe { &mut *state };
    let wanted = state.wanted;
    let mut i = 0;
    while i < KEPT {
        if wanted.wrapping_sub(state.kept[i].start) < state.kept[i].length {
            state.mapping = state.kept[i];
            return 0;
        }
        i += 1;
    }
    let Some(cache) = MAPPINGS.get_ptr_mut(0) else { return 1 };
    let hash = (state.mm ^ (wanted >> 12).wrapping_mul(0x9E37_79B9_7F4A_7C15)) >> 5;
    let slot = mask::<{ CACHE_SLOTS as i32 - 1 }>(hash ^ (hash >> 24)) as usize;
    // SAFETY: the mask bounds the slot; this CPU's own cache.
    let cached = unsafe { &mut *(cache as *mut Cached).add(slot) };
    if is_valid(cached, state, wanted) {
        state.mapping = cached.mapping;
        add(Counter::CachedMappings, 1);
    } else {
        // A walk that met another thread's change of the tree finds nothing: once more.
        if walk(class) != 0 {
            add(Counter::WalksRepeated, 1);
            if walk(class) != 0 {
                return 1;
            }
        }
        if identify(class) != 0 {
            return 1;
        }
        if may_cache(state) {
            cached.mm = 0;
            cached.start_boottime = state.start_boottime;
            cached.sequence = state.sequence;
            cached.epoch = state.epoch;
            cached.mapping = state.mapping;
            cached.mm = state.mm;
        }
    }
    let slot = mask::<{ KEPT as i32 - 1 }>(state.kept_count) as usize;
    state.kept_count += 1;
    // SAFETY: the mask bounds the slot to the four kept mappings.
    unsafe { *((&raw mut state.kept) as *mut Mapping).add(slot) = state.mapping };
    0
}

/// `mm_lock_seq` is odd while somebody changes the mappings; every change changes it.
#[inline(always)]
fn quiet(state: &State) -> bool {
    MM_SEQ.load() != 0 && state.sequence & 1 == 0
}

#[inline(always)]
fn is_valid(cached: &Cached, state: &State, wanted: u64) -> bool {
    quiet(state)
        && cached.mm == state.mm
        && cached.start_boottime == state.start_boottime
        && cached.sequence == state.sequence
        && cached.epoch == state.epoch
        && wanted.wrapping_sub(cached.mapping.start) < cached.mapping.length
}

/// Not before the file has its table: a file's state changes without the process's doing.
#[inline(always)]
fn may_cache(state: &State) -> bool {
    quiet(state) && state.mapping.kind < MAPPING_STOP
}
