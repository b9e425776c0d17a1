//! Where an agent is: the path of its socket, or an address of HTTP.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::Uri;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The port that an address without one means: the agent's.
const PORT: u16 = 7060;

/// Where an agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The path of its socket.
    Socket(PathBuf),
    /// An address of HTTP.
    Address {
        /// Name or number of the host, without brackets.
        host: String,
        /// Port.
        port: u16,
        /// What `Authorization` says, if the address brought a token.
        authorization: Option<String>,
        /// What comes before all paths, without a slash at its end: an agent behind a proxy may have a prefix.
        prefix: String,
    },
}

/// A text that is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "write http://HOST:PORT, or http://:TOKEN@HOST:PORT; an agent behind TLS is reached through its socket or a tunnel"
)]
pub struct PlaceError;

impl FromStr for Place {
    type Err = PlaceError;

    /// Reads an address: `http://[USER:TOKEN@]HOST[:PORT][/PREFIX]`.
    fn from_str(text: &str) -> Result<Place, PlaceError> {
        let uri: Uri = text.parse().map_err(|_invalid| PlaceError)?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(PlaceError)?;
        let plain = uri.scheme_str() == Some("http") && uri.query().is_none();
        if !plain {
            return Err(PlaceError);
        }
        let user = uri.authority().and_then(|authority| Some(authority.as_str().rsplit_once('@')?.0));
        let authorization = user.map(|user| format!("Basic {}", BASE64_STANDARD.encode(user)));
        Ok(Place::Address {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: uri.port_u16().unwrap_or(PORT),
            authorization,
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl Place {
    /// What a request names as its host.
    pub(super) fn authority(&self) -> String {
        match self {
            Place::Socket(_) => "localhost".to_owned(),
            Place::Address { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Place::Address { host, port, .. } => format!("{host}:{port}"),
        }
    }

    /// What `Authorization` says.
    pub(super) fn authorization(&self) -> Option<&str> {
        match self {
            Place::Socket(_) => None,
            Place::Address { authorization, .. } => authorization.as_deref(),
        }
    }

    /// A path there.
    pub(super) fn path(&self, path: &str) -> String {
        match self {
            Place::Socket(_) => path.to_owned(),
            Place::Address { prefix, .. } => format!("{prefix}{path}"),
        }
    }
}

/// Without the token.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Socket(path) => path.display().fmt(f),
            Place::Address { prefix, .. } => write!(f, "http://{}{prefix}", self.authority()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        let check = |text: &str, shown: &str| {
            assert_eq!(text.parse::<Place>().map(|place| place.to_string()), Ok(shown.to_owned()), "{text}");
        };
        check("http://127.0.0.1:80", "http://127.0.0.1:80");
        check("http://localhost", "http://localhost:7060");
        check("http://[::1]:81/", "http://[::1]:81");
        check("http://host:82/node/7/", "http://host:82/node/7");
        check("http://me:secret@host:82", "http://host:82");
        let place: Place = "http://me:secret@host:82".parse().expect("an address");
        assert_eq!(place.authorization(), Some("Basic bWU6c2VjcmV0"));
        for bad in ["", "localhost:7060", "https://localhost", "http://", "/run/x", "http://a/?b", "a b"] {
            assert_eq!(bad.parse::<Place>(), Err(PlaceError), "{bad}");
        }
    }
}
