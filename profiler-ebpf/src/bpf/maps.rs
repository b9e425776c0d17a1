//! The maps. Sizes are in `abi::maps`; the rings' sizes are set by the agent at load.

use crate::bpf::state::{CLASSES, Cached, CopyRecord, NewFileRecord, Output, State, Thread, Tick};
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf};
use aya_ebpf::macros::btf_map;
use profiler_ebpf::abi::counters::Counter;
use profiler_ebpf::abi::event::{FileKey, ProcessRecord};
use profiler_ebpf::abi::maps::*;
use profiler_ebpf::unwind::rule::Rule;

/// Cached mappings per CPU, a power of two (a per-CPU value may have 32 KiB).
pub(crate) const CACHE_SLOTS: usize = 256;
/// Bytes of the stack window.
pub(crate) const WINDOW_BYTES: u64 = 2048;
/// Words of the window: 16 bytes more than the mask reaches, for the second word of a pair.
pub(crate) const WINDOW_WORDS: usize = WINDOW_BYTES as usize / 8 + 2;

/// Unwind rows and page entries, in chunks.
#[btf_map]
pub(crate) static POOL: ArrayOfMaps<Array<Chunk, { CHUNKS_PER_MAP as usize }>, { POOL_MAPS as usize }> =
    ArrayOfMaps::new();
/// Only there so that its BTF describes the pool's inner maps, which kernels 5.15 to 6.1 compare.
#[btf_map]
pub(crate) static POOL_INNER: Array<Chunk, 1> = Array::new();
/// Rules that need more than a code.
#[btf_map]
pub(crate) static DICTIONARY: Array<Rule, { DICTIONARY_SLOTS as usize }> = Array::new();
/// What is known of each file.
#[btf_map]
pub(crate) static FILES: HashMap<FileKey, FileValue, { MAX_FILES as usize }> = HashMap::new();
/// New files that a process brought: part of time << 32 | how many in it.
#[btf_map]
pub(crate) static BROUGHT: LruHashMap<u32, u64, { MAX_BRINGERS as usize }> = LruHashMap::new();
/// Last file number given.
#[btf_map]
pub(crate) static LAST_FILE: Array<u64, 1> = Array::new();
/// Answer of `key_of`.
#[btf_map]
pub(crate) static KEY_OF: Array<FileKey, 1> = Array::new();
/// Rates in force.
#[btf_map]
pub(crate) static RATE: Array<RateConfig, 1> = Array::new();
/// Processes with a period of their own, ns.
#[btf_map]
pub(crate) static WATCH: HashMap<u32, u64, { MAX_WATCHED as usize }> = HashMap::new();
/// Losses of processes. The agent removes those that have been read; what finds no room is counted.
#[btf_map]
pub(crate) static LOST: HashMap<LossKey, u64, { MAX_LOSSES as usize }> = HashMap::new();
/// Samples.
#[btf_map]
pub(crate) static EVENTS: RingBuf<Output, { 1 << 23 }> = RingBuf::new();
/// New files; each wakes the agent.
#[btf_map]
pub(crate) static CONTROL: RingBuf<NewFileRecord, { 1 << 18 }> = RingBuf::new();
/// Forks, execs and exits.
#[btf_map]
pub(crate) static PROCESSES: RingBuf<ProcessRecord, { 1 << 19 }> = RingBuf::new();
/// Counters by number: statuses and losses at their [`profiler_ebpf::reasons::Reason`] code, a [`Counter`] at its own.
#[btf_map]
pub(crate) static COUNTERS_MAP: PerCpuArray<u64, { COUNTERS as usize }> = PerCpuArray::new();
/// The walk's state, one entry a class.
#[btf_map]
pub(crate) static STATE: PerCpuArray<State, { CLASSES as usize }> = PerCpuArray::new();
/// The record under construction, one entry a class.
#[btf_map]
pub(crate) static OUTPUT: PerCpuArray<Output, { CLASSES as usize }> = PerCpuArray::new();
/// The copy of a stack under construction, one entry a class.
#[btf_map]
pub(crate) static STACK_COPY: PerCpuArray<CopyRecord, { CLASSES as usize }> = PerCpuArray::new();
/// The stack window, one entry a class.
#[btf_map]
pub(crate) static WINDOW: PerCpuArray<[u64; WINDOW_WORDS], { CLASSES as usize }> = PerCpuArray::new();
/// The announcement under construction, one entry a class.
#[btf_map]
pub(crate) static NEW_FILE: PerCpuArray<NewFileRecord, { CLASSES as usize }> = PerCpuArray::new();
/// The thread under construction.
#[btf_map]
pub(crate) static THREAD: PerCpuArray<Thread, 1> = PerCpuArray::new();
/// (table page, offset) -> rule code; one 64-bit word an entry, so an interrupt never sees half of one.
#[btf_map]
pub(crate) static MEMO: PerCpuArray<[u64; MEMO_SLOTS], 1> = PerCpuArray::new();
/// Mappings found by earlier samples on this CPU.
#[btf_map]
pub(crate) static MAPPINGS: PerCpuArray<[Cached; CACHE_SLOTS], 1> = PerCpuArray::new();
/// The timer's state on this CPU.
#[btf_map]
pub(crate) static TICK: PerCpuArray<Tick, 1> = PerCpuArray::new();
/// Tail-call targets of the perf-event programs: 0 goes on with a deep stack.
#[btf_map]
pub(crate) static PROGRAMS: ProgramArray<8> = ProgramArray::new();

/// Adds to a counter of this CPU.
#[inline(always)]
pub(crate) fn add(counter: Counter, n: u64) {
    add_at(counter as u32, n);
}

/// Adds to the counter of a reason's code.
#[inline(always)]
pub(crate) fn add_at(number: u32, n: u64) {
    if let Some(value) = COUNTERS_MAP.get_ptr_mut(number) {
        // SAFETY: this CPU's own slot; a program that interrupts between load and store can lose one count.
        unsafe { *value += n }
    }
}

/// Counts a loss of a process: in the counter of its reason and under its own name.
#[inline(always)]
pub(crate) fn lose(tgid: u32, start_boottime: u64, reason: u32, n: u64) {
    add_at(reason, n);
    let key = LossKey { start_boottime, tgid, reason };
    match LOST.get_ptr_mut(&key) {
        // SAFETY: a map value; two CPUs may race and lose a count of the split by process, the counter above keeps it.
        Some(value) => unsafe { *value += n },
        None => {
            if LOST.insert(&key, &n, 0).is_err() {
                add(Counter::LossesNotSplit, n);
            }
        }
    }
}
