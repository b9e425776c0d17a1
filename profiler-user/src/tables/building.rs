//! The builders' work: open an announced file, have its rows made by a worker, publish them. Several at once, so that a huge
//! file delays nobody.

use super::builder::{Inside, now};
use super::chunks::Owner;
use super::evict::Eviction;
use super::files::{FileRecord, State};
use super::publish::Wanted;
use super::queue::{Lane, Want};
use crate::target::open::OpenError;
use crate::worker::TrustDomain;
use profiler_ebpf::reasons::Reason;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Who builds at a time: a large file keeps one of them busy, and nobody waits for it but who needs it.
pub(super) const BUILDERS: [Lane; 3] = [Lane::All, Lane::Small, Lane::Small];
/// How long opening a file may take (network file systems may block).
const OPEN_DEADLINE: Duration = Duration::from_secs(2);
/// Tries to open a file before the kernel is no longer asked to announce it anew.
const MAX_OPEN_FAILURES: u32 = 2;

impl Inside {
    pub(super) fn run(&self, lane: Lane) {
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
    pub(super) fn descriptor(&self, record: &FileRecord) -> Result<(Arc<OwnedFd>, TrustDomain), Reason> {
        let number = record.seen.number;
        let mut domain = record.domain;
        if domain.is_none() {
            // Of an earlier record of the file, which is forgotten, and with it whose it is.
            self.descriptors.remove(record.identity);
        }
        let descriptor = self
            .descriptors
            .get(record.identity, || -> Result<OwnedFd, OpenError> {
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

    fn build(&self, record: &FileRecord, want: Want, lane: Lane) -> Result<(), Reason> {
        let (number, identity, key) = (record.seen.number, record.identity, &record.seen.key);
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
        let table = self.worker.unwind_table(domain, identity, descriptor.as_fd()).map_err(|e| e.reason())?;
        let facts = match &record.facts {
            _ if table.made_code => None,
            Some(known) => Some(Arc::clone(known)),
            None => Some(Arc::new(self.worker.facts(domain, identity, descriptor.as_fd()).map_err(|e| e.reason())?)),
        };
        // Written in place meanwhile, it is another file: what was built does not describe what is mapped.
        if self.key_of.key_of(descriptor.as_fd()) != Some(*key) {
            return Err(Reason::NotOpened);
        }
        let owner = Owner { file: number, process: record.seen.pid };
        self.publish(&Wanted { owner, key, table: &table }, |record, value| {
            (record.facts, record.value, record.state) = (facts, Some(value), State::Ready);
        })
    }

    /// No table. A file that could not be opened may be reachable through the next process that maps it: the kernel
    /// forgets it and announces it anew, a bounded number of times.
    fn fail(&self, record: &FileRecord, reason: Reason) {
        let (number, key) = (record.seen.number, &record.seen.key);
        tracing::debug!(path = record.path, reason = reason.name(), "a file has no unwind table");
        *self.refusals().entry(reason).or_default() += 1;
        let mut publisher = self.publisher();
        if !self.files().get(number).is_some_and(FileRecord::is_open) {
            return;
        }
        if reason == Reason::NotOpened && self.files().count_failure(key) <= MAX_OPEN_FAILURES {
            return self.forget(&mut publisher, number, Eviction::Again);
        }
        publisher.refuse(number, key, reason);
        self.files().fail(number, reason, now());
    }
}
