//! The handle through which everybody reaches the recorder, and the bounded queue before its owner: what finds no room
//! is counted, and nobody who pushes ever waits.

use super::gate::Gate;
use super::live::Creation;
use super::owner::{Command, Owner, Question, RecorderConfig, RecorderStats};
use super::processes::{Filter, ProcessInfo};
use super::totals::Totals;
use super::window::{Row, Samples, Selection, Sieve, Span, Window};
use crate::event::{Class, Event, MonoTime, Pid, ProcessId, Sample, Tid};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use profiler_ebpf::abi::maps::LossKey;
use profiler_ebpf::reasons::Reason;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Commands that may wait.
const QUEUE: usize = 4_096;
/// Bytes of events that may wait.
pub const QUEUE_BYTES: u64 = 16 << 20;

/// The recorder does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Its thread has ended.
    #[error("the recorder has ended")]
    Ended,
}

/// Handle of the recorder; cheap to clone. The recorder ends with its last handle.
#[derive(Clone)]
pub struct Recorder {
    began: MonoTime,
    commands: Sender<Command>,
    gate: Arc<Gate>,
}

impl Recorder {
    /// Starts the owner's thread. Where there is none to be had, every question is answered with [`RecordError::Ended`].
    pub fn start(config: RecorderConfig) -> Recorder {
        let (recorder, receiver, mut owner) = Recorder::parts(config);
        let run = move || receiver.iter().for_each(|command| owner.handle(command));
        if let Err(error) = std::thread::Builder::new().name("recorder".into()).spawn(run) {
            tracing::error!(%error, "cannot start the recorder's thread");
        }
        recorder
    }

    fn parts(config: RecorderConfig) -> (Recorder, Receiver<Command>, Owner) {
        let (commands, receiver) = bounded(QUEUE);
        let gate = Arc::new(Gate::default());
        let owner = Owner::new(config, Arc::clone(&gate));
        (Recorder { began: config.now, commands, gate }, receiver, owner)
    }

    /// Records events. Never blocks: if the queue is full they are counted and dropped.
    pub fn push(&self, events: Vec<Event>) {
        self.try_push(events);
    }

    /// As [`Recorder::push`]; false if the events were dropped. Who sent facts of processes then looks at `/proc` again.
    pub fn try_push(&self, events: Vec<Event>) -> bool {
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
        for event in events {
            match event {
                Event::Sample(Sample { class: Class::Cpu, time, .. }) => {
                    self.gate.drop_samples(Reason::QueueFull, 1, *time);
                }
                Event::Sample(Sample { class: Class::Wait { weight, .. }, time, .. }) => {
                    self.gate.drop_samples(Reason::WaitLost, u64::from(*weight).max(1), *time);
                }
                Event::WaitEnd(end) => self.gate.drop_samples(Reason::WaitLost, 1, end.end),
                Event::Sample(Sample { class: Class::Wake { count, .. }, time, .. }) => {
                    self.gate.drop_samples(Reason::WakeLost, u64::from(count >> 16).max(1), *time);
                }
                _ => self.gate.drop_events(1),
            }
        }
    }

    /// Records losses of processes, new since the last call. Never blocks.
    pub fn losses(&self, losses: Vec<(LossKey, u64)>, now: MonoTime) {
        if let Some(Command::Losses(losses, now)) = self.offer(Command::Losses(losses, now)) {
            for (key, count) in losses {
                let reason = Reason::from_code(key.reason);
                let reason = reason.filter(|reason| matches!(reason, Reason::WaitLost | Reason::WakeLost));
                self.gate.drop_samples(reason.unwrap_or(Reason::QueueFull), count, now);
            }
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
        self.query_for(None, selection, span)
    }

    /// As [`Recorder::query`], for somebody who may see only what passes a sieve.
    pub fn query_for(&self, sieve: Option<&Sieve>, selection: Selection, span: Span) -> Result<Window, RecordError> {
        self.query_samples(Samples::Cpu, sieve, selection, span)
    }

    /// As [`Recorder::query_for`], of waits or wakes.
    pub fn query_samples(
        &self,
        samples: Samples,
        sieve: Option<&Sieve>,
        selection: Selection,
        span: Span,
    ) -> Result<Window, RecordError> {
        Ok(self.ask(|reply| Command::Query(selection, samples, span, reply))?.window(sieve))
    }

    /// What was summed since it has been watched, and with `open` the waits that go on and were at least so old, ns, at that time.
    /// Blocking.
    pub fn totals(
        &self,
        samples: Samples,
        sieve: Option<Sieve>,
        selection: Selection,
        open: Option<(MonoTime, u64)>,
    ) -> Result<Totals, RecordError> {
        self.ask(|reply| Command::Totals(Question { selection, samples, sieve, open }, reply))
    }

    /// The waits that go on at that time and whose stacks are known, each with its thread. Blocking.
    pub fn open_waits(
        &self,
        sieve: Option<Sieve>,
        selection: Selection,
        now: MonoTime,
    ) -> Result<Vec<Row>, RecordError> {
        self.ask(|reply| Command::OpenWaits(selection, sieve, now, reply))
    }

    /// Waits that may have ended, because a record of a wait was lost lately: thread and beginning of all that are known. Blocking.
    pub fn doubtful_waits(&self) -> Vec<(Tid, MonoTime)> {
        self.ask(Command::DoubtfulWaits).unwrap_or_default()
    }

    /// Records that these waits have ended, nobody knows when. Never blocks; who finds them open again says it again.
    pub fn waits_over(&self, waits: Vec<(Tid, MonoTime)>) {
        let _dropped = self.offer(Command::WaitsOver(waits));
    }

    /// Forgets the totals of all but these, which are watched still. Never blocks; the next call makes a dropped one good.
    pub fn watched(&self, processes: BTreeSet<ProcessId>) {
        let _dropped = self.offer(Command::Watched(processes));
    }

    /// Processes that have or had this number, the newest last. Blocking.
    pub fn process(&self, pid: Pid) -> Vec<ProcessInfo> {
        self.ask(|reply| Command::Number(pid, reply)).unwrap_or_default()
    }

    /// Processes that live, or the recorded dead. Blocking.
    pub fn processes(&self, filter: Filter) -> Vec<ProcessInfo> {
        self.ask(|reply| Command::List(filter, reply)).unwrap_or_default()
    }

    /// A process and all that descend from it and lived after `since`, as far as they are known. Blocking.
    pub fn family(&self, root: ProcessId, since: MonoTime) -> BTreeSet<ProcessId> {
        self.ask(|reply| Command::Family(root, since, reply)).unwrap_or_else(|_ended| BTreeSet::from([root]))
    }

    /// Living processes of which samples are recorded: whose CPU clocks are to be read once a second. Blocking.
    pub fn recorded(&self) -> Vec<ProcessId> {
        self.ask(Command::Recorded).unwrap_or_default()
    }

    /// When recording began.
    pub fn began(&self) -> MonoTime {
        self.began
    }

    /// What created those threads of a process that live, as far as it is known. Blocking.
    pub fn created(&self, process: ProcessId) -> Vec<Creation> {
        self.ask(|reply| Command::Created(process, reply)).unwrap_or_default()
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
        Event::Stack(copy) => copy.bytes.len() + size_of_val(copy.mappings.as_slice()),
        Event::Exec(_, path) | Event::Known(_, path) => path.len(),
        Event::Thread(thread) => size_of_val(thread.kernel.as_slice()),
        Event::Fork(_) | Event::Exit { .. } | Event::ThreadExit { .. } | Event::WaitEnd(_) | Event::Mapping(_) => 0,
    });
    (size_of_val(events) + outside.sum::<usize>()) as u64
}

#[cfg(test)]
#[path = "recorder_tests.rs"]
mod tests;
