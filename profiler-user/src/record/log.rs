//! The log store: additive samples in one-second blocks, the oldest evicted when the budget is full. No process holds
//! over a quarter of it while others need room: its own oldest samples go first.

use super::SECOND;
use super::block::{Block, Entry, Index, Loss};
use super::window::Span;
use crate::event::{MonoTime, ProcessId, Sample};
use profiler_ebpf::reasons::Reason;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A block is sealed (made small, its index dropped) this many seconds after it began: rings of several CPUs are read one
/// after the other, so samples of the second before still come. Later ones are put into the sealed block as well.
const SEAL_AFTER: u64 = 3;
/// A process holds at most the budget divided by this while others need room.
const PART_OF_ONE: u64 = 4;

/// What the log did not keep, since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gone {
    /// Samples of whole seconds that grew too old for the budget.
    pub(super) aged: u64,
    /// Samples of processes that held too much.
    pub(super) crowded: u64,
    /// Samples of seconds that were gone when they came, or that a block had no room for.
    pub(super) too_late: u64,
}

struct Slot {
    /// A query may hold it too: then it is copied before it is written to.
    block: Arc<Block>,
    /// While it is open.
    index: Option<Index>,
    /// Bytes of block and index, as counted in the log's sum.
    bytes: u64,
}

/// The log.
pub(super) struct Log {
    slots: BTreeMap<u64, Slot>,
    bytes: u64,
    /// Bytes by process, summed over the blocks.
    held: HashMap<ProcessId, u64>,
    /// Nothing before this is held.
    floor: MonoTime,
    /// Seconds before this one are sealed.
    sealed_to: u64,
    gone: Gone,
}

impl Log {
    /// An empty log of what happens from `began` on.
    pub(super) fn new(began: MonoTime) -> Log {
        let (slots, held) = (BTreeMap::new(), HashMap::new());
        Log { slots, bytes: 0, held, floor: began, sealed_to: 0, gone: Gone::default() }
    }

    /// Adds a sample to its second. Ticks that were lost before it count as lost by its process.
    pub(super) fn push(&mut self, sample: &Sample) {
        let process = sample.image.process;
        if sample.late_ticks > 0 {
            let count = sample.late_ticks.into();
            self.lose(Loss { time: sample.time, process: Some(process), reason: Reason::TimerLate, count });
        }
        self.add(&Entry::of(sample));
    }

    /// Adds an entry to its second.
    pub(super) fn add(&mut self, entry: &Entry<'_>) {
        let process = entry.task.image.process;
        let added = self.write(entry.time, |block, index| block.push(index, entry)).flatten();
        match added {
            Some(bytes) => *self.held.entry(process).or_default() += bytes,
            None => self.gone.too_late += 1,
        }
    }

    /// Notes a loss in its second. What is older than the log is not asked about any more.
    pub(super) fn lose(&mut self, loss: Loss) {
        let _too_old = self.write(loss.time, |block, _| block.lose(loss));
    }

    /// Writes to the block of a second that the log still covers.
    fn write<T>(&mut self, time: MonoTime, write: impl FnOnce(&mut Block, Option<&mut Index>) -> T) -> Option<T> {
        if time < self.floor {
            return None;
        }
        let second = time.0 / SECOND;
        let is_open = second >= self.sealed_to;
        let slot = self.slots.entry(second).or_insert_with(|| Slot::new(second, is_open));
        let result = write(Arc::make_mut(&mut slot.block), slot.index.as_mut());
        self.bytes = slot.count(self.bytes);
        Some(result)
    }

    /// Seals the seconds that are over by now.
    pub(super) fn seal(&mut self, now: MonoTime) {
        let end = (now.0 / SECOND + 1).saturating_sub(SEAL_AFTER);
        if end <= self.sealed_to {
            return;
        }
        for slot in self.slots.range_mut(self.sealed_to..end).map(|(_, slot)| slot) {
            slot.index = None;
            Arc::make_mut(&mut slot.block).shrink();
            self.bytes = slot.count(self.bytes);
        }
        self.sealed_to = end;
    }

    /// Evicts until at most `budget` bytes are held.
    pub(super) fn evict_to(&mut self, budget: u64) {
        while self.bytes > budget {
            let evicted = match self.crowding(budget) {
                Some(process) => self.evict_oldest_of(process),
                None => self.evict_oldest(),
            };
            if !evicted {
                return;
            }
        }
    }

    /// The process that holds most, if that is more than its part and others hold something too.
    fn crowding(&self, budget: u64) -> Option<ProcessId> {
        let (process, bytes) = self.held.iter().max_by_key(|(process, bytes)| (**bytes, **process))?;
        (*bytes > budget / PART_OF_ONE && self.held.len() > 1).then_some(*process)
    }

    fn evict_oldest_of(&mut self, process: ProcessId) -> bool {
        let Some(slot) = self.slots.values_mut().find(|slot| slot.block.has(process)) else {
            return self.held.remove(&process).is_some();
        };
        let before = Arc::clone(&slot.block);
        let (mut rest, index) = before.without(process);
        match &mut slot.index {
            Some(open) => *open = index,
            None => rest.shrink(),
        }
        slot.block = Arc::new(rest);
        self.bytes = slot.count(self.bytes);
        self.gone.crowded += before.len() - slot.block.len();
        let after = slot.block.holders();
        self.exchange(&before, &after);
        true
    }

    /// Takes what a block's processes held, and adds what they hold now.
    fn exchange(&mut self, before: &Block, after: &HashMap<ProcessId, u64>) {
        for (process, bytes) in before.holders() {
            let now = after.get(&process).copied().unwrap_or(0);
            if let Some(held) = self.held.get_mut(&process) {
                *held = (*held).saturating_sub(bytes).saturating_add(now);
                if *held == 0 {
                    self.held.remove(&process);
                }
            }
        }
    }

    fn evict_oldest(&mut self) -> bool {
        let Some((second, slot)) = self.slots.pop_first() else { return false };
        self.bytes = self.bytes.saturating_sub(slot.bytes);
        self.gone.aged += slot.block.len();
        self.exchange(&slot.block, &HashMap::new());
        self.floor = self.floor.max(MonoTime((second + 1) * SECOND));
        true
    }

    /// The blocks that a span touches.
    pub(super) fn blocks(&self, span: Span) -> Vec<Arc<Block>> {
        if span.from >= span.to {
            return Vec::new();
        }
        let seconds = span.from.0 / SECOND..=(span.to.0 - 1) / SECOND;
        self.slots.range(seconds).map(|(_, slot)| Arc::clone(&slot.block)).collect()
    }

    /// The part of a span from which nothing has been evicted.
    pub(super) fn covered(&self, span: Span) -> Option<Span> {
        let from = span.from.max(self.floor);
        (from < span.to).then_some(Span { from, to: span.to })
    }

    /// Nothing before this is held.
    pub(super) fn floor(&self) -> MonoTime {
        self.floor
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What was not kept.
    pub(super) fn gone(&self) -> Gone {
        self.gone
    }

    /// Blocks held.
    pub(super) fn all(&self) -> impl ExactSizeIterator<Item = &Block> {
        self.slots.values().map(|slot| slot.block.as_ref())
    }
}

impl Slot {
    fn new(second: u64, is_open: bool) -> Slot {
        Slot { block: Arc::new(Block::new(second)), index: is_open.then(Index::default), bytes: 0 }
    }

    /// The log's sum after this slot has changed.
    fn count(&mut self, sum: u64) -> u64 {
        let before = self.bytes;
        self.bytes = size_of::<Slot>() as u64 + self.block.bytes() + self.index.as_ref().map_or(0, Index::bytes);
        (sum + self.bytes).saturating_sub(before)
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
