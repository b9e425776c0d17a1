//! What is evicted, and why: the least recently met first, but before all others what a process holds beyond its part.

use std::collections::BTreeMap;

/// A process holds at most the whole divided by this while others need room.
pub(super) const PART_OF_ONE: u64 = 4;

/// Why a file was evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Eviction {
    /// Its process held more than its part.
    Share,
    /// The kernel's table of files, or the agent's records of them, needed room.
    FileTable,
    /// The budget for unwind tables needed room.
    TableBudget,
    /// It got no table for a reason that may have passed.
    Again,
}

impl Eviction {
    /// All of them.
    pub(super) const ALL: [Eviction; 4] =
        [Eviction::Share, Eviction::FileTable, Eviction::TableBudget, Eviction::Again];

    /// As a metric's label.
    pub fn name(self) -> &'static str {
        match self {
            Eviction::Share => "share of a process",
            Eviction::FileTable => "file table full",
            Eviction::TableBudget => "table budget full",
            Eviction::Again => "tried again",
        }
    }
}

/// How many files were evicted, by reason.
#[derive(Default)]
pub(super) struct Evictions(BTreeMap<Eviction, u64>);

impl Evictions {
    pub(super) fn add(&mut self, why: Eviction) {
        *self.0.entry(why).or_default() += 1;
    }

    /// The counts of all reasons, zeros too: a series that begins with its first eviction hides it.
    pub(super) fn counts(&self) -> Vec<(Eviction, u64)> {
        Eviction::ALL.into_iter().map(|why| (why, self.0.get(&why).copied().unwrap_or(0))).collect()
    }
}
