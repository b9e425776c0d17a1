//! The log store: additive samples in one-second blocks within a budget. The oldest go first; no process may hold over a
//! quarter while others need room.

use super::block::Block;
use super::window::Span;
use crate::event::{MonoTime, ProcessId, Sample};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

const SECOND: u64 = 1_000_000_000;

/// The log.
pub(super) struct Log {
    budget: u64,
    bytes: u64,
    by_process: HashMap<ProcessId, u64>,
    blocks: VecDeque<(u64, Arc<Block>)>,
    /// From here on the log is whole.
    whole_since: MonoTime,
    /// Samples evicted.
    pub(super) evicted: u64,
    /// Samples older than the log.
    pub(super) too_late: u64,
}

impl Log {
    pub(super) fn new(budget: u64, now: MonoTime) -> Log {
        Log {
            budget,
            bytes: 0,
            by_process: HashMap::new(),
            blocks: VecDeque::new(),
            whole_since: now,
            evicted: 0,
            too_late: 0,
        }
    }

    /// Records a sample in the second it was taken.
    pub(super) fn push(&mut self, sample: &Sample) {
        let second = sample.time.0 / SECOND;
        let index = match self.blocks.iter().rposition(|(at, _)| *at <= second) {
            Some(index) if self.blocks.get(index).is_some_and(|(at, _)| *at == second) => index,
            found => {
                if found.is_none() && !self.blocks.is_empty() && sample.time < self.whole_since {
                    self.too_late += 1;
                    return;
                }
                let index = found.map_or(0, |index| index + 1);
                self.blocks.insert(index, (second, Arc::new(Block::new(second * SECOND))));
                index
            }
        };
        let Some((_, block)) = self.blocks.get_mut(index) else { return };
        let bytes = Arc::make_mut(block).push(sample);
        self.bytes += bytes;
        *self.by_process.entry(sample.image.process).or_default() += bytes;
        while self.bytes > self.budget && self.blocks.len() > 1 {
            if !self.shrink_the_greedy() {
                self.drop_oldest();
            }
        }
    }

    /// Takes the oldest samples of a process that holds over a quarter of the budget; false if there is none.
    fn shrink_the_greedy(&mut self) -> bool {
        let quarter = self.budget / 4;
        let Some(greedy) = self.by_process.iter().max_by_key(|p| *p.1).filter(|p| *p.1 > quarter).map(|p| *p.0) else {
            return false;
        };
        if self.by_process.len() == 1 {
            return false; // nobody else needs room
        }
        for (_, block) in &mut self.blocks {
            let Some(held) = block.bytes().get(&greedy).copied() else { continue };
            let (smaller, gone) = block.without(greedy);
            *block = Arc::new(smaller);
            self.evicted += gone;
            self.take(greedy, held);
            return true;
        }
        false
    }

    fn drop_oldest(&mut self) {
        let Some((second, block)) = self.blocks.pop_front() else { return };
        self.evicted += block.len() as u64;
        for (process, bytes) in block.bytes() {
            self.take(*process, *bytes);
        }
        self.whole_since = self.whole_since.max(MonoTime((second + 1) * SECOND));
    }

    fn take(&mut self, process: ProcessId, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        if let Some(held) = self.by_process.get_mut(&process) {
            *held = held.saturating_sub(bytes);
            if *held == 0 {
                self.by_process.remove(&process);
            }
        }
    }

    /// Blocks that touch a span.
    pub(super) fn blocks(&self, span: Span) -> Vec<Arc<Block>> {
        let (from, to) = (span.from.0 / SECOND, span.to.0 / SECOND);
        self.blocks.iter().filter(|(at, _)| (from..=to).contains(at)).map(|(_, block)| Arc::clone(block)).collect()
    }

    /// The part of a span that the log holds wholly.
    pub(super) fn covered(&self, span: Span) -> Option<Span> {
        let from = span.from.max(self.whole_since);
        (from < span.to).then_some(Span { from, to: span.to })
    }

    /// True if anything of the process is held.
    pub(super) fn holds(&self, process: ProcessId) -> bool {
        self.by_process.contains_key(&process)
    }

    pub(super) fn whole_since(&self) -> MonoTime {
        self.whole_since
    }

    /// (bytes, blocks, samples, stacks).
    pub(super) fn size(&self) -> (u64, u64, u64, u64) {
        let samples = self.blocks.iter().map(|(_, block)| block.len() as u64).sum();
        let stacks = self.blocks.iter().map(|(_, block)| block.stacks() as u64).sum();
        (self.bytes, self.blocks.len() as u64, samples, stacks)
    }
}
