//! One second of the log: samples as rows over its own tables of tasks and stacks, and the losses of that second. It
//! needs nothing outside of itself, so a query can hold it while the log goes on.

use super::SECOND;
use super::stacks::{StackIndex, Stacks};
use crate::event::{Class, Comm, FrameWord, ImageId, MonoTime, ProcessId, Sample, SoleUser, Source, Tid};
use profiler_ebpf::reasons::Reason;
use std::collections::HashMap;

/// Who a sample belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Task {
    pub(super) image: ImageId,
    pub(super) tid: Tid,
    pub(super) thread: Comm,
    pub(super) comm: Comm,
    pub(super) user: SoleUser,
}
const _: () = assert!(size_of::<Task>() == 64);

/// What is added.
pub(super) struct Entry<'a> {
    pub(super) time: MonoTime,
    pub(super) task: Task,
    /// Leaf first.
    pub(super) frames: &'a [FrameWord],
    pub(super) status: Reason,
    pub(super) source: Source,
    /// ns.
    pub(super) value: u64,
    /// Events that it stands for, 16.16 fixed point.
    pub(super) events: u32,
}

/// One event.
pub(super) const ONE: u32 = 1 << 16;

impl Entry<'_> {
    /// A sample that stands for itself.
    pub(super) fn of(sample: &Sample) -> Entry<'_> {
        let Sample { image, tid, thread, comm, uids, time, status, value, .. } = *sample;
        let (source, events) = match sample.class {
            Class::Wake { call, count } => (Source::Wake(call), count),
            Class::Wait { call, weight } => (Source::Wait(call), weight.saturating_mul(ONE)),
            Class::Cpu | Class::NewThread { .. } => (Source::Cpu, ONE),
        };
        // What is short is kept rarely, and then stands for those that were not.
        let value = if events == ONE { value } else { scaled(value, events) };
        let task = Task { image, tid, thread, comm, user: uids.into() };
        Entry { time, task, frames: &sample.frames, status, source, value, events }
    }
}

/// A value times how many it stands for.
pub(super) fn scaled(value: u64, events: u32) -> u64 {
    u64::try_from(u128::from(value) * u128::from(events) / u128::from(ONE)).unwrap_or(u64::MAX)
}

/// One sample. Samples of one thread never have the same ns, so rows are not summed here: a query cuts exactly.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoredRow {
    /// ns since the second's start.
    at: u32,
    task: u32,
    stack: u32,
    source: Source,
    value: u64,
    status: Reason,
    events: u32,
}
const _: () = assert!(size_of::<StoredRow>() == 32);

/// Samples that are missing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss {
    /// When, or as near as it is known.
    pub(super) time: MonoTime,
    /// Whose, where that is known.
    pub(super) process: Option<ProcessId>,
    pub(super) reason: Reason,
    pub(super) count: u64,
}

/// A row with its tables looked up.
pub(super) struct RowView<'a> {
    pub(super) time: MonoTime,
    /// Number of the task in this block.
    pub(super) task_number: u32,
    pub(super) task: &'a Task,
    /// Number of the stack in this block.
    pub(super) stack_number: u32,
    pub(super) stack: &'a [FrameWord],
    pub(super) status: Reason,
    pub(super) source: Source,
    pub(super) value: u64,
    pub(super) events: u32,
}

/// A second of samples.
#[derive(Clone, Debug)]
pub(super) struct Block {
    second: u64,
    tasks: Vec<Task>,
    stacks: Stacks,
    rows: Vec<StoredRow>,
    losses: Vec<Loss>,
}

impl Block {
    pub(super) fn new(second: u64) -> Block {
        Block { second, tasks: Vec::new(), stacks: Stacks::default(), rows: Vec::new(), losses: Vec::new() }
    }

    /// Adds a sample of this second, and says how many bytes its process holds more by it. Without an index, as in a
    /// sealed block, nothing equal is looked for. `None` if 32 bits do not count what is in the block.
    pub(super) fn push(&mut self, index: Option<&mut Index>, entry: &Entry<'_>) -> Option<u64> {
        let Entry { status, source, value, events, .. } = *entry;
        let at = entry.time.0.checked_sub(self.second * SECOND).and_then(|at| u32::try_from(at).ok())?;
        self.add(index, &entry.task, entry.frames, |task, stack| StoredRow {
            at,
            task,
            stack,
            source,
            value,
            status,
            events,
        })
    }

    fn add(
        &mut self,
        mut index: Option<&mut Index>,
        task: &Task,
        frames: &[FrameWord],
        row: impl FnOnce(u32, u32) -> StoredRow,
    ) -> Option<u64> {
        let (tasks, stacks) = (self.tasks.len(), self.stacks.len());
        let task = self.task(index.as_deref_mut(), task)?;
        let stack = self.stacks.intern(index.map(|index| &mut index.stacks), frames)?;
        self.rows.push(row(task, stack));
        let new_task = if self.tasks.len() > tasks { TASK_BYTES } else { 0 };
        let new_stack = if self.stacks.len() > stacks { stack_bytes(frames) } else { 0 };
        Some(ROW_BYTES + new_task + new_stack)
    }

    fn task(&mut self, index: Option<&mut Index>, task: &Task) -> Option<u32> {
        if let Some(known) = index.as_ref().and_then(|index| index.tasks.get(task)) {
            return Some(*known);
        }
        let number = u32::try_from(self.tasks.len()).ok()?;
        self.tasks.push(*task);
        if let Some(index) = index {
            index.tasks.insert(*task, number);
        }
        Some(number)
    }

    /// Notes samples that are missing.
    pub(super) fn lose(&mut self, loss: Loss) {
        let same = |last: &&mut Loss| (last.time, last.process, last.reason) == (loss.time, loss.process, loss.reason);
        match self.losses.last_mut().filter(same) {
            Some(last) => last.count = last.count.saturating_add(loss.count),
            None => self.losses.push(loss),
        }
    }

    /// All samples, in the order in which they came.
    pub(super) fn rows(&self) -> impl Iterator<Item = RowView<'_>> {
        self.rows.iter().filter_map(|row| {
            Some(RowView {
                time: MonoTime(self.second * SECOND + u64::from(row.at)),
                task_number: row.task,
                task: self.tasks.get(row.task as usize)?,
                stack_number: row.stack,
                stack: self.stacks.get(row.stack)?,
                status: row.status,
                source: row.source,
                value: row.value,
                events: row.events,
            })
        })
    }

    pub(super) fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// Samples held.
    pub(super) fn len(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Tasks held.
    pub(super) fn task_count(&self) -> usize {
        self.tasks.len()
    }

    /// Stacks held.
    pub(super) fn stack_count(&self) -> usize {
        self.stacks.len()
    }

    /// True if the process has samples here.
    pub(super) fn has(&self, process: ProcessId) -> bool {
        self.tasks.iter().any(|task| task.image.process == process)
    }

    /// What each process holds here: the sum of what [`Block::push`] said.
    pub(super) fn holders(&self) -> HashMap<ProcessId, u64> {
        let mut held: HashMap<ProcessId, u64> = HashMap::new();
        let (mut tasks, mut stacks) = (0, 0);
        for row in self.rows() {
            // Numbers are given in the order of the rows, so the first row of a number is the one that made it.
            let (new_task, new_stack) = (row.task_number >= tasks, row.stack_number >= stacks);
            tasks = tasks.max(row.task_number.saturating_add(1));
            stacks = stacks.max(row.stack_number.saturating_add(1));
            *held.entry(row.task.image.process).or_default() +=
                ROW_BYTES + if new_task { TASK_BYTES } else { 0 } + if new_stack { stack_bytes(row.stack) } else { 0 };
        }
        held
    }

    /// The block without the samples of one process, which become a loss, and its index.
    pub(super) fn without(&self, process: ProcessId) -> (Block, Index) {
        let (mut rest, mut index) = (Block::new(self.second), Index::default());
        rest.losses.clone_from(&self.losses);
        for (stored, row) in self.rows.iter().zip(self.rows()) {
            if row.task.image.process == process {
                rest.lose_at_first_of(process, row.time);
            } else {
                // What fitted before fits again, so nothing is refused here.
                let _bytes =
                    rest.add(Some(&mut index), row.task, row.stack, |task, stack| StoredRow { task, stack, ..*stored });
            }
        }
        (rest, index)
    }

    /// Counts one sample of the process that made room, at the time of the first of them.
    fn lose_at_first_of(&mut self, process: ProcessId, time: MonoTime) {
        let reason = Reason::RecorderFull;
        match self.losses.last_mut() {
            Some(last) if last.process == Some(process) && last.reason == reason => last.count += 1,
            _ => self.losses.push(Loss { time, process: Some(process), reason, count: 1 }),
        }
    }

    /// Bytes taken.
    pub(super) fn bytes(&self) -> u64 {
        let tables = self.tasks.capacity() * size_of::<Task>()
            + self.rows.capacity() * size_of::<StoredRow>()
            + self.losses.capacity() * size_of::<Loss>();
        size_of::<Block>() as u64 + tables as u64 + self.stacks.bytes()
    }

    /// Gives back what growth took in advance.
    pub(super) fn shrink(&mut self) {
        self.tasks.shrink_to_fit();
        self.rows.shrink_to_fit();
        self.losses.shrink_to_fit();
        self.stacks.shrink();
    }
}

const ROW_BYTES: u64 = size_of::<StoredRow>() as u64;
const TASK_BYTES: u64 = size_of::<Task>() as u64;

fn stack_bytes(frames: &[FrameWord]) -> u64 {
    (size_of_val(frames) + size_of::<u32>()) as u64
}

/// Finds equal tasks and stacks while a block is young.
#[derive(Default)]
pub(super) struct Index {
    tasks: HashMap<Task, u32>,
    stacks: StackIndex,
}

impl Index {
    /// Bytes taken.
    pub(super) fn bytes(&self) -> u64 {
        (self.tasks.capacity() * (size_of::<(Task, u32)>() + 1)) as u64 + self.stacks.bytes()
    }
}
