//! The live store: what created each thread that lives. An entry goes with its thread, its process, or an exec; when the budget is
//! full, with the oldest first, and counted.

use crate::event::{Comm, FrameWord, ImageId, ProcessId, Sample, Tid};
use profiler_ebpf::reasons::Reason;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// Bytes for it.
pub const LIVE_BYTES: u64 = 8 << 20;
/// Bytes of an entry beside its stack: key, value and order, each with its share of a tree's node.
const ENTRY_BYTES: u64 = 256;
/// Bytes of a stack beside its words.
const STACK_BYTES: u64 = 64;
/// Ends that are remembered because their beginnings have not come yet: the two come through different rings.
const MAX_EARLY: usize = 1_024;

/// What created a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Creation {
    /// The thread.
    pub tid: Tid,
    /// Its own start, ns since boot.
    pub start: u64,
    /// Program that created it.
    pub image: ImageId,
    /// Thread that created it.
    pub by: Tid,
    /// That thread's name.
    pub name: Comm,
    /// That thread's stack, leaf first.
    pub stack: Arc<[FrameWord]>,
    /// How the stack ended.
    pub status: Reason,
}

/// What the store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveStats {
    /// Threads.
    pub threads: u64,
    /// Bytes.
    pub bytes: u64,
    /// Threads that had to make room.
    pub evicted: u64,
}

type Key = (ProcessId, Tid);

/// Threads by process.
#[derive(Default)]
pub(super) struct Live {
    /// With when each came.
    threads: BTreeMap<Key, (u64, Creation)>,
    order: BTreeMap<u64, Key>,
    /// And how many threads have each.
    stacks: HashMap<Arc<[FrameWord]>, u64>,
    early: VecDeque<(Key, u64)>,
    next: u64,
    bytes: u64,
    evicted: u64,
}

impl Live {
    /// A thread was created.
    pub(super) fn created(&mut self, sample: &Sample, tid: Tid, start: u64) {
        let key = (sample.image.process, tid);
        if let Some(at) = self.early.iter().position(|early| *early == (key, start)) {
            self.early.remove(at);
            return;
        }
        self.remove(key);
        let stack = self.intern(&sample.frames);
        let creation = Creation {
            tid,
            start,
            image: sample.image,
            by: sample.tid,
            name: sample.thread,
            stack,
            status: sample.status,
        };
        self.threads.insert(key, (self.next, creation));
        self.order.insert(self.next, key);
        self.next += 1;
        self.bytes += ENTRY_BYTES;
        while self.bytes > LIVE_BYTES
            && let Some((_, oldest)) = self.order.first_key_value()
        {
            self.remove(*oldest);
            self.evicted += 1;
        }
    }

    /// A thread ended.
    pub(super) fn ended(&mut self, process: ProcessId, tid: Tid, start: u64) {
        let key = (process, tid);
        match self.threads.get(&key) {
            Some((_, creation)) if creation.start == start => self.remove(key),
            // A number that was given again; or nobody saw it begin, or its beginning is still on its way.
            Some(_) => {}
            None => {
                if self.early.len() == MAX_EARLY {
                    self.early.pop_front();
                }
                self.early.push_back((key, start));
            }
        }
    }

    /// A process became another program, and of the one before no thread is left. Threads of the new one may have come before the
    /// exec itself did: the two come through different rings.
    pub(super) fn executed(&mut self, image: ImageId) {
        self.retain(image.process, |creation| creation.image == image);
    }

    /// A process ended.
    pub(super) fn forget(&mut self, process: ProcessId) {
        self.retain(process, |_| false);
    }

    fn retain(&mut self, process: ProcessId, stays: impl Fn(&Creation) -> bool) {
        let leaving = self.of(process).filter(|creation| !stays(creation));
        let keys: Vec<Key> = leaving.map(|creation| (process, creation.tid)).collect();
        for key in keys {
            self.remove(key);
        }
    }

    /// The threads of a process.
    pub(super) fn of(&self, process: ProcessId) -> impl Iterator<Item = &Creation> {
        let all = (process, Tid(0))..=(process, Tid(u32::MAX));
        self.threads.range(all).map(|(_, (_, creation))| creation)
    }

    pub(super) fn stats(&self) -> LiveStats {
        LiveStats { threads: self.threads.len() as u64, bytes: self.bytes, evicted: self.evicted }
    }

    fn intern(&mut self, frames: &[FrameWord]) -> Arc<[FrameWord]> {
        let known = self.stacks.get_key_value(frames).map(|(stack, _)| Arc::clone(stack));
        let stack = known.unwrap_or_else(|| {
            self.bytes += STACK_BYTES + size_of_val(frames) as u64;
            Arc::from(frames)
        });
        *self.stacks.entry(Arc::clone(&stack)).or_default() += 1;
        stack
    }

    fn remove(&mut self, key: Key) {
        let Some((order, Creation { stack, .. })) = self.threads.remove(&key) else { return };
        self.order.remove(&order);
        self.bytes -= ENTRY_BYTES;
        let Some(threads) = self.stacks.get_mut(&stack) else { return };
        *threads -= 1;
        if *threads == 0 {
            self.stacks.remove(&stack);
            self.bytes -= STACK_BYTES + size_of_val::<[FrameWord]>(&stack) as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Class, Frame, MonoTime, Pid, UserIds};

    fn process(pid: u32) -> ProcessId {
        ProcessId { pid: Pid(pid), start: 1_000 + u64::from(pid) }
    }

    /// A sample of the main thread, at an address.
    fn sample(pid: u32, address: u64, depth: usize) -> Sample {
        Sample {
            class: Class::Cpu,
            status: Reason::Complete,
            kernel_mode: true,
            kernel_thread: false,
            cpu: 0,
            image: ImageId { process: process(pid), exec_id: 1 },
            tid: Tid(pid),
            time: MonoTime(5),
            value: 0,
            late_ticks: 0,
            uids: UserIds { real: 0, effective: 0, saved: 0 },
            thread: Comm([0; 16]),
            comm: Comm([0; 16]),
            bad_pc: 0,
            frames: vec![FrameWord::from(Frame::Jit { address }); depth],
        }
    }

    fn threads(live: &Live, pid: u32) -> Vec<u32> {
        live.of(process(pid)).map(|creation| creation.tid.0).collect()
    }

    #[test]
    fn threads_go_with_their_end_their_process_and_an_exec() {
        let mut live = Live::default();
        for tid in 11..15 {
            live.created(&sample(10, 0x1000, 4), Tid(tid), 77);
        }
        live.created(&sample(20, 0x1000, 4), Tid(21), 77);
        assert_eq!(live.stats().bytes, 5 * ENTRY_BYTES + STACK_BYTES + 32, "equal stacks are one");
        live.ended(process(10), Tid(12), 77);
        live.ended(process(10), Tid(13), 76);
        assert_eq!(
            (threads(&live, 10), threads(&live, 20)),
            (vec![11, 13, 14], vec![21]),
            "an older one of that number"
        );
        live.forget(process(10));
        assert_eq!((threads(&live, 10), live.stats().threads), (vec![], 1));
        live.ended(process(20), Tid(21), 77);
        assert_eq!(live.stats(), LiveStats::default());
    }

    #[test]
    fn threads_of_the_program_that_was_executed_stay() {
        let mut live = Live::default();
        let after = |mut sample: Sample| {
            sample.image.exec_id = 2;
            sample
        };
        live.created(&sample(10, 0x1000, 1), Tid(11), 77);
        live.created(&after(sample(10, 0x1000, 1)), Tid(12), 78);
        live.executed(after(sample(10, 0x1000, 1)).image);
        assert_eq!(threads(&live, 10), [12]);
    }

    #[test]
    fn an_end_may_come_before_its_beginning() {
        let mut live = Live::default();
        live.ended(process(10), Tid(11), 77);
        live.created(&sample(10, 0x1000, 1), Tid(11), 77);
        assert!(threads(&live, 10).is_empty());
        live.created(&sample(10, 0x1000, 1), Tid(11), 99);
        assert_eq!(threads(&live, 10), [11], "the next one of that number");
    }

    #[test]
    fn the_budget_holds_and_the_oldest_go_first() {
        let mut live = Live::default();
        for tid in 0..60_000 {
            live.created(&sample(10, u64::from(tid) << 12, 100), Tid(tid), 1);
        }
        let LiveStats { threads, bytes, evicted } = live.stats();
        assert!(bytes <= LIVE_BYTES && threads > 5_000 && threads + evicted == 60_000, "{:?}", live.stats());
        assert!(live.of(process(10)).all(|creation| u64::from(creation.tid.0) >= evicted));
        live.forget(process(10));
        assert_eq!(live.stats().bytes, 0);
    }
}
