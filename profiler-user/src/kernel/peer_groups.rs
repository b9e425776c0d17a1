//! The groups of whoever connected to a Unix socket, as they were then: no look at `/proc`, where a number may be another
//! process's by now.

use rustix::io::Errno;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Groups that a task can have (`NGROUPS_MAX`).
const MOST: usize = 65_536;
/// Enough for nearly everybody.
const USUAL: usize = 64;

/// Supplementary group ids of the peer (`SO_PEERGROUPS`, Linux 4.13).
pub fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    match read(socket, USUAL) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::RANGE) => read(socket, MOST),
        result => result,
    }
}

fn read(socket: BorrowedFd<'_>, most: usize) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; most];
    let mut length = libc::socklen_t::try_from(most * size_of::<u32>()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for the whole call; `groups` has room for `length` bytes and any bytes are valid in
    // it; `length` is ours to be written.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    groups.truncate(length as usize / size_of::<u32>());
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_groups_are_those_of_the_peer() {
        let (ours, _theirs) = UnixStream::pair().expect("a pair");
        let mut groups = peer_groups(ours.as_fd()).expect("groups");
        let mut own: Vec<u32> =
            rustix::process::getgroups().expect("groups").into_iter().map(rustix::process::Gid::as_raw).collect();
        groups.sort_unstable();
        own.sort_unstable();
        assert_eq!(groups, own);
        assert_eq!(read(ours.as_fd(), own.len()).expect("just enough").len(), own.len());
        let file = std::fs::File::open("/dev/null").expect("opens");
        assert!(peer_groups(file.as_fd()).is_err());
    }
}
