//! What processes are and were, so that the dead can be asked about: kept while anything of them is recorded. Facts come
//! from fork, exec and exit, from an inventory of `/proc`, and from the samples themselves; any of them may be missing.

mod account;
mod room;

use super::clock::Clock;
use crate::event::{Comm, ImageId, MonoTime, Pid, ProcessFact, ProcessId, Sample, SoleUser, UserIds};
use std::collections::BTreeMap;

/// A dead process of which nothing is recorded is forgotten after this, ns.
const LINGER: u64 = 60_000_000_000;
/// Programs kept of one process, the newest.
const MAX_IMAGES: usize = 16;
/// Bytes kept of a path.
const MAX_PATH: usize = 4_096;
/// `/proc/PID/stat` tells the start in these, rounded down.
const TICK: u64 = 10_000_000;
/// A CPU share is that of the last minute, ns.
const MINUTE: u64 = 60_000_000_000;

/// Which processes a list is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Those that live.
    Alive,
    /// Those that have exited and of which samples are recorded.
    Exited,
}

/// A program that a process ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageInfo {
    /// Execs that the process had done.
    pub exec_id: u32,
    /// Path of the program, as far as it is known.
    pub exe: Option<String>,
    /// The leader's name, the newest seen.
    pub comm: Comm,
    /// When it was first met.
    pub since: MonoTime,
    /// Whose it was, as far as it was met: nobody's alone once it was met with another's rights.
    pub user: SoleUser,
}

/// A process.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessInfo {
    /// Who.
    pub id: ProcessId,
    /// Execs it has done.
    pub exec_id: u32,
    /// Programs that it ran, as far as they were met, the newest last.
    pub images: Vec<ImageInfo>,
    /// Its parent; 0 if that is not known.
    pub parent: Pid,
    /// Its number in its own PID namespace; 0 if that is not known.
    pub namespace_pid: Pid,
    /// User ids.
    pub uids: UserIds,
    /// The leader's name.
    pub comm: Comm,
    /// Path of its program, as far as it is known.
    pub exe: Option<String>,
    /// cgroup id; 0 if that is not known.
    pub cgroup: u64,
    /// When its last thread ended.
    pub exited: Option<MonoTime>,
    /// CPU time of its whole life, ns, once its end was seen.
    pub cpu_ns: Option<u64>,
    /// Its newest sample.
    pub last_sample: Option<MonoTime>,
    /// Samples of it that were ever recorded.
    pub samples: u64,
    /// CPUs that it used in the last minute, by the scheduler's account.
    pub cpu_share: Option<f64>,
}

struct Entry {
    info: ProcessInfo,
    clock: Clock,
    /// Who had forked it, as far as that was seen: its parent may have died since and left it to another one.
    forked_by: Option<Pid>,
    /// Known from `/proc` alone: its start is rounded and its exec id not binding.
    is_assumed: bool,
}

/// Bytes of an entry in the table, whose nodes are full for two thirds.
const ENTRY_BYTES: u64 = size_of::<(ProcessId, Entry)>() as u64 * 3 / 2;

/// The table.
pub(super) struct Processes {
    known: BTreeMap<ProcessId, Entry>,
    most: usize,
    /// Processes that found the table full of living ones, or were forgotten because it was full.
    pub(super) refused: u64,
    /// Paths of living processes' programs that were too long for the budget.
    pub(super) forgotten_paths: u64,
}

impl Processes {
    /// An empty table of at most `most` processes.
    pub(super) fn new(most: usize) -> Processes {
        Processes { known: BTreeMap::new(), most, refused: 0, forgotten_paths: 0 }
    }

    /// A process is known at the latest by its first sample.
    pub(super) fn sample(&mut self, sample: &Sample) {
        let Some(entry) = self.meet(sample.image, sample.time, sample.comm, sample.uids) else { return };
        let info = &mut entry.info;
        info.samples += 1;
        info.last_sample = info.last_sample.max(Some(sample.time));
        if sample.image.exec_id >= info.exec_id {
            (info.comm, info.uids) = (sample.comm, sample.uids);
        }
        entry.image(sample.image.exec_id, sample.time, sample.comm, sample.uids).comm = sample.comm;
    }

    /// As [`Processes::sample`], by a sample that is none of CPU time.
    pub(super) fn wait(&mut self, sample: &Sample) {
        if let Some(entry) = self.meet(sample.image, sample.time, sample.comm, sample.uids) {
            entry.info.last_sample = entry.info.last_sample.max(Some(sample.time));
        }
    }

    /// A child has its parent's program until it execs, and the secrets that this got by rights which it gave up since.
    pub(super) fn fork(&mut self, fact: &ProcessFact) {
        let parent = self.newest(fact.parent).map(|parent| &parent.info);
        let inherited = parent.and_then(|parent| parent.exe.clone());
        let is_shut = parent.and_then(|parent| parent.images.last()).is_some_and(|image| image.user == SoleUser::NONE);
        let Some(entry) = self.learn(fact) else { return };
        if is_shut {
            entry.image(fact.image.exec_id, fact.time, fact.comm, fact.uids).user = SoleUser::NONE;
        }
        entry.forked_by = Some(fact.parent);
        entry.clock.begin(fact.time);
        entry.set_exe(fact, inherited, false);
    }

    /// The same process runs another program.
    pub(super) fn exec(&mut self, fact: &ProcessFact, exe: &[u8]) {
        if self.assumed(fact.image.process).is_some() {
            // What `/proc` knew was the program before.
            let before = ImageId { exec_id: fact.image.exec_id.saturating_sub(1), ..fact.image };
            self.meet(before, fact.time, fact.comm, fact.uids);
        }
        if let Some(entry) = self.learn(fact) {
            entry.set_exe(fact, text(exe), true);
        }
    }

    /// What `/proc` says. It knows no exec id, so it is about the newest program.
    pub(super) fn known(&mut self, fact: &ProcessFact, exe: &[u8]) {
        let mut fact = fact.clone();
        let pid = fact.image.process.pid;
        let same = |id: &&ProcessId| id.start / TICK == fact.image.process.start / TICK;
        let met = self.known.range(all_of(pid)).map(|(id, _)| id).find(same).copied();
        let entry = met.and_then(|id| self.known.get(&id));
        let is_assumed = entry.is_none_or(|entry| entry.is_assumed);
        if let Some(entry) = entry {
            fact.image = ImageId { process: entry.info.id, exec_id: entry.info.exec_id };
        }
        if let Some(entry) = self.learn(&fact) {
            entry.is_assumed = is_assumed;
            entry.set_exe(&fact, text(exe), true);
        }
    }

    /// The last thread has ended.
    pub(super) fn exit(&mut self, fact: &ProcessFact, cpu_ns: u64) {
        if let Some(entry) = self.learn(fact) {
            entry.clock.end(fact.time, cpu_ns);
            entry.info.exited = Some(fact.time);
            entry.info.cpu_ns = Some(cpu_ns);
        }
    }

    /// It was found to be gone, without having been seen to end.
    pub(super) fn gone(&mut self, id: ProcessId, time: MonoTime) {
        if let Some(entry) = self.known.get_mut(&id) {
            entry.info.exited.get_or_insert(time);
        }
    }

    /// True if its end was seen.
    pub(super) fn has_ended(&self, id: ProcessId) -> bool {
        self.known.get(&id).is_some_and(|entry| entry.info.exited.is_some())
    }

    /// A reading of a CPU clock.
    pub(super) fn clock(&mut self, id: ProcessId, time: MonoTime, cpu_ns: u64) {
        if let Some(entry) = self.known.get_mut(&id) {
            entry.clock.add(time, cpu_ns);
        }
    }

    fn newest(&self, pid: Pid) -> Option<&Entry> {
        self.known.range(all_of(pid)).next_back().map(|(_, entry)| entry)
    }

    fn learn(&mut self, fact: &ProcessFact) -> Option<&mut Entry> {
        let entry = self.meet(fact.image, fact.time, fact.comm, fact.uids)?;
        entry.forked_by.get_or_insert(fact.parent);
        let info = &mut entry.info;
        (info.parent, info.namespace_pid) = (fact.parent, fact.namespace_pid);
        info.cgroup = fact.cgroup;
        if fact.image.exec_id >= info.exec_id {
            (info.exec_id, info.comm, info.uids) = (fact.image.exec_id, fact.comm, fact.uids);
        }
        Some(entry)
    }

    /// The entry of an image's process; a new one if need be. `None` if the table is full of living ones.
    fn meet(&mut self, image: ImageId, time: MonoTime, comm: Comm, uids: UserIds) -> Option<&mut Entry> {
        let id = image.process;
        if let Some(assumed) = self.assumed(id) {
            let mut entry = self.known.remove(&assumed)?;
            entry.confirm(image);
            self.known.insert(id, entry);
        } else if !self.known.contains_key(&id) {
            self.make_room().then_some(())?;
            self.known.insert(id, Entry::new(image, comm, uids));
            self.end_reused(id.pid, time);
        }
        let entry = self.known.get_mut(&id)?;
        entry.image(image.exec_id, time, comm, uids);
        entry.info.exec_id = entry.info.exec_id.max(image.exec_id);
        Some(entry)
    }

    /// Under which name `/proc` alone knows this very process.
    fn assumed(&self, id: ProcessId) -> Option<ProcessId> {
        let rounded = ProcessId { start: id.start / TICK * TICK, ..id };
        let is_assumed = |id: &ProcessId| self.known.get(id).is_some_and(|entry| entry.is_assumed);
        [id, rounded].into_iter().find(is_assumed)
    }

    /// Of processes with one number only the newest can live.
    fn end_reused(&mut self, pid: Pid, time: MonoTime) {
        for (_, entry) in self.known.range_mut(all_of(pid)).rev().skip(1) {
            entry.info.exited.get_or_insert(time);
        }
    }

    /// Processes that have or had this number, the newest last.
    pub(super) fn with_number(&self, pid: Pid, now: MonoTime) -> Vec<ProcessInfo> {
        self.known.range(all_of(pid)).map(|(_, entry)| entry.info_at(now)).collect()
    }

    /// Those of a list; `floor` is where the log begins.
    pub(super) fn list(&self, filter: Filter, now: MonoTime, floor: MonoTime) -> Vec<ProcessInfo> {
        let wanted = |entry: &&Entry| match filter {
            Filter::Alive => entry.info.exited.is_none(),
            Filter::Exited => entry.info.exited.is_some() && entry.is_recorded(floor),
        };
        self.known.values().filter(wanted).map(|entry| entry.info_at(now)).collect()
    }

    /// The living of which samples are recorded.
    pub(super) fn recorded(&self, floor: MonoTime) -> Vec<ProcessId> {
        let wanted = |entry: &&Entry| entry.info.exited.is_none() && entry.is_recorded(floor);
        self.known.values().filter(wanted).map(|entry| entry.info.id).collect()
    }

    /// Forgets the dead of which nothing is recorded, and what no window of the log needs.
    pub(super) fn trim(&mut self, now: MonoTime, floor: MonoTime) {
        let lingers = |exited: MonoTime| exited.0.saturating_add(LINGER) > now.0;
        self.known.retain(|_, entry| entry.is_recorded(floor) || entry.info.exited.is_none_or(lingers));
        // The minute before now is kept for the share, however short the log is.
        let floor = floor.min(MonoTime(now.0.saturating_sub(MINUTE)));
        self.known.values_mut().for_each(|entry| entry.clock.forget_before(floor));
    }

    /// Processes known.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Bytes that the CPU clocks take.
    pub(super) fn clock_bytes(&self) -> u64 {
        self.known.values().map(|entry| entry.clock.bytes()).sum()
    }

    /// Bytes that all else takes.
    pub(super) fn table_bytes(&self) -> u64 {
        self.known.values().map(|entry| ENTRY_BYTES + entry.outside_bytes()).sum()
    }
}

fn all_of(pid: Pid) -> std::ops::RangeInclusive<ProcessId> {
    ProcessId { pid, start: 0 }..=ProcessId { pid, start: u64::MAX }
}

fn text(path: &[u8]) -> Option<String> {
    let path = path.get(..MAX_PATH).unwrap_or(path);
    (!path.is_empty()).then(|| String::from_utf8_lossy(path).into_owned())
}

impl Entry {
    fn new(image: ImageId, comm: Comm, uids: UserIds) -> Entry {
        let info = ProcessInfo {
            id: image.process,
            exec_id: image.exec_id,
            images: Vec::new(),
            parent: Pid(0),
            namespace_pid: Pid(0),
            uids,
            comm,
            exe: None,
            cgroup: 0,
            exited: None,
            cpu_ns: None,
            last_sample: None,
            samples: 0,
            cpu_share: None,
        };
        Entry { info, clock: Clock::default(), forked_by: None, is_assumed: false }
    }

    /// The kernel has told who it truly is.
    fn confirm(&mut self, image: ImageId) {
        self.is_assumed = false;
        (self.info.id, self.info.exec_id) = (image.process, image.exec_id);
        if let Some(newest) = self.info.images.last_mut() {
            newest.exec_id = image.exec_id;
        }
    }

    /// The program with this exec id; rings are read one after the other, so it may be older than the newest.
    fn image(&mut self, exec_id: u32, time: MonoTime, comm: Comm, uids: UserIds) -> &mut ImageInfo {
        let images = &mut self.info.images;
        let found = images.binary_search_by_key(&exec_id, |image| image.exec_id);
        let index = found.unwrap_or_else(|index| {
            images.insert(index, ImageInfo { exec_id, exe: None, comm, since: time, user: uids.into() });
            // The oldest goes, unless it is the one that is asked for.
            let excess = usize::from(images.len() > MAX_IMAGES);
            if excess > 0 {
                images.remove(usize::from(index == 0));
            }
            index.saturating_sub(excess)
        });
        let image = &mut images[index];
        image.since = image.since.min(time);
        image.user = image.user.and(uids.into());
        image
    }

    /// Sets the path of the program that a fact is about; what is known already stays unless `is_better`.
    fn set_exe(&mut self, fact: &ProcessFact, exe: Option<String>, is_better: bool) {
        let image = self.image(fact.image.exec_id, fact.time, fact.comm, fact.uids);
        if exe.is_some() && (is_better || image.exe.is_none()) {
            image.exe = exe;
        }
        self.info.exe = self.info.images.last().and_then(|image| image.exe.clone());
    }

    fn is_recorded(&self, floor: MonoTime) -> bool {
        self.info.last_sample.is_some_and(|time| time >= floor)
    }

    fn info_at(&self, now: MonoTime) -> ProcessInfo {
        ProcessInfo { cpu_share: self.clock.share(now, MINUTE), ..self.info.clone() }
    }

    /// Keeps the newest image only.
    fn forget_images(&mut self) {
        let images = &mut self.info.images;
        images.drain(..images.len().saturating_sub(1));
        images.shrink_to_fit();
    }

    /// Forgets the path of its program if that is longer than so many bytes.
    fn forget_path(&mut self, longest: usize) -> Option<String> {
        self.info.images.iter_mut().for_each(|image| drop(image.exe.take_if(|path| path.len() > longest)));
        self.info.exe.take_if(|path| path.len() > longest)
    }

    fn outside_bytes(&self) -> u64 {
        let paths = self.info.images.iter().map(|image| &image.exe).chain([&self.info.exe]);
        let paths: usize = paths.flatten().map(String::capacity).sum();
        (paths + self.info.images.capacity() * size_of::<ImageInfo>()) as u64
    }
}

#[cfg(test)]
#[path = "processes_tests.rs"]
mod tests;
