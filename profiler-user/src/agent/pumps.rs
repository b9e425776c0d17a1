//! The threads that carry bytes from the kernel to the recorder and the tables: one a ring, one for what is read by the
//! clock.

use super::exact;
use crate::event::{Event, FileNumber, Frame, MonoTime, ProcessId, Sample, decode};
use crate::kernel::{Attached, Counters, Inventory, KernelSymbols, Losses, Ring};
use crate::record::{Filter, Recorder, RecorderStats};
use crate::tables::{TableCounts, Tables};
use crate::target::inventory::{Exact, inventory};
use crate::target::{Proc, clock, cpu};
use crate::telemetry::metrics::Metrics;
use profiler_ebpf::reasons::Reason;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Rings are read this often.
const PAUSE: Duration = Duration::from_millis(10);
/// Records taken from a ring at once.
const BATCH: usize = 4_096;
/// The clock's thread works this often.
const BEAT: Duration = Duration::from_millis(100);
/// Beats between two readings of CPU clocks.
const BEATS_PER_SECOND: u64 = 10;
/// Counter of lost fork, exec and exit records (`COUNT_PROCESS_LOST` on the kernel side).
const PROCESS_LOST: usize = 107;
/// Counter of samples put into the ring (`COUNT_SAMPLES`).
const SAMPLES: usize = 108;

/// When each ring was last seen empty, with all it had given to the recorder: CLOCK_MONOTONIC ns.
#[derive(Default)]
pub(super) struct RingClocks {
    samples: AtomicU64,
    processes: AtomicU64,
}

impl RingClocks {
    /// Everything up to this time has reached the recorder.
    pub(super) fn drained(&self) -> MonoTime {
        MonoTime(self.samples.load(Ordering::Acquire).min(self.processes.load(Ordering::Acquire)))
    }
}

/// What the pumps work with.
#[derive(Clone)]
pub(super) struct Pumps {
    pub(super) recorder: Recorder,
    pub(super) tables: Tables,
    pub(super) symbols: Arc<KernelSymbols>,
    pub(super) inventory: Arc<Inventory>,
    pub(super) proc: Proc,
    pub(super) clocks: Arc<RingClocks>,
}

impl Pumps {
    /// Starts the threads.
    pub(super) fn start(
        &self,
        events: Ring,
        control: Ring,
        processes: Ring,
        losses: Losses,
        counters: &Arc<Counters>,
    ) -> io::Result<()> {
        let (a, b, c, d) = (self.clone(), self.clone(), self.clone(), self.clone());
        spawn("ring-files", move || a.files(control))?;
        spawn("ring-samples", move || b.carry(events, |pumps| &pumps.clocks.samples))?;
        spawn("ring-processes", move || c.carry(processes, |pumps| &pumps.clocks.processes))?;
        self.look_at_all();
        let counters = Arc::clone(counters);
        spawn("clock", move || d.by_the_clock(losses, &counters))
    }

    /// Announces what all processes map, and tells the recorder who they are.
    fn look_at_all(&self) {
        let mut starts: HashMap<u32, (u64, u32)> = HashMap::new();
        match self.inventory.all() {
            Ok(mappings) => {
                for m in mappings {
                    starts.insert(m.image.process.pid.0, (m.image.process.start, m.image.exec_id));
                }
            }
            Err(error) => tracing::warn!(%error, "cannot list the mappings of all processes"),
        }
        let exact = |pid: crate::event::Pid| {
            starts.get(&pid.0).map(|(start, exec_id)| Exact { start: *start, exec_id: *exec_id })
        };
        match inventory(&self.proc, &exact) {
            Ok(found) => self.recorder.push(found.into_iter().map(|(fact, exe)| Event::Known(fact, exe)).collect()),
            Err(error) => tracing::warn!(%error, "cannot list the processes"),
        }
    }

    fn files(&self, mut ring: Ring) {
        loop {
            ring.drain(BATCH, |record| match decode(record, &*self.symbols) {
                Ok(Event::File(seen)) => self.tables.seen(seen),
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "bad record"),
            });
            std::thread::park_timeout(PAUSE / 2);
        }
    }

    fn carry(&self, mut ring: Ring, clock_of: fn(&Pumps) -> &AtomicU64) {
        loop {
            let before = clock::mono_now();
            let mut events = Vec::new();
            let count = ring.drain(BATCH, |record| match decode(record, &*self.symbols) {
                Ok(event) => {
                    if let Event::Sample(sample) = &event {
                        self.notice(sample);
                    }
                    events.push(event);
                }
                Err(error) => tracing::debug!(%error, "bad record"),
            });
            if !events.is_empty() {
                self.recorder.push(events);
            }
            if count < BATCH {
                clock_of(self).store(before.0, Ordering::Release);
                std::thread::park_timeout(PAUSE);
            }
        }
    }

    /// A sample that ended at a file without a table asks for it.
    fn notice(&self, sample: &Sample) {
        if sample.status == Reason::TablePending
            && let Some(Frame::Native { file: FileNumber(number), .. }) = sample.frames.last().and_then(|w| w.frame())
        {
            self.tables.met(FileNumber(number));
        }
    }

    fn by_the_clock(&self, mut losses: Losses, counters: &Counters) {
        let mut beat: u64 = 0;
        let mut lost = 0;
        loop {
            std::thread::park_timeout(BEAT);
            beat += 1;
            self.recorder.losses(losses.read(), clock::mono_now());
            if !beat.is_multiple_of(BEATS_PER_SECOND) {
                continue;
            }
            let now_lost = counters.read().get(PROCESS_LOST).copied().unwrap_or(0);
            if now_lost != lost {
                lost = now_lost;
                self.look_at_all();
            }
            self.read_clocks();
        }
    }

    fn read_clocks(&self) {
        let alive = self.recorder.processes(Filter::Alive);
        let read = |id: ProcessId| Some((id, clock::mono_now(), cpu::cpu_clock(id.pid)?));
        let clocks = alive.iter().filter_map(|info| read(info.id)).collect();
        self.recorder.cpu_clocks(clocks);
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// The exact identity of a living process.
pub(super) fn identity(inventory: &Inventory, proc: &Proc, pid: crate::event::Pid) -> Option<ProcessId> {
    let stat = proc.stat(pid).ok()?;
    let start = match exact(inventory, pid) {
        Some((start, _)) => start,
        None => crate::target::proc::start_ns(stat.start_ticks),
    };
    Some(ProcessId { pid, start })
}

/// Metrics of the kernel side, the recorder and the tables.
pub(super) fn metrics(
    metrics: &Metrics,
    counters: &Arc<Counters>,
    recorder: &Recorder,
    tables: &Tables,
    attached: Attached,
) {
    let read = Arc::clone(counters);
    let by_reason = move || {
        let values = read.read();
        Reason::ALL.iter().map(|r| (*r, values.get(*r as usize).copied().unwrap_or(0))).filter(|r| r.1 > 0).collect()
    };
    metrics.by_reason(
        "kernel_outcomes",
        "Stacks and losses by reason, as the kernel side counts them",
        Box::new(by_reason),
    );
    let read = Arc::clone(counters);
    let samples = move || read.read().get(SAMPLES).copied().unwrap_or(0);
    metrics.counter("samples", "Samples taken", Box::new(samples));
    let recorded = |field: fn(RecorderStats) -> u64| {
        let recorder = recorder.clone();
        Box::new(move || field(recorder.stats()))
    };
    metrics.gauge("recorder_bytes", "Bytes of recorded samples", recorded(|s| s.bytes));
    metrics.gauge("recorder_samples", "Recorded samples", recorded(|s| s.samples));
    metrics.counter("recorder_evicted_samples", "Samples that made room for others", recorded(|s| s.evicted));
    metrics.counter("recorder_late_samples", "Samples that came too late for the log", recorded(|s| s.too_late));
    let table = |field: fn(TableCounts) -> u64| {
        let tables = tables.clone();
        Box::new(move || field(tables.counts()))
    };
    metrics.gauge("table_bytes", "Bytes of kernel memory for unwind rows", table(|t| t.bytes));
    metrics.gauge("table_files", "Files with an unwind table", table(|t| t.tables));
    let cost = move || attached.costs().iter().map(|c| c.run_time_ns).sum();
    let help = "Time that our BPF programs ran (0 unless kernel.bpf_stats_enabled is 1)";
    metrics.counter("bpf_run_time_nanoseconds", help, Box::new(cost));
}
