//! How the program ends.

use std::process::ExitCode;

/// How the program ends, after BSD's `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Wrong usage or configuration.
    Usage = 64,
    /// The host lacks something.
    Unavailable = 69,
    /// A bug of ours.
    Bug = 70,
    /// A permission is missing.
    NoPermission = 77,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}
