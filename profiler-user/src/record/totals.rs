//! The totals store: columns that only grow, since a watch began, as scrapers take differences of. Nothing is dropped while it is
//! watched: when the budget is full, what has no place yet is counted in one row of its process.

use super::block::{Entry, ONE, Task};
use super::window::{Row, Samples, Selection, Sieve};
use crate::event::{Comm, Frame, FrameWord, ProcessId, Source, Tid};
use profiler_ebpf::reasons::Reason;
use std::collections::{BTreeSet, HashMap};
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
    pub(super) fn retain(&mut self, processes: &BTreeSet<ProcessId>) {
        self.tables.retain(|process, _| processes.contains(process));
        self.bytes = self.tables.values().map(|table| table.bytes).sum();
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
