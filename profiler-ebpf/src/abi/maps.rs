//! Map values and sizes that both sides agree on.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Files that can have a number at a time.
pub const MAX_FILES: u32 = 16_384;
/// New files that one process may bring in a period: `2^QUOTA_PERIOD_BITS` ns, 8.6 s. A sixteenth of [`MAX_FILES`].
pub const FILE_QUOTA: u64 = MAX_FILES as u64 / 16;
/// See [`FILE_QUOTA`].
pub const QUOTA_PERIOD_BITS: u32 = 33;
/// Processes that brought new files and whose number of them is known.
pub const MAX_BRINGERS: u32 = 1_024;
/// Entries of the memo of a CPU, a power of two: 16 KiB.
pub const MEMO_SLOTS: usize = 2_048;
/// Processes and reasons by which losses are split.
pub const MAX_LOSSES: u32 = 4_096;
/// Processes with a rate of their own at a time.
pub const MAX_WATCHED: u32 = 1_024;
/// 64 KiB chunks in one inner map of the pool.
pub const CHUNKS_PER_MAP: u32 = 16;
/// Inner maps of the pool: 4 GiB of tables at most, by budget far less.
pub const POOL_MAPS: u32 = 4_096;
/// 32-bit words in a chunk.
pub const CHUNK_WORDS: usize = 16_384;
/// Page entries (8 bytes) in a chunk.
pub const PAGES_PER_CHUNK: u32 = 8_192;
/// Slots of the rule dictionary.
pub const DICTIONARY_SLOTS: u32 = 32_768;
/// Processes whose waits are watched at a time.
pub const MAX_WAIT_WATCHED: u32 = 1_024;
/// Places for waits that are followed, a power of two: a thread's is at its number modulo this.
pub const WAIT_PLACES: u32 = 65_536;
/// Waits that are followed though their place is another's.
pub const MAX_CROWDED_WAITS: u32 = 8_192;
/// Per-CPU counters.
pub const COUNTERS: u32 = 128;

/// [`FileValue::state`]: announced, no table yet.
pub const FILE_PENDING: u32 = 0;
/// [`FileValue::state`]: has a table.
pub const FILE_TABLE: u32 = 1;
/// [`FileValue::state`]: has no unwind information; frame pointers are followed.
pub const FILE_FRAME_POINTERS: u32 = 2;
/// [`FileValue::state`]: cannot have a table; the walk stops there.
pub const FILE_NO_TABLE: u32 = 3;

/// [`FileValue::flags`]: steps may change stacks (Go).
pub const FLAG_ANY_STACK: u32 = 1;
/// [`FileValue::flags`]: no program file; what is mapped from it is code that the process made, so frames have addresses.
pub const FLAG_MADE_CODE: u32 = 2;

/// What the kernel knows of a file.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FileValue {
    /// Number in frame words.
    pub number: u32,
    /// `FILE_*`.
    pub state: u32,
    /// Added to (file offset >> PAGE_BITS) gives the number of a table page.
    pub page_base: u32,
    /// `FLAG_*`, of a file whose frame pointers are followed.
    pub flags: u32,
}
const _: () = assert!(size_of::<FileValue>() == 16);

/// Sampling rates in force. One entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RateConfig {
    /// Period of the timer, ns: the shortest that anybody wants.
    pub timer_period: u64,
    /// Period of every process that has none of its own, ns; 0: such processes are not sampled.
    pub base_period: u64,
    /// Raised before memory of tables that were evicted is used again: older cached mappings no longer count.
    pub epoch: u64,
    /// The agent's own process id: not sampled unless it is watched.
    pub agent: u64,
}
const _: () = assert!(size_of::<RateConfig>() == 32);

/// [`WaitWatch::flags`]: waits on synchronisation.
pub const WATCH_SYNC: u32 = 1;
/// [`WaitWatch::flags`]: all waits, and time spent runnable without a CPU.
pub const WATCH_ALL: u32 = 2;
/// [`WaitWatch::flags`]: each wait, not a part of them.
pub const WATCH_EXACT: u32 = 4;
/// [`WaitWatch::flags`]: who ends the waits of others.
pub const WATCH_WAKERS: u32 = 8;
/// [`WaitWatch::flags`]: locks of the kernel, too.
pub const WATCH_KERNEL: u32 = 16;

/// What is watched of a process's waits. Under process id 0 what is watched of all that have no entry of their own.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct WaitWatch {
    /// `WATCH_*`.
    pub flags: u32,
    /// One in `2^shift` is kept, at random; the kernel side adapts it to how many there are.
    pub shift: u32,
    /// The part of time that `kept` is about.
    pub period: u64,
    /// Waits that were kept in it.
    pub kept: u64,
    /// Of wakes the rate is `2^waker_shift` times [`WaitConfig::waker_rate`]; adapted likewise.
    pub waker_shift: u64,
    /// The part of time that `waker_kept` is about.
    pub waker_period: u64,
    /// Wakes that were kept in it.
    pub waker_kept: u64,
}
const _: () = assert!(size_of::<WaitWatch>() == 48);

/// How waits are watched. One entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct WaitConfig {
    /// Waits that end sooner are kept with the probability of their length in this, ns, where their wakers are watched.
    pub waker_rate: u64,
    /// A look is for waits that have lasted that long, ns.
    pub look_age: u64,
    /// Somebody's wakers are watched: whoever waits on synchronisation is followed, whose he may be.
    pub any_wakers: u64,
    /// Somebody's waits are watched; else only who ends others' is.
    pub any_waits: u64,
    /// Somebody's waits for locks of the kernel are watched, or who ends them.
    pub any_kernel: u64,
    /// Waits that carry another number here have ended unseen, when nobody watched.
    pub epoch: u64,
}
const _: () = assert!(size_of::<WaitConfig>() == 48);

/// A wait that is followed.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Waiting {
    /// When it began, CLOCK_MONOTONIC ns.
    pub since: u64,
    /// What the thread had waited for CPUs in its life when it began, ns.
    pub run_delay: u64,
    /// The system call in which it waits, or [`super::event::RUNNABLE`].
    pub call: u32,
    /// As those of [`super::event::WaitEnd`].
    pub flags: u32,
    /// The thread; 0: nobody's.
    pub tid: u32,
    /// [`WaitConfig::epoch`] when it began.
    pub epoch: u32,
}
const _: () = assert!(size_of::<Waiting>() == 32);

/// Whose losses, and why.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct LossKey {
    /// `start_boottime` of the process, ns since boot.
    pub start_boottime: u64,
    /// Process id.
    pub tgid: u32,
    /// A code of [`crate::reasons::Reason`].
    pub reason: u32,
}
const _: () = assert!(size_of::<LossKey>() == 16);

/// A chunk of the pool.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub struct Chunk(pub [u32; CHUNK_WORDS]);

#[cfg(not(target_arch = "bpf"))]
mod pod {
    // SAFETY: `repr(C)`, integers only, no padding, any bit pattern is valid.
    unsafe impl aya::Pod for super::FileValue {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::RateConfig {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::WaitWatch {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::WaitConfig {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Waiting {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::LossKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Chunk {}
}
