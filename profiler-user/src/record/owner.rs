//! The owner of the stores: one thread to which all that can happen comes as one closed enum.

use super::SECOND;
use super::block::{Block, Entry, Loss};
use super::gate::Gate;
use super::live::{Creation, Live, LiveStats};
use super::log::Log;
use super::processes::{Filter, ProcessInfo, Processes};
use super::sum::sum;
use super::totals::{self, Totals};
use super::waits::{Ended, NoRoom, WaitStats, Waits};
use super::window::{Row, Samples, Selection, Sieve, Span, Window};
use crate::event::{Class, Event, MonoTime, Pid, ProcessId, Tid};
use crossbeam_channel::Sender;
use profiler_ebpf::abi::maps::LossKey;
use profiler_ebpf::reasons::Reason;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Processes that are known at a time.
pub(super) const MAX_PROCESSES: usize = 49_152;
/// Bytes for the table of processes; kept once a second.
pub const PROCESS_TABLE: u64 = 32 << 20;

/// How to record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecorderConfig {
    /// Bytes for the log, with the CPU clocks that belong to it.
    pub memory: u64,
    /// When recording begins: no window covers anything before.
    pub now: MonoTime,
}

impl Default for RecorderConfig {
    /// 64 MiB, recording since boot.
    fn default() -> Self {
        RecorderConfig { memory: 64 << 20, now: MonoTime(0) }
    }
}

/// What the recorder holds and what it did not keep. Samples that were pushed = `samples` + `evicted` + `too_late` +
/// `dropped`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecorderStats {
    /// Bytes in use by the log and the CPU clocks.
    pub bytes: u64,
    /// The budget for them.
    pub budget: u64,
    /// Bytes in use by the table of processes.
    pub process_bytes: u64,
    /// Seconds held.
    pub blocks: u64,
    /// Samples held.
    pub samples: u64,
    /// Stacks held.
    pub stacks: u64,
    /// Processes known.
    pub processes: u64,
    /// Samples that made room for others, most of them because their second grew too old for the budget.
    pub evicted: u64,
    /// Those of them whose process held too much while others needed room (`recorder full`).
    pub crowded: u64,
    /// Samples that came when their second was gone (`recorder full`).
    pub too_late: u64,
    /// Samples and losses that found the queue full (`queue full`).
    pub dropped: u64,
    /// Other events that found the queue full.
    pub dropped_events: u64,
    /// Processes that found the table full.
    pub refused_processes: u64,
    /// Paths of living processes' programs that the table had no room for.
    pub forgotten_paths: u64,
    /// Start of what is held, CLOCK_MONOTONIC ns.
    pub whole_since: u64,
    /// Threads whose creators are known.
    pub live: LiveStats,
    /// Waits that go on, and what is summed of those that ended.
    pub waits: WaitStats,
}

/// All that can happen to the recorder.
pub(super) enum Command {
    Events(Vec<Event>, u64),
    Losses(Vec<(LossKey, u64)>, MonoTime),
    Clocks(Vec<(ProcessId, MonoTime, u64)>),
    Gone(Vec<ProcessId>, MonoTime),
    Tick(MonoTime),
    Query(Selection, Samples, Span, Sender<Answer>),
    Totals(Question, Sender<Totals>),
    OpenWaits(Selection, Option<Sieve>, MonoTime, Sender<Vec<Row>>),
    DoubtfulWaits(Sender<Vec<(Tid, MonoTime)>>),
    WaitsOver(Vec<(Tid, MonoTime)>),
    /// Totals of these alone are kept.
    Watched(BTreeSet<ProcessId>),
    Number(Pid, Sender<Vec<ProcessInfo>>),
    List(Filter, Sender<Vec<ProcessInfo>>),
    Family(ProcessId, MonoTime, Sender<BTreeSet<ProcessId>>),
    Recorded(Sender<Vec<ProcessId>>),
    Created(ProcessId, Sender<Vec<Creation>>),
    Stats(Sender<RecorderStats>),
}

/// What of the totals is asked for.
pub(super) struct Question {
    pub(super) selection: Selection,
    pub(super) samples: Samples,
    pub(super) sieve: Option<Sieve>,
    /// Waits that go on and were at least so old, ns, at that time count too.
    pub(super) open: Option<(MonoTime, u64)>,
}

/// What the owner gives to a query.
pub(super) struct Answer {
    selection: Selection,
    samples: Samples,
    blocks: Vec<Arc<Block>>,
    covered: Option<Span>,
    cpu_ns: Option<u64>,
    ended: u64,
}

impl Answer {
    /// Sums on the caller's thread.
    pub(super) fn window(self, sieve: Option<&Sieve>) -> Window {
        let Some(covered) = self.covered else { return Window::default() };
        let sum = sum(&self.blocks, &self.selection, self.samples, sieve, covered);
        Window { cpu_ns: self.cpu_ns, ended: self.ended, covered: Some(covered), ..sum }
    }
}

pub(super) struct Owner {
    budget: u64,
    log: Log,
    processes: Processes,
    live: Live,
    waits: Waits,
    totals: totals::Store,
    /// Bytes of the CPU clocks when they were last trimmed.
    clock_bytes: u64,
    gate: Arc<Gate>,
    /// The newest time seen.
    now: MonoTime,
    /// The second in which things were last put in order.
    ordered: u64,
}

impl Owner {
    /// Nothing is recorded yet.
    pub(super) fn new(config: RecorderConfig, gate: Arc<Gate>) -> Owner {
        let (log, processes) = (Log::new(config.now), Processes::new(MAX_PROCESSES));
        let ordered = config.now.0 / SECOND;
        Owner {
            budget: config.memory,
            log,
            processes,
            live: Live::default(),
            waits: Waits::default(),
            totals: totals::Store::default(),
            clock_bytes: 0,
            gate,
            now: config.now,
            ordered,
        }
    }

    /// Answers that nobody waits for any more are dropped.
    pub(super) fn handle(&mut self, command: Command) {
        self.note_dropped();
        match command {
            Command::Events(events, bytes) => {
                for event in &events {
                    self.event(event);
                }
                self.gate.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
            Command::Losses(losses, now) => self.lose(&losses, now),
            Command::Clocks(clocks) => self.clocks(&clocks),
            Command::Gone(ids, now) => ids.iter().for_each(|id| {
                self.live.forget(*id);
                self.waits.forget(|process| process == *id);
                self.processes.gone(*id, now);
            }),
            Command::Tick(now) => self.now = self.now.max(now),
            Command::Query(selection, samples, span, reply) => {
                drop(reply.send(self.answer(selection, samples, span)));
            }
            Command::Totals(question, reply) => drop(reply.send(self.totals(&question))),
            Command::OpenWaits(selection, sieve, now, reply) => {
                drop(reply.send(self.waits.open(&selection, sieve.as_ref(), now)));
            }
            Command::DoubtfulWaits(reply) => drop(reply.send(self.waits.doubtful())),
            Command::WaitsOver(waits) => self.waits.over(&waits),
            Command::Watched(processes) => {
                self.totals.retain(|process| processes.contains(&process));
                self.waits.forget(|process| !processes.contains(&process));
            }
            Command::Number(pid, reply) => drop(reply.send(self.processes.with_number(pid, self.now))),
            Command::List(filter, reply) => {
                drop(reply.send(self.processes.list(filter, self.now, self.log.floor())));
            }
            Command::Family(root, since, reply) => drop(reply.send(self.processes.family(root, since))),
            Command::Recorded(reply) => drop(reply.send(self.processes.recorded(self.log.floor()))),
            Command::Created(process, reply) => drop(reply.send(self.live.of(process).cloned().collect())),
            Command::Stats(reply) => drop(reply.send(self.stats())),
        }
        self.put_in_order();
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Sample(sample) => {
                self.now = self.now.max(sample.time);
                match sample.class {
                    Class::Cpu => {
                        self.processes.sample(sample);
                        self.log.push(sample);
                    }
                    // Some wait for a table while their process ends.
                    Class::NewThread { .. } if self.processes.has_ended(sample.image.process) => {}
                    Class::NewThread { tid, start } => self.live.created(sample, tid, start),
                    Class::Wait { call, weight } => {
                        self.processes.wait(sample);
                        match self.waits.begin(sample, call, weight) {
                            Ok(None) => {}
                            Ok(Some(ended)) => self.ended(&ended),
                            Err(NoRoom) => {
                                let process = Some(sample.image.process);
                                let count = u64::from(weight).max(1);
                                self.totals.lose(process, Reason::RecorderFull, count);
                            }
                        }
                    }
                    Class::Wake { .. } => {
                        self.processes.wait(sample);
                        self.log.push(sample);
                        self.totals.add(&Entry::of(sample));
                    }
                }
            }
            Event::WaitEnd(end) => {
                self.now = self.now.max(end.end);
                if let Some(ended) = self.waits.end(end) {
                    self.ended(&ended);
                }
            }
            Event::Fork(fact) => self.processes.fork(fact),
            Event::Exec(fact, exe) => {
                self.live.executed(fact.image);
                self.processes.exec(fact, exe);
            }
            Event::Known(fact, exe) => self.processes.known(fact, exe),
            Event::Exit { fact, cpu_ns, .. } => {
                self.live.forget(fact.image.process);
                self.waits.forget(|process| process == fact.image.process);
                self.processes.exit(fact, *cpu_ns);
            }
            Event::ThreadExit { process, tid, start } => self.live.ended(*process, *tid, *start),
            Event::File(_) | Event::Mapping(_) | Event::Stack(_) | Event::Thread(_) => {}
        }
    }

    fn ended(&mut self, ended: &Ended) {
        for entry in ended.entries() {
            self.log.add(&entry);
            self.totals.add(&entry);
        }
    }

    fn totals(&mut self, question: &Question) -> Totals {
        let Question { selection, samples, sieve, open } = question;
        let mut found = self.totals.of(selection, *samples, sieve.as_ref());
        if let Some(open) = *open {
            self.waits.add_open(&mut found, (selection, *samples), sieve.as_ref(), open);
        }
        found
    }

    fn clocks(&mut self, clocks: &[(ProcessId, MonoTime, u64)]) {
        for (process, time, cpu_ns) in clocks {
            self.now = self.now.max(*time);
            self.processes.clock(*process, *time, *cpu_ns);
        }
    }

    fn lose(&mut self, losses: &[(LossKey, u64)], now: MonoTime) {
        self.now = self.now.max(now);
        for (key, count) in losses {
            let process = Some(ProcessId { pid: Pid(key.tgid), start: key.start_boottime });
            let reason = Reason::from_code(key.reason).unwrap_or(Reason::BadRecord);
            self.lose_one(Loss { time: now, process, reason, count: *count });
        }
    }

    fn lose_one(&mut self, loss: Loss) {
        if Samples::Waits.lose(loss.reason) || Samples::Wakes.lose(loss.reason) {
            self.totals.lose(loss.process, loss.reason, loss.count);
        }
        if loss.reason == Reason::WaitLost {
            self.waits.doubt();
        }
        self.log.lose(loss);
    }

    /// Nobody knows any more whose they were, so they count for all.
    fn note_dropped(&mut self) {
        let gate = Arc::clone(&self.gate);
        let (counts, time) = gate.take_fresh();
        for (reason, count) in counts {
            self.lose_one(Loss { time, process: None, reason, count });
        }
    }

    /// Keeps the budget, and once a second seals and forgets.
    fn put_in_order(&mut self) {
        let second = self.now.0 / SECOND;
        if second > self.ordered {
            self.ordered = second;
            self.log.seal(self.now);
            self.processes.trim(self.now, self.log.floor());
            self.processes.fit(PROCESS_TABLE);
            self.waits.trim(self.now);
            if self.totals.is_crowded() {
                self.totals.retain(|process| !self.processes.has_ended(process));
            }
            self.clock_bytes = self.processes.clock_bytes();
        }
        self.log.evict_to(self.budget.saturating_sub(self.clock_bytes));
    }

    pub(super) fn answer(&self, selection: Selection, samples: Samples, span: Span) -> Answer {
        let covered = self.log.covered(span);
        let blocks = covered.map(|span| self.log.blocks(span)).unwrap_or_default();
        let cpu_ns = covered.and_then(|span| self.processes.cpu_within(&selection, span));
        let ended = covered.map_or(0, |span| self.processes.ended_within(&selection, span));
        Answer { selection, samples, blocks, covered, cpu_ns, ended }
    }

    pub(super) fn stats(&self) -> RecorderStats {
        let (gone, blocks) = (self.log.gone(), self.log.all());
        RecorderStats {
            bytes: self.log.bytes() + self.clock_bytes,
            budget: self.budget,
            process_bytes: self.processes.table_bytes(),
            blocks: blocks.len() as u64,
            samples: self.log.all().map(Block::len).sum(),
            stacks: blocks.map(|block| block.stack_count() as u64).sum(),
            processes: self.processes.len() as u64,
            evicted: gone.aged + gone.crowded,
            crowded: gone.crowded,
            too_late: gone.too_late,
            dropped: self.gate.dropped.load(Ordering::Relaxed),
            dropped_events: self.gate.dropped_events.load(Ordering::Relaxed),
            refused_processes: self.processes.refused,
            forgotten_paths: self.processes.forgotten_paths,
            whole_since: self.log.floor().0,
            live: self.live.stats(),
            waits: WaitStats { folded: self.totals.folded, total_bytes: self.totals.bytes(), ..self.waits.stats() },
        }
    }
}
