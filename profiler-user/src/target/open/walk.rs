//! A path below a root, walked one name at a time, as somebody could who owns a file: the agent's own rights reach further.
//!
//! Links are followed, wherever below the root they lead (a distribution's folder of build IDs may be nothing but links),
//! but each folder on the way must be one that everybody or that owner may pass. Groups and access lists are not looked
//! at: who may pass by those alone does not.

use super::attempt::Refusal;
use super::ways::PLACE;
use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Links on one way.
const MAX_LINKS: usize = 16;
/// Names on one way, those in links included.
const MAX_NAMES: usize = 256;
/// Everybody may pass the folder.
const PASS: u32 = 0o001;

/// Opens with O_PATH what lies at `path` below `root` for the user `owner`.
pub(super) fn walk(root: BorrowedFd<'_>, path: &[u8], owner: u32) -> Result<OwnedFd, Refusal> {
    let mut way = Way { root, folders: Vec::new(), names: Vec::new(), links: 0, owner };
    way.add(path)?;
    while let Some(name) = way.names.pop() {
        if let Some(place) = way.step(&name)? {
            return Ok(place);
        }
    }
    Err(Errno::ISDIR.into())
}

/// Where a walk is.
struct Way<'a> {
    root: BorrowedFd<'a>,
    /// Below the root, each in the one before.
    folders: Vec<OwnedFd>,
    /// To go, the next one last.
    names: Vec<Vec<u8>>,
    links: usize,
    owner: u32,
}

impl Way<'_> {
    /// Puts the names of a path before those that are to go.
    fn add(&mut self, path: &[u8]) -> Result<(), Refusal> {
        let names = path.split(|byte| *byte == b'/').rev();
        self.names.extend(names.filter(|name| !matches!(*name, b"" | b".")).map(<[u8]>::to_vec));
        if self.names.len() > MAX_NAMES { Err(Errno::NAMETOOLONG.into()) } else { Ok(()) }
    }

    /// One name on; gives the file at the end of the way.
    fn step(&mut self, name: &[u8]) -> Result<Option<OwnedFd>, Refusal> {
        if name == b".." {
            self.folders.pop();
            return Ok(None);
        }
        let here = self.folders.last().map_or(self.root, AsFd::as_fd);
        let place = openat(here, name, PLACE | OFlags::NOFOLLOW, Mode::empty())?;
        let stat = fstat(&place)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => self.follow(&place)?,
            FileType::Directory => self.enter(place, &stat)?,
            _ if self.names.is_empty() => return Ok(Some(place)),
            _ => return Err(Errno::NOTDIR.into()),
        }
        Ok(None)
    }

    /// Goes on as the text of the link says: what such a link of the kernel's own leads to besides is not followed.
    fn follow(&mut self, link: &OwnedFd) -> Result<(), Refusal> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno::LOOP.into());
        }
        let target = readlinkat(link, "", Vec::new())?.into_bytes();
        if target.starts_with(b"/") {
            self.folders.clear();
        }
        self.add(&target)
    }

    fn enter(&mut self, folder: OwnedFd, stat: &Stat) -> Result<(), Refusal> {
        if stat.st_uid != self.owner && stat.st_mode & PASS == 0 {
            return Err(Refusal::Closed);
        }
        self.folders.push(folder);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
    use std::path::Path;

    const OWNER: u32 = 20;

    /// Folders `open` and `closed`, each with a file; only the owner, whoever it is, may pass the second.
    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (folder, mode) in [("open", 0o711), ("closed", 0o700)] {
            fs::create_dir(root.path().join(folder)).unwrap();
            fs::write(root.path().join(folder).join("file"), folder).unwrap();
            fs::set_permissions(root.path().join(folder), fs::Permissions::from_mode(mode)).unwrap();
        }
        root
    }

    fn at(root: &Path, path: &str, owner: u32) -> Result<u64, Refusal> {
        let root = fs::File::open(root).unwrap();
        walk(root.as_fd(), path.as_bytes(), owner).map(|place| fstat(&place).unwrap().st_ino)
    }

    #[test]
    fn a_way_leads_where_names_and_links_lead_and_never_out_of_the_root() {
        let root = root();
        let here = root.path();
        let file = Ok(fs::metadata(here.join("open/file")).unwrap().ino());
        symlink("open/../open", here.join("relative")).unwrap();
        symlink("/relative/file", here.join("open/absolute")).unwrap();
        symlink("../../../../open/file", here.join("open/out")).unwrap();
        symlink("loop", here.join("loop")).unwrap();
        for path in
            ["open/file", "//open/./file", "../open/../../open/file", "relative/file", "open/absolute", "open/out"]
        {
            assert_eq!(at(here, path, OWNER), file, "{path}");
        }
        assert_eq!(at(here, "open/none", OWNER), Err(Errno::NOENT.into()));
        assert_eq!(at(here, "open/file/x", OWNER), Err(Errno::NOTDIR.into()));
        assert_eq!(at(here, "open", OWNER), Err(Errno::ISDIR.into()));
        assert_eq!(at(here, "loop", OWNER), Err(Errno::LOOP.into()));
        assert_eq!(at(here, &"open/../".repeat(200), OWNER), Err(Errno::NAMETOOLONG.into()));
    }

    #[test]
    fn a_closed_folder_is_passed_by_its_owner_only() {
        let root = root();
        let here = root.path();
        symlink("../closed/file", here.join("open/link")).unwrap();
        let me = rustix::process::geteuid().as_raw();
        for path in ["closed/file", "open/link"] {
            assert_eq!(at(here, path, me + 1), Err(Refusal::Closed), "{path}");
            assert!(at(here, path, me).is_ok(), "{path}");
        }
        if me == 0 {
            chown(here.join("closed"), Some(OWNER), None).unwrap();
            assert!(at(here, "open/link", OWNER).is_ok());
            assert_eq!(at(here, "open/link", 0), Err(Refusal::Closed));
        }
    }

    #[test]
    fn a_link_of_the_kernels_own_is_only_its_text() {
        let file = fs::File::open("/proc/self/exe").unwrap();
        let path = format!("/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        assert_eq!(at(Path::new("/proc"), &path, 0), Err(Errno::NOENT.into()));
    }
}
