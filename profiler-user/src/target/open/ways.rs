//! The ways to a mapped file: the mapping itself, then every mount that shows the announced path.

use super::attempt::{Accepted, Attempts, Refusal, Way};
use super::path::FilePath;
use crate::event::{FileSeen, Pid};
use crate::target::proc::{Mount, Proc, Whose};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2, readlinkat};
use rustix::io::Errno;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Mounts of one table that are tried. A target can make thousands.
const MAX_MOUNTS_TRIED: usize = 64;
/// Mount namespaces that are looked through for the file of a process that is gone.
const MAX_NAMESPACES_TRIED: usize = 64;
/// Tries of a path whose folders are being renamed (`openat2` then answers EAGAIN).
const MAX_RACES: usize = 4;

pub(super) const PLACE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// `/proc/PID/map_files/START-END`. Needs CAP_CHECKPOINT_RESTORE (5.9+) or CAP_SYS_ADMIN.
pub(super) fn map_files(proc: &Proc, seen: &FileSeen, attempts: &mut Attempts<'_>) -> Option<Accepted> {
    let link = proc.path(seen.pid, &format!("map_files/{:x}-{:x}", seen.start, seen.end));
    let place = openat(CWD, &link, PLACE, Mode::empty());
    let mut accepted = attempts.check(Way::MapFiles, Vec::new(), place)?;
    // Only for display. If the mapping has changed since, the announced path will do.
    let shown = readlinkat(CWD, &link, Vec::new()).map(std::ffi::CString::into_bytes);
    accepted.path = shown.map_or_else(|_gone| rooted(&seen.path), |path| named(path, accepted.linked));
    Some(accepted)
}

/// The mounts of the process, below its root: a link cannot lead out of it.
pub(super) fn process_mounts(
    proc: &Proc,
    seen: &FileSeen,
    path: &FilePath<'_>,
    attempts: &mut Attempts<'_>,
) -> Option<Accepted> {
    below_root_of(seen.pid, Way::ProcessMounts, proc, seen, path, attempts)
}

/// The mounts of all other processes: for one that is gone, whose file lies where the agent has no mount. That is in a container
/// or, if the agent is in one, on the host.
pub(super) fn others_mounts(
    proc: &Proc,
    seen: &FileSeen,
    path: &FilePath<'_>,
    attempts: &mut Attempts<'_>,
) -> Option<Accepted> {
    let namespace = |pid| proc.mount_namespace(pid).ok();
    if namespace(seen.pid).is_some() {
        return None;
    }
    let mut tried: Vec<u64> = namespace(Pid(std::process::id())).into_iter().collect();
    for pid in proc.pids().unwrap_or_default() {
        let Some(other) = namespace(pid).filter(|other| !tried.contains(other)) else { continue };
        if tried.len() > MAX_NAMESPACES_TRIED {
            attempts.refuse(Way::OthersMounts, Refusal::TooManyMounts);
            return None;
        }
        tried.push(other);
        if let Some(accepted) = below_root_of(pid, Way::OthersMounts, proc, seen, path, attempts) {
            return Some(accepted);
        }
    }
    None
}

fn below_root_of(
    pid: Pid,
    way: Way,
    proc: &Proc,
    seen: &FileSeen,
    path: &FilePath<'_>,
    attempts: &mut Attempts<'_>,
) -> Option<Accepted> {
    let root = openat(CWD, proc.path(pid, "root"), PLACE | OFlags::DIRECTORY, Mode::empty());
    let (Ok(mounts), Ok(root)) = (proc.mountinfo(Whose::Process(pid)), root) else {
        attempts.refuse(way, Refusal::NoTable);
        return None;
    };
    let open = |place: &[u8]| {
        let root = std::os::fd::AsFd::as_fd(&root);
        patiently(root, place, OFlags::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
    };
    by_mounts(way, &mounts, seen, path, attempts, &open)
}

/// The mounts of the agent: for a process that is gone, and for what a container mounts from the host.
pub(super) fn own_mounts(
    proc: &Proc,
    seen: &FileSeen,
    path: &FilePath<'_>,
    attempts: &mut Attempts<'_>,
) -> Option<Accepted> {
    let Ok(mounts) = proc.mountinfo(Whose::Agent) else {
        attempts.refuse(Way::OwnMounts, Refusal::NoTable);
        return None;
    };
    let open = |place: &[u8]| patiently(CWD, place, OFlags::empty(), ResolveFlags::NO_MAGICLINKS);
    by_mounts(Way::OwnMounts, &mounts, seen, path, attempts, &open)
}

fn by_mounts(
    way: Way,
    mounts: &[Mount],
    seen: &FileSeen,
    path: &FilePath<'_>,
    attempts: &mut Attempts<'_>,
    open: &dyn Fn(&[u8]) -> Result<OwnedFd, Errno>,
) -> Option<Accepted> {
    let mut tried: Vec<Vec<u8>> = Vec::new();
    for mount in mounts.iter().filter(|mount| mount.dev == seen.path_dev) {
        let Some(rest) = path.below(&mount.root) else { continue };
        let place = join(&mount.mount_point, &rest);
        if tried.contains(&place) {
            continue;
        }
        if tried.len() == MAX_MOUNTS_TRIED {
            attempts.refuse(way, Refusal::TooManyMounts);
            return None;
        }
        if let Some(accepted) = attempts.check(way, place.clone(), open(&place)) {
            return Some(accepted);
        }
        tried.push(place);
    }
    if tried.is_empty() {
        attempts.refuse(way, Refusal::NotMounted);
    }
    None
}

/// With O_PATH and more flags.
pub(super) fn patiently(
    root: BorrowedFd<'_>,
    place: &[u8],
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let mut last = Errno::AGAIN;
    for _ in 0..MAX_RACES {
        match openat2(root, place, PLACE | flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => last = Errno::AGAIN,
            other => return other,
        }
    }
    Err(last)
}

/// Mount point and what is below it; an empty rest is the mount point, a mounted file.
fn join(mount_point: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut place = mount_point.to_vec();
    if !rest.is_empty() {
        if place.last() != Some(&b'/') {
            place.push(b'/');
        }
        place.extend_from_slice(rest);
    }
    place
}

fn rooted(path: &[u8]) -> Vec<u8> {
    let mut rooted = vec![b'/'];
    rooted.extend_from_slice(path.strip_prefix(b"/").unwrap_or(path));
    rooted
}

/// The kernel adds ` (deleted)` to a path without a name; a file with a name may be called so.
pub(super) fn named(mut path: Vec<u8>, linked: bool) -> Vec<u8> {
    const DELETED: &[u8] = b" (deleted)";
    if !linked && path.ends_with(DELETED) {
        path.truncate(path.len() - DELETED.len());
    }
    path
}
