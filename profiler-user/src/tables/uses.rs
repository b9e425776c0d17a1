//! When each file was last met, to the millisecond: of files that all are met within a second, the one that every stack leads
//! through must not pass for the oldest. Written for every frame of every sample, so it takes no lock and no room that
//! grows: two numbers that share a slot both count as met when one of them is, which only keeps a file longer.

use crate::event::FileNumber;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Slots, a power of two: more than records of files, so that of the files that are remembered few share one.
const SLOTS: usize = 1 << 16;

/// Milliseconds of `CLOCK_MONOTONIC` by file number.
pub(super) struct Uses(Box<[AtomicU64]>);

impl Default for Uses {
    fn default() -> Uses {
        Uses((0..SLOTS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Uses {
    /// The file was met in this millisecond.
    pub(super) fn touch(&self, file: FileNumber, time: u64) {
        // Reading first keeps the line in the caches of all CPUs.
        if let Some(slot) = self.slot(file).filter(|slot| slot.load(Relaxed) < time) {
            slot.fetch_max(time, Relaxed);
        }
    }

    /// When it was last met.
    pub(super) fn last(&self, file: FileNumber) -> u64 {
        self.slot(file).map_or(0, |slot| slot.load(Relaxed))
    }

    fn slot(&self, file: FileNumber) -> Option<&AtomicU64> {
        self.0.get(file.0 as usize % SLOTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_time_counts() {
        let uses = Uses::default();
        assert_eq!(uses.last(FileNumber(7)), 0);
        for time in [5, 9, 8] {
            uses.touch(FileNumber(7), time);
        }
        assert_eq!((uses.last(FileNumber(7)), uses.last(FileNumber(8))), (9, 0));
    }
}
