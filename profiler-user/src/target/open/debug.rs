//! Debug files of a target's file: where tools look for them, below the root of the target and below the host's.
//!
//! A link may lead elsewhere below the same root, but only to what the file's owner or everybody could reach and read
//! anyway: the agent can read more than that.

use super::attempt::{Refusal, reopen, size_of_file};
use super::walk::walk;
use super::ways::PLACE;
use super::{DebugFound, DebugWanted, FoundBy, Opened};
use crate::event::Pid;
use crate::target::proc::Proc;
use rustix::fs::{CWD, Mode, OFlags, Stat, fstat, openat};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// Where distributions put debug files.
const FOLDER: &str = "/usr/lib/debug";
/// The process whose root and mounts are the host's.
const INIT: Pid = Pid(1);
/// Everybody may read it.
const PUBLIC: u32 = 0o004;

/// All files at those places, the target's own first.
pub(super) fn find(proc: &Proc, wanted: &DebugWanted, max_size: u64) -> DebugFound {
    let mut search = Search { wanted, max_size, seen: Vec::new(), found: DebugFound::default() };
    if let Some(root) = root_in(proc, wanted.pid, wanted.mount_namespace) {
        search.below(&root, wanted.mount_namespace, &[FoundBy::BuildId, FoundBy::Link]);
    }
    if let Some((host, root)) = host(proc) {
        // A path of another namespace means nothing here, a build ID does.
        let by: &[FoundBy] =
            if host == wanted.mount_namespace { &[FoundBy::BuildId, FoundBy::Link] } else { &[FoundBy::BuildId] };
        search.below(&root, host, by);
    }
    search.found
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

struct Search<'a> {
    wanted: &'a DebugWanted,
    max_size: u64,
    /// Device and inode of what was looked at.
    seen: Vec<(u64, u64)>,
    found: DebugFound,
}

impl Search<'_> {
    fn below(&mut self, root: &OwnedFd, mount_namespace: u64, by: &[FoundBy]) {
        for by in by {
            for path in places(self.wanted, *by) {
                match self.open(root, &path) {
                    Ok(Some((file, stat))) => {
                        let (owner, size) = (stat.st_uid, size_of_file(&stat));
                        let opened = Opened { file, path, owner, mount_namespace, size };
                        self.found.candidates.push((*by, opened));
                    }
                    Ok(None) | Err(Refusal::Failed(Errno::NOENT | Errno::NOTDIR)) => {}
                    Err(refusal) => {
                        tracing::debug!(path, %refusal, "a debug file is not opened");
                        self.found.refused += 1;
                    }
                }
            }
        }
    }

    /// The file at a place below the root; `None` if it was looked at already.
    fn open(&mut self, root: &OwnedFd, path: &str) -> Result<Option<(OwnedFd, Stat)>, Refusal> {
        let place = walk(root.as_fd(), path.as_bytes(), self.wanted.owner)?;
        let stat = fstat(&place)?;
        let key = (stat.st_dev, stat.st_ino);
        if self.seen.contains(&key) {
            return Ok(None);
        }
        self.seen.push(key);
        let own = stat.st_uid == self.wanted.owner;
        if !own && stat.st_uid != 0 {
            return Err(Refusal::OtherOwner(stat.st_uid));
        }
        if !own && stat.st_mode & PUBLIC == 0 {
            return Err(Refusal::NotPublic);
        }
        reopen(&place, self.max_size).map(Some)
    }
}

/// Where it may be, as gdb and elfutils look for it.
fn places(wanted: &DebugWanted, by: FoundBy) -> Vec<String> {
    match by {
        FoundBy::BuildId => by_build_id(&wanted.build_id).into_iter().collect(),
        FoundBy::Link => wanted.link.as_deref().map(|link| by_link(&wanted.path, link)).unwrap_or_default(),
    }
}

fn by_build_id(build_id: &str) -> Option<String> {
    let hex = build_id.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let (first, rest) = build_id.split_at_checked(2).filter(|(_, rest)| hex && !rest.is_empty())?;
    Some(format!("{FOLDER}/.build-id/{first}/{rest}.debug"))
}

fn by_link(path: &str, link: &str) -> Vec<String> {
    let name = !link.is_empty() && link != "." && link != ".." && !link.contains(['/', '\0']);
    match path.rsplit_once('/') {
        Some((folder, _)) if name && (folder.is_empty() || folder.starts_with('/')) => {
            vec![format!("{folder}/{link}"), format!("{folder}/.debug/{link}"), format!("{FOLDER}{folder}/{link}")]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_where_others_look() {
        assert_eq!(by_build_id("ab12cd").as_deref(), Some("/usr/lib/debug/.build-id/ab/12cd.debug"));
        let places = by_link("/usr/bin/tool", "tool.debug");
        assert_eq!(places, ["/usr/bin/tool.debug", "/usr/bin/.debug/tool.debug", "/usr/lib/debug/usr/bin/tool.debug"]);
        assert_eq!(by_link("/init", "x")[0], "/x");
    }

    #[test]
    fn what_is_no_name_leads_nowhere() {
        for build_id in ["", "ab", "../../../../etc", "AB12", "a\u{e4}12", "ab/12"] {
            assert_eq!(by_build_id(build_id), None, "{build_id}");
        }
        for link in ["", ".", "..", "../x", "/etc/shadow", "a\0b"] {
            assert!(by_link("/usr/bin/tool", link).is_empty(), "{link}");
        }
        assert!(by_link("[vdso]", "x").is_empty() && by_link("usr/bin/tool", "x").is_empty());
    }
}
