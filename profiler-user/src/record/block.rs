//! One second of samples: rows over interned stacks and interned "who". Shared with queries; a block that a query holds
//! is copied before it is written to again.

use super::window::{Row, Selection, Span};
use crate::event::{Comm, FrameWord, ImageId, MonoTime, ProcessId, Sample, Tid};
use profiler_ebpf::reasons::Reason;
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes that a row, an interned stack's head and an interned "who" take, with their share of the indexes.
const ROW_BYTES: u64 = 24;
const STACK_BYTES: u64 = 64;
const WHO_BYTES: u64 = 160;

/// Who a sample belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Who {
    image: ImageId,
    tid: Tid,
    thread: Comm,
    comm: Comm,
}

#[derive(Clone, Copy, Debug)]
struct Stored {
    /// ns from the block's start.
    at: u32,
    who: u32,
    stack: u32,
    status: Reason,
    late: u32,
    value: u64,
}

/// A second of samples.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    start: u64,
    rows: Vec<Stored>,
    who: Vec<Who>,
    who_index: HashMap<Who, u32>,
    stacks: Vec<Arc<[FrameWord]>>,
    stack_index: HashMap<Arc<[FrameWord]>, u32>,
    bytes: HashMap<ProcessId, u64>,
}

impl Block {
    pub(super) fn new(start: u64) -> Block {
        Block { start, ..Block::default() }
    }

    /// Adds a sample; returns the bytes that it took.
    pub(super) fn push(&mut self, sample: &Sample) -> u64 {
        let mut bytes = ROW_BYTES;
        let who = Who { image: sample.image, tid: sample.tid, thread: sample.thread, comm: sample.comm };
        let next = u32::try_from(self.who.len()).unwrap_or(u32::MAX);
        let who = *self.who_index.entry(who).or_insert_with(|| {
            self.who.push(who);
            bytes += WHO_BYTES;
            next
        });
        let stack = if let Some(index) = self.stack_index.get(sample.frames.as_slice()) {
            *index
        } else {
            let index = u32::try_from(self.stacks.len()).unwrap_or(u32::MAX);
            let stack: Arc<[FrameWord]> = sample.frames.as_slice().into();
            bytes += STACK_BYTES + 8 * stack.len() as u64;
            self.stacks.push(Arc::clone(&stack));
            self.stack_index.insert(stack, index);
            index
        };
        let at = u32::try_from(sample.time.0.saturating_sub(self.start)).unwrap_or(u32::MAX);
        let (status, late, value) = (sample.status, sample.late_ticks, sample.value);
        self.rows.push(Stored { at, who, stack, status, late, value });
        *self.bytes.entry(sample.image.process).or_default() += bytes;
        bytes
    }

    /// Bytes by process.
    pub(super) fn bytes(&self) -> &HashMap<ProcessId, u64> {
        &self.bytes
    }

    /// Samples held.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Distinct stacks held.
    pub(super) fn stacks(&self) -> usize {
        self.stacks.len()
    }

    /// The block without one process, and how many samples went.
    pub(super) fn without(&self, process: ProcessId) -> (Block, u64) {
        let mut block = Block::new(self.start);
        let mut gone = 0;
        for row in &self.rows {
            let (Some(who), Some(stack)) = (self.who.get(row.who as usize), self.stacks.get(row.stack as usize)) else {
                continue;
            };
            if who.image.process == process {
                gone += 1;
                continue;
            }
            block.push(&rebuilt(self.start, row, who, stack));
        }
        (block, gone)
    }

    /// Adds the samples of a window to a sum.
    pub(super) fn sum(&self, selection: &Selection, span: Span, sum: &mut Sum) {
        for row in &self.rows {
            let time = MonoTime(self.start + u64::from(row.at));
            let Some(who) = self.who.get(row.who as usize) else { continue };
            if time < span.from || time >= span.to || !selection.holds(who.image.process) {
                continue;
            }
            let Some(stack) = self.stacks.get(row.stack as usize) else { continue };
            sum.add(who, stack, row);
        }
    }
}

fn rebuilt(start: u64, row: &Stored, who: &Who, stack: &Arc<[FrameWord]>) -> Sample {
    Sample {
        class: crate::event::Class::Cpu,
        status: row.status,
        kernel_mode: false,
        kernel_thread: false,
        cpu: 0,
        image: who.image,
        tid: who.tid,
        time: MonoTime(start + u64::from(row.at)),
        value: row.value,
        late_ticks: row.late,
        uids: crate::event::UserIds { real: 0, effective: 0, saved: 0 },
        thread: who.thread,
        comm: who.comm,
        bad_pc: 0,
        frames: stack.to_vec(),
    }
}

/// What equal samples share.
type Key = (Who, Arc<[FrameWord]>, Reason);

/// Samples of a window, equal ones summed.
#[derive(Default)]
pub(super) struct Sum {
    rows: HashMap<Key, (u64, u64)>,
    periods: HashMap<u64, u64>,
    late: u64,
}

impl Sum {
    fn add(&mut self, who: &Who, stack: &Arc<[FrameWord]>, row: &Stored) {
        let entry = self.rows.entry((*who, Arc::clone(stack), row.status)).or_default();
        entry.0 += 1;
        entry.1 += row.value;
        *self.periods.entry(row.value).or_default() += 1;
        self.late += u64::from(row.late);
    }

    /// Rows, (period, records) ascending, ticks lost because the timer was late.
    pub(super) fn finish(self) -> (Vec<Row>, Vec<(u64, u64)>, u64) {
        let rows = self.rows.into_iter().map(|((who, stack, status), (count, value))| Row {
            image: who.image,
            tid: who.tid,
            thread: who.thread,
            comm: who.comm,
            stack,
            status,
            count,
            value,
        });
        let mut rows: Vec<Row> = rows.collect();
        rows.sort_by(|a, b| b.value.cmp(&a.value).then(a.tid.cmp(&b.tid)).then(a.stack.cmp(&b.stack)));
        let mut periods: Vec<_> = self.periods.into_iter().collect();
        periods.sort_unstable();
        (rows, periods, self.late)
    }
}
