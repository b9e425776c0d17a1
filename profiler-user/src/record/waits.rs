//! Waits: their beginnings, which have the stack, and their ends, which have the length, in whatever order they come; and those
//! that go on.

use super::block::{Entry, ONE, Task, scaled};
use super::totals::Totals;
use super::window::{Row, Samples, Selection, Sieve};
use crate::event::{Call, FrameWord, MonoTime, ProcessId, Sample, Source, Tid, WaitEnd};
use profiler_ebpf::reasons::Reason;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Bytes for waits that go on.
pub const WAITS_BYTES: u64 = 8 << 20;
/// Bytes of a beginning beside its stack.
const BEGUN_BYTES: u64 = 320;
/// Ends whose beginnings have not come.
const MAX_EARLY: usize = 16_384;
/// They are kept for so long: a stack that is walked late comes within it.
const EARLY: u64 = 10_000_000_000;

/// How often it is asked which waits go on, after one was lost: what is on its way when they are first looked at has come by then.
const DOUBTS: u32 = 3;

type Key = (Tid, MonoTime);

struct Begun {
    task: Task,
    stack: Arc<[FrameWord]>,
    status: Reason,
    call: Call,
    /// For how many it stands if nobody looks at it.
    weight: u32,
    /// What was shown of it, ns: its end adds no less.
    shown: u64,
}

/// What the store did not keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaitStats {
    /// Waits that go on and are known.
    pub open: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Beginnings without room.
    pub refused: u64,
    /// Waits of which only one end was seen.
    pub unmatched: u64,
    /// Events of totals that share one row because the budget is full.
    pub folded: u64,
    /// Bytes of the totals.
    pub total_bytes: u64,
}

/// [`WAITS_BYTES`] are in use.
#[derive(Debug)]
pub(super) struct NoRoom;

/// Waits by thread and beginning.
#[derive(Default)]
pub(super) struct Waits {
    begun: BTreeMap<Key, Begun>,
    early: HashMap<Key, WaitEnd>,
    bytes: u64,
    refused: u64,
    unmatched: u64,
    /// Questions that [`Waits::doubtful`] answers still.
    doubts: u32,
}

/// A wait that ended, in its parts.
pub(super) struct Ended {
    begun: Begun,
    end: WaitEnd,
}

impl Ended {
    /// What is recorded of it: the wait, and the time for which the thread could have run and had no CPU.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let Ended { begun, end } = self;
        let weight = if end.looked { 1 } else { begun.weight.max(1) };
        let whole = end.end.0.saturating_sub(end.since.0);
        let queued = if begun.call == Call::RUNNABLE { 0 } else { end.queued.min(whole) };
        let waited = (whole - queued).max(begun.shown);
        let events = weight.saturating_mul(ONE);
        let entry = move |call: Call, value: u64| Entry {
            time: end.end,
            task: begun.task,
            frames: &begun.stack,
            status: begun.status,
            source: Source::Wait(call),
            value: scaled(value, events),
            events,
        };
        let for_cpu = (queued > 0).then(|| entry(Call::RUNNABLE, queued));
        [Some(entry(begun.call, waited)), for_cpu].into_iter().flatten()
    }
}

impl Waits {
    /// A wait began; or a look found one that had. If its end is known already it is over.
    pub(super) fn begin(&mut self, sample: &Sample, call: Call, weight: u32) -> Result<Option<Ended>, NoRoom> {
        let key = (sample.tid, sample.time);
        let Sample { image, tid, thread, comm, uids, status, .. } = *sample;
        let begun = Begun {
            task: Task { image, tid, thread, comm, user: uids.into() },
            stack: Arc::from(sample.frames.as_slice()),
            status,
            call,
            weight,
            shown: 0,
        };
        if let Some(end) = self.early.remove(&key) {
            return Ok(Some(Ended { begun, end }));
        }
        // Of those before, the ends were lost: a thread has one wait at a time.
        let older: Vec<Key> = self.begun.range((sample.tid, MonoTime(0))..key).map(|(key, _)| *key).collect();
        for key in older {
            self.unmatched += 1;
            self.remove(key);
        }
        let bytes = BEGUN_BYTES + size_of_val(sample.frames.as_slice()) as u64;
        if self.bytes + bytes > WAITS_BYTES {
            self.refused += 1;
            return Err(NoRoom);
        }
        self.bytes += bytes;
        if let Some(before) = self.begun.insert(key, begun) {
            self.bytes -= BEGUN_BYTES + size_of_val::<[FrameWord]>(&before.stack) as u64;
        }
        Ok(None)
    }

    /// A wait ended.
    pub(super) fn end(&mut self, end: &WaitEnd) -> Option<Ended> {
        let key = (end.tid, end.since);
        if let Some(begun) = self.remove(key) {
            return Some(Ended { begun, end: *end });
        }
        if self.early.len() < MAX_EARLY {
            self.early.insert(key, *end);
        } else {
            self.unmatched += 1;
        }
        None
    }

    fn remove(&mut self, key: Key) -> Option<Begun> {
        let begun = self.begun.remove(&key)?;
        self.bytes -= BEGUN_BYTES + size_of_val::<[FrameWord]>(&begun.stack) as u64;
        Some(begun)
    }

    /// A record was lost: it may have been the end of any of the waits that seem to go on.
    pub(super) fn doubt(&mut self) {
        self.doubts = DOUBTS;
    }

    /// All that seem to go on, if there is doubt.
    pub(super) fn doubtful(&mut self) -> Vec<Key> {
        if self.doubts == 0 {
            return Vec::new();
        }
        self.doubts -= 1;
        self.begun.keys().copied().collect()
    }

    /// These ended, nobody knows when: they are lost.
    pub(super) fn over(&mut self, waits: &[Key]) {
        for key in waits {
            self.unmatched += u64::from(self.remove(*key).is_some());
        }
    }

    /// Waits of a process do not go on.
    pub(super) fn forget(&mut self, gone: impl Fn(ProcessId) -> bool) {
        let leaving = self.begun.iter().filter(|(_, begun)| gone(begun.task.image.process));
        let keys: Vec<Key> = leaving.map(|(key, _)| *key).collect();
        for key in keys {
            self.remove(key);
        }
    }

    /// Ends whose beginnings do not come any more are forgotten.
    pub(super) fn trim(&mut self, now: MonoTime) {
        let before = self.early.len();
        self.early.retain(|_, end| end.end.0.saturating_add(EARLY) > now.0);
        self.unmatched += (before - self.early.len()) as u64;
    }

    /// Adds the waits that were at least `age` ns old at `now` and go on, as they are then. Their ends will add no less.
    pub(super) fn add_open(
        &mut self,
        totals: &mut Totals,
        (selection, samples): (&Selection, Samples),
        sieve: Option<&Sieve>,
        (now, age): (MonoTime, u64),
    ) {
        for ((_, since), begun) in &mut self.begun {
            let waited = now.0.saturating_sub(since.0);
            let is_asked = samples.hold(Source::Wait(begun.call)) && selection.holds(begun.task.image.process);
            if waited < age || !is_asked {
                continue;
            }
            if !sieve.is_none_or(|sieve| sieve.passes(begun.task.image, begun.task.user)) {
                totals.withheld += 1;
                continue;
            }
            begun.shown = begun.shown.max(waited);
            let Task { image, thread, comm, .. } = begun.task;
            totals.rows.push(Row {
                image,
                tid: Tid(0),
                thread,
                comm,
                stack: Arc::clone(&begun.stack),
                status: begun.status,
                source: Source::Wait(begun.call),
                count: 1,
                value: begun.shown,
                events: ONE.into(),
            });
        }
    }

    /// The waits of a selection that go on at `now`, each with its thread.
    pub(super) fn open(&self, selection: &Selection, sieve: Option<&Sieve>, now: MonoTime) -> Vec<Row> {
        let shown = |(_, begun): &(&Key, &Begun)| {
            let Task { image, user, .. } = begun.task;
            selection.holds(image.process) && sieve.is_none_or(|sieve| sieve.passes(image, user))
        };
        let row = |((tid, since), begun): (&Key, &Begun)| Row {
            image: begun.task.image,
            tid: *tid,
            thread: begun.task.thread,
            comm: begun.task.comm,
            stack: Arc::clone(&begun.stack),
            status: begun.status,
            source: Source::Wait(begun.call),
            count: 1,
            value: now.0.saturating_sub(since.0),
            events: ONE.into(),
        };
        self.begun.iter().filter(shown).map(row).collect()
    }

    pub(super) fn stats(&self) -> WaitStats {
        WaitStats {
            open: self.begun.len() as u64,
            bytes: self.bytes,
            refused: self.refused,
            unmatched: self.unmatched,
            ..WaitStats::default()
        }
    }
}
