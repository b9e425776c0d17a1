//! Per-CPU state. Most has one entry a class: a program of one class may interrupt one of another, never one of its own.

use profiler_ebpf::abi::event::{
    COMPONENT_LENGTH, COPY_PAGES, FileKey, MAX_THREAD_KERNEL_FRAMES, NewFile, PAGE_BYTES, SampleHeader, StackCopy,
    ThreadRecord,
};
use profiler_ebpf::abi::maps::FileValue;
use profiler_ebpf::pace::Grid;
use profiler_ebpf::unwind::walk::Cursor;
use profiler_ebpf::unwind::window::Window;

/// State slots.
pub(crate) const CLASSES: u32 = 5;
/// The CPU timer.
pub(crate) const CLASS_CPU: u32 = 0;
/// Threads that are made.
pub(crate) const CLASS_THREAD: u32 = 1;
/// Threads that leave their CPU.
pub(crate) const CLASS_WAIT: u32 = 2;
/// Threads that wake others.
pub(crate) const CLASS_WAKE: u32 = 3;
/// Inventory and `key_of`: run by the agent, one at a time.
pub(crate) const CLASS_INVENTORY: u32 = 4;

/// [`Mapping::kind`]: rules come from a table.
pub(crate) const MAPPING_TABLE: u32 = 0;
/// [`Mapping::kind`]: follow frame pointers.
pub(crate) const MAPPING_FRAME_POINTER: u32 = 1;
/// [`Mapping::kind`]: follow frame pointers, which may change stacks.
pub(crate) const MAPPING_ANY_STACK: u32 = 2;
/// [`Mapping::kind`] from here on: the walk stops; the reason's code is `kind - MAPPING_STOP`.
pub(crate) const MAPPING_STOP: u32 = 0x100;

/// One executable mapping.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Mapping {
    pub(crate) start: u64,
    pub(crate) length: u64,
    /// Subtracted from an address gives the offset in the file.
    pub(crate) bias: u64,
    /// See [`FileValue::page_base`].
    pub(crate) page_base: u32,
    /// `MAPPING_*`.
    pub(crate) kind: u32,
    /// Number of the file, 0 for none.
    pub(crate) file: u64,
}

/// A mapping and what must still be true for it to count.
#[repr(C)]
pub(crate) struct Cached {
    pub(crate) mm: u64,
    pub(crate) start_boottime: u64,
    /// `mm_lock_seq` | exec id << 32.
    pub(crate) sequence: u64,
    pub(crate) epoch: u64,
    pub(crate) mapping: Mapping,
}

/// Mappings that a sample keeps at hand, a power of two.
pub(crate) const KEPT: usize = 4;

/// State of a walk.
#[repr(C)]
pub(crate) struct State {
    pub(crate) busy: u64,
    pub(crate) cursor: Cursor,
    /// User frames so far.
    pub(crate) frames: u64,
    /// Where user frames begin in [`Output::words`].
    pub(crate) first: u64,
    /// What the stack window holds.
    pub(crate) window: Window,
    pub(crate) mm: u64,
    pub(crate) start_boottime: u64,
    pub(crate) sequence: u64,
    pub(crate) epoch: u64,
    pub(crate) tgid: u64,
    /// Who asks: [`NewFile::source`].
    pub(crate) source: u64,
    /// VMA flag that the walk demands: 4 VM_EXEC, 1 VM_READ.
    pub(crate) need: u64,
    /// Address whose mapping is wanted.
    pub(crate) wanted: u64,
    pub(crate) mapping: Mapping,
    /// Kernel address of the mapping's `struct file`, 0 for none.
    pub(crate) file: u64,
    pub(crate) kept: [Mapping; KEPT],
    pub(crate) kept_count: u64,
    pub(crate) key: FileKey,
    pub(crate) value: FileValue,
    /// A file number that was taken and given to no file, 0 for none: the next new file gets it.
    pub(crate) spare: u64,
    /// General registers by DWARF number.
    pub(crate) registers: [u64; 16],
    /// pt_regs or a ucontext's registers.
    pub(crate) scratch: [u64; 21],
    /// A node of the maple tree.
    pub(crate) node: [u64; 32],
    /// A VMA or an inode: their members in use lie in the first 192 bytes.
    pub(crate) copy: [u64; 24],
}

/// The timer's state on a CPU.
#[repr(C)]
pub(crate) struct Tick {
    pub(crate) grid: Grid,
    /// Time in whole ticks, ns.
    pub(crate) time: u64,
    /// Thread that ran at the last tick.
    pub(crate) tid: u64,
    /// Its run time then, ns.
    pub(crate) runtime: u64,
}

/// Words behind a sample's head: kernel addresses, then user frames; a power of two so that a mask bounds the index.
pub(crate) const WORDS: usize = 2048;

/// A sample under construction.
#[repr(C)]
pub(crate) struct Output {
    pub(crate) head: SampleHeader,
    pub(crate) words: [u64; WORDS],
}

/// A thread under construction; a word more than its kernel frames, so that a mask bounds the length.
#[repr(C)]
pub(crate) struct Thread {
    pub(crate) head: ThreadRecord,
    pub(crate) words: [u64; MAX_THREAD_KERNEL_FRAMES + 1],
}

/// An announcement under construction; room for the 32 components that a mask can reach.
#[repr(C)]
pub(crate) struct NewFileRecord {
    pub(crate) head: NewFile,
    pub(crate) components: [[u8; COMPONENT_LENGTH]; 32],
}

/// A copy of a stack under construction.
#[repr(C)]
pub(crate) struct CopyRecord {
    pub(crate) head: StackCopy,
    pub(crate) pages: [[u8; PAGE_BYTES]; COPY_PAGES],
    /// Part of time that `copies` is about.
    pub(crate) period: u64,
    /// Copies made in it.
    pub(crate) copies: u64,
}
