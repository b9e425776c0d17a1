//! What a profile is about: the host, or one process that lives or of which something is recorded.

use super::KindError;
use super::profiler::Profiler;
use crate::event::{Pid, ProcessId};

/// A tick of `/proc/PID/stat`, ns.
const TICK: u64 = 10_000_000;

/// A process as a caller names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its number.
    pub pid: Pid,
    /// When it started, in ticks (field 22 of `/proc/PID/stat`), if the caller said so.
    pub start: Option<u64>,
}

impl Asked {
    /// `PID` or `PID@START`.
    pub fn parse(text: &str) -> Result<Self, KindError> {
        let (pid, start) = match text.split_once('@') {
            Some((pid, start)) => (pid, Some(digits(start))),
            None => (text, None),
        };
        match (digits(pid).and_then(|pid| u32::try_from(pid).ok()), start) {
            (Some(pid), None) => Ok(Asked { pid: Pid(pid), start: None }),
            (Some(pid), Some(Some(start))) => Ok(Asked { pid: Pid(pid), start: Some(start) }),
            _ => Err(KindError::NotFound("a process is named by its number, or as NUMBER@START (in ticks)".to_owned())),
        }
    }
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.start {
            Some(start) => write!(f, "{}@{start}", self.pid),
            None => write!(f, "{}", self.pid),
        }
    }
}

/// A number without sign.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// What a profile is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The whole host.
    Host,
    /// One process.
    Process(Known),
}

impl Subject {
    /// The process, if it is about one.
    pub fn process(&self) -> Option<ProcessId> {
        match self {
            Subject::Host => None,
            Subject::Process(known) => Some(known.id),
        }
    }
}

/// A process that lives, or of which something is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Who.
    pub id: ProcessId,
    /// It lives.
    pub alive: bool,
}

/// True if `START` as a caller gives it is this process's.
pub fn started_at(id: ProcessId, start: u64) -> bool {
    ticks(id) == start
}

/// When a process started, in ticks.
pub fn ticks(id: ProcessId) -> u64 {
    id.start / TICK
}

/// Path of the program that a process runs, or ran last, as far as it is known.
pub fn exe(profiler: &Profiler, id: ProcessId) -> Option<String> {
    let recorded = profiler.recorder.process(id.pid);
    let info = recorded.into_iter().rev().find(|info| info.id == id)?;
    info.exe.filter(|exe| !exe.is_empty())
}

/// Name of a process, or nothing.
pub fn comm(profiler: &Profiler, id: ProcessId) -> String {
    let recorded = profiler.recorder.process(id.pid);
    recorded.into_iter().rev().find(|info| info.id == id).map(|info| info.comm.to_text()).unwrap_or_default()
}

/// The process that is asked for: the living one, else the last recorded.
pub fn find(profiler: &Profiler, asked: Asked) -> Result<Known, KindError> {
    let matches = |id: &ProcessId| asked.start.is_none_or(|start| started_at(*id, start));
    let recorded = profiler.recorder.process(asked.pid);
    let alive = profiler.processes.alive(asked.pid).filter(matches);
    if let Some(id) = alive {
        return Ok(Known { id, alive: true });
    }
    match recorded.iter().rev().find(|info| matches(&info.id)) {
        Some(info) => Ok(Known { id: info.id, alive: false }),
        None => Err(KindError::NotFound(format!("process {asked} does not exist and nothing of it is recorded"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_processes() {
        let check = |text: &str, wanted: Option<(u32, Option<u64>)>| {
            let got = Asked::parse(text).ok().map(|asked| (asked.pid.0, asked.start));
            assert_eq!(got, wanted, "{text}");
        };
        check("4711", Some((4711, None)));
        check("4711@12345", Some((4711, Some(12_345))));
        for bad in ["", "-1", "+1", "1@", "@1", "1@x", "self", "4294967296", "1 ", "0x10"] {
            check(bad, None);
        }
    }
}
