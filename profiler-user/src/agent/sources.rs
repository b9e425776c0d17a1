//! What the profile kinds ask, answered by the kernel side, the tables and the target's room.

use super::exact;
use super::pumps::{RingClocks, identity};
use crate::event::{FileNumber, FileOffset, ImageId, MappingSeen, ModuleNumber, MonoTime, Ownership, Pid, ProcessId};
use crate::kernel::{Inventory, KernelSymbols, Threads, Waits};
use crate::late::{Late, Targets};
use crate::record::Recorder;
use crate::symbolize::sources::{
    BoxFuture, FileInfo, Files, KernelModule, KernelNames, KernelSymbol, MadeCode, MissingParts, Processes, Thread,
    printable,
};
use crate::tables::{Outcome, TableRule, Tables};
use crate::target::exit::PidFd;
use crate::target::open::Opener;
use crate::target::{Proc, clock, cpu, owner};
use crate::worker::api::Symbolized;
use crate::worker::{TrustDomain, Worker};
use profiler_ebpf::reasons::Reason;
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long opening a perf map may take (its file system may block).
const OPEN_DEADLINE: Duration = Duration::from_secs(2);
/// A runtime that writes its map anew (`jcmd PID Compiler.perfmap`) empties it first: what a map that changed within this time
/// does not name it may name in a moment.
const FRESH: Duration = Duration::from_millis(250);
/// Time between two looks at such a map.
const REWRITE_LOOK: Duration = Duration::from_millis(50);
/// Looks at it; runtimes that append to their map all the time cost each query this much at most.
const REWRITE_LOOKS: u32 = 10;
/// How long a query waits for the rings.
const DRAIN_DEADLINE: Duration = Duration::from_millis(200);
/// How long a query waits for late stacks: a table of 100 MiB of code takes about a second.
const LATE_DEADLINE: Duration = Duration::from_secs(2);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(2);

/// The parts behind the border.
pub(super) struct Sources {
    pub(super) tables: Tables,
    pub(super) symbols: Arc<KernelSymbols>,
    pub(super) inventory: Arc<Inventory>,
    pub(super) proc: Proc,
    pub(super) clocks: Arc<RingClocks>,
    pub(super) perf_maps: Opener,
    pub(super) threads: Threads,
    pub(super) waits: Waits,
    /// One look at waits at a time: who comes behind another finds what that one found recorded.
    pub(super) looking: Mutex<()>,
    pub(super) memory: Opener,
    pub(super) held_up: super::threads::HeldUp,
    pub(super) recorder: Recorder,
    pub(super) late: Late,
    pub(super) worker: Worker,
}

/// What late stacks ask.
pub(super) struct LateTargets {
    pub(super) tables: Tables,
    pub(super) inventory: Arc<Inventory>,
}

impl Targets for LateTargets {
    fn mappings(&self, image: ImageId) -> Vec<MappingSeen> {
        let mut found = self.inventory.of(image.process.pid).unwrap_or_default();
        found.retain(|mapping| mapping.image == image);
        found
    }

    fn rule(&self, file: FileNumber, offset: FileOffset) -> Option<Result<TableRule, Reason>> {
        let found = self.tables.rule(file, offset);
        if found.is_none() {
            self.tables.met(file);
        }
        found
    }
}

impl Files for Sources {
    fn info(&self, file: FileNumber) -> Option<FileInfo> {
        self.tables.file(file).map(|record| FileInfo { path: printable(&record.path), facts: record.facts })
    }

    fn missing_parts(&self, file: FileNumber) -> Option<MissingParts> {
        // Whether something lies in a folder that is closed to others is not for everybody to know.
        let why = |(path, outcome): (String, Outcome)| match outcome {
            Outcome::NotFound | Outcome::NotOpened => (path, "not found, or not to be opened"),
            other => (path, other.name()),
        };
        let crate::tables::MissingParts { units, unit, shared, more, refused } = self.tables.missing_parts(file)?;
        Some(MissingParts { units, unit: unit.map(why), shared: shared.map(why), more, refused })
    }

    fn symbolize(&self, file: FileNumber, offsets: &[FileOffset]) -> Result<Vec<Symbolized>, Reason> {
        self.tables.symbolize(file, offsets)
    }
}

impl MadeCode for Sources {
    fn symbolize(&self, image: ImageId, addresses: &[u64]) -> Result<Vec<Symbolized>, Reason> {
        let mut read = self.perf_map(image, addresses)?;
        let mut names = std::mem::take(&mut read.names);
        for _ in 0..REWRITE_LOOKS {
            let nameless = |name: &Symbolized| matches!(name, Symbolized::Missing(_));
            let missing: Vec<usize> = (0..).zip(&names).filter(|(_, name)| nameless(name)).map(|(at, _)| at).collect();
            if missing.is_empty() || !read.fresh {
                break;
            }
            std::thread::park_timeout(REWRITE_LOOK);
            let asked: Vec<u64> = missing.iter().filter_map(|at| addresses.get(*at).copied()).collect();
            // A writer that removes its map first may have done so just now: what is known stays.
            let Ok(again) = self.perf_map(image, &asked) else { break };
            read = again;
            for (at, name) in missing.into_iter().zip(read.names.drain(..)) {
                if let Some(place) = names.get_mut(at) {
                    *place = name;
                }
            }
        }
        Ok(names)
    }
}

/// What one look into a perf map gave.
struct MapRead {
    /// As many as there were addresses.
    names: Vec<Symbolized>,
    /// It changed a moment ago, so it may be being written.
    fresh: bool,
}

impl Sources {
    /// When a program began, ns after boot: the process, or the exec, if that was seen.
    fn began(&self, image: ImageId) -> u64 {
        let known = self.recorder.process(image.process.pid);
        let images = known.iter().find(|info| info.id == image.process).map_or(&[][..], |info| &info.images);
        // One that was met without the one before may be older than its first sample.
        let exec =
            images.iter().skip(1).find(|met| met.exec_id == image.exec_id).map(|met| clock::since_boot(met.since));
        exec.unwrap_or(0).max(image.process.start)
    }

    fn perf_map(&self, image: ImageId, addresses: &[u64]) -> Result<MapRead, Reason> {
        let (pid, start) = (image.process.pid, image.process.start);
        let opened =
            self.perf_maps.open_perf_map(image.process, self.began(image), OPEN_DEADLINE).map_err(|error| {
                tracing::debug!(%error, %pid, "no names of the code that a process made");
                error.reason()
            })?;
        // The map is that of the program that runs now.
        if exact(&self.inventory, pid) != Some((start, image.exec_id)) {
            return Err(Reason::ProcessGone);
        }
        let file = File::from(opened.file);
        let domain = TrustDomain { owner: opened.owner, mount_namespace: opened.mount_namespace };
        let names = self.worker.perf_map(domain, image.process, file.as_fd(), addresses).map_err(|error| {
            tracing::debug!(%error, %pid, path = opened.path, "a perf map cannot be used");
            error.reason()
        })?;
        Ok(MapRead { names, fresh: changed_just_now(&file) })
    }
}

/// Asked after reading, so a change meanwhile counts.
fn changed_just_now(file: &File) -> bool {
    let changed = file.metadata().and_then(|metadata| metadata.modified());
    changed.is_ok_and(|time| time.elapsed().map_or(true, |age| age < FRESH))
}

impl KernelNames for Sources {
    fn module(&self, module: ModuleNumber) -> Option<KernelModule> {
        self.symbols.module(module).map(|(name, size)| KernelModule { name, size })
    }

    fn symbol(&self, module: ModuleNumber, offset: u64) -> Option<KernelSymbol> {
        self.symbols.symbol(module, offset).map(|s| KernelSymbol { name: s.name, start: s.start })
    }
}

impl Processes for Sources {
    fn mappings(&self, process: ProcessId) -> Vec<MappingSeen> {
        let mut found = self.inventory.of(process.pid).unwrap_or_default();
        found.retain(|m| m.image.process == process);
        found
    }

    fn prepare(&self, process: Option<ProcessId>, deadline: Duration) {
        let end = Instant::now() + deadline;
        let Some(process) = process else {
            // Of the whole host those that samples have met: each process that uses a CPU is sampled at the base rate.
            return self.tables.settle(deadline);
        };
        let mappings = self.mappings(process);
        let mut files: Vec<FileNumber> = mappings.iter().filter_map(|m| m.file).collect();
        files.sort_unstable();
        files.dedup();
        self.tables.prepare(&files, end.saturating_duration_since(Instant::now()));
    }

    fn alive(&self, pid: Pid) -> Option<ProcessId> {
        identity(&self.inventory, &self.proc, pid)
    }

    fn owner(&self, process: ProcessId) -> Ownership {
        owner::owner(&self.proc, process)
    }

    fn cmdline(&self, pid: Pid, most: usize) -> Option<Vec<u8>> {
        self.proc.cmdline(pid, most).ok()
    }

    fn threads(&self, process: ProcessId, deadline: Duration) -> Result<Vec<Thread>, String> {
        super::threads::look(self, process, deadline)
    }

    fn look_at_waits(&self, process: Option<ProcessId>) -> MonoTime {
        super::looks::look(self, process)
    }

    fn cpu_clock(&self, process: ProcessId) -> Option<u64> {
        cpu::cpu_clock_of(&self.proc, process)
    }

    fn reaped_clock(&self, process: ProcessId) -> Option<u64> {
        cpu::reaped_clock_of(&self.proc, process)
    }

    fn host_clock(&self) -> Option<(usize, u64)> {
        let (cpus, used) = cpu::host_clock(&self.proc)?;
        let own = cpu::cpu_clock(Pid(std::process::id())).unwrap_or(0);
        Some((cpus, used.saturating_sub(own)))
    }

    fn wait_exit(&self, process: ProcessId) -> BoxFuture<'static, ()> {
        let pidfd = PidFd::of(&self.proc, process);
        Box::pin(async move {
            match pidfd {
                Ok(Some(pidfd)) => {
                    if let Err(error) = pidfd.exited().await {
                        tracing::debug!(%error, "cannot wait for the exit of a process");
                        std::future::pending::<()>().await;
                    }
                }
                Ok(None) => {}
                Err(_) => std::future::pending().await,
            }
        })
    }

    fn since_boot(&self, time: MonoTime) -> u64 {
        clock::since_boot(time)
    }

    fn now(&self) -> (MonoTime, i64) {
        clock::now()
    }

    fn drained(&self, to: MonoTime) -> bool {
        let end = Instant::now() + DRAIN_DEADLINE;
        while self.clocks.drained() <= to {
            if Instant::now() >= end {
                return false;
            }
            std::thread::park_timeout(LOOK);
        }
        self.late.flush(to, LATE_DEADLINE)
    }
}
