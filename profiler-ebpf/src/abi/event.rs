//! Ring records. Each begins with `kind: u32`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `kind` of a [`SampleHeader`].
pub const KIND_SAMPLE: u32 = 1;
/// `kind` of a [`NewFile`].
pub const KIND_NEW_FILE: u32 = 2;
/// `kind` of a [`ProcessRecord`] at fork of a process (not of a thread).
pub const KIND_FORK: u32 = 3;
/// `kind` of a [`ProcessRecord`] at exec, after the point of no return.
pub const KIND_EXEC: u32 = 4;
/// `kind` of a [`ProcessRecord`] at the exit of a process's last thread.
pub const KIND_EXIT: u32 = 5;
/// `kind` of a [`MappingRecord`] (iterator output, not a ring).
pub const KIND_MAPPING: u32 = 6;
/// `kind` of a [`StackCopy`]; the sample that it belongs to is the next of its CPU.
pub const KIND_STACK_COPY: u32 = 7;

/// `kind` of a [`ThreadRecord`] (iterator output, not a ring).
pub const KIND_THREAD: u32 = 8;

/// `kind` of a [`ThreadExit`].
pub const KIND_THREAD_EXIT: u32 = 9;
/// `kind` of a [`WaitEnd`].
pub const KIND_WAIT_END: u32 = 10;

/// [`SampleHeader::flags`]: the tick came in kernel mode.
pub const FLAG_KERNEL_MODE: u32 = 1;
/// [`SampleHeader::flags`]: some step of the walk followed a frame pointer.
pub const FLAG_FRAME_POINTER: u32 = 2;
/// [`SampleHeader::flags`]: a kernel thread.
pub const FLAG_KERNEL_THREAD: u32 = 4;

/// Length of a task's name in the kernel, with its NUL.
pub const COMM_LENGTH: usize = 16;
/// User frames that are kept.
pub const MAX_USER_FRAMES: usize = 1024;
/// Kernel frames that are kept (the kernel's `perf_event_max_stack` default).
pub const MAX_KERNEL_FRAMES: usize = 127;

/// Head of a sample; `kernel_frames` raw kernel addresses and then `user_frames` frame words follow, both leaf first.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SampleHeader {
    /// [`KIND_SAMPLE`].
    pub kind: u32,
    /// Source: 0 the CPU timer, 1 a thread that is made, 2 a thread that leaves its CPU, 3 one that wakes another. Selects the
    /// per-CPU state too.
    pub class: u32,
    /// How the user stack ended: a code of [`crate::reasons::Reason`].
    pub status: u32,
    /// `FLAG_*`.
    pub flags: u32,
    /// CPU that took the sample.
    pub cpu: u32,
    /// Process id in the initial PID namespace.
    pub tgid: u32,
    /// Thread id in the initial PID namespace.
    pub tid: u32,
    /// `self_exec_id` of the task, low 32 bits: how many execs it has done.
    pub exec_id: u32,
    /// `start_boottime` of the group leader, ns since boot: with `tgid` the process's identity.
    pub start_boottime: u64,
    /// CLOCK_MONOTONIC, ns.
    pub time: u64,
    /// What the sample stands for, in ns of CPU time; of class 1 `start_boottime` of the new thread; of class 3 how long who is
    /// woken has waited, ns.
    pub value: u64,
    /// How many events it stands for, 16.16 fixed point.
    pub count: u32,
    /// Of class 1 the new thread's id; of classes 2 and 3 the system call in which the thread is (`orig_ax`), of class 2
    /// [`RUNNABLE`] if it could go on; else 0.
    pub labels: u32,
    /// Real, effective and saved user ids of the task.
    pub ruid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Saved user id.
    pub suid: u32,
    /// Kernel addresses that follow.
    pub kernel_frames: u32,
    /// Frame words that follow the kernel addresses.
    pub user_frames: u32,
    /// Ticks of this CPU that were lost before this one because the timer was late.
    pub late_ticks: u32,
    /// User pc at which the walk ended early, else 0.
    pub bad_pc: u64,
    /// Name of the thread, NUL padded.
    pub comm: [u8; COMM_LENGTH],
    /// Name of the group leader, NUL padded.
    pub leader_comm: [u8; COMM_LENGTH],
}
const _: () = assert!(size_of::<SampleHeader>() == 128);

/// Identity of a mapped file as the kernel sees it. The agent never computes one, it gives back what it was told.
///
/// All zero is the vDSO. On btrfs `inode` is the inode's kernel address (each subvolume numbers from 257), else 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FileKey {
    /// Inode number.
    pub ino: u64,
    /// `s_dev`, in the kernel's encoding: major << 20 | minor.
    pub dev: u32,
    /// `i_generation`.
    pub generation: u32,
    /// Change time: seconds << 32 | nanoseconds (low 30 bits).
    pub ctime: u64,
    /// Kernel address of the inode on btrfs, else 0. Never leaves the agent.
    pub inode: u64,
}
const _: () = assert!(size_of::<FileKey>() == 32);
// SAFETY: `repr(C)`, integers only, no padding (IntoBytes proves it), any bit pattern is valid.
#[cfg(not(target_arch = "bpf"))]
unsafe impl aya::Pod for FileKey {}

/// Bytes kept of one path component (255-byte names are cut to 127 and a NUL).
pub const COMPONENT_LENGTH: usize = 128;
/// Path components kept, leaf first.
pub const MAX_COMPONENTS: usize = 24;

/// First sight of a file; `components` path components of [`COMPONENT_LENGTH`] bytes follow, from the leaf to the root
/// of its file system.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct NewFile {
    /// [`KIND_NEW_FILE`].
    pub kind: u32,
    /// Number by which frame words call the file.
    pub number: u32,
    /// A process that maps it.
    pub tgid: u32,
    /// Components that follow.
    pub components: u32,
    /// Its identity.
    pub key: FileKey,
    /// One executable mapping of it in that process: start address.
    pub start: u64,
    /// End address of that mapping.
    pub end: u64,
    /// Offset in the file at which that mapping begins, bytes.
    pub offset: u64,
    /// `s_dev` of the path's file system (differs from the key's on overlayfs before 6.5).
    pub path_dev: u32,
    /// 0: a sample met it; 1: the start-up or request inventory did.
    pub source: u32,
}
const _: () = assert!(size_of::<NewFile>() == 80);

/// What a process is, at fork, exec and exit. `exe_length` bytes of the path given to execve follow (exec only).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ProcessRecord {
    /// [`KIND_FORK`], [`KIND_EXEC`] or [`KIND_EXIT`].
    pub kind: u32,
    /// Process id in the initial PID namespace (of the child at fork).
    pub tgid: u32,
    /// Process id of the parent.
    pub parent: u32,
    /// Process id inside its own PID namespace.
    pub namespace_tgid: u32,
    /// `self_exec_id`, low 32 bits.
    pub exec_id: u32,
    /// Real user id.
    pub ruid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Saved user id.
    pub suid: u32,
    /// `start_boottime` of the process, ns since boot.
    pub start_boottime: u64,
    /// CLOCK_MONOTONIC, ns.
    pub time: u64,
    /// CPU time of the whole process so far, ns (exit only, else 0).
    pub cpu_ns: u64,
    /// cgroup id (v2 hierarchy).
    pub cgroup: u64,
    /// Wait status at exit, else 0.
    pub exit_code: u32,
    /// Bytes of the path that follow.
    pub exe_length: u32,
    /// Name of the group leader.
    pub comm: [u8; COMM_LENGTH],
}
const _: () = assert!(size_of::<ProcessRecord>() == 88);
/// Bytes kept of the path given to execve.
pub const EXE_LENGTH: usize = 256;

/// One executable mapping of a process, written by the `iter/task_vma` program.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct MappingRecord {
    /// [`KIND_MAPPING`].
    pub kind: u32,
    /// Process id.
    pub tgid: u32,
    /// `start_boottime` of the process, ns since boot.
    pub start_boottime: u64,
    /// `self_exec_id`, low 32 bits.
    pub exec_id: u32,
    /// File number; 0 for a mapping without a file ([`crate::abi::frame::VDSO_FILE`] for the vDSO).
    pub file: u32,
    /// Start address.
    pub start: u64,
    /// End address.
    pub end: u64,
    /// Offset in the file, bytes.
    pub offset: u64,
}
const _: () = assert!(size_of::<MappingRecord>() == 48);

/// [`ThreadRecord::flags`]: it was on a CPU.
pub const THREAD_ON_CPU: u32 = 1;
/// [`ThreadRecord::flags`]: the user registers could not be read.
pub const THREAD_NO_REGISTERS: u32 = 2;

/// Kernel frames of a thread that are kept, a power of two less one.
pub const MAX_THREAD_KERNEL_FRAMES: usize = 63;
/// Words of `struct pt_regs`: r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss.
pub const PT_REGS_WORDS: usize = 21;

/// One thread as it stands, written by the `iter/task` program; `kernel_frames` raw kernel addresses follow, leaf first.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ThreadRecord {
    /// [`KIND_THREAD`].
    pub kind: u32,
    /// Process id in the initial PID namespace.
    pub tgid: u32,
    /// Thread id in the initial PID namespace.
    pub tid: u32,
    /// `self_exec_id` of the task, low 32 bits.
    pub exec_id: u32,
    /// `start_boottime` of the group leader, ns since boot.
    pub start_boottime: u64,
    /// `start_boottime` of the thread itself.
    pub thread_start: u64,
    /// CLOCK_MONOTONIC, ns.
    pub time: u64,
    /// CPU time of the thread so far, ns: while it does not change, the thread has not run.
    pub runtime: u64,
    /// When it was last put on a CPU, by the scheduler's clock (near CLOCK_MONOTONIC), ns; 0 where the kernel does not keep it.
    pub arrival: u64,
    /// When its wait began that is followed, CLOCK_MONOTONIC ns; 0 if none is.
    pub since: u64,
    /// `__state`.
    pub state: u32,
    /// `THREAD_*`.
    pub flags: u32,
    /// Real user id.
    pub ruid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Saved user id.
    pub suid: u32,
    /// Kernel addresses that follow.
    pub kernel_frames: u32,
    /// Name of the thread, NUL padded.
    pub comm: [u8; COMM_LENGTH],
    /// Name of the group leader, NUL padded.
    pub leader_comm: [u8; COMM_LENGTH],
    /// User registers as the thread entered the kernel; those of a thread on a CPU are older.
    pub registers: [u64; PT_REGS_WORDS],
}
const _: () = assert!(size_of::<ThreadRecord>() == 288);

/// A thread ended that was not the last of its process.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ThreadExit {
    /// [`KIND_THREAD_EXIT`].
    pub kind: u32,
    /// Process id in the initial PID namespace.
    pub tgid: u32,
    /// Thread id in the initial PID namespace.
    pub tid: u32,
    /// Always 0.
    pub reserved: u32,
    /// `start_boottime` of the group leader, ns since boot.
    pub start_boottime: u64,
    /// `start_boottime` of the thread itself.
    pub thread_start: u64,
}
const _: () = assert!(size_of::<ThreadExit>() == 32);

/// [`SampleHeader::labels`] and [`WaitEnd::call`] of a thread that left its CPU and could go on.
pub const RUNNABLE: u32 = 0xffff_fffe;
/// The same for a thread that waits for a lock of the kernel: with the flags of `contention_begin` in [`KERNEL_LOCK_FLAGS`].
pub const KERNEL_LOCK: u32 = 0xffff_ff00;
/// `LCB_F_READ`, `LCB_F_WRITE`, `LCB_F_RT`, `LCB_F_PERCPU`, `LCB_F_MUTEX` of `include/trace/events/lock.h`.
pub const KERNEL_LOCK_FLAGS: u32 = 2 | 4 | 8 | 16 | 32;

/// [`WaitEnd::flags`]: it was there when its process was looked at, old enough.
pub const WAIT_LOOKED: u32 = 1;
/// [`WaitEnd::flags`]: a sample of its beginning was kept.
pub const WAIT_SAMPLED: u32 = 2;

/// [`WaitEnd::flags`]: from this bit on 4 bits, log2 of for how many it stands if it was sampled and not looked at.
pub const WAIT_SHIFT: u32 = 8;

/// A thread whose wait is followed is back on a CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct WaitEnd {
    /// [`KIND_WAIT_END`].
    pub kind: u32,
    /// Thread id in the initial PID namespace.
    pub tid: u32,
    /// Process id in the initial PID namespace.
    pub tgid: u32,
    /// `WAIT_*`.
    pub flags: u32,
    /// When the wait began, CLOCK_MONOTONIC ns: with `tid` its identity.
    pub since: u64,
    /// When the thread was on a CPU again.
    pub end: u64,
    /// How long before that it could have run, ns.
    pub queued: u64,
    /// The system call in which it waited, or [`RUNNABLE`].
    pub call: u32,
    /// Always 0.
    pub reserved: u32,
}
const _: () = assert!(size_of::<WaitEnd>() == 48);

/// Pages of a stack that are copied at most, from the one that holds the stack pointer upwards.
pub const COPY_PAGES: usize = 4;
/// Bytes of a page.
pub const PAGE_BYTES: usize = 4096;
/// Mappings that come with a copy.
pub const COPIED_MAPPINGS: usize = 4;
/// Bytes below the stack pointer that a step may read: the word under a leaf's return address. All that lies in the red zone.
pub const RED_ZONE: u64 = 128;

/// The stack of a sample whose walk ended at a file without a table, for a walk later; `length` bytes of the stack follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct StackCopy {
    /// [`KIND_STACK_COPY`].
    pub kind: u32,
    /// CPU of the sample.
    pub cpu: u32,
    /// `time` of the sample.
    pub time: u64,
    /// Where the walk stands: see [`crate::unwind::walk::Cursor`].
    pub pc: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer.
    pub bp: u64,
    /// `pc` is a return address.
    pub is_return: u32,
    /// `registers` are those of the frame.
    pub all_registers: u32,
    /// Some step followed a frame pointer.
    pub by_frame_pointer: u32,
    /// Bytes that follow, 0 to [`COPY_PAGES`] pages.
    pub length: u32,
    /// Address of the first of them: the beginning of a page.
    pub base: u64,
    /// General registers by DWARF number.
    pub registers: [u64; 16],
    /// Mappings that the walk met last, in no order; unused ones have a length of 0.
    pub mappings: [CopiedMapping; COPIED_MAPPINGS],
}
const _: () = assert!(size_of::<StackCopy>() == 320);

/// A mapping that a walk met.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CopiedMapping {
    /// Start address.
    pub start: u64,
    /// Bytes.
    pub length: u64,
    /// Subtracted from an address gives the offset in the file.
    pub bias: u64,
    /// Number of the file, 0 for none.
    pub file: u64,
}
