//! The totals store: columns that only grow, since a watch began, as scrapers take differences of. Nothing is dropped while it is
//! watched: when the budget is full, what has no place yet is counted in one row of its process.

use super::block::{Entry, ONE, Task};
use super::window::{Row, Samples, Selection, Sieve};
use crate::event::{Comm, Frame, FrameWord, ProcessId, Source, Tid};
use profiler_ebpf::reasons::Reason;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Bytes for it.
pub const TOTALS_BYTES: u64 = 16 << 20;
/// A process may hold half of what is free of it.
const PART_OF_ONE: u64 = 2;
/// Bytes of a row beside its stack, with its share of a table.
const ROW_BYTES: u64 = 192;
/// Bytes of a stack beside its words.
const STACK_BYTES: u64 = 96;

/// What of the totals is asked for, and how good it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Sums; a thread is its name.
    pub rows: Vec<Row>,
    /// Square of the standard error of the sum of their values, ns^2.
    pub variance: f64,
    /// Values that did not pass the sieve.
    pub withheld: u64,
    /// Waits and wakes that are missing.
    pub losses: BTreeMap<Reason, u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    task: Task,
    status: Reason,
    source: Source,
}

#[derive(Clone, Copy, Default)]
struct Sum {
    count: u64,
    value: u64,
    events: u64,
    variance: f64,
}

#[derive(Default)]
struct Table {
    rows: HashMap<Arc<[FrameWord]>, Vec<(Key, Sum)>>,
    /// As many as there are reasons, at most.
    losses: BTreeMap<Reason, u64>,
    bytes: u64,
}

/// Sums by process.
#[derive(Default)]
pub(super) struct Store {
    tables: HashMap<ProcessId, Table>,
    bytes: u64,
    /// Events that found no place of their own.
    pub(super) folded: u64,
}

impl Store {
    /// Adds to the sums.
    pub(super) fn add(&mut self, entry: &Entry<'_>) {
        let process = entry.task.image.process;
        let key = Key { task: Task { tid: Tid(0), ..entry.task }, status: entry.status, source: entry.source };
        let sum = Sum {
            count: 1,
            value: entry.value,
            events: entry.events.into(),
            variance: variance(entry.value, entry.events),
        };
        if self.put(process, entry.frames, key, sum, false) {
            return;
        }
        self.folded += 1;
        let full = [FrameWord::from(Frame::Pseudo { reason: Reason::RecorderFull })];
        let nobody = Task { thread: Comm([0; 16]), ..key.task };
        self.put(process, &full, Key { task: nobody, status: Reason::RecorderFull, ..key }, sum, true);
    }

    /// Counts what is missing of a process; of each that there is something of if nobody knows whose it was.
    pub(super) fn lose(&mut self, process: Option<ProcessId>, reason: Reason, count: u64) {
        let add = |table: &mut Table| *table.losses.entry(reason).or_default() += count;
        match process {
            Some(process) => add(self.tables.entry(process).or_default()),
            None => self.tables.values_mut().for_each(add),
        }
    }

    /// False if there is no room for one more.
    fn put(&mut self, process: ProcessId, frames: &[FrameWord], key: Key, sum: Sum, always: bool) -> bool {
        let free = TOTALS_BYTES.saturating_sub(self.bytes);
        let table = self.tables.entry(process).or_default();
        let rows = table.rows.get_mut(frames);
        if let Some((_, known)) = rows.and_then(|rows| rows.iter_mut().find(|(known, _)| *known == key)) {
            known.count += sum.count;
            known.value = known.value.saturating_add(sum.value);
            known.events = known.events.saturating_add(sum.events);
            known.variance += sum.variance;
            return true;
        }
        let stack = if table.rows.contains_key(frames) { 0 } else { STACK_BYTES + size_of_val(frames) as u64 };
        let more = ROW_BYTES + stack;
        if !always && (more > free || table.bytes + more > (free + table.bytes) / PART_OF_ONE) {
            return false;
        }
        table.rows.entry(Arc::from(frames)).or_default().push((key, sum));
        table.bytes += more;
        self.bytes += more;
        true
    }

    /// What is known of a selection.
    pub(super) fn of(&self, selection: &Selection, samples: Samples, sieve: Option<&Sieve>) -> Totals {
        let mut found = Totals::default();
        for (_, table) in self.tables.iter().filter(|(process, _)| selection.holds(**process)) {
            for (reason, count) in table.losses.iter().filter(|(reason, _)| samples.lose(**reason)) {
                *found.losses.entry(*reason).or_default() += count;
            }
            for (stack, rows) in &table.rows {
                for (key, sum) in rows.iter().filter(|(key, _)| samples.hold(key.source)) {
                    if !sieve.is_none_or(|sieve| sieve.passes(key.task.image, key.task.user)) {
                        found.withheld += sum.count;
                        continue;
                    }
                    found.variance += sum.variance;
                    found.rows.push(row(key, stack, *sum));
                }
            }
        }
        found
    }

    /// Forgets all but these.
    pub(super) fn retain(&mut self, stays: impl Fn(ProcessId) -> bool) {
        self.tables.retain(|process, _| stays(*process));
        self.bytes = self.tables.values().map(|table| table.bytes).sum();
    }

    /// Room is getting short: whoever is gone makes some.
    pub(super) fn is_crowded(&self) -> bool {
        self.bytes > TOTALS_BYTES / 2
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// What a value that stands for several adds to the square of the sum's standard error: each was kept with the probability 1/w
/// (Horvitz and Thompson), and `value` is w times the one that was measured.
fn variance(value: u64, events: u32) -> f64 {
    let weight = f64::from(events) / f64::from(ONE);
    (value as f64).powi(2) * (1.0 - 1.0 / weight.max(1.0))
}

fn row(key: &Key, stack: &Arc<[FrameWord]>, sum: Sum) -> Row {
    let Task { image, tid, thread, comm, .. } = key.task;
    Row {
        image,
        tid,
        thread,
        comm,
        stack: Arc::clone(stack),
        status: key.status,
        source: key.source,
        count: sum.count,
        value: sum.value,
        events: sum.events,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Call;
    use crate::record::fixtures::{image, process, sample};

    fn add(store: &mut Store, pid: u32, address: u64, (value, events): (u64, u32)) {
        let sample = sample(pid, 1, &[address]);
        let entry = Entry { source: Source::Wait(Call(202)), value, events, ..Entry::of(&sample) };
        store.add(&entry);
    }

    fn of(store: &Store, pid: u32) -> Totals {
        store.of(&Selection::of([process(pid)]), Samples::Syncs, None)
    }

    #[test]
    fn equal_rows_are_one_and_what_was_not_kept_has_an_error() {
        let mut store = Store::default();
        add(&mut store, 7, 1, (10, ONE));
        add(&mut store, 7, 1, (40, 4 * ONE));
        add(&mut store, 8, 1, (5, ONE));
        let found = of(&store, 7);
        let values: Vec<_> = found.rows.iter().map(|row| (row.image, row.count, row.value, row.events)).collect();
        assert_eq!(values, [(image(7), 2, 50, u64::from(5 * ONE))]);
        // One of four was kept: 40 * 40 * (1 - 1/4).
        assert!((found.variance - 1_200.0).abs() < 1e-6, "{}", found.variance);
        store.retain(|id| id == process(8));
        assert_eq!((of(&store, 7).rows.len(), of(&store, 8).rows.len()), (0, 1));
    }

    #[test]
    fn when_the_budget_is_full_nothing_is_lost_and_nothing_gets_less() {
        let mut store = Store::default();
        let count = 200_000;
        for address in 0..count {
            add(&mut store, 7, address, (3, ONE));
        }
        assert!(store.bytes() <= TOTALS_BYTES + 1_024 && store.is_crowded() && store.folded > 0, "{}", store.bytes());
        add(&mut store, 8, 1, (3, ONE));
        let found = of(&store, 7);
        assert_eq!(found.rows.iter().map(|row| row.value).sum::<u64>(), 3 * count);
        assert!(found.rows.iter().any(|row| row.status == Reason::RecorderFull && row.count == store.folded));
        assert_eq!(of(&store, 8).rows.len(), 1, "a process leaves room for others");
    }
}
