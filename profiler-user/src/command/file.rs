//! Files of profiles: named as pprof names its own, so that no profile takes the place of another.

use super::{CommandError, Who};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Numbers that are tried.
const MOST: u32 = 99_999;
/// Letters of a process's name that are kept.
const MAX_NAME: usize = 40;

/// What a profile's file is named after.
pub(super) struct Named<'a> {
    /// Name of the process, if it is known.
    pub(super) comm: Option<&'a str>,
    /// Whose it is.
    pub(super) who: Who,
    /// Its kind.
    pub(super) kind: &'a str,
}

impl Named<'_> {
    /// `pprofd.COMM.PID.KIND`.
    fn stem(&self) -> String {
        let who = match self.who {
            Who::Host => "host".to_owned(),
            Who::Process(asked) => format!("{}.{}", plain(self.comm.unwrap_or("process")), asked.pid),
        };
        format!("pprofd.{who}.{}", plain(self.kind))
    }

    /// Writes the bytes to a new file of that name and the next free number in a folder.
    pub(super) fn write_into(&self, folder: &Path, bytes: &[u8]) -> Result<PathBuf, CommandError> {
        let stem = self.stem();
        for number in 1..=MOST {
            let path = folder.join(format!("{stem}.{number:03}.pb.gz"));
            // Only who took it may read it: a profile tells what a program does.
            let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            match opened.and_then(|mut file| file.write_all(bytes)) {
                Ok(()) => return Ok(path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(CommandError::File { path, source }),
            }
        }
        let source = io::ErrorKind::AlreadyExists.into();
        Err(CommandError::File { path: folder.join(format!("{stem}.*.pb.gz")), source })
    }
}

/// A name of letters that mean nothing to a shell or a file system.
fn plain(name: &str) -> String {
    let kept = |letter: char| if letter.is_ascii_alphanumeric() || "-_".contains(letter) { letter } else { '_' };
    name.chars().take(MAX_NAME).map(kept).collect()
}

/// Where pprof itself keeps profiles: `PPROF_TMPDIR`, else `pprof` in the home folder, else the folder for temporary files.
pub(super) fn pprofs_folder() -> Result<PathBuf, CommandError> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = variable("PPROF_TMPDIR").or_else(|| variable("HOME").map(|home| home.join("pprof")));
    let folder = folder.unwrap_or_else(std::env::temp_dir);
    match std::fs::create_dir_all(&folder) {
        Ok(()) => Ok(folder),
        Err(source) => Err(CommandError::File { path: folder, source }),
    }
}

/// Writes to a file that the user named; it may be there already.
pub(super) fn write_to(path: &Path, bytes: &[u8]) -> Result<(), CommandError> {
    std::fs::write(path, bytes).map_err(|source| CommandError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_profile_has_a_file_of_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let who = "4711@5".parse().expect("a process");
        let named = Named { comm: Some("../a b\u{1b}[2J"), who, kind: "profile" };
        let first = named.write_into(folder.path(), b"1").expect("written");
        let second = named.write_into(folder.path(), b"2").expect("written");
        assert_eq!(first, folder.path().join("pprofd.___a_b__2J.4711.profile.001.pb.gz"));
        assert_eq!(second, folder.path().join("pprofd.___a_b__2J.4711.profile.002.pb.gz"));
        assert_eq!(std::fs::read(second).expect("there"), b"2");
        let host = Named { comm: None, who: Who::Host, kind: "profile" };
        assert!(host.write_into(folder.path(), b"").expect("written").ends_with("pprofd.host.profile.001.pb.gz"));
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let host = Named { comm: None, who: Who::Host, kind: "profile" };
        let error = host.write_into(Path::new("/nowhere"), b"").expect_err("no folder");
        assert!(error.to_string().starts_with("cannot write /nowhere/pprofd.host.profile.001.pb.gz"), "{error}");
    }
}
