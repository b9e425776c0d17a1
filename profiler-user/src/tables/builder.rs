//! The handle of the tables, and what it holds together: records of files, the queue of what is built, the kernel's memory.

use super::building::BUILDERS;
use super::chunks::Owner;
use super::debug::{DebugFiles, Outcome};
use super::evict::{Eviction, Evictions};
use super::files::{FileRecord, Files, State};
use super::parts::{MissingParts, PartBooks};
use super::publish::{Publisher, Room, TableCounts, TableRule, Wanted};
use super::queue::{Queue, Want};
use super::uses::Uses;
use crate::event::{FileNumber, FileOffset, FileSeen, MonoTime, Sample};
use crate::kernel::{KernelError, TableMaps};
use crate::target::clock::mono_now;
use crate::target::descriptors::Descriptors;
use crate::target::open::{KeyOf, Opener};
use crate::worker::{TrustDomain, Worker};
use profiler_ebpf::abi::event::FileKey;
use profiler_ebpf::abi::frame::{UNNUMBERED_FILE, VDSO_FILE, file_and_offset};
use profiler_ebpf::abi::maps::FileValue;
use profiler_ebpf::reasons::Reason;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How to build.
pub struct TablesConfig {
    /// Bytes of kernel memory for tables.
    pub memory: u64,
}

/// Handle of the tables; cheap to clone.
#[derive(Clone)]
pub struct Tables(pub(super) Arc<Inside>);

/// Locked in this order: publisher, files, all others.
pub(super) struct Inside {
    publisher: Mutex<Publisher>,
    files: Mutex<Files>,
    pub(super) settled: Condvar,
    pub(super) queue: Queue,
    pub(super) uses: Uses,
    refusals: Mutex<BTreeMap<Reason, u64>>,
    evictions: Mutex<Evictions>,
    pub(super) descriptors: Descriptors,
    pub(super) debug_files: DebugFiles,
    pub(super) parts: PartBooks,
    pub(super) opener: Opener,
    /// Of debug files: a folder on which they hang keeps no table waiting.
    pub(super) debug_opener: Opener,
    pub(super) key_of: Arc<dyn KeyOf>,
    pub(super) worker: Worker,
}

/// What the records of files hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileCounts {
    /// Files in the kernel's table.
    pub held: u64,
    /// Records.
    pub known: u64,
    /// Bytes that they take.
    pub bytes: u64,
    /// Records that were dropped for room.
    pub forgotten: u64,
    /// Files that wait to be opened or built.
    pub waiting: u64,
}

impl Tables {
    /// Starts the builders. Of the two openers the second one is for debug files.
    pub fn start(
        config: &TablesConfig,
        maps: TableMaps,
        (opener, debug_opener): (Opener, Opener),
        key_of: Arc<dyn KeyOf>,
        worker: Worker,
    ) -> Result<Tables, KernelError> {
        let tables = Tables(Arc::new(Inside {
            publisher: Mutex::new(Publisher::new(maps, config.memory)?),
            files: Mutex::default(),
            settled: Condvar::new(),
            queue: Queue::default(),
            uses: Uses::default(),
            refusals: Mutex::default(),
            evictions: Mutex::default(),
            descriptors: Descriptors::of_limit(),
            debug_files: DebugFiles::of_limit(),
            parts: PartBooks::new(),
            opener,
            debug_opener,
            key_of,
            worker,
        }));
        for (i, lane) in BUILDERS.into_iter().enumerate() {
            let inside = Arc::clone(&tables.0);
            std::thread::Builder::new()
                .name(format!("tables-{i}"))
                .spawn(move || inside.run(lane))
                .map_err(|source| KernelError::System { action: "start a thread", source })?;
        }
        Ok(tables)
    }

    /// A file was announced.
    pub fn seen(&self, seen: FileSeen) {
        let (number, sampled) = (seen.number, seen.sampled);
        self.0.uses.touch(number, now());
        self.0.files().add(seen);
        self.0.make_room();
        self.0.queue.put(number, if sampled { Want::Sampled } else { Want::Open }, 0);
        self.0.settled.notify_all();
    }

    /// A sample ended at a file that has no table yet.
    pub fn met(&self, file: FileNumber) {
        self.0.want(file, Want::Sampled);
    }

    /// A sample met these files: those that no sample meets are evicted first.
    pub fn used(&self, sample: &Sample) {
        let time = millis(sample.time);
        let files = sample.frames.iter().filter_map(|word| file_and_offset(word.0));
        files.for_each(|(file, _)| self.0.uses.touch(FileNumber(file), time));
    }

    /// Once a second: files that found no room are to be announced anew, as there may be some now.
    pub fn look_again(&self) {
        let again = self.0.files().again(now());
        if !again.is_empty() {
            let mut publisher = self.0.publisher();
            for file in again {
                self.0.forget(&mut publisher, file, Eviction::Again);
            }
        }
    }

    /// Builds these files first and waits until each has its table or cannot have one, or until the deadline.
    pub fn prepare(&self, files: &[FileNumber], deadline: Duration) {
        let end = Instant::now() + deadline;
        let mut wanted = vec![false; files.len()];
        let mut records = self.0.files();
        loop {
            let mut open = 0;
            for (file, wanted) in files.iter().zip(&mut wanted) {
                match records.get(*file) {
                    // It got none.
                    None if file.0 == UNNUMBERED_FILE => {}
                    // Its announcement is still on its way.
                    None => open += 1,
                    Some(record) if record.is_open() => {
                        open += 1;
                        if !std::mem::replace(wanted, true) {
                            self.0.queue.put(*file, Want::Requested, record.size);
                        }
                    }
                    Some(_) => {}
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            if open == 0 || left.is_zero() {
                return;
            }
            records = self.0.settled.wait_timeout(records, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until every file that samples met has its table or cannot have one, or until the deadline.
    pub fn settle(&self, deadline: Duration) {
        let end = Instant::now() + deadline;
        let mut records = self.0.files();
        while self.0.queue.has(Want::Sampled) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            records = self.0.settled.wait_timeout(records, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The vDSO: the same image in every process of this kernel, given as a readable file.
    pub fn vdso(&self, image: OwnedFd) -> Result<(), Reason> {
        let (number, domain) = (FileNumber(VDSO_FILE), TrustDomain { owner: 0, mount_namespace: 0 });
        let key = FileKey { ino: 0, dev: 0, generation: 0, ctime: 0, inode: 0 };
        let (start, end, offset) = (0, 0, FileOffset(0));
        let pid = crate::event::Pid(0);
        let path = Vec::new();
        self.0.files().add(FileSeen { number, key, pid, start, end, offset, path_dev: 0, path, sampled: false });
        let image = self.0.descriptors.insert(number, image);
        let table = self.0.worker.unwind_table(domain, number, image.as_fd()).map_err(|e| e.reason())?;
        let facts = self.0.worker.facts(domain, number, image.as_fd()).map_err(|e| e.reason())?;
        self.0.change(number, |record| (record.domain, record.path) = (Some(domain), "[vdso]".into()));
        self.0.publish(
            &Wanted { owner: Owner { file: number, process: pid }, key: &key, table: &table },
            |record, value| {
                (record.value, record.facts, record.state) = (Some(value), Some(Arc::new(facts)), State::Ready);
            },
        )
    }

    /// What is known of a file.
    pub fn file(&self, file: FileNumber) -> Option<FileRecord> {
        self.0.files().get(file).cloned()
    }

    /// The rule in force at an offset of a file, as the kernel side finds it: `None` while the file has no table yet; the
    /// error is how a walk ends there.
    pub fn rule(&self, file: FileNumber, offset: FileOffset) -> Option<Result<TableRule, Reason>> {
        // Locked all the while, so that what is looked up is not evicted meanwhile.
        let mut publisher = self.0.publisher();
        let (state, value) = self.0.files().current(file).map(|record| (record.state, record.value))?;
        match (state, value) {
            (State::Seen | State::Opened | State::Evicted, _) => None,
            (State::Ready, Some(value)) => Some(publisher.look_up(&value, offset).ok_or(Reason::TableDamaged)),
            (State::Ready, None) | (State::Failed(_), _) => Some(Err(Reason::NoTable)),
        }
    }

    /// What is missing of a file's debug information, if anything is.
    pub fn missing_parts(&self, file: FileNumber) -> Option<MissingParts> {
        let identity = self.0.files().get(file)?.identity;
        self.0.parts.missing(identity)
    }

    /// What came of searches for parts of debug information.
    pub fn debug_parts(&self) -> Vec<(Outcome, u64)> {
        self.0.parts.outcomes()
    }

    /// What came of searches for debug files.
    pub fn debug_files(&self) -> Vec<(Outcome, u64)> {
        self.0.debug_files.outcomes()
    }

    /// Files that got no table, by reason.
    pub fn refusals(&self) -> Vec<(Reason, u64)> {
        self.0.refusals().iter().map(|(reason, count)| (*reason, *count)).collect()
    }

    /// What the tables hold.
    pub fn counts(&self) -> TableCounts {
        self.0.publisher().counts()
    }

    /// Files that were evicted, by reason.
    pub fn evictions(&self) -> Vec<(Eviction, u64)> {
        self.0.evictions.lock().unwrap_or_else(PoisonError::into_inner).counts()
    }

    /// What the records of files hold.
    pub fn files(&self) -> FileCounts {
        let files = self.0.files();
        FileCounts {
            held: files.held() as u64,
            known: files.len() as u64,
            bytes: files.bytes(),
            forgotten: files.forgotten(),
            waiting: self.0.queue.len() as u64,
        }
    }

    /// Ends the builders.
    pub fn stop(&self) {
        self.0.queue.close();
    }
}

impl Inside {
    pub(super) fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn publisher(&self) -> MutexGuard<'_, Publisher> {
        self.publisher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn refusals(&self) -> MutexGuard<'_, BTreeMap<Reason, u64>> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change(&self, file: FileNumber, edit: impl FnOnce(&mut FileRecord)) {
        self.files().change(file, edit);
        self.settled.notify_all();
    }

    fn want(&self, file: FileNumber, want: Want) {
        let (current, size) = match self.files().current(file) {
            Some(record) if record.is_open() => (record.seen.number, record.size),
            _ => return,
        };
        self.queue.put(current, want, size);
    }

    /// Gives a table to the kernel, for which others may have to go; `edit` notes it in the file's record.
    pub(super) fn publish(
        &self,
        wanted: &Wanted<'_>,
        edit: impl FnOnce(&mut FileRecord, FileValue),
    ) -> Result<(), Reason> {
        let file = wanted.owner.file;
        let mut publisher = self.publisher();
        if !self.files().get(file).is_some_and(FileRecord::is_open) {
            // Evicted while it was being built: the kernel knows it by another number, or not at all.
            return Ok(());
        }
        let mut evict = |file, why| self.evict(file, why);
        let mut moved = |file, value| self.files().change(file, |record| record.value = Some(value));
        let mut room = Room { uses: &self.uses, now: now(), evict: &mut evict, moved: &mut moved };
        let value = publisher.publish(wanted, &mut room)?;
        self.change(file, |record| edit(record, value));
        Ok(())
    }

    /// Makes the kernel forget a file.
    pub(super) fn forget(&self, publisher: &mut Publisher, file: FileNumber, why: Eviction) {
        if let Some(key) = self.evict(file, why) {
            publisher.forget(file, &key);
        }
    }

    /// Notes that a file is evicted: its key, if the kernel holds it.
    fn evict(&self, file: FileNumber, why: Eviction) -> Option<FileKey> {
        let key = self.files().evict(file)?;
        self.queue.remove(file);
        self.evictions.lock().unwrap_or_else(PoisonError::into_inner).add(why);
        Some(key)
    }

    /// Makes the kernel, and the records, forget files that were met long ago if there are too many.
    fn make_room(&self) {
        // Records differ in size, so a turn may not be enough.
        while self.files().is_crowded() {
            let mut publisher = self.publisher();
            let excess = self.files().excess(&self.uses);
            let evicted = excess.len();
            for (file, why) in excess {
                self.forget(&mut publisher, file, why);
            }
            drop(publisher);
            let forgotten = self.files().forget(&self.uses);
            if evicted + forgotten.len() == 0 {
                break;
            }
            for file in forgotten {
                self.descriptors.remove(file);
            }
        }
        self.settled.notify_all();
    }
}

/// Now, as [`Uses`] counts.
pub(super) fn now() -> u64 {
    millis(mono_now())
}

fn millis(time: MonoTime) -> u64 {
    time.0 / 1_000_000
}
