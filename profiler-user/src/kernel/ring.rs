//! A BPF ring buffer as the agent reads it.

use aya::maps::{MapData, RingBuf};
use std::os::fd::{AsFd, BorrowedFd};

/// One ring. Its one reader hands each record to a function; records are only valid inside it.
pub struct Ring {
    name: &'static str,
    ring: RingBuf<MapData>,
}

impl Ring {
    pub(super) fn new(name: &'static str, ring: RingBuf<MapData>) -> Ring {
        Ring { name, ring }
    }

    /// For logs and thread names.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Reads at most `limit` records that are there now; returns how many.
    pub fn drain(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> usize {
        let mut count = 0;
        while count < limit {
            let Some(record) = self.ring.next() else { break };
            each(&record);
            count += 1;
        }
        count
    }

    /// Readable when a record that asked for a wakeup is there.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}
