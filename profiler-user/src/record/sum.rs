//! Blocks -> [`Window`]: equal samples of the span are summed. Runs on the caller's thread over blocks that it shares.

use super::block::{Block, ONE, RowView, Task};
use super::window::{Row, Samples, Selection, Sieve, Span, Window};
use crate::event::{FrameWord, ProcessId, Source};
use profiler_ebpf::reasons::Reason;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Sums the samples of a selection in a span that pass a sieve, and its losses. `cpu_ns` and `covered` are for the owner to
/// say.
pub(super) fn sum(
    blocks: &[Arc<Block>],
    selection: &Selection,
    samples: Samples,
    sieve: Option<&Sieve>,
    span: Span,
) -> Window {
    let mut sums = Sums { samples, ..Sums::default() };
    let wanted = Wanted::new(selection);
    for block in blocks {
        sums.add(block, &wanted, sieve, span);
    }
    sums.finish()
}

/// A selection that answers fast for many processes.
enum Wanted {
    All,
    These(HashSet<ProcessId>),
}

impl Wanted {
    fn new(selection: &Selection) -> Wanted {
        match selection {
            Selection::Host => Wanted::All,
            Selection::Processes(processes) => Wanted::These(processes.iter().copied().collect()),
        }
    }

    fn has(&self, process: ProcessId) -> bool {
        match self {
            Wanted::All => true,
            Wanted::These(processes) => processes.contains(&process),
        }
    }
}

/// Values by a key, in the order in which the keys were met.
#[derive(Default)]
struct Sums {
    samples: Samples,
    tasks: HashMap<Task, u32>,
    stacks: HashMap<Arc<[FrameWord]>, u32>,
    stack_list: Vec<Arc<[FrameWord]>>,
    rows: Vec<Row>,
    /// (task, stack, status, source) -> index in `rows`.
    by_key: HashMap<(u32, u32, Reason, Source), usize>,
    periods: BTreeMap<u64, u64>,
    losses: BTreeMap<Reason, u64>,
    withheld: u64,
}

/// What a block's numbers are in the sums, so that each of its tasks and stacks is looked up once.
struct Numbers {
    tasks: Vec<Option<u32>>,
    stacks: Vec<Option<u32>>,
}

impl Sums {
    fn add(&mut self, block: &Block, wanted: &Wanted, sieve: Option<&Sieve>, span: Span) {
        let mut numbers = Numbers { tasks: vec![None; block.task_count()], stacks: vec![None; block.stack_count()] };
        for row in block.rows() {
            if !span.holds(row.time) || !self.samples.hold(row.source) || !wanted.has(row.task.image.process) {
                continue;
            }
            if sieve.is_none_or(|sieve| sieve.passes(row.task.image, row.task.user)) {
                self.add_row(&within(row, span), &mut numbers);
            } else {
                self.withheld += 1;
            }
        }
        for loss in block.losses() {
            if self.samples.lose(loss.reason)
                && span.holds(loss.time)
                && loss.process.is_none_or(|process| wanted.has(process))
            {
                *self.losses.entry(loss.reason).or_default() += loss.count;
            }
        }
    }

    fn add_row(&mut self, row: &RowView<'_>, numbers: &mut Numbers) {
        let task = once(&mut numbers.tasks, row.task_number, || self.task(row.task));
        let stack = once(&mut numbers.stacks, row.stack_number, || self.stack(row.stack));
        let index = *self.by_key.entry((task, stack, row.status, row.source)).or_insert(self.rows.len());
        if index == self.rows.len() {
            let stack = self.stack_list.get(stack as usize).cloned().unwrap_or_default();
            self.rows.push(new_row(row, stack));
        }
        if let Some(sum) = self.rows.get_mut(index) {
            sum.count += 1;
            sum.value = sum.value.saturating_add(row.value);
            sum.events = sum.events.saturating_add(row.events.into());
        }
        *self.periods.entry(row.value).or_default() += 1;
    }

    fn task(&mut self, task: &Task) -> u32 {
        let next = u32::try_from(self.tasks.len()).unwrap_or(u32::MAX);
        *self.tasks.entry(*task).or_insert(next)
    }

    fn stack(&mut self, frames: &[FrameWord]) -> u32 {
        if let Some(number) = self.stacks.get(frames) {
            return *number;
        }
        let number = u32::try_from(self.stack_list.len()).unwrap_or(u32::MAX);
        let frames: Arc<[FrameWord]> = frames.into();
        self.stack_list.push(Arc::clone(&frames));
        self.stacks.insert(frames, number);
        number
    }

    fn finish(self) -> Window {
        Window {
            rows: self.rows,
            losses: self.losses.into_iter().collect(),
            periods: self.periods.into_iter().collect(),
            withheld: self.withheld,
            cpu_ns: None,
            ended: 0,
            covered: None,
        }
    }
}

/// A wait that began before the span counts from there on.
fn within(row: RowView<'_>, span: Span) -> RowView<'_> {
    match row.source {
        Source::Wait(_) if row.events == ONE => {
            RowView { value: row.value.min(row.time.0.saturating_sub(span.from.0)), ..row }
        }
        _ => row,
    }
}

/// The number that was found before, or the one that is found now.
fn once(known: &mut [Option<u32>], index: u32, find: impl FnOnce() -> u32) -> u32 {
    match known.get_mut(index as usize) {
        Some(slot) => *slot.get_or_insert_with(find),
        None => find(),
    }
}

fn new_row(row: &RowView<'_>, stack: Arc<[FrameWord]>) -> Row {
    let Task { image, tid, thread, comm, .. } = *row.task;
    Row { image, tid, thread, comm, stack, status: row.status, source: row.source, count: 0, value: 0, events: 0 }
}
