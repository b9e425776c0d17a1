//! What the profile kinds ask, answered by the kernel side, the tables and the target's room.

use super::exact;
use super::pumps::{RingClocks, identity};
use crate::event::{FileNumber, FileOffset, ImageId, MappingSeen, ModuleNumber, MonoTime, Pid, ProcessId};
use crate::kernel::{Inventory, KernelSymbols};
use crate::symbolize::sources::{
    BoxFuture, FileInfo, Files, KernelModule, KernelNames, KernelSymbol, MadeCode, MissingParts, Processes,
};
use crate::tables::{Outcome, Tables};
use crate::target::exit::PidFd;
use crate::target::open::Opener;
use crate::target::{Proc, clock, cpu};
use crate::worker::api::Symbolized;
use crate::worker::{TrustDomain, Worker};
use profiler_ebpf::reasons::Reason;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long opening a perf map may take (its file system may block).
const OPEN_DEADLINE: Duration = Duration::from_secs(2);
/// How long a query waits for the rings.
const DRAIN_DEADLINE: Duration = Duration::from_millis(200);
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
    pub(super) worker: Worker,
}

impl Files for Sources {
    fn info(&self, file: FileNumber) -> Option<FileInfo> {
        self.tables.file(file).map(|record| FileInfo { path: record.path, facts: record.facts })
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
        let (pid, start) = (image.process.pid, image.process.start);
        let opened = self.perf_maps.open_perf_map(image.process, OPEN_DEADLINE).map_err(|error| {
            tracing::debug!(%error, %pid, "no names of the code that a process made");
            error.reason()
        })?;
        // The map is that of the program that runs now.
        if exact(&self.inventory, pid) != Some((start, image.exec_id)) {
            return Err(Reason::ProcessGone);
        }
        let domain = TrustDomain { owner: opened.owner, mount_namespace: opened.mount_namespace };
        self.worker.perf_map(domain, image.process, opened.file.as_fd(), addresses).map_err(|error| {
            tracing::debug!(%error, %pid, path = opened.path, "a perf map cannot be used");
            error.reason()
        })
    }
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

    fn cmdline(&self, pid: Pid, most: usize) -> Option<Vec<u8>> {
        self.proc.cmdline(pid, most).ok()
    }

    fn cpu_clock(&self, process: ProcessId) -> Option<u64> {
        cpu::cpu_clock_of(&self.proc, process)
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
        true
    }
}
