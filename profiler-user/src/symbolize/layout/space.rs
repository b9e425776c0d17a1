//! The address space of a profile: which ranges are taken.

use std::collections::BTreeMap;

/// Synthetic mappings begin here: above anything that a process has (47 bits), and below 2^53, so that viewers that keep
/// addresses in floating point numbers still tell them apart.
pub(super) const SYNTHETIC_BASE: u64 = 1 << 48;
/// Free bytes between two synthetic mappings, so that they look like what they are.
const GAP: u64 = 0x10_0000;

/// Ranges that are taken: below [`SYNTHETIC_BASE`] as they are asked for, above it one after the other.
pub(super) struct Space {
    taken: BTreeMap<u64, u64>,
    next: u64,
}

impl Default for Space {
    fn default() -> Self {
        Space { taken: BTreeMap::new(), next: SYNTHETIC_BASE }
    }
}

impl Space {
    /// Takes a real range; false if it is empty, not a process's, or partly taken.
    pub(super) fn reserve(&mut self, start: u64, limit: u64) -> bool {
        if start >= limit || limit > SYNTHETIC_BASE {
            return false;
        }
        let before = self.taken.range(..limit).next_back();
        if before.is_some_and(|(_, end)| *end > start) {
            return false;
        }
        self.taken.insert(start, limit);
        true
    }

    /// Takes a free range. Sizes are at most 2^40, so even a mapping for each of the 2^23 file numbers stays below 2^63.
    pub(super) fn reserve_anywhere(&mut self, size: u64) -> u64 {
        let start = self.next;
        self.next = start.saturating_add(size).saturating_add(GAP).next_multiple_of(GAP);
        start
    }
}
