//! What passes between the handles and the owner beside the queue: what waits, and what found no room.

use crate::event::MonoTime;
use std::sync::atomic::{AtomicU64, Ordering};

/// What passes between the handles and the owner beside the queue.
#[derive(Default)]
pub(super) struct Gate {
    pub(super) queued_bytes: AtomicU64,
    /// Samples and losses dropped since the owner last looked, and the time of the newest.
    fresh: AtomicU64,
    fresh_time: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) dropped_events: AtomicU64,
}

impl Gate {
    pub(super) fn drop_samples(&self, count: u64, time: MonoTime) {
        self.fresh_time.fetch_max(time.0, Ordering::Relaxed);
        self.dropped.fetch_add(count, Ordering::Relaxed);
        self.fresh.fetch_add(count, Ordering::Release);
    }

    /// Samples and losses that were dropped since the last call, and when the newest was taken.
    pub(super) fn take_fresh(&self) -> (u64, MonoTime) {
        let count = self.fresh.swap(0, Ordering::Acquire);
        (count, MonoTime(self.fresh_time.load(Ordering::Relaxed)))
    }

    pub(super) fn drop_events(&self, count: u64) {
        self.dropped_events.fetch_add(count, Ordering::Relaxed);
    }
}
