//! The threads that carry bytes from the kernel to the recorder and the tables: one a ring, one for what is read by the
//! clock.

use super::exact;
use crate::event::{Class, DecodeError, Event, FileNumber, Frame, MonoTime, ProcessId, Sample, StackCopy, decode};
use crate::kernel::{Counters, Inventory, KernelSymbols, Losses, Ring, memory};
use crate::late::Late;
use crate::record::{Filter, Recorder};
use crate::tables::Tables;
use crate::target::inventory::{Exact, inventory};
use crate::target::{Proc, clock, cpu};
use crate::telemetry::metrics::ReasonCounts;
use profiler_ebpf::abi::counters::Counter;
use profiler_ebpf::reasons::Reason;
use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Rings are read this often.
const PAUSE: Duration = Duration::from_millis(10);
/// Records taken from a ring at once.
const BATCH: usize = 4_096;
/// Classes of samples that may interrupt one another.
const CLASSES: usize = 4;
/// The clock's thread works this often.
const BEAT: Duration = Duration::from_millis(100);
/// Late stacks are looked at this often.
const LATE_PAUSE: Duration = Duration::from_millis(10);
/// Beats between two readings of CPU clocks.
const BEATS_PER_SECOND: u64 = 10;
/// Beats between two times that free memory is given back.
const TRIM_BEATS: u64 = 10 * BEATS_PER_SECOND;

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
    pub(super) late: Late,
    pub(super) tables: Tables,
    pub(super) symbols: Arc<KernelSymbols>,
    pub(super) inventory: Arc<Inventory>,
    pub(super) proc: Proc,
    pub(super) clocks: Arc<RingClocks>,
    /// Samples decoded.
    pub(super) samples: Arc<ReasonCounts>,
    /// What was lost on the way to the recorder.
    pub(super) lost: Arc<ReasonCounts>,
    pub(super) orders: Arc<Orders>,
}

/// What the threads are told.
#[derive(Default)]
pub(super) struct Orders {
    stop: AtomicBool,
    /// Facts of processes were lost: `/proc` must be read again.
    look: AtomicBool,
}

/// The threads at work.
#[must_use = "they go on until they are stopped"]
pub(super) struct Running {
    orders: Arc<Orders>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// Ends the threads and waits for them: each is done within a beat.
    pub(super) fn stop(self) {
        self.orders.stop.store(true, Ordering::Release);
        for thread in self.threads {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("a thread of the agent panicked");
            }
        }
    }
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
    ) -> io::Result<Running> {
        let [files, samples, facts, late, clock] = std::array::from_fn(|_| self.clone());
        let mut running = Running { orders: Arc::clone(&self.orders), threads: Vec::new() };
        running.threads.push(spawn("ring-files", move || files.files(control))?);
        running.threads.push(spawn("ring-samples", move || samples.carry(events, &samples.clocks.samples))?);
        running.threads.push(spawn("ring-processes", move || facts.carry(processes, &facts.clocks.processes))?);
        running.threads.push(spawn("late-stacks", move || late.late())?);
        self.look_at_all();
        let counters = Arc::clone(counters);
        running.threads.push(spawn("clock", move || clock.by_the_clock(losses, &counters))?);
        Ok(running)
    }

    fn stopped(&self) -> bool {
        self.orders.stop.load(Ordering::Acquire)
    }

    /// Announces what all processes map, and tells the recorder who they are and who is gone.
    fn look_at_all(&self) {
        // Asked for first: who is in this list and not in `/proc` afterwards has ended.
        let known = self.recorder.processes(Filter::Alive);
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
            Ok(found) => {
                let alive: HashSet<_> = found.iter().map(|(fact, _)| fact.image.process.pid).collect();
                // A process of which `/proc` could not be read lives all the same.
                let is_gone = |id: &ProcessId| !alive.contains(&id.pid) && !self.proc.is_alive(*id);
                let gone = known.iter().map(|info| info.id).filter(is_gone).collect();
                self.recorder.gone(gone, clock::mono_now());
                if !self.recorder.try_push(found.into_iter().map(|(fact, exe)| Event::Known(fact, exe)).collect()) {
                    self.orders.look.store(true, Ordering::Release);
                }
            }
            Err(error) => tracing::warn!(%error, "cannot list the processes"),
        }
    }

    fn files(&self, mut ring: Ring) {
        while !self.stopped() {
            ring.drain(BATCH, |record| match decode(record, &*self.symbols) {
                Ok(Event::File(seen)) => self.tables.seen(seen),
                Ok(_) => {}
                Err(error) => self.bad(&error),
            });
            std::thread::park_timeout(PAUSE / 2);
        }
    }

    fn carry(&self, mut ring: Ring, drained: &AtomicU64) {
        // The last copies of each CPU, until their samples come: a sample of one class may come between the two of another.
        let mut copies: HashMap<u32, Vec<StackCopy>> = HashMap::new();
        while !self.stopped() {
            let before = clock::mono_now();
            let mut events = Vec::new();
            let count = ring.drain(BATCH, |record| match decode(record, &*self.symbols) {
                Ok(Event::Stack(copy)) => {
                    let waiting = copies.entry(copy.cpu).or_default();
                    if waiting.len() == CLASSES {
                        waiting.remove(0);
                    }
                    waiting.push(copy);
                }
                Ok(Event::Sample(sample)) => {
                    let waiting = copies.entry(sample.cpu).or_default();
                    let at = waiting.iter().position(|copy| copy.time == sample.time);
                    let copy = at.map(|at| waiting.remove(at));
                    events.extend(self.sorted(sample, copy).map(Event::Sample));
                }
                Ok(event) => events.push(event),
                Err(error) => self.bad(&error),
            });
            self.record(events);
            if count < BATCH {
                drained.store(before.0, Ordering::Release);
                std::thread::park_timeout(PAUSE);
            }
        }
    }

    fn record(&self, events: Vec<Event>) {
        let (all, samples) = (events.len(), events.iter().filter(|e| matches!(e, Event::Sample(_))).count());
        if !events.is_empty() && !self.recorder.try_push(events) {
            self.lost.add(Reason::QueueFull, all as u64);
            if all > samples {
                self.orders.look.store(true, Ordering::Release);
            }
        }
    }

    /// The sample, unless it can wait for a table. One that ended at a file without a table asks for it.
    fn sorted(&self, sample: Sample, copy: Option<StackCopy>) -> Option<Sample> {
        if sample.late_ticks > 0 {
            self.lost.add(Reason::TimerLate, u64::from(sample.late_ticks));
        }
        if sample.status == Reason::TablePending
            && let Some(Frame::Native { file: FileNumber(number), .. }) = sample.frames.last().and_then(|w| w.frame())
        {
            self.tables.met(FileNumber(number));
        }
        self.tables.used(&sample);
        let sample = match copy {
            Some(copy) => self.late.hold(sample, copy)?,
            None => sample,
        };
        self.count(&sample);
        Some(sample)
    }

    /// Only the CPU timer's are samples of CPU time.
    fn count(&self, sample: &Sample) {
        if sample.class == Class::Cpu {
            self.samples.add(sample.status, 1);
        }
    }

    /// Late stacks go on to the recorder.
    fn late(&self) {
        while !self.stopped() {
            self.late.work(|samples| {
                for sample in &samples {
                    self.count(sample);
                    self.tables.used(sample);
                }
                self.record(samples.into_iter().map(Event::Sample).collect());
            });
            std::thread::park_timeout(LATE_PAUSE);
        }
    }

    fn bad(&self, error: &DecodeError) {
        self.lost.add(Reason::BadRecord, 1);
        tracing::debug!(%error, "bad record");
    }

    fn by_the_clock(&self, mut losses: Losses, counters: &Counters) {
        let mut beat: u64 = 0;
        let mut lost = 0;
        while !self.stopped() {
            std::thread::park_timeout(BEAT);
            beat += 1;
            self.lose(&mut losses);
            if !beat.is_multiple_of(BEATS_PER_SECOND) {
                continue;
            }
            let now_lost = counters.read().get(Counter::ProcessRecordsLost.index()).copied().unwrap_or(0);
            if now_lost != lost || self.orders.look.swap(false, Ordering::AcqRel) {
                lost = now_lost;
                self.look_at_all();
            }
            self.tables.look_again();
            if beat.is_multiple_of(TRIM_BEATS) {
                memory::give_back();
            }
            self.read_clocks();
        }
    }

    /// Tells the recorder what the kernel side lost.
    fn lose(&self, losses: &mut Losses) {
        let now = clock::mono_now();
        let new = losses.read();
        for (key, count) in &new {
            self.lost.add(Reason::from_code(key.reason).unwrap_or(Reason::BadRecord), *count);
        }
        if new.is_empty() {
            self.recorder.tick(now);
        } else {
            self.recorder.losses(new, now);
        }
    }

    fn read_clocks(&self) {
        let read = |id: ProcessId| Some((id, clock::mono_now(), cpu::cpu_clock(id.pid)?));
        self.recorder.cpu_clocks(self.recorder.recorded().into_iter().filter_map(read).collect());
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
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
