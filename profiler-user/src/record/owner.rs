//! The owner of the stores, and the handle through which everybody else reaches it.

use super::SECOND;
use super::block::{Block, Loss};
use super::log::Log;
use super::processes::{Filter, ProcessInfo, Processes};
use super::sum::sum;
use super::window::{Selection, Span, Window};
use crate::event::{Event, MonoTime, Pid, ProcessId};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use profiler_ebpf::abi::maps::LossKey;
use profiler_ebpf::reasons::Reason;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Commands that may wait.
const QUEUE: usize = 4_096;
/// Bytes of events that may wait.
const QUEUE_BYTES: u64 = 16 << 20;
/// Processes that are known at a time.
const MAX_PROCESSES: usize = 65_536;

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

/// The recorder does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Its thread has ended.
    #[error("the recorder has ended")]
    Ended,
}

/// What the recorder holds and what it did not keep. Samples that were pushed = `samples` + `evicted` + `crowded` +
/// `too_late` + `dropped`.
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
    /// Samples of seconds that grew too old for the budget.
    pub evicted: u64,
    /// Samples of processes that held too much while others needed room (`recorder full`).
    pub crowded: u64,
    /// Samples that came when their second was gone (`recorder full`).
    pub too_late: u64,
    /// Samples and losses that found the queue full (`queue full`).
    pub dropped: u64,
    /// Other events that found the queue full.
    pub dropped_events: u64,
    /// Processes that found the table full.
    pub refused_processes: u64,
    /// Start of what is held, CLOCK_MONOTONIC ns.
    pub whole_since: u64,
}

/// All that can happen to the recorder.
enum Command {
    Events(Vec<Event>, u64),
    Losses(Vec<(LossKey, u64)>, MonoTime),
    Clocks(Vec<(ProcessId, MonoTime, u64)>),
    Gone(Vec<ProcessId>, MonoTime),
    Tick(MonoTime),
    Query(Selection, Span, Sender<Answer>),
    Number(Pid, Sender<Vec<ProcessInfo>>),
    List(Filter, Sender<Vec<ProcessInfo>>),
    Recorded(Sender<Vec<ProcessId>>),
    Stats(Sender<RecorderStats>),
}

/// What the owner gives to a query.
struct Answer {
    blocks: Vec<Arc<Block>>,
    covered: Option<Span>,
    cpu_ns: Option<u64>,
}

/// What passes between the handles and the owner beside the queue.
#[derive(Default)]
struct Gate {
    queued_bytes: AtomicU64,
    /// Samples and losses dropped since the owner last looked, and the time of the newest.
    fresh: AtomicU64,
    fresh_time: AtomicU64,
    dropped: AtomicU64,
    dropped_events: AtomicU64,
}

impl Gate {
    fn drop_samples(&self, count: u64, time: MonoTime) {
        self.fresh_time.fetch_max(time.0, Ordering::Relaxed);
        self.dropped.fetch_add(count, Ordering::Relaxed);
        self.fresh.fetch_add(count, Ordering::Release);
    }

    fn drop_events(&self, count: u64) {
        self.dropped_events.fetch_add(count, Ordering::Relaxed);
    }
}

/// Handle of the recorder; cheap to clone. The recorder ends with its last handle.
#[derive(Clone)]
pub struct Recorder {
    commands: Sender<Command>,
    gate: Arc<Gate>,
}

impl Recorder {
    /// Starts the owner's thread.
    pub fn start(config: RecorderConfig) -> io::Result<Recorder> {
        let (recorder, receiver, mut owner) = Recorder::parts(config);
        let run = move || receiver.iter().for_each(|command| owner.handle(command));
        std::thread::Builder::new().name("recorder".into()).spawn(run)?;
        Ok(recorder)
    }

    fn parts(config: RecorderConfig) -> (Recorder, Receiver<Command>, Owner) {
        let (commands, receiver) = bounded(QUEUE);
        let gate = Arc::new(Gate::default());
        let owner = Owner::new(config, Arc::clone(&gate));
        (Recorder { commands, gate }, receiver, owner)
    }

    /// Records events. Never blocks: if the queue is full they are counted and dropped, and the answer is false. Then who
    /// sent facts of processes should look at `/proc` again.
    pub fn push(&self, events: Vec<Event>) -> bool {
        let bytes = queued_bytes(&events);
        let before = self.gate.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let refused = if before.saturating_add(bytes) > QUEUE_BYTES {
            events
        } else {
            match self.offer(Command::Events(events, bytes)) {
                Some(Command::Events(events, _)) => events,
                _ => return true,
            }
        };
        self.gate.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.count_dropped(&refused);
        false
    }

    fn count_dropped(&self, events: &[Event]) {
        let times = events.iter().filter_map(|event| match event {
            Event::Sample(sample) => Some(sample.time),
            _ => None,
        });
        let (count, newest) = times.fold((0, None), |(count, newest), time| (count + 1, newest.max(Some(time))));
        self.gate.drop_events(events.len() as u64 - count);
        if let Some(time) = newest {
            self.gate.drop_samples(count, time);
        }
    }

    /// Records losses of processes, new since the last call. Never blocks.
    pub fn losses(&self, losses: Vec<(LossKey, u64)>, now: MonoTime) {
        if let Some(Command::Losses(losses, now)) = self.offer(Command::Losses(losses, now)) {
            let count = losses.iter().map(|(_, count)| count).sum();
            self.gate.drop_samples(count, now);
        }
    }

    /// Records readings of CPU clocks: once a second of what [`Recorder::recorded`] lists, and at a window's ends. A
    /// window knows its CPU time if readings enclose it. Never blocks.
    pub fn cpu_clocks(&self, clocks: Vec<(ProcessId, MonoTime, u64)>) {
        if let Some(Command::Clocks(clocks)) = self.offer(Command::Clocks(clocks)) {
            self.gate.drop_events(clocks.len() as u64);
        }
    }

    /// Records that these were found to be dead although their exit was not reported. Never blocks.
    pub fn gone(&self, processes: Vec<ProcessId>, now: MonoTime) {
        if let Some(Command::Gone(processes, _)) = self.offer(Command::Gone(processes, now)) {
            self.gate.drop_events(processes.len() as u64);
        }
    }

    /// Time goes on even if nothing happens. Never blocks; the next tick makes a dropped one good.
    pub fn tick(&self, now: MonoTime) {
        let _dropped = self.offer(Command::Tick(now));
    }

    /// Gives the command back if there is no room.
    fn offer(&self, command: Command) -> Option<Command> {
        match self.commands.try_send(command) {
            Ok(()) => None,
            Err(TrySendError::Full(command) | TrySendError::Disconnected(command)) => Some(command),
        }
    }

    fn ask<T>(&self, question: impl FnOnce(Sender<T>) -> Command) -> Result<T, RecordError> {
        let (reply, answer) = bounded(1);
        self.commands.send(question(reply)).map_err(|_ended| RecordError::Ended)?;
        answer.recv().map_err(|_ended| RecordError::Ended)
    }

    /// The samples of a window, after all that was pushed before. Blocks until the owner answers; sums on this thread.
    pub fn query(&self, selection: Selection, span: Span) -> Result<Window, RecordError> {
        let answer = self.ask(|reply| Command::Query(selection.clone(), span, reply))?;
        Ok(answer.window(&selection))
    }

    /// Processes that have or had this number, the newest last. Blocking.
    pub fn process(&self, pid: Pid) -> Vec<ProcessInfo> {
        self.ask(|reply| Command::Number(pid, reply)).unwrap_or_default()
    }

    /// Processes that live, or the recorded dead. Blocking.
    pub fn processes(&self, filter: Filter) -> Vec<ProcessInfo> {
        self.ask(|reply| Command::List(filter, reply)).unwrap_or_default()
    }

    /// Living processes of which samples are recorded: whose CPU clocks are to be read once a second. Blocking.
    pub fn recorded(&self) -> Vec<ProcessId> {
        self.ask(Command::Recorded).unwrap_or_default()
    }

    /// What is held. Blocking.
    pub fn stats(&self) -> RecorderStats {
        self.ask(Command::Stats).unwrap_or_default()
    }
}

/// Bytes that events take while they wait.
fn queued_bytes(events: &[Event]) -> u64 {
    let outside = events.iter().map(|event| match event {
        Event::Sample(sample) => size_of_val(sample.frames.as_slice()),
        Event::File(seen) => seen.path.len(),
        Event::Exec(_, path) | Event::Known(_, path) => path.len(),
        Event::Fork(_) | Event::Exit { .. } | Event::Mapping(_) => 0,
    });
    (size_of_val(events) + outside.sum::<usize>()) as u64
}

impl Answer {
    fn window(self, selection: &Selection) -> Window {
        let Some(covered) = self.covered else { return Window::default() };
        Window { cpu_ns: self.cpu_ns, covered: Some(covered), ..sum(&self.blocks, selection, covered) }
    }
}

struct Owner {
    budget: u64,
    log: Log,
    processes: Processes,
    /// Bytes of the CPU clocks when they were last trimmed.
    clock_bytes: u64,
    gate: Arc<Gate>,
    /// The newest time seen.
    now: MonoTime,
    /// The second in which things were last put in order.
    ordered: u64,
}

impl Owner {
    fn new(config: RecorderConfig, gate: Arc<Gate>) -> Owner {
        let (log, processes) = (Log::new(config.now), Processes::new(MAX_PROCESSES));
        let ordered = config.now.0 / SECOND;
        Owner { budget: config.memory, log, processes, clock_bytes: 0, gate, now: config.now, ordered }
    }

    /// Answers that nobody waits for any more are dropped.
    fn handle(&mut self, command: Command) {
        self.note_dropped();
        match command {
            Command::Events(events, bytes) => {
                events.iter().for_each(|event| self.event(event));
                self.gate.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
            Command::Losses(losses, now) => self.lose(&losses, now),
            Command::Clocks(clocks) => self.clocks(&clocks),
            Command::Gone(ids, now) => ids.iter().for_each(|id| self.processes.gone(*id, now)),
            Command::Tick(now) => self.now = self.now.max(now),
            Command::Query(selection, span, reply) => drop(reply.send(self.answer(&selection, span))),
            Command::Number(pid, reply) => drop(reply.send(self.processes.with_number(pid, self.now))),
            Command::List(filter, reply) => {
                drop(reply.send(self.processes.list(filter, self.now, self.log.floor())));
            }
            Command::Recorded(reply) => drop(reply.send(self.processes.recorded(self.log.floor()))),
            Command::Stats(reply) => drop(reply.send(self.stats())),
        }
        self.put_in_order();
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Sample(sample) => {
                self.now = self.now.max(sample.time);
                self.processes.sample(sample);
                self.log.push(sample);
            }
            Event::Fork(fact) => self.processes.fork(fact),
            Event::Exec(fact, exe) => self.processes.exec(fact, exe),
            Event::Known(fact, exe) => self.processes.known(fact, exe),
            Event::Exit { fact, cpu_ns, .. } => self.processes.exit(fact, *cpu_ns),
            Event::File(_) | Event::Mapping(_) => {}
        }
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
            self.log.lose(Loss { time: now, process, reason, count: *count });
        }
    }

    /// Nobody knows any more whose they were, so they count for all.
    fn note_dropped(&mut self) {
        let count = self.gate.fresh.swap(0, Ordering::Acquire);
        if count > 0 {
            let time = MonoTime(self.gate.fresh_time.load(Ordering::Relaxed));
            self.log.lose(Loss { time, process: None, reason: Reason::QueueFull, count });
        }
    }

    /// Keeps the budget, and once a second seals and forgets.
    fn put_in_order(&mut self) {
        let second = self.now.0 / SECOND;
        if second > self.ordered {
            self.ordered = second;
            self.log.seal(self.now);
            self.processes.trim(self.now, self.log.floor());
            self.clock_bytes = self.processes.clock_bytes();
        }
        self.log.evict_to(self.budget.saturating_sub(self.clock_bytes));
    }

    fn answer(&self, selection: &Selection, span: Span) -> Answer {
        let covered = self.log.covered(span);
        let blocks = covered.map(|span| self.log.blocks(span)).unwrap_or_default();
        let cpu_ns = covered.and_then(|span| self.processes.cpu_within(selection, span));
        Answer { blocks, covered, cpu_ns }
    }

    fn stats(&self) -> RecorderStats {
        let (gone, blocks) = (self.log.gone(), self.log.all());
        RecorderStats {
            bytes: self.log.bytes() + self.clock_bytes,
            budget: self.budget,
            process_bytes: self.processes.table_bytes(),
            blocks: blocks.len() as u64,
            samples: self.log.all().map(Block::len).sum(),
            stacks: blocks.map(|block| block.stack_count() as u64).sum(),
            processes: self.processes.len() as u64,
            evicted: gone.aged,
            crowded: gone.crowded,
            too_late: gone.too_late,
            dropped: self.gate.dropped.load(Ordering::Relaxed),
            dropped_events: self.gate.dropped_events.load(Ordering::Relaxed),
            refused_processes: self.processes.refused,
            whole_since: self.log.floor().0,
        }
    }
}

#[cfg(test)]
#[path = "owner_tests.rs"]
mod tests;
