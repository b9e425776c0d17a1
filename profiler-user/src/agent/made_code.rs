//! Who names code that a process made: its jitdump, which has lines, where it maps one; for what that does not name, its perf
//! map.

use super::exact;
use crate::event::{FileSeen, ImageId};
use crate::kernel::Inventory;
use crate::symbolize::sources::MadeCode;
use crate::tables::Tables;
use crate::target::open::{Opener, is_jit_dump};
use crate::worker::api::Symbolized;
use crate::worker::{TrustDomain, Worker};
use profiler_ebpf::reasons::Reason;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

/// How long opening a jitdump may take (its file system may block).
const OPEN_DEADLINE: Duration = Duration::from_secs(2);

/// Names by both.
pub(super) struct MadeNames {
    pub(super) tables: Tables,
    pub(super) inventory: Arc<Inventory>,
    pub(super) opener: Opener,
    pub(super) worker: Worker,
    pub(super) perf_maps: Arc<dyn MadeCode>,
}

impl MadeCode for MadeNames {
    fn symbolize(&self, image: ImageId, addresses: &[u64]) -> Result<Vec<Symbolized>, Reason> {
        let Some(dump) = self.dump_of(image) else { return self.perf_maps.symbolize(image, addresses) };
        match self.by_dump(image, &dump, addresses) {
            Ok(names) => Ok(self.completed(image, addresses, names)),
            Err(reason) => self.perf_maps.symbolize(image, addresses).map_err(|other| worse(reason, other)),
        }
    }
}

impl MadeNames {
    /// The jitdump that a program maps.
    fn dump_of(&self, image: ImageId) -> Option<FileSeen> {
        let mappings = self.inventory.of(image.process.pid).ok()?;
        let files = mappings.into_iter().filter(|mapping| mapping.image == image).filter_map(|mapping| mapping.file);
        files
            .filter_map(|file| self.tables.file(file))
            .find(|record| is_jit_dump(&record.path))
            .map(|record| record.seen)
    }

    fn by_dump(&self, image: ImageId, dump: &FileSeen, addresses: &[u64]) -> Result<Vec<Symbolized>, Reason> {
        let pid = image.process.pid;
        let opened = self.opener.open_jit_dump(image.process, dump, OPEN_DEADLINE).map_err(|error| {
            tracing::debug!(%error, %pid, "a jitdump is not opened");
            error.reason()
        })?;
        // The dump is that of the program that runs now.
        if exact(&self.inventory, pid) != Some((image.process.start, image.exec_id)) {
            return Err(Reason::ProcessGone);
        }
        let domain = TrustDomain { owner: opened.owner, mount_namespace: opened.mount_namespace };
        self.worker.jit_dump(domain, image.process, opened.file.as_fd(), addresses).map_err(|error| {
            tracing::debug!(%error, %pid, path = opened.path, "a jitdump cannot be used");
            error.reason()
        })
    }

    /// The names, and for what has none those of the perf map, if there is one.
    fn completed(&self, image: ImageId, addresses: &[u64], mut names: Vec<Symbolized>) -> Vec<Symbolized> {
        let named = addresses.iter().zip(&mut names);
        let (rest, places): (Vec<u64>, Vec<&mut Symbolized>) =
            named.filter(|(_, name)| matches!(name, Symbolized::Missing(_))).unzip();
        if !rest.is_empty()
            && let Ok(more) = self.perf_maps.symbolize(image, &rest)
        {
            for (place, name) in places.into_iter().zip(more) {
                *place = name;
            }
        }
        names
    }
}

/// Of the two reasons the one that tells more: that there is no perf map is usual beside a jitdump.
fn worse(of_dump: Reason, of_map: Reason) -> Reason {
    if of_map == Reason::AnonymousCode { of_dump } else { of_map }
}
