//! One place at which the file may lie: open it harmlessly, look at it, let the kernel name it.

use super::KeyOf;
use profiler_ebpf::abi::event::FileKey;
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat};
use rustix::io::Errno;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Attempts that an error lists; later ones of a long table are left out.
const MAX_LISTED: usize = 8;

/// How a file is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `/proc/PID/map_files`: the mapped file itself, whatever became of its name.
    MapFiles,
    /// A mount that the process has.
    ProcessMounts,
    /// A mount that the agent has.
    OwnMounts,
    /// A mount that some other process has.
    OthersMounts,
}

/// Why one way did not lead to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A system call failed.
    #[error("{0}")]
    Failed(#[from] Errno),
    /// No regular file.
    #[error("not a regular file")]
    NotRegular,
    /// Larger than is read.
    #[error("too large ({0} bytes)")]
    TooLarge(u64),
    /// A debug file of neither root nor the owner of what it is to describe.
    #[error("owned by user {0}")]
    OtherOwner(u32),
    /// A debug file that not everybody may read.
    #[error("not readable for everybody")]
    NotPublic,
    /// In a folder that neither everybody nor the owner of what it is to describe may pass.
    #[error("in a folder that not everybody may pass")]
    Closed,
    /// The kernel names it otherwise: replaced, copied up, or written meanwhile.
    #[error("another file")]
    OtherFile,
    /// The kernel could not name it.
    #[error("the kernel could not name it")]
    Unnamed,
    /// Its file system is not mounted there, or not the part in which the file lies.
    #[error("its file system is not mounted there")]
    NotMounted,
    /// More mounts of its file system than are tried.
    #[error("too many mounts of its file system")]
    TooManyMounts,
    /// Another user's.
    #[error("owned by user {0}")]
    Foreign(u32),
    /// It has several names, so its owner need not be who put it there.
    #[error("a file of several names")]
    Linked,
    /// Written for another process.
    #[error("older than the process")]
    Older,
    /// The mount table, or the process's root, could not be read.
    #[error("mount table not readable")]
    NoTable,
}

/// One attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// How.
    pub way: Way,
    /// Why not.
    pub refusal: Refusal,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.way {
            Way::MapFiles => "map_files",
            Way::ProcessMounts => "its mounts",
            Way::OwnMounts => "own mounts",
            Way::OthersMounts => "others' mounts",
        };
        write!(f, "{way}: {}", self.refusal)
    }
}

/// A file that the kernel named as announced.
pub(super) struct Accepted {
    pub(super) file: OwnedFd,
    pub(super) path: Vec<u8>,
    pub(super) owner: u32,
    pub(super) size: u64,
    /// It has a name somewhere.
    pub(super) linked: bool,
}

/// What every place is checked against, and what was refused so far.
pub(super) struct Attempts<'a> {
    key: &'a FileKey,
    key_of: &'a dyn KeyOf,
    max_size: u64,
    refused: Vec<Attempt>,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(key: &'a FileKey, key_of: &'a dyn KeyOf, max_size: u64) -> Attempts<'a> {
        Attempts { key, key_of, max_size, refused: Vec::new() }
    }

    /// Checks what was opened with O_PATH; a refusal is noted.
    pub(super) fn check(&mut self, way: Way, path: Vec<u8>, place: Result<OwnedFd, Errno>) -> Option<Accepted> {
        let accepted = place.map_err(Refusal::from).and_then(|place| self.accept(&place, path));
        accepted.map_err(|refusal| self.refuse(way, refusal)).ok()
    }

    pub(super) fn refuse(&mut self, way: Way, refusal: Refusal) {
        let attempt = Attempt { way, refusal };
        if self.refused.len() < MAX_LISTED && !self.refused.contains(&attempt) {
            self.refused.push(attempt);
        }
    }

    pub(super) fn into_refused(self) -> Vec<Attempt> {
        self.refused
    }

    fn accept(&self, place: &OwnedFd, path: Vec<u8>) -> Result<Accepted, Refusal> {
        let (file, stat) = reopen(place, self.max_size)?;
        let size = size_of_file(&stat);
        match self.key_of.key_of(file.as_fd()) {
            Some(key) if key == *self.key => {
                Ok(Accepted { file, path, owner: stat.st_uid, size, linked: stat.st_nlink > 0 })
            }
            Some(_) => Err(Refusal::OtherFile),
            None => Err(Refusal::Unnamed),
        }
    }
}

/// Opens for reading what was opened with O_PATH, if it is a regular file that is not too large.
pub(super) fn reopen(place: &OwnedFd, max_size: u64) -> Result<(OwnedFd, Stat), Refusal> {
    regular(&fstat(place)?, max_size)?;
    // The link names the very file of the descriptor. O_NONBLOCK: a lease on the file must not make the agent wait.
    let link = format!("/proc/self/fd/{}", place.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(CWD, link, flags, Mode::empty())?;
    let stat = fstat(&file)?;
    regular(&stat, max_size)?;
    Ok((file, stat))
}

fn regular(stat: &Stat, max_size: u64) -> Result<(), Refusal> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Refusal::NotRegular);
    }
    let size = size_of_file(stat);
    if size > max_size { Err(Refusal::TooLarge(size)) } else { Ok(()) }
}

pub(super) fn size_of_file(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}
