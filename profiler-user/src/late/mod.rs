//! Late stacks: a sample whose walk met a file without a table is held, with a copy of its stack, until the table is there;
//! then the walk goes on in user space, by the rules and the steps of the kernel side.
//!
//! What is held is bounded in bytes and in time. What cannot wait any longer goes on as it is: not complete, with its reason.

mod programs;
mod standing;
mod walk;

use crate::event::{FileNumber, FileOffset, ImageId, MappingSeen, MonoTime, Sample, StackCopy};
use crate::tables::TableRule;
use profiler_ebpf::reasons::Reason;
pub use standing::{Mapped, Standing};

use programs::Programs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use walk::{End, Walk, walk};

/// Bytes of samples and copies that are held.
pub const MAX_BYTES: u64 = 32 << 20;
/// How long a sample waits for a table.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// How long whoever flushes waits for samples that were told to go.
const LEAVING: Duration = Duration::from_millis(500);

/// What a walk is about.
pub trait Targets: Send + Sync {
    /// Executable mappings of a program now; none if it is gone. Blocking.
    fn mappings(&self, image: ImageId) -> Vec<MappingSeen>;

    /// The rule in force at an offset of a file: `None` while its table may yet come (it is asked for), the error is how a
    /// walk ends there.
    fn rule(&self, file: FileNumber, offset: FileOffset) -> Option<Result<TableRule, Reason>>;
}

/// What was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LateCounts {
    /// Samples that were walked to an end.
    pub walked: u64,
    /// Samples that went on as they were: no table, no mappings, or no time.
    pub given_up: u64,
    /// Samples that found no room.
    pub refused: u64,
    /// Samples that are held.
    pub held: u64,
}

/// Handle of the samples that are held; cheap to clone. One thread calls [`Late::work`].
#[derive(Clone)]
pub struct Late(Arc<Inside>);

struct Inside {
    programs: Mutex<Programs>,
    held: Mutex<Held>,
    left: Condvar,
    walked: AtomicU64,
    given_up: AtomicU64,
    refused: AtomicU64,
}

#[derive(Default)]
struct Held {
    items: Vec<Item>,
    bytes: u64,
    /// Times of the samples that `work` has taken and not yet handed on.
    in_hand: Vec<MonoTime>,
    in_hand_bytes: u64,
    /// Samples up to this time wait no longer.
    leave: Option<MonoTime>,
}

impl Held {
    fn has_any_to(&self, to: MonoTime) -> bool {
        self.items.iter().map(|item| item.sample.time).chain(self.in_hand.iter().copied()).any(|time| time <= to)
    }
}

struct Item {
    sample: Sample,
    copy: StackCopy,
    since: Instant,
}

impl Item {
    fn bytes(&self) -> u64 {
        let (frames, mappings) = (self.sample.frames.as_slice(), self.copy.mappings.as_slice());
        (size_of_val(self) + self.copy.bytes.len() + size_of_val(frames) + size_of_val(mappings)) as u64
    }
}

impl Late {
    /// Holds nothing yet.
    pub fn new(targets: Arc<dyn Targets>) -> Late {
        let zero = AtomicU64::default;
        let (programs, held, left) = (Mutex::new(Programs::new(targets)), Mutex::default(), Condvar::new());
        Late(Arc::new(Inside { programs, held, left, walked: zero(), given_up: zero(), refused: zero() }))
    }

    /// Holds a sample; gives it back if there is no room.
    pub fn hold(&self, sample: Sample, copy: StackCopy) -> Option<Sample> {
        let mut held = self.0.held();
        let item = Item { sample, copy, since: Instant::now() };
        if held.bytes + held.in_hand_bytes + item.bytes() > MAX_BYTES {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
            return Some(item.sample);
        }
        held.bytes += item.bytes();
        held.items.push(item);
        None
    }

    /// Goes on with the walks that can; samples that are done, or have waited long enough, go to `pass`. Blocking.
    pub fn work(&self, pass: impl FnOnce(Vec<Sample>)) {
        let (items, leave) = {
            let mut held = self.0.held();
            held.in_hand_bytes = std::mem::take(&mut held.bytes);
            let items = std::mem::take(&mut held.items);
            held.in_hand = items.iter().map(|item| item.sample.time).collect();
            (items, held.leave)
        };
        if items.is_empty() {
            return;
        }
        let mut programs = self.0.programs.lock().unwrap_or_else(PoisonError::into_inner);
        programs.look(items.iter().map(|item| (item.sample.image, item.since)));
        let (mut done, mut waiting) = (Vec::new(), Vec::new());
        for mut item in items {
            let leaves = leave.is_some_and(|to| item.sample.time <= to) || item.since.elapsed() >= MAX_WAIT;
            if self.0.try_walk(&mut programs, &mut item, leaves) { done.push(item.sample) } else { waiting.push(item) }
        }
        if !done.is_empty() {
            pass(done);
        }
        let mut held = self.0.held();
        held.bytes += waiting.iter().map(Item::bytes).sum::<u64>();
        held.in_hand_bytes = 0;
        held.items.append(&mut waiting);
        held.in_hand.clear();
        drop(held);
        self.0.left.notify_all();
    }

    /// Waits until no sample up to `to` is held any more; at the deadline those that are left go on as they are. False: some are
    /// held still, because their walks are stuck. Blocking.
    pub fn flush(&self, to: MonoTime, deadline: Duration) -> bool {
        let mut held = self.0.wait_for(self.0.held(), to, deadline);
        if held.has_any_to(to) {
            held.leave = held.leave.max(Some(to));
            held = self.0.wait_for(held, to, LEAVING);
        }
        !held.has_any_to(to)
    }

    /// What was done so far.
    pub fn counts(&self) -> LateCounts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let held = self.0.held();
        LateCounts {
            walked: get(&self.0.walked),
            given_up: get(&self.0.given_up),
            refused: get(&self.0.refused),
            held: (held.items.len() + held.in_hand.len()) as u64,
        }
    }
}

impl Inside {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for<'a>(&'a self, held: MutexGuard<'a, Held>, to: MonoTime, time: Duration) -> MutexGuard<'a, Held> {
        let waited = self.left.wait_timeout_while(held, time, |held| held.has_any_to(to));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// True if the sample goes on; what the walk found is then part of it.
    fn try_walk(&self, programs: &mut Programs, item: &mut Item, leaves: bool) -> bool {
        let Walk { frames, end, bad_pc, .. } = walk(&item.sample, &item.copy, programs);
        let counter = match end {
            End::Waits if !leaves => return false,
            End::Waits | End::Unknown => &self.given_up,
            End::Ended(status) => {
                item.sample.status = status;
                &self.walked
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        item.sample.bad_pc = bad_pc;
        item.sample.frames.extend(frames);
        true
    }
}

#[cfg(test)]
mod tests;
