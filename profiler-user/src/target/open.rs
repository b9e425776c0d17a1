//! The one function that opens a target's file. It is accepted only if the kernel names the opened file with the key
//! that it announced: device and inode as stat tells them are fooled by overlayfs, btrfs and swapped files. Beside it
//! stands what no process maps as code and so no kernel names: the perf map (`perf_map.rs`), and files whose text was moved
//! (`moved_text.rs`).
//!
//! Every way in opens with O_PATH first, which runs no driver and waits for no writer, and goes on with regular files of
//! a bounded size only. Nothing here follows a link out of the target's root. A file system can still let every call
//! wait (FUSE, network): [`Opener`] does it on threads with a deadline.

mod attempt;
mod below;
mod debug;
mod jit_dump;
mod memory;
mod moved_text;
mod parts;
mod path;
mod perf_map;
mod pool;
mod walk;
mod ways;

pub use attempt::{Attempt, Refusal, Way};
pub use jit_dump::is_jit_dump;
pub use memory::Part;
pub use moved_text::{MovedText, TextSegment};
pub use pool::{Opener, OpenerConfig, OpenerCounts};

use super::proc::Proc;
use crate::event::{FileSeen, Pid};
use profiler_ebpf::abi::event::FileKey;
use profiler_ebpf::reasons::Reason;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;
use zerocopy::IntoBytes;

/// Size of the largest file that is opened.
pub const MAX_FILE_SIZE: u64 = 4 << 30;

/// Lets the kernel name an open file. Implemented over the `key_of` program.
pub trait KeyOf: Send + Sync {
    /// The file's identity as the kernel side would announce it; `None` if it cannot say.
    fn key_of(&self, file: BorrowedFd<'_>) -> Option<FileKey>;
}

/// A target's file, verified.
#[derive(Debug)]
pub struct Opened {
    /// Read-only, a regular file.
    pub file: OwnedFd,
    /// For display: as the process sees it if possible. Not to be opened.
    pub path: String,
    /// User id of the file's owner.
    pub owner: u32,
    /// Inode of the mount namespace of the process that mapped it; if that could not be read, a number of this file alone
    /// with the top bit set, so that it shares a trust domain with no other.
    pub mount_namespace: u64,
    /// Bytes.
    pub size: u64,
}

impl Opened {
    /// True if the file is still what was announced: asked again after reading it, since a file can be written in place.
    pub fn is_still(&self, key: &FileKey, key_of: &dyn KeyOf) -> bool {
        key_of.key_of(self.file.as_fd()) == Some(*key)
    }
}

/// By what a debug file is looked for.
#[derive(Clone, Debug)]
pub struct DebugWanted {
    /// A process that maps the file.
    pub pid: Pid,
    /// As [`Opened`] told of the file.
    pub mount_namespace: u64,
    /// As [`Opened`] told of the file.
    pub owner: u32,
    /// As [`Opened`] told of the file.
    pub path: String,
    /// The file's build ID in hex, or empty.
    pub build_id: String,
    /// The name in its debug link.
    pub link: Option<String>,
}

/// How a debug file was found, which says what must be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundBy {
    /// In a folder of build IDs.
    BuildId,
    /// By the name in the debug link.
    Link,
}

/// Files that may be the debug file. Nothing is known of their content.
#[derive(Debug, Default)]
pub struct DebugFound {
    /// In the order in which they are to be tried; paths are as the process sees them, or the host.
    pub candidates: Vec<(FoundBy, Opened)>,
    /// Places where something is that is not opened.
    pub refused: u64,
}

/// Parts of the debug information of a file that lie in files of their own.
#[derive(Clone, Debug)]
pub struct PartsWanted {
    /// A process that maps the file.
    pub pid: Pid,
    /// As [`Opened`] told of the file.
    pub mount_namespace: u64,
    /// As [`Opened`] told of the file.
    pub owner: u32,
    /// As [`Opened`] told of the file.
    pub path: String,
    /// Path of its debug file, if it has one.
    pub debug_path: Option<String>,
    /// The file's build ID in hex, or empty.
    pub build_id: String,
    /// Those that are looked for.
    pub parts: Vec<PartName>,
}

impl PartsWanted {
    /// Of the file, and of its debug file.
    fn paths(&self) -> impl Iterator<Item = &str> {
        [Some(&self.path), self.debug_path.as_ref()].into_iter().flatten().map(String::as_str)
    }
}

/// By what a part is looked for.
#[derive(Clone, Debug)]
pub enum PartName {
    /// What dwz moved into a file for several others.
    Shared {
        /// Its path, perhaps a relative one.
        name: String,
        /// Its build ID in hex.
        build_id: String,
        /// The path of the file that says so.
        by: String,
    },
    /// All split units together (`.dwp`).
    Package,
    /// A split unit (`.dwo`).
    Unit {
        /// Where the compiler ran.
        folder: String,
        /// Its path, perhaps a relative one.
        name: String,
    },
}

/// Files that may be a part. Nothing is known of their content.
#[derive(Debug, Default)]
pub struct PartFound {
    /// In the order in which they are to be tried.
    pub files: Vec<Opened>,
    /// Something is there that is not opened.
    pub refused: bool,
}

/// Why a target's file was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The vDSO and memory without a file.
    #[error("there is no file")]
    NoFile,
    /// Every way was tried.
    #[error("cannot open {path} as it was mapped{}: {}", if *cut { " (its path is longer than what was kept)" } else { "" }, List(attempts))]
    Refused {
        /// Path below the root of its file system.
        path: String,
        /// A name of 127 bytes or 24 folders: the kernel side may have cut the path, and then it cannot be opened by it.
        cut: bool,
        /// What was tried, in order.
        attempts: Vec<Attempt>,
    },
    /// The process has exited.
    #[error("the process is gone")]
    Gone,
    /// The process writes no perf map.
    #[error("there is no perf map")]
    NoPerfMap,
    /// There is a perf map, but it is not one to believe.
    #[error("cannot use {path}: {refusal}")]
    PerfMap {
        /// As the process sees it.
        path: String,
        /// Why not.
        refusal: Refusal,
    },
    /// The memory of the process may not be read.
    #[error("cannot open the memory of the process")]
    Memory(#[source] io::Error),
    /// A file system did not answer in time.
    #[error("opening the file took longer than {0:?}")]
    Deadline(Duration),
    /// All opener threads wait for file systems that do not answer.
    #[error("all openers hang in file systems that do not answer ({0} threads)")]
    Stuck(usize),
    /// No thread could be started.
    #[error("cannot start an opener thread")]
    Thread(#[source] io::Error),
}

impl OpenError {
    /// There was no answer in time.
    pub fn is_late(&self) -> bool {
        matches!(self, OpenError::Deadline(_) | OpenError::Stuck(_))
    }

    /// The loss as it is counted.
    pub fn reason(&self) -> Reason {
        match self {
            OpenError::Gone => Reason::ProcessGone,
            OpenError::NoPerfMap => Reason::AnonymousCode,
            _ => Reason::NotOpened,
        }
    }
}

/// Opens and verifies the file, on this thread and for as long as its file system takes. Agents use [`Opener`].
pub fn open(proc: &Proc, seen: &FileSeen, key_of: &dyn KeyOf, max_size: u64) -> Result<Opened, OpenError> {
    if seen.key.as_bytes().iter().all(|byte| *byte == 0) {
        return Err(OpenError::NoFile);
    }
    // Read first: afterwards the process may be gone.
    let mount_namespace = proc.mount_namespace(seen.pid).unwrap_or(1 << 63 | u64::from(seen.number.0));
    let mut attempts = attempt::Attempts::new(&seen.key, key_of, max_size);
    let path = path::FilePath::new(&seen.path);
    let found = ways::map_files(proc, seen, &mut attempts)
        .or_else(|| ways::process_mounts(proc, seen, &path, &mut attempts))
        .or_else(|| ways::own_mounts(proc, seen, &path, &mut attempts))
        .or_else(|| ways::others_mounts(proc, seen, &path, &mut attempts));
    let Some(accepted) = found else {
        let (path, cut) = (path.display(), path.may_be_cut());
        return Err(OpenError::Refused { path, cut, attempts: attempts.into_refused() });
    };
    Ok(Opened {
        path: String::from_utf8_lossy(&accepted.path).into_owned(),
        owner: accepted.owner,
        size: accepted.size,
        file: accepted.file,
        mount_namespace,
    })
}

/// Attempts, one after the other.
struct List<'a>(&'a [Attempt]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, attempt) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{attempt}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
