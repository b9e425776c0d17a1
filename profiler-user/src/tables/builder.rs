//! The builders: open an announced file, have its rows made by a worker, publish them. Several at once, so that a huge
//! file delays nobody.

use super::debug::{self, DebugFiles, Found, Outcome};
use super::files::{FileRecord, Files, State};
use super::parts::{MissingParts, PartBooks, PartSearch};
use super::publish::{Publisher, TableCounts, TableRule};
use super::queue::{Lane, Queue, Want};
use crate::event::{FileNumber, FileOffset, FileSeen};
use crate::kernel::{KernelError, TableMaps};
use crate::target::descriptors::Descriptors;
use crate::target::open::{KeyOf, OpenError, Opener};
use crate::worker::api::Symbolized;
use crate::worker::{PartSource, Subject, TrustDomain, Worker};
use profiler_ebpf::abi::event::FileKey;
use profiler_ebpf::abi::frame::VDSO_FILE;
use profiler_ebpf::reasons::Reason;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Who builds at a time: a large file keeps one of them busy, and nobody waits for it but who needs it.
const BUILDERS: [Lane; 3] = [Lane::All, Lane::Small, Lane::Small];
/// How long opening a file may take (network file systems may block).
const OPEN_DEADLINE: Duration = Duration::from_secs(2);
/// Tries to open files under one number before the kernel is asked to announce it anew.
const MAX_OPEN_FAILURES: u32 = 2;

/// How to build.
pub struct TablesConfig {
    /// Bytes of kernel memory for tables.
    pub memory: u64,
}

/// Handle of the tables; cheap to clone.
#[derive(Clone)]
pub struct Tables(Arc<Inside>);

struct Inside {
    files: Mutex<Files>,
    settled: Condvar,
    queue: Queue,
    refusals: Mutex<BTreeMap<Reason, u64>>,
    publisher: Mutex<Publisher>,
    descriptors: Descriptors,
    debug_files: DebugFiles,
    parts: PartBooks,
    opener: Opener,
    /// Of debug files: a folder on which they hang keeps no table waiting.
    debug_opener: Opener,
    key_of: Arc<dyn KeyOf>,
    worker: Worker,
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
            files: Mutex::new(Files::default()),
            settled: Condvar::new(),
            queue: Queue::default(),
            refusals: Mutex::default(),
            publisher: Mutex::new(Publisher::new(maps, config.memory)?),
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
        self.0.files().add(seen);
        self.0.queue.put(number, if sampled { Want::Sampled } else { Want::Open }, 0);
        self.0.settled.notify_all();
    }

    /// A sample ended at a file that has no table yet.
    pub fn met(&self, file: FileNumber) {
        self.0.want(file, Want::Sampled);
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
        let value = self.0.publisher().publish(number, &key, &table)?;
        self.0.change(number, |record| {
            record.path = "[vdso]".into();
            record.value = Some(value);
            (record.domain, record.facts, record.state) = (Some(domain), Some(Arc::new(facts)), State::Ready);
        });
        Ok(())
    }

    /// What is known of a file.
    pub fn file(&self, file: FileNumber) -> Option<FileRecord> {
        self.0.files().get(file).cloned()
    }

    /// The rule in force at an offset of a file, as the kernel side finds it: `None` while the file has no table yet; the
    /// error is how a walk ends there.
    pub fn rule(&self, file: FileNumber, offset: FileOffset) -> Option<Result<TableRule, Reason>> {
        let (state, value) = match self.0.files().get(file) {
            Some(record) => (record.state, record.value),
            None => return None,
        };
        match (state, value) {
            (State::Seen | State::Opened, _) => None,
            (State::Ready, Some(value)) => Some(self.0.publisher().look_up(&value, offset).ok_or(Reason::TableDamaged)),
            (State::Ready, None) | (State::Failed(_), _) => Some(Err(Reason::NoTable)),
        }
    }

    /// Names of offsets in a file. Blocking.
    pub fn symbolize(&self, file: FileNumber, offsets: &[FileOffset]) -> Result<Vec<Symbolized>, Reason> {
        let record = self.file(file).ok_or(Reason::NotOpened)?;
        let (descriptor, domain) = self.0.descriptor(&record)?;
        // Only now its path is the one that it has.
        let record = self.file(file).unwrap_or(record);
        let subject = Subject::new(domain, file, descriptor.as_fd());
        // Each turn but the last gives up what workers failed over.
        loop {
            let debug = self.0.debug_file(file, subject)?;
            let subject = debug.as_ref().map_or(subject, |debug| subject.with_debug(debug.lent()));
            let mut search = self.0.part_search(&record, domain, debug.as_deref());
            let source = search.as_mut().map(|search| -> &mut dyn PartSource { search });
            match self.0.worker.symbolize(subject, offsets, source) {
                Err(error) if search.as_ref().is_some_and(|search| search.may_have_failed(&error)) => {
                    search.iter().for_each(PartSearch::refuse);
                }
                Err(error) if error.is_of_the_file() && debug.is_some() => {
                    self.0.debug_files.refuse(file, &error);
                    self.0.change(file, |record| record.no_debug_file = true);
                }
                other => return other.map_err(|e| e.reason()),
            }
        }
    }

    /// What is missing of a file's debug information, if anything is.
    pub fn missing_parts(&self, file: FileNumber) -> Option<MissingParts> {
        self.0.parts.missing(file)
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

    /// (files known, files forgotten for room, files waiting).
    pub fn files(&self) -> (u64, u64, u64) {
        let files = self.0.files();
        (files.len() as u64, files.forgotten(), self.0.queue.len() as u64)
    }

    /// Ends the builders.
    pub fn stop(&self) {
        self.0.queue.close();
    }
}

impl Inside {
    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publisher(&self) -> MutexGuard<'_, Publisher> {
        self.publisher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusals(&self) -> MutexGuard<'_, BTreeMap<Reason, u64>> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, file: FileNumber, edit: impl FnOnce(&mut FileRecord)) {
        if let Some(record) = self.files().get_mut(file) {
            edit(record);
        }
        self.settled.notify_all();
    }

    fn want(&self, file: FileNumber, want: Want) {
        let size = match self.files().get(file) {
            Some(record) if record.is_open() => record.size,
            _ => return,
        };
        self.queue.put(file, want, size);
    }

    fn run(&self, lane: Lane) {
        while let Some((file, want)) = self.queue.take(lane) {
            let record = self.files().get(file).filter(|record| record.is_open()).cloned();
            if let Some(record) = record
                && let Err(reason) = self.build(&record, want, lane)
            {
                self.fail(&record, reason);
            }
            self.queue.done(file);
            self.settled.notify_all();
        }
    }

    /// The descriptor of a file and whom its bytes may lie to; opened and verified again if it was closed meanwhile.
    fn descriptor(&self, record: &FileRecord) -> Result<(Arc<OwnedFd>, TrustDomain), Reason> {
        let number = record.seen.number;
        let mut domain = record.domain;
        let descriptor = self
            .descriptors
            .get(number, || -> Result<OwnedFd, OpenError> {
                let opened = self.opener.open(&record.seen, OPEN_DEADLINE)?;
                let found = TrustDomain { owner: opened.owner, mount_namespace: opened.mount_namespace };
                domain = Some(*domain.get_or_insert(found));
                self.change(number, |record| {
                    record.domain.get_or_insert(found);
                    record.path.clone_from(&opened.path);
                    record.size = opened.size;
                    if record.state == State::Seen {
                        record.state = State::Opened;
                    }
                });
                Ok(opened.file)
            })
            .map_err(|error| {
                tracing::debug!(%error, path = record.path, "cannot open a mapped file");
                error.reason()
            })?;
        Ok((descriptor, domain.ok_or(Reason::NotOpened)?))
    }

    /// Who looks for parts of a file's debug information that lie elsewhere.
    fn part_search<'a>(
        &'a self,
        record: &'a FileRecord,
        domain: TrustDomain,
        debug: Option<&'a Found>,
    ) -> Option<PartSearch<'a>> {
        // The vDSO comes from the kernel.
        let mapped = record.seen.pid.0 != 0;
        mapped.then(|| self.parts.search(&self.debug_opener, record, domain, debug)).flatten()
    }

    /// The debug file of a file that needs one; looked for at the first question for names.
    fn debug_file(&self, file: FileNumber, subject: Subject<'_>) -> Result<Option<Arc<Found>>, Reason> {
        let record = self.files().get(file).filter(|record| !record.no_debug_file).cloned();
        // The vDSO comes from the kernel.
        let Some(record) = record.filter(|record| record.seen.pid.0 != 0) else { return Ok(None) };
        if let Some(open) = self.debug_files.open(file) {
            return Ok(Some(open));
        }
        let facts = match &record.facts {
            Some(facts) => Arc::clone(facts),
            None => match self.worker.facts(subject.domain, file, subject.fd) {
                Ok(facts) => Arc::new(facts),
                // It will have no names either, and say why.
                Err(error) if error.is_of_the_file() => return Ok(None),
                Err(error) => return Err(error.reason()),
            },
        };
        let wanted = !facts.has_debug_info && (facts.debug_link.is_some() || !facts.build_id.is_empty());
        if wanted {
            match debug::search(&self.debug_opener, &self.worker, subject, &record, &facts) {
                Ok(Ok(found)) => return Ok(Some(self.debug_files.keep(file, found))),
                Ok(Err(outcome)) => self.debug_files.count(outcome),
                // Not this time: the file's own names are had without it.
                Err(reason) => {
                    tracing::debug!(path = record.path, reason = reason.name(), "cannot look for a debug file now");
                    return Ok(None);
                }
            }
        }
        self.change(file, |record| record.no_debug_file = true);
        Ok(None)
    }

    fn build(&self, record: &FileRecord, want: Want, lane: Lane) -> Result<(), Reason> {
        let (number, key) = (record.seen.number, &record.seen.key);
        let (descriptor, domain) = self.descriptor(record)?;
        if want == Want::Open {
            return Ok(());
        }
        // Only now is it known how large it is.
        let size = self.files().get(number).map_or(0, |record| record.size);
        if !lane.takes(size) {
            self.queue.put(number, want, size);
            return Ok(());
        }
        let table = self.worker.unwind_table(domain, number, descriptor.as_fd()).map_err(|e| e.reason())?;
        let facts = if table.made_code {
            None
        } else {
            Some(Arc::new(self.worker.facts(domain, number, descriptor.as_fd()).map_err(|e| e.reason())?))
        };
        // Written in place meanwhile, it is another file: what was built does not describe what is mapped.
        if self.key_of.key_of(descriptor.as_fd()) != Some(*key) {
            return Err(Reason::NotOpened);
        }
        let value = self.publisher().publish(number, key, &table)?;
        self.change(number, |record| {
            (record.facts, record.value, record.state) = (facts, Some(value), State::Ready);
        });
        Ok(())
    }

    /// No table. A file that could not be opened may be reachable through the next process that maps it: the kernel
    /// forgets it and announces it anew, a bounded number of times.
    fn fail(&self, record: &FileRecord, reason: Reason) {
        *self.refusals().entry(reason).or_default() += 1;
        let key = &record.seen.key;
        self.publisher().refuse(record.seen.number, key, reason);
        let again = reason == Reason::NotOpened && self.failures_of(key) < MAX_OPEN_FAILURES;
        self.change(record.seen.number, |record| {
            record.failures += 1;
            record.state = State::Failed(reason);
        });
        if again {
            self.publisher().forget(key);
        }
        tracing::debug!(path = record.path, reason = reason.name(), "a file has no unwind table");
    }

    fn failures_of(&self, key: &FileKey) -> u32 {
        self.files().failures_of(key)
    }
}
