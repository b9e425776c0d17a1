//! Names of files' code, with what else has them: a debug file, parts of debug information that lie elsewhere.

use super::builder::{Inside, Tables};
use super::debug::{self, Found};
use super::files::FileRecord;
use super::parts::PartSearch;
use crate::event::{FileNumber, FileOffset};
use crate::worker::api::Symbolized;
use crate::worker::{PartSource, Subject, TrustDomain};
use profiler_ebpf::reasons::Reason;
use std::os::fd::AsFd;
use std::sync::Arc;

impl Tables {
    /// Names of offsets in a file. Blocking.
    pub fn symbolize(&self, file: FileNumber, offsets: &[FileOffset]) -> Result<Vec<Symbolized>, Reason> {
        let record = self.file(file).ok_or(Reason::NotOpened)?;
        let (descriptor, domain) = self.0.descriptor(&record)?;
        // Only now its path is the one that it has.
        let record = self.file(file).unwrap_or(record);
        let subject = Subject::new(domain, record.identity, descriptor.as_fd());
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
                    let refuse = |record: &mut FileRecord| {
                        self.0.debug_files.refuse(record.identity, &mut record.debug, &error);
                    };
                    self.0.change(file, refuse);
                }
                other => return other.map_err(|e| e.reason()),
            }
        }
    }
}

impl Inside {
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
        let record = self.files().get(file).filter(|record| !record.debug.is_without()).cloned();
        // The vDSO comes from the kernel.
        let Some(record) = record.filter(|record| record.seen.pid.0 != 0) else { return Ok(None) };
        if let Some(open) = self.debug_files.open(record.identity) {
            return Ok(Some(open));
        }
        let facts = match &record.facts {
            Some(facts) => Arc::clone(facts),
            None => match self.worker.facts(subject.domain, record.identity, subject.fd) {
                Ok(facts) => Arc::new(facts),
                // It will have no names either, and say why.
                Err(error) if error.is_of_the_file() => return Ok(None),
                Err(error) => return Err(error.reason()),
            },
        };
        let wanted = !facts.has_debug_info && (facts.debug_link.is_some() || !facts.build_id.is_empty());
        if !wanted {
            self.change(file, |record| record.debug.needs_none());
            return Ok(None);
        }
        match debug::search(&self.debug_opener, &self.worker, subject, &record, &facts) {
            Ok(Ok(found)) => {
                let mut settled = record.debug;
                let kept = self.debug_files.keep(record.identity, &mut settled, found);
                self.change(file, |record| record.debug = settled);
                return Ok(Some(kept));
            }
            Ok(Err(none)) => self.change(file, |record| self.debug_files.none(&mut record.debug, &none)),
            // Not this time: the file's own names are had without it.
            Err(reason) => {
                tracing::debug!(path = record.path, reason = reason.name(), "cannot look for a debug file now");
            }
        }
        Ok(None)
    }
}
