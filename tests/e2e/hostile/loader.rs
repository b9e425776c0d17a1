//! `programs/hostile/loader.c`: a process that runs code out of files that are no programs.

use std::path::{Path, PathBuf};
use tests::harness::craft::CODE_AT;
use tests::harness::{Profile, Target, programs};

/// "nobody": each file of his is of another trust domain than root's.
const NOBODY: u32 = 65_534;

/// Code in a file.
pub(super) struct Part {
    pub(super) path: PathBuf,
    offset: u64,
    kind: &'static str,
}

impl Part {
    /// `spin` of a file made by hand.
    pub(super) fn of_craft(path: PathBuf) -> Part {
        Part { path, offset: CODE_AT, kind: "spin" }
    }

    /// A function at an offset, which is called with a number of turns ("spin") or as memfrob ("frob").
    pub(super) fn at(path: PathBuf, offset: u64, kind: &'static str) -> Part {
        Part { path, offset, kind }
    }
}

/// Runs all parts in turn.
pub(super) fn load(parts: &[Part]) -> Target {
    let text = |part: &Part| [part.path.display().to_string(), format!("{:#x}", part.offset), part.kind.to_owned()];
    let words: Vec<String> = parts.iter().flat_map(text).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Target::start_ready(&programs::c("hostile/loader.c", &[]), &words)
}

/// Writes a file that somebody else than root owns.
pub(super) fn foreign(path: &Path, bytes: &[u8]) -> PathBuf {
    std::fs::write(path, bytes).unwrap();
    std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    path.to_owned()
}

/// Those of the samples whose leaf is in a file of that name.
pub(super) fn in_file(profile: &Profile, path: &Path) -> Profile {
    profile.only(|sample| sample.files.last().is_some_and(|file| Path::new(file) == path))
}
