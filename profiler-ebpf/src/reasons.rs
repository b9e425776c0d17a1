//! Every way in which a stack ends early and every way in which a record is lost: code, name, sentence.
//!
//! One table for both sides: the kernel stores the code in a record or counts it, the agent shows name and sentence.
//! Codes are never reused; a new reason takes the next number of its group.

/// Declares [`Reason`] with its code, metric name and sentence from one list.
macro_rules! reasons {
    ($($variant:ident = $code:literal, $name:literal, $sentence:literal;)*) => {
        /// Why a stack is as it is, or why a record was lost.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Reason { $(#[doc = $sentence] $variant = $code,)* }

        impl Reason {
            /// All reasons, in the order of their codes.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];

            /// The reason with this code.
            pub const fn from_code(code: u32) -> Option<Reason> {
                match code { $($code => Some(Reason::$variant),)* _ => None }
            }

            /// Short name: metric label, comment in a profile.
            pub const fn name(self) -> &'static str {
                match self { $(Reason::$variant => $name,)* }
            }

            /// What it means, as a sentence for a person.
            pub const fn sentence(self) -> &'static str {
                match self { $(Reason::$variant => $sentence,)* }
            }
        }
    };
}

reasons! {
    // 1..31: how a user stack ended. The first three are complete stacks, and 18.
    Complete = 1, "complete", "The stack was walked to its root by unwind tables.";
    CompleteByFramePointer = 2, "complete by frame pointer", "The stack was walked to its root; its last steps followed frame pointers, because that code has no unwind table.";
    NoUserStack = 3, "no user stack", "A kernel thread, or a thread that the kernel made for a process: it has kernel frames only.";
    Truncated = 4, "truncated", "The stack is deeper than the 1,024 frames that are kept.";
    NoMapping = 5, "no mapping", "A return address lies in no executable mapping of the process.";
    TablePending = 6, "table pending", "The unwind table of a file was not built yet when the sample met it.";
    NoTable = 7, "no table", "A file could not be opened or its unwind table not be built, so the stack stops there.";
    UnsupportedRule = 8, "unsupported rule", "The unwind table holds a rule that the kernel side does not evaluate.";
    UnreadableStack = 9, "unreadable stack", "The stack's memory could not be read (swapped out, or not mapped).";
    BadFramePointer = 10, "bad frame pointer", "Code without an unwind table, and its frame pointer does not lead on.";
    NoRegisters = 11, "no registers", "The user registers of the task could not be read.";
    InExec = 12, "in exec", "The task was inside execve: its old registers belong to a program that is gone. Kernel frames only.";
    Exiting = 13, "exiting", "The task had given up its memory on its way to exit. Kernel frames only.";
    Compat32 = 14, "32-bit task", "A 32-bit task: its stack is not walked.";
    TableDamaged = 16, "table damaged", "A row of the unwind table points outside of it.";
    NoTailCall = 17, "no tail call", "The program that goes on with deep stacks could not be called, so the stack stops there.";
    CompleteAtZero = 18, "complete at zero", "The stack was walked to a return address of zero: a fiber or coroutine ends so; no unwind table says that it does.";
    JitCodeWithoutFramePointer = 19, "jit code without frame pointer", "The stack ends in code that the process made itself, whose compiler uses the frame pointer's register for something else.";
    CopyTooShort = 20, "stack copy too short", "The stack was walked later, from a copy of its innermost pages, and goes on beyond them.";
    FileQuota = 21, "file quota", "The process ran code of more new files in a short time than one process may have; the stack stops at one that was not taken.";
    StackHeldUp = 22, "stack held up", "Reading the thread's stack did not end in time: its memory waits for the process itself or for a file system.";
    ThreadRan = 23, "thread ran", "The thread ran each time that its stack was read and no sample caught it, so no frames are shown that may not belong together.";
    // 32..: records and ticks that are lost.
    RingFull = 32, "ring full", "The ring buffer had no room for the record.";
    TimerLate = 33, "timer late", "The sampling timer fired late and stood for several ticks.";
    Busy = 34, "busy", "A sample interrupted the same program on the same CPU.";
    BadRecord = 35, "bad record", "A record from the kernel could not be decoded.";
    QueueFull = 36, "queue full", "A queue inside the agent had no room.";
    RecorderFull = 37, "recorder full", "The recorder's memory budget had no room, so older seconds were dropped.";
    FileTableFull = 38, "file table full", "The kernel's table of files is full; the file gets no number and no unwind table.";
    TableBudget = 39, "table budget full", "The budget for unwind tables is full; the file gets no table.";
    NotOpened = 40, "file not opened", "The file could not be opened as the very file that was mapped.";
    WorkerFailed = 42, "worker failed", "The symbol worker died or overran its deadline over this file.";
    WaitLost = 43, "wait lost", "A record of a wait found no room in the ring, or in a queue inside the agent.";
    WakeLost = 44, "wake lost", "A record of what ended another thread's wait found no room in the ring.";
    WaitNotFollowed = 45, "wait not followed", "A wait found no room in the table of those whose ends are watched for.";
    // 64..: why a frame has no name.
    NoSymbol = 64, "no symbol", "The file has no symbol that covers the address.";
    AnonymousCode = 66, "anonymous code", "Machine code in memory without a file (generated at run time).";
    KernelHidden = 67, "kernel symbols hidden", "The kernel's symbols are not readable (needs CAP_SYSLOG).";
    ProcessGone = 68, "process gone", "The process had exited, or run another program, before the names of the code that it made were read.";
    NotAsked = 69, "not asked", "There was no time left to ask for the name.";
    OlderThanAgent = 70, "older than the agent", "The thread was there before the agent, so nobody saw what created it; where it began is shown instead.";
    FirstThread = 71, "first thread", "The first thread of its process: fork made it.";
    CreationNotSeen = 72, "creation not seen", "The record of what created the thread was lost or had to make room; where it began is shown instead.";
}

impl Reason {
    /// True if a sample with this status is a complete stack: nothing of it is missing.
    pub const fn is_complete(self) -> bool {
        use Reason::{Complete, CompleteAtZero, CompleteByFramePointer, NoUserStack};
        matches!(self, Complete | CompleteByFramePointer | CompleteAtZero | NoUserStack)
    }
}
