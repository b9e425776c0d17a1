//! Where the Unix socket is.

use super::ConfigError;
use serde::{Serialize, Serializer};
use std::fmt;
use std::path::{Component, PathBuf};

/// Where it is unless something else is said.
pub const DEFAULT_SOCKET: &str = "/run/pprofd/pprofd.sock";
/// Bytes of a path that a socket's address holds (`sun_path`, with its NUL).
const MOST: usize = 107;

/// Where the Unix socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketPath {
    /// At [`DEFAULT_SOCKET`], if it can be had there.
    Default,
    /// At this path, or the agent does not start.
    At(PathBuf),
    /// Nowhere.
    Off,
}

impl SocketPath {
    /// What was typed: then it is to be there and nowhere else.
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        let path = PathBuf::from(text);
        let is_plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        match text {
            "none" => Ok(SocketPath::Off),
            _ if path.is_absolute()
                && is_plain
                && path.file_name().is_some()
                && text.len() <= MOST
                && !text.contains('\0') =>
            {
                Ok(SocketPath::At(path))
            }
            _ => Err(ConfigError::Socket(text.to_owned())),
        }
    }
}

impl fmt::Display for SocketPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SocketPath::Default => f.write_str(DEFAULT_SOCKET),
            SocketPath::At(path) => path.display().fmt(f),
            SocketPath::Off => f.write_str("none"),
        }
    }
}

impl Serialize for SocketPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_sockets() {
        let check = |text: &str, wanted: Option<SocketPath>| assert_eq!(SocketPath::parse(text).ok(), wanted, "{text}");
        check("none", Some(SocketPath::Off));
        check(DEFAULT_SOCKET, Some(SocketPath::At(DEFAULT_SOCKET.into())));
        check("/tmp/a.sock", Some(SocketPath::At("/tmp/a.sock".into())));
        let long = format!("/{}", "a".repeat(MOST));
        for bad in ["", "/", "a.sock", "./a.sock", "/tmp/../a.sock", "/tmp/a\0b", &long] {
            check(bad, None);
        }
    }
}
