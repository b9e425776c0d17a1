//! When each file was last met, to the second. Written for every frame of every sample, so it takes no lock and no room that
//! grows: two numbers that share a slot both count as met when one of them is, which only keeps a file longer.

use crate::event::FileNumber;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Slots, a power of two: more than records of files, so that of the files that are remembered few share one.
const SLOTS: usize = 1 << 16;

/// Seconds of CLOCK_MONOTONIC by file number.
pub(super) struct Uses(Box<[AtomicU32]>);

impl Default for Uses {
    fn default() -> Uses {
        Uses((0..SLOTS).map(|_| AtomicU32::new(0)).collect())
    }
}

impl Uses {
    /// The file was met in this second.
    pub(super) fn touch(&self, file: FileNumber, second: u32) {
        // Reading first keeps the line in the caches of all CPUs.
        if let Some(slot) = self.slot(file).filter(|slot| slot.load(Relaxed) < second) {
            slot.fetch_max(second, Relaxed);
        }
    }

    /// When it was last met.
    pub(super) fn last(&self, file: FileNumber) -> u32 {
        self.slot(file).map_or(0, |slot| slot.load(Relaxed))
    }

    fn slot(&self, file: FileNumber) -> Option<&AtomicU32> {
        self.0.get(file.0 as usize % SLOTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_second_counts() {
        let uses = Uses::default();
        assert_eq!(uses.last(FileNumber(7)), 0);
        for second in [5, 9, 8] {
            uses.touch(FileNumber(7), second);
        }
        assert_eq!((uses.last(FileNumber(7)), uses.last(FileNumber(8))), (9, 0));
    }
}
