//! Who looks, and what of the host he may see: all, or one user what is wholly his.
//!
//! A user sees a process while its three user ids are his and the kernel would let him look at its memory; of its past,
//! the programs that were never met with another's ids. Samples are judged one by one, by the ids that they were taken
//! with, so neither a reused number nor a program that gains rights within a window shows anything.

use super::profiler::Profiler;
use crate::event::{ImageId, Ownership, ProcessId};
use crate::record::window::Sieve;
use crate::record::{Filter, ProcessInfo};
use std::collections::{BTreeMap, BTreeSet};

/// Who looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Viewer {
    /// Somebody who may see all.
    All,
    /// A user, who may see what is wholly his.
    User(u32),
}

/// Of some processes what a user may see.
pub(super) struct Open {
    /// Those of which he may see some program.
    pub(super) processes: BTreeSet<ProcessId>,
    /// What passes of their samples.
    pub(super) sieve: Sieve,
}

impl Viewer {
    /// True if the process may be seen as it is now, or as it ended. Blocking.
    pub fn sees(self, profiler: &Profiler, process: ProcessId) -> bool {
        let Viewer::User(uid) = self else { return true };
        let ownership = profiler.processes.owner(process);
        let recorded = profiler.recorder.process(process.pid);
        match recorded.iter().rev().find(|info| info.id == process) {
            Some(info) => newest_is_open(info, uid, ownership),
            // One that nobody has met yet.
            None => ownership == Ownership::Of(uid),
        }
    }

    /// Those of a list that may be seen. Blocking.
    pub fn visible(self, profiler: &Profiler, mut list: Vec<ProcessInfo>) -> Vec<ProcessInfo> {
        if let Viewer::User(uid) = self {
            list.retain(|info| is_his(info, uid) && newest_is_open(info, uid, profiler.processes.owner(info.id)));
        }
        list
    }
}

/// Of all processes what a user may see. Blocking.
pub(super) fn open(profiler: &Profiler, uid: u32) -> Open {
    let (mut processes, mut sieve) = (BTreeSet::new(), Sieve { uid, images: std::collections::HashSet::new() });
    for info in known(profiler).into_values().filter(|info| is_his(info, uid)) {
        let images = open_images(&info, uid, profiler.processes.owner(info.id));
        let before = sieve.images.len();
        sieve.images.extend(images);
        if sieve.images.len() > before {
            processes.insert(info.id);
        }
    }
    Open { processes, sieve }
}

/// The living and the recorded dead.
fn known(profiler: &Profiler) -> BTreeMap<ProcessId, ProcessInfo> {
    let lists = [Filter::Alive, Filter::Exited].map(|filter| profiler.recorder.processes(filter));
    lists.into_iter().flatten().map(|info| (info.id, info)).collect()
}

/// Some program of it was, so it is worth a look.
fn is_his(info: &ProcessInfo, uid: u32) -> bool {
    info.images.iter().any(|image| image.user.is(uid))
}

fn newest_is_open(info: &ProcessInfo, uid: u32, ownership: Ownership) -> bool {
    info.images.last().is_some_and(|image| image.user.is(uid)) && is_open_now(uid, ownership)
}

/// What is recorded is all that is known of one that is gone.
fn is_open_now(uid: u32, ownership: Ownership) -> bool {
    matches!(ownership, Ownership::Gone) || ownership == Ownership::Of(uid)
}

/// The programs of a process that may be seen; of one that runs now the kernel decides too.
fn open_images(info: &ProcessInfo, uid: u32, ownership: Ownership) -> Vec<ImageId> {
    let mut images = info.images.as_slice();
    if !is_open_now(uid, ownership) {
        images = images.split_last().map_or(&[][..], |(_, before)| before);
    }
    let open = images.iter().filter(|image| image.user.is(uid));
    open.map(|image| ImageId { process: info.id, exec_id: image.exec_id }).collect()
}
