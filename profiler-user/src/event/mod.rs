//! What the kernel side reports, as types: bytes -> [`Event`]. Pure; a bad record is an error, which the caller counts.
//!
//! The words of the whole house are defined here too: [`Pid`], [`Tid`], [`ProcessId`], [`ImageId`], [`FileNumber`],
//! [`FileOffset`], [`Frame`], [`MonoTime`].

mod decode;

pub use decode::decode;
pub(crate) use decode::thread_length;

use profiler_ebpf::abi::event::{self as abi, COMM_LENGTH, FileKey};
use profiler_ebpf::abi::frame::{FILE_WORD, file_and_offset, file_word};
use profiler_ebpf::reasons::Reason;
use profiler_ebpf::unwind::walk::Cursor;
use std::fmt;

/// Process id in the initial PID namespace (the kernel's tgid).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pid(pub u32);

/// Thread id in the initial PID namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tid(pub u32);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A process for good: its number and when it started. A reused number is another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId {
    /// Its number.
    pub pid: Pid,
    /// `start_boottime`, ns since boot. `/proc/PID/stat` field 22 is this in ticks of 10 ms, rounded down.
    pub start: u64,
}

/// A program in a process: exec keeps the process and starts another image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId {
    /// The process.
    pub process: ProcessId,
    /// How many execs it had done (`self_exec_id`).
    pub exec_id: u32,
}

/// Number under which the kernel side knows a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileNumber(pub u32);

/// Offset in a file, bytes. Not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileOffset(pub u64);

/// Number of a kernel module in the agent's list; 0 is the kernel itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleNumber(pub u16);

/// CLOCK_MONOTONIC, ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MonoTime(pub u64);

/// A task's name: at most 15 bytes, any bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Comm(pub [u8; COMM_LENGTH]);

impl Comm {
    /// The name as text; bytes that are no UTF-8 become replacement characters.
    pub fn to_text(&self) -> String {
        let length = self.0.iter().position(|b| *b == 0).unwrap_or(COMM_LENGTH);
        String::from_utf8_lossy(self.0.get(..length).unwrap_or_default()).into_owned()
    }
}

impl fmt::Debug for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_text().fmt(f)
    }
}

/// Where a frame's code lies. Offsets and addresses are LOOKUP addresses: inside the calling instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Frame {
    /// In a file (the vDSO counts as one).
    Native {
        /// Which.
        file: FileNumber,
        /// Where in it.
        offset: FileOffset,
    },
    /// In the kernel or a module.
    Kernel {
        /// Which.
        module: ModuleNumber,
        /// Bytes from the start of the module's (or the kernel's) text.
        offset: u64,
    },
    /// In memory without a file: code made at run time. The address belongs to the sample's image.
    Jit {
        /// Runtime address in that image.
        address: u64,
    },
    /// No code: says why something is missing.
    Pseudo {
        /// Why.
        reason: Reason,
    },
}

/// A [`Frame`] in 64 bits, as stacks are stored. Kinds 1 and 2 of bits 62..59 are the agent's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrameWord(pub u64);

const KIND_SHIFT: u32 = 59;
const KIND_JIT: u64 = 0;
const KIND_KERNEL: u64 = 1;
const KIND_PSEUDO: u64 = 2;
const MODULE_SHIFT: u32 = 48;
const MODULE_MASK: u64 = 0x7ff;
const LOW_48: u64 = (1 << 48) - 1;

impl From<Frame> for FrameWord {
    fn from(frame: Frame) -> Self {
        FrameWord(match frame {
            Frame::Native { file, offset } => file_word(u64::from(file.0), offset.0),
            Frame::Kernel { module, offset } => {
                KIND_KERNEL << KIND_SHIFT | (u64::from(module.0) & MODULE_MASK) << MODULE_SHIFT | offset & LOW_48
            }
            Frame::Jit { address } => KIND_JIT << KIND_SHIFT | address & LOW_48,
            Frame::Pseudo { reason } => KIND_PSEUDO << KIND_SHIFT | u64::from(reason as u32),
        })
    }
}

impl FrameWord {
    /// What the word says; `None` for a kind that this version does not know.
    pub fn frame(self) -> Option<Frame> {
        if self.0 & FILE_WORD != 0 {
            let (file, offset) = file_and_offset(self.0)?;
            return Some(Frame::Native { file: FileNumber(file), offset: FileOffset(offset) });
        }
        match self.0 >> KIND_SHIFT {
            KIND_JIT => Some(Frame::Jit { address: self.0 & LOW_48 }),
            KIND_KERNEL => {
                let module = ModuleNumber((self.0 >> MODULE_SHIFT & MODULE_MASK) as u16);
                Some(Frame::Kernel { module, offset: self.0 & LOW_48 })
            }
            KIND_PSEUDO => Some(Frame::Pseudo { reason: Reason::from_code((self.0 & 0xffff) as u32)? }),
            _ => None,
        }
    }
}

/// User ids of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UserIds {
    /// Real.
    pub real: u32,
    /// Effective.
    pub effective: u32,
    /// Saved.
    pub saved: u32,
}

/// The user whose all three ids of a task are, where they are one user's: whoever gains rights by a program, or gives some
/// up for a while, is nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SoleUser(u32);

impl SoleUser {
    /// Not one user's. The kernel gives nobody this number.
    pub const NONE: SoleUser = SoleUser(u32::MAX);

    /// True if it is this user's alone.
    pub fn is(self, uid: u32) -> bool {
        self != Self::NONE && self.0 == uid
    }

    /// Whose it is if it was `other`'s too.
    pub fn and(self, other: SoleUser) -> SoleUser {
        if self == other { self } else { Self::NONE }
    }
}

impl From<UserIds> for SoleUser {
    fn from(ids: UserIds) -> Self {
        if ids.real == ids.effective && ids.effective == ids.saved { SoleUser(ids.real) } else { Self::NONE }
    }
}

/// To whom a process belongs now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// To this user: its real, effective and saved user ids are all his, and the kernel lets him look at its memory. It lets
    /// nobody but root where a program got rights by its file (set-user-ID, set-group-ID, capabilities), or came from another
    /// user, until the next exec.
    Of(u32),
    /// To nobody alone.
    Shut,
    /// It is gone.
    Gone,
}

/// Source of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The CPU timer.
    Cpu,
    /// A thread that was made: the sample is its maker's.
    NewThread {
        /// The new thread.
        tid: Tid,
        /// Its own start, ns since boot.
        start: u64,
    },
    /// A thread begins to wait at the sample's time, which with the thread is the wait's identity.
    Wait {
        /// For what.
        call: Call,
        /// For how many waits it stands if it ends before anybody looks at it; 0: nobody saw it begin, a look found it.
        weight: u32,
    },
    /// A thread that ends another's wait on synchronisation, which lasted for the sample's value.
    Wake {
        /// What it does.
        call: Call,
        /// For how many it stands, 16.16 fixed point.
        count: u32,
    },
}

/// In what a thread waits: the number of a system call (`arch/x86/entry/syscalls/syscall_64.tbl`) or one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Call(pub u16);

impl Call {
    /// In no system call: a fault, or an interrupt.
    pub const NONE: Call = Call(u16::MAX);
    /// It could go on: it waits for a CPU.
    pub const RUNNABLE: Call = Call(u16::MAX - 1);

    /// The first of the numbers for locks of the kernel.
    const KERNEL_LOCKS: u16 = (abi::KERNEL_LOCK & 0xffff) as u16;

    /// For what kind of lock of the kernel a thread sleeps, if it does for one: by the `LCB_F_*` flags of
    /// `include/trace/events/lock.h`.
    pub fn kernel_lock(self) -> Option<&'static str> {
        let flags = u32::from(self.0.checked_sub(Call::KERNEL_LOCKS)?);
        if flags & !abi::KERNEL_LOCK_FLAGS != 0 {
            return None;
        }
        Some(match flags {
            flags if flags & 32 != 0 => "kernel mutex",
            flags if flags & 16 != 0 => "kernel percpu-rwsem",
            flags if flags & 8 != 0 => "kernel rtmutex",
            flags if flags & 6 != 0 => "kernel rwsem",
            _ => "kernel semaphore",
        })
    }

    /// As the kernel side has it.
    pub(crate) fn of(code: u32) -> Call {
        match code {
            abi::RUNNABLE => Call::RUNNABLE,
            lock if lock & !abi::KERNEL_LOCK_FLAGS == abi::KERNEL_LOCK => Call((lock & 0xffff) as u16),
            // `restart_syscall` goes on with the call before; numbers beyond are none.
            code => u16::try_from(code).ok().filter(|code| *code < Call::KERNEL_LOCKS).map_or(Call::NONE, Call),
        }
    }

    /// A wait on synchronisation: the futex calls.
    pub fn is_sync(self) -> bool {
        matches!(self.0, 202 | 449 | 454..=456)
    }
}

/// What a recorded value is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// CPU time.
    Cpu,
    /// Time in which a thread waited.
    Wait(Call),
    /// Time for which a thread let others wait on synchronisation, by what it did as it ended that.
    Wake(Call),
}

/// The end of a wait: its thread is on a CPU again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitEnd {
    /// Which thread.
    pub tid: Tid,
    /// Of which process.
    pub pid: Pid,
    /// When the wait began.
    pub since: MonoTime,
    /// When the thread was on a CPU again.
    pub end: MonoTime,
    /// How long before that it could have run, ns.
    pub queued: u64,
    /// In what it waited.
    pub call: Call,
    /// A look came by while it was old enough: it counts whole.
    pub looked: bool,
}

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its source.
    pub class: Class,
    /// How its user stack ended.
    pub status: Reason,
    /// The tick came in kernel mode.
    pub kernel_mode: bool,
    /// A kernel thread.
    pub kernel_thread: bool,
    /// CPU that took it.
    pub cpu: u32,
    /// Program that ran.
    pub image: ImageId,
    /// Thread that ran.
    pub tid: Tid,
    /// When.
    pub time: MonoTime,
    /// ns of CPU time that it stands for.
    pub value: u64,
    /// Ticks lost before it because the timer was late.
    pub late_ticks: u32,
    /// User ids of the task.
    pub uids: UserIds,
    /// The thread's name at that moment.
    pub thread: Comm,
    /// The group leader's name at that moment.
    pub comm: Comm,
    /// User pc at which the walk ended early, else 0.
    pub bad_pc: u64,
    /// Frames, leaf first: kernel frames, then user frames.
    pub frames: Vec<FrameWord>,
}

/// The stack of the next sample of the same CPU, whose walk met a file without a table: to be walked later.
#[derive(Clone, Debug, PartialEq)]
pub struct StackCopy {
    /// CPU of the sample.
    pub cpu: u32,
    /// Time of the sample.
    pub time: MonoTime,
    /// Where the walk stands.
    pub cursor: Cursor,
    /// General registers by DWARF number, while the cursor says that they are known.
    pub registers: [u64; 16],
    /// Address of `bytes`.
    pub base: u64,
    /// The stack from there on.
    pub bytes: Vec<u8>,
    /// Mappings that the walk met last.
    pub mappings: Vec<CopiedMapping>,
}

/// A mapping that a walk met, of the program of its sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopiedMapping {
    /// The file; `None` for memory without a file.
    pub file: Option<FileNumber>,
    /// Start address.
    pub start: u64,
    /// End address.
    pub end: u64,
    /// Offset in the file at `start`.
    pub offset: FileOffset,
}

/// What a process is or was, at one of its turning points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessFact {
    /// The program after the event.
    pub image: ImageId,
    /// The parent's pid.
    pub parent: Pid,
    /// The process's pid inside its own PID namespace.
    pub namespace_pid: Pid,
    /// User ids.
    pub uids: UserIds,
    /// When.
    pub time: MonoTime,
    /// cgroup id.
    pub cgroup: u64,
    /// The leader's name.
    pub comm: Comm,
}

/// First sight of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSeen {
    /// Its number.
    pub number: FileNumber,
    /// Its identity, to be given back as it is.
    pub key: FileKey,
    /// A process that maps it.
    pub pid: Pid,
    /// One executable mapping there: start address.
    pub start: u64,
    /// End address.
    pub end: u64,
    /// Offset in the file at which the mapping begins.
    pub offset: FileOffset,
    /// `s_dev` of the path's file system (major << 20 | minor).
    pub path_dev: u32,
    /// Path below the root of its file system, bytes joined with `/` (components over 127 bytes are cut).
    pub path: Vec<u8>,
    /// A sample met it (else an inventory did).
    pub sampled: bool,
}

/// One executable mapping of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappingSeen {
    /// The program.
    pub image: ImageId,
    /// The file; `None` for memory without a file.
    pub file: Option<FileNumber>,
    /// Start address.
    pub start: u64,
    /// End address.
    pub end: u64,
    /// Offset in the file.
    pub offset: FileOffset,
}

/// Words of the user registers in the order of the kernel's `struct pt_regs`.
pub const REGISTER_WORDS: usize = profiler_ebpf::abi::event::PT_REGS_WORDS;

/// A thread as it stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadSeen {
    /// Its program.
    pub image: ImageId,
    /// Which thread.
    pub tid: Tid,
    /// When it was seen.
    pub time: MonoTime,
    /// Its own start, ns since boot.
    pub start: u64,
    /// CPU time of the thread so far, ns: while it does not change, the thread has not run.
    pub runtime: u64,
    /// When the wait began that is followed, if one is.
    pub since: Option<MonoTime>,
    /// When it was last put on a CPU, where the kernel keeps it.
    pub arrival: Option<MonoTime>,
    /// The kernel's `__state`: 0 is running or able to, bits from `include/linux/sched.h`.
    pub state: u32,
    /// It was on a CPU.
    pub on_cpu: bool,
    /// User ids.
    pub uids: UserIds,
    /// The thread's name.
    pub thread: Comm,
    /// The group leader's name.
    pub comm: Comm,
    /// User registers (`struct pt_regs` of x86-64) as it entered the kernel; those of a thread on a CPU are older.
    pub registers: Option<[u64; REGISTER_WORDS]>,
    /// Kernel frames, leaf first.
    pub kernel: Vec<FrameWord>,
}

/// Everything that the kernel side can report.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A sample.
    Sample(Sample),
    /// The stack of a sample that follows.
    Stack(StackCopy),
    /// A file was seen for the first time.
    File(FileSeen),
    /// A process was forked (`image` is the child's).
    Fork(ProcessFact),
    /// A process became another program; the path is what was given to execve.
    Exec(ProcessFact, Vec<u8>),
    /// What an inventory of `/proc` found (at start-up, after a lost event), with the path of the executable. The image's
    /// `start` may be rounded down to the 10 ms of `/proc/PID/stat`, and its `exec_id` is not binding: `/proc` has none.
    Known(ProcessFact, Vec<u8>),
    /// The last thread of a process ended.
    Exit {
        /// Who.
        fact: ProcessFact,
        /// CPU time of its whole life, ns.
        cpu_ns: u64,
        /// Wait status.
        exit_code: u32,
    },
    /// A thread ended that was not the last of its process.
    ThreadExit {
        /// Its process.
        process: ProcessId,
        /// Which thread.
        tid: Tid,
        /// Its own start, ns since boot.
        start: u64,
    },
    /// A wait ended.
    WaitEnd(WaitEnd),
    /// A mapping (inventory).
    Mapping(MappingSeen),
    /// A thread (iterator).
    Thread(ThreadSeen),
}

/// Gives kernel addresses their place. Implemented in `kernel/` (kallsyms), so that raw addresses do not leave it.
pub trait KernelPlaces {
    /// Module and offset of a kernel address.
    fn place(&self, address: u64) -> Frame;
}

/// Why a record could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than its head or its counts say.
    #[error("record of {0} bytes is too short")]
    Short(usize),
    /// Unknown `kind`.
    #[error("unknown record kind {0}")]
    Kind(u32),
    /// Unknown status or class.
    #[error("unknown code {0}")]
    Code(u32),
    /// More frames, components or bytes than the kernel side ever writes.
    #[error("count {0} is over its bound")]
    Count(u32),
    /// A user frame word of a kind that the kernel side does not write.
    #[error("unknown frame word {0:#x}")]
    Word(u64),
}
