//! The list of processes: those that live, or the dead of which something is recorded.

use super::profiler::Profiler;
use super::subject::ticks;
use super::viewer::Viewer;
use crate::event::ProcessId;
use crate::record::{Filter, ProcessInfo};
use serde::Serialize;

/// Bytes of a command line that the list shows.
const CMDLINE: usize = 4096;

/// A process as the list shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listed {
    /// Its number in the host's PID namespace.
    pub pid: u32,
    /// When it started, in ticks since boot: `/pid/PID@START/` names it for good.
    pub start: u64,
    /// Its parent; 0 if it is not known.
    pub parent: u32,
    /// Its number in its own PID namespace; 0 if it is not known.
    pub namespace_pid: u32,
    /// Name.
    pub comm: String,
    /// Path of its program, or empty.
    pub exe: String,
    /// Arguments, joined by blanks.
    pub cmdline: String,
    /// Real user id.
    pub uid: u32,
    /// cgroup id; 0 if it is not known.
    pub cgroup: u64,
    /// CPUs used in the last minute by the scheduler's account: 1 is one whole CPU. None if it is not known.
    pub cpu_share: Option<f64>,
    /// It has exited.
    pub exited: bool,
}

/// The list, the busiest first, of those that the viewer may see. Blocking.
pub fn list(profiler: &Profiler, viewer: Viewer, exited: bool) -> Vec<Listed> {
    let filter = if exited { Filter::Exited } else { Filter::Alive };
    let infos = viewer.visible(profiler, profiler.recorder.processes(filter));
    let mut list: Vec<Listed> = infos.into_iter().map(|info| listed(profiler, info)).collect();
    let share = |process: &Listed| process.cpu_share.unwrap_or(0.0);
    list.sort_by(|a, b| share(b).total_cmp(&share(a)).then(a.pid.cmp(&b.pid)));
    list
}

/// One process as the list shows it; none if nothing is known of it. Blocking.
pub fn one(profiler: &Profiler, id: ProcessId) -> Option<Listed> {
    let infos = profiler.recorder.process(id.pid);
    infos.into_iter().rev().find(|info| info.id == id).map(|info| listed(profiler, info))
}

fn listed(profiler: &Profiler, info: ProcessInfo) -> Listed {
    let exited = info.exited.is_some();
    let cmdline = if exited { None } else { profiler.processes.cmdline(info.id.pid, CMDLINE) };
    Listed {
        pid: info.id.pid.0,
        start: ticks(info.id),
        parent: info.parent.0,
        namespace_pid: info.namespace_pid.0,
        comm: info.comm.to_text(),
        exe: info.exe.unwrap_or_default(),
        cmdline: cmdline.map(|bytes| joined(&bytes)).unwrap_or_default(),
        uid: info.uids.real,
        cgroup: info.cgroup,
        cpu_share: info.cpu_share,
        exited,
    }
}

fn joined(arguments: &[u8]) -> String {
    let arguments = arguments.get(..CMDLINE).unwrap_or(arguments);
    let arguments = arguments.strip_suffix(&[0]).unwrap_or(arguments);
    String::from_utf8_lossy(arguments).replace('\0', " ")
}
