//! The owner of the stores, and the handle through which everybody else reaches it.

use super::block::Sum;
use super::clocks::Clocks;
use super::log::Log;
use super::processes::{Filter, ProcessInfo, Processes};
use super::window::{Selection, Span, Window};
use crate::event::{Event, MonoTime, Pid, ProcessId};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use profiler_ebpf::abi::maps::LossKey;
use profiler_ebpf::reasons::Reason;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Commands that may wait.
const QUEUE: usize = 4_096;
/// Loss entries kept.
const MAX_LOSSES: usize = 65_536;

/// How to record.
#[derive(Clone, Copy, Debug)]
pub struct RecorderConfig {
    /// Bytes for the log.
    pub memory: u64,
    /// When recording begins.
    pub now: MonoTime,
}

impl Default for RecorderConfig {
    fn default() -> Self {
        RecorderConfig { memory: 64 << 20, now: MonoTime(0) }
    }
}

/// The recorder does not answer.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Its thread has ended.
    #[error("the recorder has ended")]
    Ended,
}

/// What the recorder holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecorderStats {
    /// Bytes in use.
    pub bytes: u64,
    /// Seconds held.
    pub blocks: u64,
    /// Samples held.
    pub samples: u64,
    /// Stacks held.
    pub stacks: u64,
    /// Processes known.
    pub processes: u64,
    /// Samples that made room for others.
    pub evicted: u64,
    /// Samples that came too late for the log.
    pub too_late: u64,
    /// Events that found the queue full.
    pub dropped: u64,
    /// Start of what is held wholly, CLOCK_MONOTONIC ns.
    pub whole_since: u64,
}

/// All that can happen to the recorder.
enum Command {
    Events(Vec<Event>),
    Losses(Vec<(LossKey, u64)>, MonoTime),
    Clocks(Vec<(ProcessId, MonoTime, u64)>),
    Query(Selection, Span, Sender<Raw>),
    Number(Pid, Sender<Vec<ProcessInfo>>),
    List(Filter, Sender<Vec<ProcessInfo>>),
    Stats(Sender<RecorderStats>),
}

/// What the owner gives to a query: shared blocks and sums of small things.
struct Raw {
    blocks: Vec<Arc<super::block::Block>>,
    losses: Vec<(Reason, u64)>,
    cpu_ns: Option<u64>,
    covered: Option<Span>,
}

/// Handle of the recorder; cheap to clone. It ends with its last handle.
#[derive(Clone)]
pub struct Recorder {
    commands: Sender<Command>,
    dropped: Arc<AtomicU64>,
}

impl Recorder {
    /// Starts the owner's thread.
    ///
    /// Without a thread (the host is out of them) every question is answered with [`RecordError::Ended`].
    pub fn start(config: RecorderConfig) -> Recorder {
        let (commands, receiver) = bounded(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let mut owner = Owner {
            log: Log::new(config.memory, config.now),
            processes: Processes::default(),
            clocks: Clocks::default(),
            losses: VecDeque::new(),
            dropped: Arc::clone(&dropped),
            now: config.now,
            cleaned: config.now,
        };
        if let Err(error) = std::thread::Builder::new().name("recorder".into()).spawn(move || owner.run(&receiver)) {
            tracing::error!(%error, "cannot start the recorder's thread");
        }
        Recorder { commands, dropped }
    }

    /// Records events. Never blocks: what finds the queue full is counted.
    pub fn push(&self, events: Vec<Event>) {
        let count = events.iter().filter(|event| matches!(event, Event::Sample(_))).count();
        self.offer(Command::Events(events), count as u64);
    }

    /// Records losses of processes, new since the last call.
    pub fn losses(&self, losses: Vec<(LossKey, u64)>, now: MonoTime) {
        self.offer(Command::Losses(losses, now), 0);
    }

    /// Records the CPU clocks of processes.
    pub fn cpu_clocks(&self, clocks: Vec<(ProcessId, MonoTime, u64)>) {
        self.offer(Command::Clocks(clocks), 0);
    }

    fn offer(&self, command: Command, samples: u64) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.commands.try_send(command) {
            self.dropped.fetch_add(samples.max(1), Ordering::Relaxed);
        }
    }

    fn ask<T>(&self, question: impl FnOnce(Sender<T>) -> Command) -> Result<T, RecordError> {
        let (reply, answer) = bounded(1);
        self.commands.send(question(reply)).map_err(|_gone| RecordError::Ended)?;
        answer.recv().map_err(|_gone| RecordError::Ended)
    }

    /// The samples of a window. Blocks until the owner answers; sums on this thread.
    #[expect(clippy::needless_pass_by_value, reason = "callers have no further use for it")]
    pub fn query(&self, selection: Selection, span: Span) -> Result<Window, RecordError> {
        let raw = self.ask(|reply| Command::Query(selection.clone(), span, reply))?;
        let mut sum = Sum::default();
        for block in &raw.blocks {
            block.sum(&selection, span, &mut sum);
        }
        let (rows, periods, late) = sum.finish();
        let mut losses = raw.losses;
        if late > 0 {
            losses.push((Reason::TimerLate, late));
        }
        Ok(Window { rows, losses, periods, cpu_ns: raw.cpu_ns, covered: raw.covered })
    }

    /// Processes that have or had this number, the newest last.
    pub fn process(&self, pid: Pid) -> Vec<ProcessInfo> {
        self.ask(|reply| Command::Number(pid, reply)).unwrap_or_default()
    }

    /// Processes that live, or the recorded dead.
    pub fn processes(&self, filter: Filter) -> Vec<ProcessInfo> {
        self.ask(|reply| Command::List(filter, reply)).unwrap_or_default()
    }

    /// What is held.
    pub fn stats(&self) -> RecorderStats {
        self.ask(Command::Stats).unwrap_or_default()
    }
}

/// Time between two clean-ups, ns.
const CLEAN: u64 = 5_000_000_000;

struct Owner {
    log: Log,
    processes: Processes,
    clocks: Clocks,
    losses: VecDeque<(MonoTime, Option<ProcessId>, Reason, u64)>,
    dropped: Arc<AtomicU64>,
    /// The newest time seen.
    now: MonoTime,
    cleaned: MonoTime,
}

impl Owner {
    fn run(&mut self, commands: &Receiver<Command>) {
        while let Ok(command) = commands.recv() {
            self.handle(command);
        }
    }

    /// A caller that has gone away needs no answer.
    fn handle(&mut self, command: Command) {
        match command {
            Command::Events(events) => events.into_iter().for_each(|event| self.event(event)),
            Command::Losses(losses, now) => self.lose(&losses, now),
            Command::Clocks(clocks) => {
                for (process, time, cpu_ns) in clocks {
                    self.clocks.add(process, time, cpu_ns);
                }
            }
            Command::Query(selection, span, reply) => drop(reply.send(self.query(&selection, span))),
            Command::Number(pid, reply) => drop(reply.send(self.processes.with_number(pid))),
            Command::List(filter, reply) => {
                drop(reply.send(self.processes.list(filter, |process| self.log.holds(process))));
            }
            Command::Stats(reply) => drop(reply.send(self.stats())),
        }
        if self.now.0 > self.cleaned.0 + CLEAN {
            self.clean();
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Sample(sample) => {
                self.now = self.now.max(sample.time);
                self.processes.meet(&sample);
                self.log.push(&sample);
            }
            Event::Fork(fact) => self.processes.learn(&fact, None),
            Event::Exec(fact, exe) | Event::Known(fact, exe) => self.processes.learn(&fact, Some(&exe)),
            Event::Exit { fact, cpu_ns, .. } => {
                self.now = self.now.max(fact.time);
                self.clocks.add(fact.image.process, fact.time, cpu_ns);
                self.processes.exit(&fact, cpu_ns);
            }
            Event::File(_) | Event::Mapping(_) => {}
        }
    }

    fn lose(&mut self, losses: &[(LossKey, u64)], now: MonoTime) {
        self.now = self.now.max(now);
        for (key, count) in losses {
            let process = ProcessId { pid: Pid(key.tgid), start: key.start_boottime };
            let Some(reason) = Reason::from_code(key.reason) else { continue };
            self.note(now, Some(process), reason, *count);
        }
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            self.note(now, None, Reason::QueueFull, dropped);
        }
    }

    fn note(&mut self, time: MonoTime, process: Option<ProcessId>, reason: Reason, count: u64) {
        if self.losses.len() >= MAX_LOSSES {
            self.losses.pop_front();
        }
        self.losses.push_back((time, process, reason, count));
    }

    fn query(&self, selection: &Selection, span: Span) -> Raw {
        let mut losses: Vec<(Reason, u64)> = Vec::new();
        for (time, process, reason, count) in &self.losses {
            let concerns = process.is_none_or(|process| selection.holds(process));
            if *time >= span.from && *time < span.to && concerns {
                match losses.iter_mut().find(|loss| loss.0 == *reason) {
                    Some(loss) => loss.1 += count,
                    None => losses.push((*reason, *count)),
                }
            }
        }
        let cpu_ns = match selection {
            Selection::Host => None,
            Selection::Processes(processes) => processes.iter().map(|p| self.clocks.within(*p, span)).sum(),
        };
        Raw { blocks: self.log.blocks(span), losses, cpu_ns, covered: self.log.covered(span) }
    }

    fn clean(&mut self) {
        self.cleaned = self.now;
        let (log, processes) = (&self.log, &mut self.processes);
        processes.forget(self.now, |process| log.holds(process));
        self.clocks.retain(|process| processes.is_known(process));
        let since = log.whole_since();
        self.losses.retain(|loss| loss.0 >= since);
    }

    fn stats(&self) -> RecorderStats {
        let (bytes, blocks, samples, stacks) = self.log.size();
        RecorderStats {
            bytes,
            blocks,
            samples,
            stacks,
            processes: self.processes.len() as u64,
            evicted: self.log.evicted,
            too_late: self.log.too_late,
            dropped: self.dropped.load(Ordering::Relaxed),
            whole_since: self.log.whole_since().0,
        }
    }
}
