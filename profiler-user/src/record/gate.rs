//! What passes between the handles and the owner beside the queue: what waits, and what found no room.

use crate::event::MonoTime;
use profiler_ebpf::reasons::Reason;
use std::sync::atomic::{AtomicU64, Ordering};

/// As what is counted what found no room: samples of CPU time, waits, wakes.
const REASONS: [Reason; 3] = [Reason::QueueFull, Reason::WaitLost, Reason::WakeLost];

/// What passes between the handles and the owner beside the queue.
#[derive(Default)]
pub(super) struct Gate {
    pub(super) queued_bytes: AtomicU64,
    /// Dropped since the owner last looked, by [`REASONS`], and the time of the newest.
    fresh: [AtomicU64; REASONS.len()],
    fresh_time: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) dropped_events: AtomicU64,
}

impl Gate {
    /// Counts samples and losses that were dropped, of one of [`REASONS`].
    pub(super) fn drop_samples(&self, reason: Reason, count: u64, time: MonoTime) {
        let fresh = REASONS.iter().zip(&self.fresh).find(|(known, _)| **known == reason);
        self.fresh_time.fetch_max(time.0, Ordering::Relaxed);
        self.dropped.fetch_add(count, Ordering::Relaxed);
        if let Some((_, fresh)) = fresh {
            fresh.fetch_add(count, Ordering::Release);
        }
    }

    /// What was dropped since the last call, by reason, and when the newest was taken.
    pub(super) fn take_fresh(&self) -> (impl Iterator<Item = (Reason, u64)>, MonoTime) {
        let counts = REASONS.iter().zip(&self.fresh).map(|(reason, fresh)| (*reason, fresh.swap(0, Ordering::Acquire)));
        (counts.filter(|(_, count)| *count > 0), MonoTime(self.fresh_time.load(Ordering::Relaxed)))
    }

    pub(super) fn drop_events(&self, count: u64) {
        self.dropped_events.fetch_add(count, Ordering::Relaxed);
    }
}
