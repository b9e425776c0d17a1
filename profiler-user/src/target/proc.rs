//! Readers of `/proc` below a root folder that is an argument. They return what the kernel said of ONE moment; who needs
//! an identity compares start times before and after (`same_process`).
//!
//! Reading `cmdline`, `map_files` or `root` can block as long as the target's memory or file system does, so these calls
//! belong on threads that may wait.

mod cgroup;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod maps;
mod mountinfo;
mod read;
mod stat;
mod status;

pub use maps::Area;
pub use mountinfo::Mount;
pub use stat::Stat;
pub use status::Status;

use crate::event::{Pid, ProcessId};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bytes read of `stat`, `status`, `comm`, `cgroup`: the kernel writes far less.
const SMALL: usize = 64 << 10;
/// Bytes read of a mount table. The kernel allows a namespace 100,000 mounts (`fs.mount-max`).
const MOUNTINFO_LENGTH: usize = 16 << 20;
/// Bytes read of a table of memory areas.
const MAPS_LENGTH: usize = 64 << 20;
/// Processes listed; `PID_MAX_LIMIT` of 64-bit kernels.
const MAX_PIDS: usize = 4 << 20;

/// Why `/proc` did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ProcError {
    /// The file could not be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The text is not what the kernel writes.
    #[error("{path} is malformed")]
    Malformed {
        /// Which.
        path: PathBuf,
    },
}

impl ProcError {
    /// The process does not exist (any more).
    pub fn is_gone(&self) -> bool {
        match self {
            ProcError::Read { source, .. } => {
                source.kind() == io::ErrorKind::NotFound
                    || source.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
            }
            ProcError::Malformed { .. } => false,
        }
    }
}

/// Whose mount table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The agent's own.
    Agent,
    /// A process's.
    Process(Pid),
}

/// A mounted `/proc`.
#[derive(Clone, Debug)]
pub struct Proc {
    root: PathBuf,
}

impl Default for Proc {
    fn default() -> Self {
        Proc::new("/proc")
    }
}

impl Proc {
    /// A file of the host as a whole, e.g. `stat`.
    pub(super) fn host(&self, name: &str) -> Result<Vec<u8>, ProcError> {
        let path = self.root.join(name);
        std::fs::read(&path).map_err(|source| ProcError::Read { path, source })
    }

    /// Readers below `root`, usually `/proc`.
    pub fn new(root: impl Into<PathBuf>) -> Proc {
        Proc { root: root.into() }
    }

    /// A file of a process.
    pub(super) fn path(&self, pid: Pid, name: &str) -> PathBuf {
        self.root.join(pid.to_string()).join(name)
    }

    /// All processes (thread group ids) now, in ascending order.
    pub fn pids(&self) -> Result<Vec<Pid>, ProcError> {
        let fail = |source| ProcError::Read { path: self.root.clone(), source };
        let mut pids = Vec::new();
        for entry in std::fs::read_dir(&self.root).map_err(fail)?.take(MAX_PIDS) {
            let name = entry.map_err(fail)?.file_name();
            pids.extend(number(name.as_bytes()).map(Pid));
        }
        pids.sort_unstable();
        Ok(pids)
    }

    /// `/proc/PID/stat`.
    pub fn stat(&self, pid: Pid) -> Result<Stat, ProcError> {
        parsed(self.path(pid, "stat"), stat::parse)
    }

    /// Owner of `/proc/PID/stat`, as the kernel says it now.
    pub fn file_owner(&self, pid: Pid) -> Result<u32, ProcError> {
        let path = self.path(pid, "stat");
        let found = std::fs::symlink_metadata(&path);
        found.map(|found| found.uid()).map_err(|source| ProcError::Read { path, source })
    }

    /// `/proc/PID/status`.
    pub fn status(&self, pid: Pid) -> Result<Status, ProcError> {
        parsed(self.path(pid, "status"), status::parse)
    }

    /// The same as the kernel wrote it.
    pub fn status_text(&self, pid: Pid) -> Result<String, ProcError> {
        bytes(&self.path(pid, "status"), SMALL).map(|text| String::from_utf8_lossy(&text).into_owned())
    }

    /// Raw arguments, each ended by a NUL, at most `most` bytes. Empty for kernel threads. Can block.
    pub fn cmdline(&self, pid: Pid, most: usize) -> Result<Vec<u8>, ProcError> {
        bytes(&self.path(pid, "cmdline"), most)
    }

    /// The leader's name, without the line's end.
    pub fn comm(&self, pid: Pid) -> Result<Vec<u8>, ProcError> {
        let mut comm = bytes(&self.path(pid, "comm"), SMALL)?;
        if comm.last() == Some(&b'\n') {
            comm.pop();
        }
        Ok(comm)
    }

    /// Path of the program as the kernel shows it (` (deleted)` may follow). Kernel threads have none: gone.
    pub fn exe(&self, pid: Pid) -> Result<Vec<u8>, ProcError> {
        link(&self.path(pid, "exe"))
    }

    /// Path of the process's cgroup in the v2 hierarchy; `None` if there is no such hierarchy.
    pub fn cgroup(&self, pid: Pid) -> Result<Option<Vec<u8>>, ProcError> {
        Ok(cgroup::unified(&bytes(&self.path(pid, "cgroup"), SMALL)?).map(<[u8]>::to_vec))
    }

    /// Where the v2 hierarchy is mounted for the agent.
    pub fn cgroup_mount(&self) -> Option<PathBuf> {
        let mounts = self.mountinfo(Whose::Agent).ok()?;
        let mount = mounts.into_iter().find(|mount| mount.fs_type == b"cgroup2" && mount.root == b"/")?;
        Some(PathBuf::from(std::ffi::OsString::from_vec(mount.mount_point)))
    }

    /// Mount table, in the kernel's order.
    pub fn mountinfo(&self, whose: Whose) -> Result<Vec<Mount>, ProcError> {
        let path = match whose {
            Whose::Agent => self.root.join("self/mountinfo"),
            Whose::Process(pid) => self.path(pid, "mountinfo"),
        };
        Ok(mountinfo::parse(&read::whole_lines(bytes(&path, MOUNTINFO_LENGTH)?, MOUNTINFO_LENGTH)))
    }

    /// The areas of a process's memory, in ascending order. Can block.
    pub fn maps(&self, pid: Pid) -> Result<Vec<Area>, ProcError> {
        Ok(maps::parse(&read::whole_lines(bytes(&self.path(pid, "maps"), MAPS_LENGTH)?, MAPS_LENGTH)))
    }

    /// Inode number of the process's mount namespace.
    pub fn mount_namespace(&self, pid: Pid) -> Result<u64, ProcError> {
        let path = self.path(pid, "ns/mnt");
        let link = link(&path)?;
        let inode = link.strip_prefix(b"mnt:[").and_then(|rest| rest.strip_suffix(b"]")).and_then(number);
        inode.ok_or(ProcError::Malformed { path })
    }

    /// Random id of this boot, as text.
    pub fn boot_id(&self) -> Result<String, ProcError> {
        let path = self.root.join("sys/kernel/random/boot_id");
        let text = String::from_utf8(bytes(&path, SMALL)?);
        text.map(|text| text.trim_end().to_owned()).map_err(|_utf8| ProcError::Malformed { path })
    }

    /// The process with this number that runs now (or is a zombie), its start known to the tick.
    pub fn is_alive(&self, process: ProcessId) -> bool {
        self.stat(process.pid).is_ok_and(|stat| same_process(process.start, stat.start_ticks))
    }
}

fn parsed<T>(path: PathBuf, parse: fn(&[u8]) -> Option<T>) -> Result<T, ProcError> {
    parse(&bytes(&path, SMALL)?).ok_or(ProcError::Malformed { path })
}

fn bytes(path: &Path, cap: usize) -> Result<Vec<u8>, ProcError> {
    read::capped(path, cap).map_err(|source| ProcError::Read { path: path.to_owned(), source })
}

fn link(path: &Path) -> Result<Vec<u8>, ProcError> {
    match std::fs::read_link(path) {
        Ok(target) => Ok(target.into_os_string().into_vec()),
        Err(source) => Err(ProcError::Read { path: path.to_owned(), source }),
    }
}

/// cgroup id of a v2 cgroup: the inode number of its folder. `None` if it is gone or lies outside of the mount.
pub fn cgroup_id(mount: &Path, cgroup: &[u8]) -> Option<u64> {
    if cgroup.split(|b| *b == b'/').any(|component| component == b"..") {
        return None;
    }
    let below = cgroup.strip_prefix(b"/").unwrap_or(cgroup);
    std::fs::symlink_metadata(mount.join(OsStr::from_bytes(below))).ok().map(|folder| folder.ino())
}

/// A start time in the clock ticks of `/proc/PID/stat`, rounded down as the kernel does. Both count from boot; they differ
/// by the offset of a time namespace if the agent is in one.
pub fn start_ticks(start_ns: u64) -> u64 {
    start_ns / tick_ns()
}

/// The first nanosecond of a start time in clock ticks.
pub fn start_ns(ticks: u64) -> u64 {
    ticks.saturating_mul(tick_ns())
}

/// True if an exact start time and one in ticks can be the same process's (with the same number).
pub fn same_process(start: u64, ticks: u64) -> bool {
    start_ticks(start) == ticks
}

/// Nanoseconds of a clock tick of `/proc` (`USER_HZ`, 100 on all architectures that we run on).
pub(super) fn tick_ns() -> u64 {
    1_000_000_000 / rustix::param::clock_ticks_per_second().clamp(1, 1_000_000_000)
}

/// A decimal number, nothing but digits.
fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
