//! What symbolizing and the profile kinds ask of the rooms with privileges: names and facts of files, names of the
//! kernel, live facts of processes. Traits only: the agent implements them over `kernel/`, `tables/`, `target/` and
//! `worker/`, so that nothing behind this border knows aya, `/proc` or a descriptor.

use crate::event::{
    FileNumber, FileOffset, FrameWord, ImageId, MappingSeen, ModuleNumber, MonoTime, Ownership, Pid, ProcessId,
    ThreadSeen,
};
use crate::worker::api::{FileFacts, Symbolized};
use profiler_ebpf::reasons::Reason;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A future without a name.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A path as it is shown: a target chooses it, and what it puts in must not steer the terminal of whoever reads it.
pub fn printable(path: &str) -> String {
    path.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

/// What is known of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileInfo {
    /// Path for display ([`printable`]), as the process that mapped it sees it; `[vdso]` for the vDSO.
    pub path: String,
    /// What the worker found in it; `None` until it was read, or if it could not be.
    pub facts: Option<Arc<FileFacts>>,
}

/// Parts of a file's debug information that lie in files of their own and could not be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MissingParts {
    /// Split units without functions and inlined calls.
    pub units: u64,
    /// The path of the first of them, and why.
    pub unit: Option<(String, &'static str)>,
    /// The path of what several files share, and why.
    pub shared: Option<(String, &'static str)>,
    /// Not all were looked for: there are too many, or it took too long.
    pub more: bool,
    /// Workers failed over them, so none is used.
    pub refused: bool,
}

/// Files by the kernel side's numbers.
pub trait Files: Send + Sync {
    /// What is known of a file now. Cheap.
    fn info(&self, file: FileNumber) -> Option<FileInfo>;
    /// What is missing of its debug information, as far as names were asked for; `None` if nothing is. Cheap.
    fn missing_parts(&self, file: FileNumber) -> Option<MissingParts>;
    /// Names of offsets, in their order and as many. Asks the worker: blocking, with the worker's deadline.
    fn symbolize(&self, file: FileNumber, offsets: &[FileOffset]) -> Result<Vec<Symbolized>, Reason>;
}

/// Code that processes make at run time.
pub trait MadeCode: Send + Sync {
    /// Names of addresses in code that a program made, in their order and as many, as long as it runs. Names of one image are
    /// never another's. Asks the worker: blocking, with the worker's deadline.
    fn symbolize(&self, image: ImageId, addresses: &[u64]) -> Result<Vec<Symbolized>, Reason>;
}

/// The kernel or one of its modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelModule {
    /// `[kernel.kallsyms]`, or the module's name in brackets.
    pub name: String,
    /// Bytes of its text.
    pub size: u64,
}

/// A kernel symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelSymbol {
    /// Its name.
    pub name: String,
    /// Offset of its first byte in the module's text.
    pub start: u64,
}

/// Names of the kernel, without a raw address. Cheap.
pub trait KernelNames: Send + Sync {
    /// The module with this number.
    fn module(&self, module: ModuleNumber) -> Option<KernelModule>;
    /// The symbol that covers an offset of a module.
    fn symbol(&self, module: ModuleNumber, offset: u64) -> Option<KernelSymbol>;
}

/// A thread as it stood, with the frames that were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// What the kernel said of it.
    pub seen: ThreadSeen,
    /// Frames, leaf first: kernel frames, then user frames.
    pub frames: Vec<FrameWord>,
    /// How the user stack ended; [`Reason::ThreadRan`] if it ran whenever its stack was read.
    pub status: Reason,
}

/// Live facts of processes.
pub trait Processes: Send + Sync {
    /// Executable mappings now; empty if the process is gone or they cannot be read. Blocking.
    fn mappings(&self, process: ProcessId) -> Vec<MappingSeen>;
    /// Announces the files that a process maps (`None`: all processes) and builds their tables; ends at the deadline.
    /// Blocking.
    fn prepare(&self, process: Option<ProcessId>, deadline: Duration);
    /// Who has this number now.
    fn alive(&self, pid: Pid) -> Option<ProcessId>;
    /// To whom a process belongs. Blocking.
    fn owner(&self, process: ProcessId) -> Ownership;
    /// The bytes of its command line, at most so many.
    fn cmdline(&self, pid: Pid, most: usize) -> Option<Vec<u8>>;
    /// Its threads as they stand, by number, none of them stopped for it; none if it is gone. The error is a sentence.
    /// Blocking, to about the deadline.
    fn threads(&self, process: ProcessId, deadline: Duration) -> Result<Vec<Thread>, String>;
    /// Has the stacks of those watched threads recorded that have waited for long, of one process or of all, unless they are already:
    /// when that was. Blocking.
    fn look_at_waits(&self, process: Option<ProcessId>) -> MonoTime;
    /// ns of CPU time of its whole life until now, by the scheduler's own account.
    fn cpu_clock(&self, process: ProcessId) -> Option<u64>;
    /// ns of CPU time of the whole lives of the children that it has waited for, and of theirs; told in clock ticks.
    fn reaped_clock(&self, process: ProcessId) -> Option<u64>;
    /// ns of CPU time of all processes but the agent, to some 10 ms, and the number of CPUs that it is of: only readings of
    /// as many can be compared.
    fn host_clock(&self) -> Option<(usize, u64)>;
    /// Ends when the process has exited (at once if it is gone).
    fn wait_exit(&self, process: ProcessId) -> BoxFuture<'static, ()>;
    /// ns after boot, the time that a host sleeps included, of a moment that is past: as starts are told.
    fn since_boot(&self, time: MonoTime) -> u64;
    /// The time: monotonic, and ns since the epoch.
    fn now(&self) -> (MonoTime, i64);
    /// Waits until every ring was drained past `to`: true; or 200 ms: false. Then, up to two
    /// seconds, for the stacks that wait for an unwind table; false too if some of those are stuck. Blocking.
    fn drained(&self, to: MonoTime) -> bool;
}
