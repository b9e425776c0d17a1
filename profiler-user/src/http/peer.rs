//! Who is at the other end of a connection, as the kernel says it.

use std::net::SocketAddr;

/// The other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// Somebody who can reach the address.
    Network(SocketAddr),
    /// A process of this host, by the Unix socket.
    Local(Credentials),
}

/// What a process was when it connected, in the agent's own user namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    /// Effective user id.
    pub(super) uid: u32,
    /// Effective group id.
    pub(super) gid: u32,
    /// Its number; 0 if it is in a PID namespace that we do not see.
    pub(super) pid: i32,
    /// Supplementary group ids.
    pub(super) groups: Vec<u32>,
}

impl Credentials {
    /// True if the process was of that group.
    pub(super) fn is_of(&self, group: u32) -> bool {
        self.gid == group || self.groups.contains(&group)
    }
}
