//! The list of processes: those that live, or the dead of which something is recorded.

use super::KindError;
use super::profiler::Profiler;
use super::subject::ticks;
use crate::event::{MonoTime, ProcessId};
use crate::record::window::{Selection, Span};
use crate::record::{Filter, ProcessInfo};
use serde::Serialize;
use std::collections::HashMap;

/// Time over which the CPU share is taken, ns.
const MINUTE: u64 = 60_000_000_000;
/// Bytes of a command line that the list shows.
const CMDLINE: usize = 4096;

/// A process as the list shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listed {
    /// Its number in the host's PID namespace.
    pub pid: u32,
    /// When it started, in ticks since boot: `/pid/PID@START/` names it for good.
    pub start: u64,
    /// Its parent.
    pub parent: u32,
    /// Its number in its own PID namespace.
    pub namespace_pid: u32,
    /// Name.
    pub comm: String,
    /// Path of its program, or empty.
    pub exe: String,
    /// Arguments, joined by blanks.
    pub cmdline: String,
    /// Real user id.
    pub uid: u32,
    /// cgroup.
    pub cgroup: String,
    /// CPU time of the last minute by recorded samples, in CPUs: 1 is one whole CPU.
    pub cpu_share: f64,
    /// It has exited.
    pub exited: bool,
    /// Kept for callers that may not see all.
    #[serde(skip)]
    pub id: ProcessId,
}

/// The list, the busiest first. Blocking.
pub fn list(profiler: &Profiler, exited: bool) -> Result<Vec<Listed>, KindError> {
    let shares = shares(profiler)?;
    let filter = if exited { Filter::Exited } else { Filter::Alive };
    let infos = profiler.recorder.processes(filter);
    let mut list: Vec<Listed> = infos.into_iter().map(|info| listed(profiler, info, exited, &shares)).collect();
    list.sort_by(|a, b| b.cpu_share.total_cmp(&a.cpu_share).then(a.pid.cmp(&b.pid)));
    Ok(list)
}

/// CPU time per second of each process in the last minute, in ns of CPU per ns.
fn shares(profiler: &Profiler) -> Result<HashMap<ProcessId, f64>, KindError> {
    let (now, _) = profiler.processes.now();
    let span = Span { from: MonoTime(now.0.saturating_sub(MINUTE)), to: now };
    let window = profiler.recorder.query(Selection::Host, span).map_err(KindError::Recorder)?;
    let mut shares = HashMap::new();
    for row in &window.rows {
        *shares.entry(row.image.process).or_insert(0.0) += row.value as f64 / MINUTE as f64;
    }
    Ok(shares)
}

fn listed(profiler: &Profiler, info: ProcessInfo, exited: bool, shares: &HashMap<ProcessId, f64>) -> Listed {
    let cmdline = if exited { None } else { profiler.processes.cmdline(info.id.pid) };
    Listed {
        pid: info.id.pid.0,
        start: ticks(info.id),
        parent: info.parent.0,
        namespace_pid: info.namespace_pid.0,
        comm: info.comm.to_text(),
        exe: info.exe.unwrap_or_default(),
        cmdline: cmdline.map(|bytes| joined(&bytes)).unwrap_or_default(),
        uid: info.uids.real,
        cgroup: info.cgroup.to_string(),
        cpu_share: shares.get(&info.id).copied().unwrap_or(0.0),
        exited,
        id: info.id,
    }
}

fn joined(arguments: &[u8]) -> String {
    let arguments = arguments.get(..CMDLINE).unwrap_or(arguments);
    let arguments = arguments.strip_suffix(&[0]).unwrap_or(arguments);
    String::from_utf8_lossy(arguments).replace('\0', " ")
}
