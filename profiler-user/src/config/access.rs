//! Who may reach the agent: an address beyond the loopback needs two further words, and a group is found by its name.

use super::ConfigError;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Groups by name.
const GROUPS: &str = "/etc/group";

/// Address and port.
pub(super) fn address(text: &str) -> Result<SocketAddr, ConfigError> {
    let port = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    let named = port.map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    named.or_else(|| text.parse().ok()).ok_or_else(|| ConfigError::Address(text.to_owned()))
}

/// Refuses an address that can be reached from elsewhere unless that is wanted and callers have to show a token.
pub(super) fn check_remote(
    address: SocketAddr,
    is_allowed: bool,
    token_file: Option<&PathBuf>,
) -> Result<(), ConfigError> {
    let missing = match (is_allowed, token_file) {
        _ if address.ip().is_loopback() => return Ok(()),
        (true, Some(_)) => return Ok(()),
        (true, None) => "--token-file FILE, so that not everybody may ask, is missing",
        (false, Some(_)) => "--allow-remote is missing",
        (false, None) => "--allow-remote and --token-file FILE, so that not everybody may ask, are missing",
    };
    Err(ConfigError::Remote { address, missing })
}

/// The number of a group that is given by its name or number.
pub(super) fn group(text: &str) -> Result<u32, ConfigError> {
    group_of(text, Path::new(GROUPS))
}

fn group_of(text: &str, groups: &Path) -> Result<u32, ConfigError> {
    let unknown = || ConfigError::Group(text.to_owned());
    let number = text.parse().ok().or_else(|| named(text, groups)).ok_or_else(unknown)?;
    // Both stand for groups that have no number.
    if [u32::MAX, 65_534].contains(&number) { Err(unknown()) } else { Ok(number) }
}

fn named(name: &str, groups: &Path) -> Option<u32> {
    let lines = super::read_text(groups).ok()?;
    let line = lines.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.filter(|_| !name.is_empty())?.split(':').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_names_and_numbers() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("group");
        std::fs::write(&file, "root:x:0:\nadm:x:4:syslog,ubuntu\nbroken\nmore:x:many:\nnogroup:x:65534:\n")
            .expect("written");
        let check = |text: &str, wanted: Option<u32>| assert_eq!(group_of(text, &file).ok(), wanted, "{text}");
        check("adm", Some(4));
        check("root", Some(0));
        check("27", Some(27));
        for bad in ["", "ad", "adm:x", "broken", "more", "nogroup", "65534", "4294967295", "-1", "x"] {
            check(bad, None);
        }
    }
}
