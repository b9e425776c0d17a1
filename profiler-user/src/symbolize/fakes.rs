//! The border of this room in tests: a small host with a program, its libc, a file that cannot be read, and a kernel.

use super::Symbolizer;
use super::sources::{
    BoxFuture, FileInfo, Files, KernelModule, KernelNames, KernelSymbol, MadeCode, MissingParts, Processes, Thread,
};
use crate::event::{Comm, FileNumber, FileOffset, Frame, FrameWord, ImageId, MappingSeen, Source};
use crate::event::{ModuleNumber, MonoTime, Ownership, Pid, ProcessId, Tid};
use crate::record::window::Row;
use crate::worker::api::{FileFacts, Segment, SymbolFrame, Symbolized};
use profiler_ebpf::reasons::Reason;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

pub(crate) const PROGRAM: FileNumber = FileNumber(1);
pub(crate) const LIBC: FileNumber = FileNumber(2);
pub(crate) const UNREADABLE: FileNumber = FileNumber(3);
/// Parts of its debug information are missing.
pub(crate) const LACKING: FileNumber = FileNumber(4);
pub(crate) const BUILD_ID: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f9001122334";
pub(crate) const PID: u32 = 4711;
pub(crate) const START: u64 = 123_456_789_012;
/// The fake clock's reading when a test begins.
pub(crate) const EPOCH_MONO: u64 = 1_000_000_000_000;
pub(crate) const EPOCH_WALL: i64 = 1_790_000_000_000_000_000;

pub(crate) fn process() -> ProcessId {
    ProcessId { pid: Pid(PID), start: START }
}

pub(crate) fn image() -> ImageId {
    ImageId { process: process(), exec_id: 1 }
}

pub(crate) fn native(file: FileNumber, offset: u64) -> Frame {
    Frame::Native { file, offset: FileOffset(offset) }
}

pub(crate) fn kernel(offset: u64) -> Frame {
    Frame::Kernel { module: ModuleNumber(0), offset }
}

pub(crate) fn comm(text: &str) -> Comm {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
    Comm(bytes)
}

/// The usual stack: a kernel frame, libc, an inlined function in `work`, `main`, `_start`'s caller in libc, `_start`.
pub(crate) fn usual_stack() -> Vec<Frame> {
    let program = [0x1210, 0x1410].map(|offset| native(PROGRAM, offset));
    [&[kernel(0x5010), native(LIBC, 0x2_8010)][..], &program, &[native(LIBC, 0x2_9010), native(PROGRAM, 0x1010)]]
        .concat()
}

pub(crate) fn row(stack: &[Frame]) -> Row {
    Row {
        image: image(),
        tid: Tid(PID),
        thread: comm("demo"),
        comm: comm("demo"),
        stack: stack.iter().map(|frame| FrameWord::from(*frame)).collect(),
        status: Reason::Complete,
        source: Source::Cpu,
        count: 1,
        value: 10_000_000,
        events: 1 << 16,
    }
}

pub(crate) fn mappings() -> Vec<MappingSeen> {
    let seen = |file, start, end, offset| MappingSeen { image: image(), file, start, end, offset: FileOffset(offset) };
    vec![
        seen(Some(PROGRAM), 0x5555_5555_5000, 0x5555_5555_a000, 0x1000),
        seen(Some(LIBC), 0x7fff_f7c2_8000, 0x7fff_f7da_0000, 0x2_8000),
        seen(None, 0x7fff_f000_0000, 0x7fff_f001_0000, 0),
    ]
}

#[derive(Default)]
pub(crate) struct FakeFiles {
    pub(crate) calls: AtomicUsize,
    pub(crate) panics: AtomicBool,
}

impl Files for FakeFiles {
    fn info(&self, file: FileNumber) -> Option<FileInfo> {
        let facts = |build_id: &str, offset, size| {
            let segments = vec![Segment { offset, size, address: offset }];
            Some(Arc::new(FileFacts { build_id: build_id.to_owned(), segments, ..FileFacts::default() }))
        };
        let (path, facts) = match file {
            PROGRAM => ("/usr/bin/demo", facts(BUILD_ID, 0x1000, 0x4a10)),
            LIBC => ("/usr/lib/x86_64-linux-gnu/libc.so.6", facts("00ff", 0x2_8000, 0x17_7f00)),
            UNREADABLE => ("/mnt/gone/tool", None),
            LACKING => ("/opt/lacking", facts("", 0, 0x1000)),
            _ => return None,
        };
        Some(FileInfo { path: path.to_owned(), facts })
    }

    fn missing_parts(&self, file: FileNumber) -> Option<MissingParts> {
        let unit = Some(("/build/demo.dwo".to_owned(), "not found"));
        (file == LACKING).then(|| MissingParts { units: 2, unit, ..MissingParts::default() })
    }

    fn symbolize(&self, file: FileNumber, offsets: &[FileOffset]) -> Result<Vec<Symbolized>, Reason> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics.load(Ordering::SeqCst), "the files were told to panic");
        if file == UNREADABLE {
            return Err(Reason::NotOpened);
        }
        Ok(offsets.iter().map(|offset| self::symbol(file, offset.0)).collect())
    }
}

fn symbol(file: FileNumber, offset: u64) -> Symbolized {
    let frame = |name: &str, system_name: &str, line| SymbolFrame {
        name: name.to_owned(),
        system_name: system_name.to_owned(),
        file: "/src/demo.cc".to_owned(),
        line,
        column: 3,
        start_line: line - 2,
    };
    let frames = match (file, offset) {
        (PROGRAM, 0x1000..0x1100) => vec![frame("_start", "_start", 10)],
        (PROGRAM, 0x1200..0x1300) => vec![
            frame("Vec<int>::push(int)", "Vec<int>::push(int)", 20),
            frame("work(std::vector<int>&)", "_Z4workRSt6vectorIiSaIiEE", 30),
        ],
        (PROGRAM, 0x1400..0x1500) => vec![frame("main", "main", 40)],
        (LIBC, 0x2_8000..0x2_8100) => vec![frame("memcpy", "memcpy", 50)],
        (LIBC, 0x2_9000..0x2_9100) => vec![frame("__libc_start_main", "__libc_start_main", 60)],
        (LIBC, 0x2_a000..0x2_a100) => vec![frame("_PyEval_EvalFrameDefault", "_PyEval_EvalFrameDefault", 70)],
        (LIBC, 0x2_b000..0x2_b100) => return Symbolized::Nameless { start: FileOffset(0x2_b000) },
        _ => return Symbolized::Missing(Reason::NoSymbol),
    };
    Symbolized::Frames(frames)
}

impl MadeCode for FakeFiles {
    fn symbolize(&self, image: ImageId, addresses: &[u64]) -> Result<Vec<Symbolized>, Reason> {
        if image != self::image() {
            return Err(Reason::ProcessGone);
        }
        let name = |address: &u64| match address {
            0x7fff_f000_8000..0x7fff_f000_9000 => Symbolized::Frames(vec![SymbolFrame {
                name: "hot".to_owned(),
                system_name: "JS:*hot /srv/app.js:7:1".to_owned(),
                file: "/srv/app.js".to_owned(),
                start_line: 7,
                ..SymbolFrame::default()
            }]),
            _ => Symbolized::Missing(Reason::NoSymbol),
        };
        Ok(addresses.iter().map(name).collect())
    }
}

pub(crate) struct FakeKernel;

impl KernelNames for FakeKernel {
    fn module(&self, module: ModuleNumber) -> Option<KernelModule> {
        let (name, size) = match module.0 {
            0 => ("[kernel.kallsyms]", 0x140_0000),
            1 => ("[ext4]", 0x9_1234),
            2 => ("[xfs]", 0x20_0000),
            _ => return None,
        };
        Some(KernelModule { name: name.to_owned(), size })
    }

    fn symbol(&self, module: ModuleNumber, offset: u64) -> Option<KernelSymbol> {
        let found = module.0 == 0 && (0x5000..0x6000).contains(&offset);
        found.then(|| KernelSymbol { name: "do_syscall_64".to_owned(), start: 0x5000 })
    }
}

pub(crate) struct FakeProcesses {
    began: Instant,
    pub(crate) dead: Arc<AtomicBool>,
    pub(crate) exited: Arc<Notify>,
    pub(crate) prepared: Mutex<Vec<Option<ProcessId>>>,
    /// What the process is while it lives, if it is not user 1000's.
    pub(crate) ownership: Mutex<Option<Ownership>>,
    /// Where its threads stand.
    pub(crate) threads: Mutex<Vec<Thread>>,
}

impl Default for FakeProcesses {
    fn default() -> Self {
        FakeProcesses {
            began: Instant::now(),
            dead: Arc::default(),
            exited: Arc::default(),
            prepared: Mutex::default(),
            ownership: Mutex::default(),
            threads: Mutex::default(),
        }
    }
}

impl FakeProcesses {
    pub(crate) fn exit(&self) {
        self.dead.store(true, Ordering::SeqCst);
        self.exited.notify_waiters();
    }

    fn is(&self, process: ProcessId) -> bool {
        self.alive(process.pid) == Some(process)
    }
}

impl Processes for FakeProcesses {
    fn mappings(&self, process: ProcessId) -> Vec<MappingSeen> {
        if self.is(process) { mappings() } else { Vec::new() }
    }

    fn prepare(&self, process: Option<ProcessId>, _: Duration) {
        self.prepared.lock().expect("no test panics with it").push(process);
    }

    fn alive(&self, pid: Pid) -> Option<ProcessId> {
        (pid.0 == PID && !self.dead.load(Ordering::SeqCst)).then(process)
    }

    fn owner(&self, process: ProcessId) -> Ownership {
        match *self.ownership.lock().expect("no test panics with it") {
            _ if !self.is(process) => Ownership::Gone,
            Some(ownership) => ownership,
            None => Ownership::Of(1000),
        }
    }

    fn cmdline(&self, pid: Pid, _: usize) -> Option<Vec<u8>> {
        self.alive(pid).map(|_| b"/usr/bin/demo\0--depth\x0010\0".to_vec())
    }

    fn threads(&self, process: ProcessId, _: Duration) -> Result<Vec<Thread>, String> {
        let threads = self.threads.lock().expect("no test panics with it");
        Ok(if self.is(process) { threads.clone() } else { Vec::new() })
    }

    fn look_at_waits(&self, _: Option<ProcessId>) -> MonoTime {
        self.now().0
    }

    fn cpu_clock(&self, process: ProcessId) -> Option<u64> {
        self.is(process).then(|| u64::try_from(self.began.elapsed().as_nanos()).expect("short"))
    }

    fn reaped_clock(&self, process: ProcessId) -> Option<u64> {
        self.is(process).then_some(0)
    }

    fn host_clock(&self) -> Option<(usize, u64)> {
        Some((2, self.now().0.0 / 2))
    }

    fn wait_exit(&self, _: ProcessId) -> BoxFuture<'static, ()> {
        let (dead, exited) = (self.dead.clone(), self.exited.clone());
        Box::pin(async move {
            let notified = exited.notified();
            if !dead.load(Ordering::SeqCst) {
                notified.await;
            }
        })
    }

    fn since_boot(&self, time: MonoTime) -> u64 {
        time.0
    }

    fn now(&self) -> (MonoTime, i64) {
        let passed = self.began.elapsed().as_nanos();
        let passed = u64::try_from(passed).expect("short");
        (MonoTime(EPOCH_MONO + passed), EPOCH_WALL + i64::try_from(passed).expect("short"))
    }

    fn drained(&self, _: MonoTime) -> bool {
        true
    }
}

pub(crate) fn symbolizer() -> (Symbolizer, Arc<FakeFiles>) {
    let files = Arc::new(FakeFiles::default());
    (Symbolizer::new(files.clone(), Arc::new(FakeKernel), files.clone(), 1 << 20), files)
}
