//! Tells a service manager how far the agent is: a datagram to the socket that `NOTIFY_SOCKET` names, as systemd's
//! `sd_notify(3)` describes. Without the variable nothing is told.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

const VARIABLE: &str = "NOTIFY_SOCKET";

/// The programs are in the kernel, and requests are answered.
pub(super) fn ready() {
    tell("READY=1");
}

/// It was told to stop.
pub(super) fn stopping() {
    tell("STOPPING=1");
}

fn tell(state: &str) {
    let Some(socket) = std::env::var_os(VARIABLE).filter(|socket| !socket.is_empty()) else { return };
    if let Err(error) = send(&socket, state) {
        tracing::warn!(%error, socket = %socket.display(), "cannot tell the service manager {state}");
    }
}

fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    let ours = UnixDatagram::unbound()?;
    // A manager that does not read must not hold up the agent.
    ours.set_nonblocking(true)?;
    ours.send_to_addr(state.as_bytes(), &address).map(|_sent| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bound: &UnixDatagram, socket: &OsStr) {
        send(socket, "READY=1").expect("it listens");
        let mut text = [0; 32];
        let length = bound.recv(&mut text).expect("it was sent");
        assert_eq!(&text[..length], b"READY=1");
    }

    #[test]
    fn a_socket_has_a_path_or_an_abstract_name() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("notify");
        check(&UnixDatagram::bind(&path).expect("bind"), path.as_os_str());
        let name = format!("pprofd-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        check(&UnixDatagram::bind_addr(&address).expect("bind"), OsStr::new(&format!("@{name}")));
    }

    #[test]
    fn a_manager_that_is_gone_is_an_error() {
        let folder = tempfile::tempdir().expect("temporary folder");
        assert!(send(folder.path().join("none").as_os_str(), "READY=1").is_err());
    }
}
