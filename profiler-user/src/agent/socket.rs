//! The file of the Unix socket: made where nobody else can put another one in its place, never taken from an agent that
//! lives, and removed at the end. Who may connect and what a caller then sees is for `http` to say; the file is for all.

use crate::exit::Exit;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Others may write to it.
const WRITABLE: u32 = 0o022;
/// Others may not remove what is not theirs.
const STICKY: u32 = 0o1000;

/// Why there is no socket. Says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Something on the way to it is a link.
    #[error("no socket at {path}: {part} is a symbolic link; give --socket the path that it leads to")]
    Link {
        /// The socket.
        path: PathBuf,
        /// The link.
        part: PathBuf,
    },
    /// Somebody else could put his own socket there.
    #[error(
        "no socket at {path}: {part} {whose}, who could put another socket there; choose a folder with --socket that only root can write to"
    )]
    Unsafe {
        /// The socket.
        path: PathBuf,
        /// The folder or file.
        part: PathBuf,
        /// Whose it is.
        whose: String,
    },
    /// There is another file.
    #[error("no socket at {0}: there is a file that is no socket; remove it, or choose another path with --socket")]
    Occupied(PathBuf),
    /// Another agent answers there.
    #[error(
        "no socket at {0}: another pprofd answers there; stop it, or give this one another path with --socket (or `--socket none`)"
    )]
    InUse(PathBuf),
    /// The system refused.
    #[error("no socket at {path}: cannot {what}; choose another path with --socket, or `--socket none`")]
    Refused {
        /// The socket.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl SocketError {
    /// Exit code, where the socket was asked for.
    pub fn exit(&self) -> Exit {
        match self {
            SocketError::Refused { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Exit::NoPermission
            }
            _ => Exit::Unavailable,
        }
    }
}

/// The file of a socket that is listened on; removed when this is dropped.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Whoever holds it may make and remove the socket: of two agents one.
    _lock: File,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "cannot remove the socket");
        }
    }
}

/// Listens at a path, which is absolute. Its folder is made if only that is missing.
pub(super) fn bind(path: &Path) -> Result<(UnixListener, SocketFile), SocketError> {
    let refused = |what| move |source| SocketError::Refused { path: path.to_owned(), what, source };
    let folder = path.parent().unwrap_or(Path::new("/"));
    make(folder).map_err(refused("make its folder"))?;
    check_folders(path, folder)?;
    let lock = lock(path).map_err(refused("lock its place"))?.ok_or_else(|| SocketError::InUse(path.to_owned()))?;
    clear(path)?;
    let listener = UnixListener::bind(path).map_err(refused("bind it"))?;
    let file = SocketFile { path: path.to_owned(), _lock: lock };
    // The mask of the process may have taken rights away: who connects is known by his credentials, not by these.
    fs::set_permissions(path, Permissions::from_mode(0o666)).map_err(refused("open it to all users"))?;
    Ok((listener, file))
}

fn make(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o755).create(folder) {
        Ok(()) => fs::set_permissions(folder, Permissions::from_mode(0o755)),
        Err(_) if fs::symlink_metadata(folder).is_ok() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Only root, or the user of the agent, can change anything on the way to the socket; so what is checked stays so.
fn check_folders(path: &Path, folder: &Path) -> Result<(), SocketError> {
    for part in folder.ancestors() {
        let look = fs::symlink_metadata(part);
        let found =
            look.map_err(|source| SocketError::Refused { path: path.to_owned(), what: "look at its folder", source })?;
        if found.is_symlink() {
            return Err(SocketError::Link { path: path.to_owned(), part: part.to_owned() });
        }
        let others_write = found.mode() & WRITABLE != 0 && (part == folder || found.mode() & STICKY == 0);
        let whose = if others_write { Some("can be written to by others".to_owned()) } else { foreign(&found) };
        if let Some(whose) = whose {
            return Err(SocketError::Unsafe { path: path.to_owned(), part: part.to_owned(), whose });
        }
    }
    Ok(())
}

fn foreign(found: &Metadata) -> Option<String> {
    let own = [0, rustix::process::geteuid().as_raw()].contains(&found.uid());
    (!own).then(|| format!("belongs to user {}", found.uid()))
}

/// Removes the socket that a dead agent left.
fn clear(path: &Path) -> Result<(), SocketError> {
    let refused = |what| move |source| SocketError::Refused { path: path.to_owned(), what, source };
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused("look at it")(error)),
    };
    if found.is_symlink() {
        return Err(SocketError::Link { path: path.to_owned(), part: path.to_owned() });
    }
    if !found.file_type().is_socket() {
        return Err(SocketError::Occupied(path.to_owned()));
    }
    if let Some(whose) = foreign(&found) {
        return Err(SocketError::Unsafe { path: path.to_owned(), part: path.to_owned(), whose });
    }
    if answers(path).map_err(|error| refused("ask who listens there")(error.into()))? {
        return Err(SocketError::InUse(path.to_owned()));
    }
    fs::remove_file(path).map_err(refused("remove the one of an agent that is gone"))
}

/// True if somebody listens, however busy he is.
fn answers(path: &Path) -> Result<bool, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let asking = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    Ok(connect(&asking, &SocketAddrUnix::new(path)?) != Err(Errno::CONNREFUSED))
}

/// The lock of a path, unless a living agent has it. Nobody but root and the agent's user can open it.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".lock");
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file =
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed()).open(path.with_file_name(name))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixStream;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    #[test]
    fn it_is_made_for_all_and_removed_at_the_end() {
        let folder = folder();
        let path = folder.path().join("made").join("s.sock");
        let (listener, file) = bind(&path).expect("bound");
        let mode = |path: &Path| fs::metadata(path).expect("there").mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().expect("a folder"))), (0o666, 0o755));
        UnixStream::connect(&path).expect("connects");
        drop((listener, file));
        assert!(!path.exists());
    }

    #[test]
    fn a_live_one_is_not_stolen_and_a_dead_one_replaced() {
        let folder = folder();
        let path = folder.path().join("s.sock");
        // As an agent that was killed leaves it.
        drop(UnixListener::bind(&path).expect("bound"));
        let (listener, file) = bind(&path).expect("replaced");
        assert!(matches!(bind(&path), Err(SocketError::InUse(_))));
        UnixStream::connect(&path).expect("connects");
        drop((listener, file));
        let _of_another_program = UnixListener::bind(&path).expect("bound");
        assert!(matches!(bind(&path), Err(SocketError::InUse(_))));
    }

    #[test]
    fn links_and_other_files_are_refused() {
        let folder = folder();
        let path = folder.path().join("s.sock");
        fs::write(&path, "precious").expect("written");
        assert!(matches!(bind(&path), Err(SocketError::Occupied(_))));
        assert_eq!(fs::read(&path).expect("still there"), b"precious");
        let link = folder.path().join("link");
        symlink(folder.path().join("elsewhere"), &link).expect("linked");
        assert!(matches!(bind(&link), Err(SocketError::Link { .. })));
        let way = folder.path().join("way");
        symlink(folder.path(), &way).expect("linked");
        assert!(matches!(bind(&way.join("s.sock")), Err(SocketError::Link { .. })));
    }

    #[test]
    fn folders_that_others_can_write_to_are_refused() {
        let folder = folder();
        for mode in [0o777, 0o775, 0o1777] {
            fs::set_permissions(folder.path(), Permissions::from_mode(mode)).expect("changed");
            let error = bind(&folder.path().join("s.sock")).expect_err("others can write");
            assert!(error.to_string().contains("can be written to by others"), "{error}");
        }
        let error = bind(Path::new("/proc/1/none/s.sock")).expect_err("no folder can be made there");
        assert!(error.to_string().contains("cannot make its folder"), "{error}");
    }

    #[test]
    fn a_folder_of_somebody_else_is_refused() {
        let folder = folder();
        if std::os::unix::fs::chown(folder.path(), Some(12_345), None).is_err() {
            assert!(!rustix::process::geteuid().is_root(), "root can give a folder away");
            return;
        }
        let error = bind(&folder.path().join("s.sock")).expect_err("another user's");
        assert!(error.to_string().contains("belongs to user 12345"), "{error}");
    }
}
