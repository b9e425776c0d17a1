//! Which processes a caller asks about. A later selector is one file here and one line in [`SELECTORS`].

mod host;
mod pid;

use crate::event::{Pid, ProcessId};
use std::fmt::Debug;

/// All selectors, as routes name them.
pub const SELECTORS: &[SelectorKind] = &[host::KIND, pid::KIND];

/// What a selector may look at.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The process.
    pub process: ProcessId,
    /// Its leader's name.
    pub comm: &'a [u8],
    /// Path of its cgroup, empty if unknown.
    pub cgroup: &'a [u8],
}

/// A choice of processes.
pub trait Selector: Debug + Send + Sync {
    /// True if the process is chosen.
    fn selects(&self, subject: &Subject<'_>) -> bool;

    /// The number of the only process that can be chosen: such a tree has real addresses.
    fn only(&self) -> Option<Pid> {
        None
    }
}

/// One kind of selector and its place in a path, such as `pid` in `/pid/PID/debug/pprof/`.
#[derive(Clone, Copy, Debug)]
pub struct SelectorKind {
    /// First segment of the path; empty for the host.
    pub name: &'static str,
    /// Segments that follow it.
    pub arguments: usize,
    /// Reads these; `None` if they are none.
    pub parse: fn(&[&str]) -> Option<Box<dyn Selector>>,
}

/// The selector of a path's leading segments and how many it took. A path without one asks for the host (0 taken);
/// `None` if a selector's arguments are wrong.
pub fn select(segments: &[&str]) -> Option<(Box<dyn Selector>, usize)> {
    let first = segments.first().copied().unwrap_or_default();
    match SELECTORS.iter().find(|kind| !kind.name.is_empty() && kind.name == first) {
        Some(kind) => Some(((kind.parse)(segments.get(1..=kind.arguments)?)?, 1 + kind.arguments)),
        None => Some(((host::KIND.parse)(&[])?, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(segments: &[&str], pid: u32, start: u64) -> Option<bool> {
        let process = ProcessId { pid: Pid(pid), start };
        let (selector, _) = select(segments)?;
        Some(selector.selects(&Subject { process, comm: b"x", cgroup: b"" }))
    }

    #[test]
    fn a_path_without_a_selector_asks_for_the_host() {
        assert_eq!(selects(&["debug", "pprof"], 7, 0), Some(true));
        assert_eq!(selects(&[], 7, 0), Some(true));
        assert_eq!(select(&["debug"]).map(|(_, taken)| taken), Some(0));
    }

    #[test]
    fn a_pid_chooses_one_process() {
        assert_eq!(selects(&["pid", "7", "debug"], 7, 0), Some(true));
        assert_eq!(selects(&["pid", "7", "debug"], 8, 0), Some(false));
        assert_eq!(
            select(&["pid", "7", "debug"]).map(|(chosen, taken)| (chosen.only(), taken)),
            Some((Some(Pid(7)), 2))
        );
    }

    #[test]
    fn a_start_in_ticks_tells_reused_numbers_apart() {
        assert_eq!(selects(&["pid", "7@123"], 7, 1_239_999_999), Some(true));
        assert_eq!(selects(&["pid", "7@123"], 7, 1_240_000_000), Some(false));
    }

    #[test]
    fn what_is_no_pid_is_refused() {
        for text in ["", "0", "x", "-1", "+1", "7@", "@7", "7@x", "4294967296", "7 "] {
            assert_eq!(selects(&["pid", text], 7, 0), None, "{text:?}");
        }
        assert_eq!(selects(&["pid"], 7, 0), None);
    }
}
