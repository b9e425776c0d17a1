//! `/proc/PID/status`: lines `Key:\tvalue`. The name, which the target chooses, is the first line; the kernel escapes line
//! ends in it, and of two lines with one key the last counts, so a name can never stand for another line.

use super::number;
use crate::event::{Pid, UserIds};

/// What `/proc/PID/status` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Thread group id in the PID namespace of this `/proc`.
    pub tgid: Pid,
    /// Parent's pid.
    pub parent: Pid,
    /// User ids, in the reader's user namespace.
    pub uids: UserIds,
    /// Permitted capabilities, in whichever user namespace it is; all of them where they are not told.
    pub capabilities: u64,
    /// The process's number in each PID namespace from this `/proc`'s inward: the last is its own.
    pub namespace_pids: Vec<Pid>,
}

impl Status {
    /// The process's number inside its own PID namespace.
    pub fn namespace_pid(&self) -> Pid {
        self.namespace_pids.last().copied().unwrap_or(self.tgid)
    }
}

/// PID namespaces nest at most 32 deep (`MAX_PID_NS_LEVEL`).
const MAX_LEVELS: usize = 33;

/// Parses the text; `None` if a line is missing.
pub(super) fn parse(text: &[u8]) -> Option<Status> {
    let (mut tgid, mut parent, mut uids) = (None, None, None);
    let (mut namespace_pids, mut capabilities) = (Vec::new(), u64::MAX);
    for line in text.split(|b| *b == b'\n') {
        let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
        let (key, value) = (line.get(..colon)?, line.get(colon + 1..)?);
        match key {
            b"Tgid" => tgid = number(value.trim_ascii()).map(Pid),
            b"PPid" => parent = number(value.trim_ascii()).map(Pid),
            b"Uid" => uids = user_ids(value),
            b"CapPrm" => capabilities = hexadecimal(value).unwrap_or(u64::MAX),
            b"NSpid" => namespace_pids = words(value).take(MAX_LEVELS).filter_map(number).map(Pid).collect(),
            _ => {}
        }
    }
    Some(Status { tgid: tgid?, parent: parent?, uids: uids?, capabilities, namespace_pids })
}

fn user_ids(value: &[u8]) -> Option<UserIds> {
    let mut ids = words(value).map(number);
    Some(UserIds { real: ids.next()??, effective: ids.next()??, saved: ids.next()?? })
}

fn hexadecimal(value: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(value.trim_ascii()).ok()?, 16).ok()
}

fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}
