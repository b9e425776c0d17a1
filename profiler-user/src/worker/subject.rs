//! Which file a request is about, whose bytes meet over it, and what its failures count against.

use super::{Parties, TrustDomain};
use crate::event::{FileNumber, ProcessId};
use std::os::fd::BorrowedFd;

/// What tells a file from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// A mapped file.
    Mapped(FileNumber),
    /// A file whose text a process moved.
    MovedText(ProcessId),
    /// The perf map of a process.
    PerfMap(ProcessId),
    /// The jitdump of a process.
    JitDump(ProcessId),
}

/// A debug file, and whom its bytes may lie to.
#[derive(Clone, Copy, Debug)]
pub struct DebugFile<'f> {
    /// Of its own owner, where it was found.
    pub domain: TrustDomain,
    /// Read-only.
    pub fd: BorrowedFd<'f>,
}

/// Which file a request is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'f> {
    /// Whom its bytes may lie to.
    pub domain: TrustDomain,
    pub(super) key: Key,
    /// Read-only.
    pub fd: BorrowedFd<'f>,
    pub(super) debug: Option<DebugFile<'f>>,
    /// Parts of its debug information may be given.
    pub(super) parts: bool,
    /// The one domain beside the file's own from which they come.
    pub(super) other: Option<TrustDomain>,
}

impl<'f> Subject<'f> {
    /// A file alone.
    pub fn new(domain: TrustDomain, file: FileNumber, fd: BorrowedFd<'f>) -> Self {
        Subject::of(domain, Key::Mapped(file), fd)
    }

    pub(super) fn of(domain: TrustDomain, key: Key, fd: BorrowedFd<'f>) -> Self {
        Subject { domain, key, fd, debug: None, parts: false, other: None }
    }

    /// A file whose text a process moved, so that nothing maps it; it is read anew at each question.
    pub fn moved_text(domain: TrustDomain, process: ProcessId, fd: BorrowedFd<'f>) -> Self {
        Subject::of(domain, Key::MovedText(process), fd)
    }

    /// Under which number the worker keeps the file, or 0.
    pub(super) fn number(&self) -> u32 {
        match self.key {
            Key::Mapped(file) => file.0,
            Key::MovedText(_) | Key::PerfMap(_) | Key::JitDump(_) => 0,
        }
    }

    /// The file with a debug file.
    pub fn with_debug(self, debug: DebugFile<'f>) -> Self {
        Subject { debug: Some(debug), ..self }
    }

    /// Whose bytes meet. Parts come from no third domain.
    pub(super) fn parties(&self) -> Parties {
        let debug = self.debug.map(|debug| debug.domain).filter(|domain| *domain != self.domain);
        Parties { file: self.domain, debug: debug.or(self.other) }
    }

    /// What failures count against: with a debug file or with parts, that is not the file alone.
    pub(super) fn blamed(&self) -> Blamed {
        (self.domain, self.key, self.debug.map(|debug| debug.domain), self.parts)
    }
}

pub(super) type Blamed = (TrustDomain, Key, Option<TrustDomain>, bool);
