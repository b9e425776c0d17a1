//! Files at paths that a target's file names or that are derived from its name: below the root of the target and below the
//! host's.
//!
//! A link may lead elsewhere below the same root, but only to what the file's owner or everybody could reach and read
//! anyway: the agent can read more than that.

use super::Opened;
use super::attempt::{Refusal, reopen, size_of_file};
use super::walk::walk;
use super::ways::PLACE;
use crate::event::Pid;
use crate::target::proc::Proc;
use rustix::fs::{CWD, Mode, OFlags, Stat, fstat, openat};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// Where distributions put debug files.
pub(super) const FOLDER: &str = "/usr/lib/debug";
/// The process whose root and mounts are the host's.
const INIT: Pid = Pid(1);
/// Everybody may read it.
const PUBLIC: u32 = 0o004;

/// A root below which is looked.
pub(super) struct Root {
    folder: OwnedFd,
    mount_namespace: u64,
    /// The target's paths mean something here; elsewhere only what a build ID leads to does.
    pub(super) is_own: bool,
}

/// The target's own root and the host's.
pub(super) fn roots(proc: &Proc, pid: Pid, mount_namespace: u64) -> Vec<Root> {
    let own = root_in(proc, pid, mount_namespace).map(|folder| Root { folder, mount_namespace, is_own: true });
    let host = host(proc).map(|(namespace, folder)| Root {
        folder,
        mount_namespace: namespace,
        is_own: namespace == mount_namespace,
    });
    own.into_iter().chain(host).collect()
}

/// The host's mount namespace and root; the agent's own if those of the first process are not for it to see.
fn host(proc: &Proc) -> Option<(u64, OwnedFd)> {
    [INIT, Pid(std::process::id())].into_iter().find_map(|pid| {
        let namespace = proc.mount_namespace(pid).ok()?;
        Some((namespace, root_of(proc, pid, namespace)?))
    })
}

/// The root of the process, or, if it is gone, of another one in that mount namespace.
fn root_in(proc: &Proc, pid: Pid, namespace: u64) -> Option<OwnedFd> {
    let others = || proc.pids().unwrap_or_default().into_iter();
    root_of(proc, pid, namespace).or_else(|| others().find_map(|pid| root_of(proc, pid, namespace)))
}

/// The root of the process if it is in that mount namespace: its number may be another process's by now.
fn root_of(proc: &Proc, pid: Pid, namespace: u64) -> Option<OwnedFd> {
    let is_in = || proc.mount_namespace(pid).is_ok_and(|found| found == namespace);
    if !is_in() {
        return None;
    }
    let root = openat(CWD, proc.path(pid, "root"), PLACE | OFlags::DIRECTORY, Mode::empty()).ok()?;
    is_in().then_some(root)
}

/// Looks for the files of one purpose; each is opened once, by whatever paths it is found.
pub(super) struct Search {
    owner: u32,
    max_size: u64,
    /// Device and inode of what was looked at.
    seen: Vec<(u64, u64)>,
    /// Places where something is that is not opened.
    pub(super) refused: u64,
}

impl Search {
    /// For a file of that owner.
    pub(super) fn new(owner: u32, max_size: u64) -> Search {
        Search { owner, max_size, seen: Vec::new(), refused: 0 }
    }

    /// The file at a path below a root, if there is one that was not looked at before.
    pub(super) fn at(&mut self, root: &Root, path: String) -> Option<Opened> {
        match self.open(root, &path) {
            Ok(found) => found.map(|(file, stat)| Opened {
                file,
                path,
                owner: stat.st_uid,
                mount_namespace: root.mount_namespace,
                size: size_of_file(&stat),
            }),
            Err(Refusal::Failed(Errno::NOENT | Errno::NOTDIR)) => None,
            Err(refusal) => {
                tracing::debug!(path, %refusal, "a debug file is not opened");
                self.refused += 1;
                None
            }
        }
    }

    fn open(&mut self, root: &Root, path: &str) -> Result<Option<(OwnedFd, Stat)>, Refusal> {
        let place = walk(root.folder.as_fd(), path.as_bytes(), self.owner)?;
        let stat = fstat(&place)?;
        let key = (stat.st_dev, stat.st_ino);
        if self.seen.contains(&key) {
            return Ok(None);
        }
        self.seen.push(key);
        let own = stat.st_uid == self.owner;
        if !own && stat.st_uid != 0 {
            return Err(Refusal::OtherOwner(stat.st_uid));
        }
        if !own && stat.st_mode & PUBLIC == 0 {
            return Err(Refusal::NotPublic);
        }
        reopen(&place, self.max_size).map(Some)
    }
}

/// Where a build ID leads, with that ending.
pub(super) fn by_build_id(build_id: &str, ending: &str) -> Option<String> {
    let hex = build_id.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let (first, rest) = build_id.split_at_checked(2).filter(|(_, rest)| hex && !rest.is_empty())?;
    Some(format!("{FOLDER}/.build-id/{first}/{rest}.{ending}"))
}

/// The folder of an absolute path, without a slash at its end.
pub(super) fn folder_of(path: &str) -> Option<&str> {
    let (folder, _) = path.rsplit_once('/')?;
    (folder.is_empty() || folder.starts_with('/')).then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_id_leads_into_the_tree() {
        assert_eq!(by_build_id("ab12cd", "debug").as_deref(), Some("/usr/lib/debug/.build-id/ab/12cd.debug"));
        for build_id in ["", "ab", "../../../../etc", "AB12", "a\u{e4}12", "ab/12"] {
            assert_eq!(by_build_id(build_id, "debug"), None, "{build_id}");
        }
    }

    #[test]
    fn only_absolute_paths_have_folders() {
        assert_eq!(folder_of("/usr/bin/tool"), Some("/usr/bin"));
        assert_eq!(folder_of("/init"), Some(""));
        assert_eq!((folder_of("[vdso]"), folder_of("usr/bin/tool")), (None, None));
    }
}
