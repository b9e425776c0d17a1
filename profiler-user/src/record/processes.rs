//! What processes are and were, so that the dead can be asked about. Kept while anything of them is recorded.

use crate::event::{Comm, MonoTime, Pid, ProcessFact, ProcessId, Sample, UserIds};
use std::collections::HashMap;

/// Processes kept at most.
const MAX: usize = 65_536;
/// A dead process of which nothing is recorded is forgotten after this, ns.
const LINGER: u64 = 60_000_000_000;

/// Which processes a list is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Those that live.
    Alive,
    /// Those that have exited.
    Exited,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Who.
    pub id: ProcessId,
    /// Execs it has done.
    pub exec_id: u32,
    /// Its parent.
    pub parent: Pid,
    /// Its number in its own PID namespace.
    pub namespace_pid: Pid,
    /// User ids.
    pub uids: UserIds,
    /// The leader's name.
    pub comm: Comm,
    /// Path of its program, as far as it is known.
    pub exe: Option<String>,
    /// cgroup id.
    pub cgroup: u64,
    /// When its last thread ended.
    pub exited: Option<MonoTime>,
    /// CPU time of its whole life, ns, once it has ended.
    pub cpu_ns: Option<u64>,
}

/// The table.
#[derive(Default)]
pub(super) struct Processes {
    known: HashMap<ProcessId, ProcessInfo>,
}

impl Processes {
    /// Takes what an event says of a process.
    pub(super) fn learn(&mut self, fact: &ProcessFact, exe: Option<&[u8]>) {
        let id = fact.image.process;
        let inherited = exe.is_none().then(|| self.exe_of(fact.parent)).flatten();
        let exe = exe.filter(|exe| !exe.is_empty()).map(|exe| String::from_utf8_lossy(exe).into_owned()).or(inherited);
        let info = self.known.entry(id).or_insert_with(|| ProcessInfo {
            id,
            exec_id: fact.image.exec_id,
            parent: fact.parent,
            namespace_pid: fact.namespace_pid,
            uids: fact.uids,
            comm: fact.comm,
            exe: None,
            cgroup: fact.cgroup,
            exited: None,
            cpu_ns: None,
        });
        info.exec_id = fact.image.exec_id;
        (info.parent, info.uids, info.comm) = (fact.parent, fact.uids, fact.comm);
        if exe.is_some() {
            info.exe = exe;
        }
        if fact.cgroup != 0 {
            info.cgroup = fact.cgroup;
        }
        if fact.namespace_pid.0 != 0 {
            info.namespace_pid = fact.namespace_pid;
        }
    }

    fn exe_of(&self, pid: Pid) -> Option<String> {
        let parent =
            self.known.values().filter(|p| p.id.pid == pid && p.exited.is_none()).max_by_key(|p| p.id.start)?;
        parent.exe.clone()
    }

    /// A process is known at the latest by its first sample.
    pub(super) fn meet(&mut self, sample: &Sample) {
        let id = sample.image.process;
        let info = self.known.entry(id).or_insert_with(|| ProcessInfo {
            id,
            exec_id: sample.image.exec_id,
            parent: Pid(0),
            namespace_pid: id.pid,
            uids: sample.uids,
            comm: sample.comm,
            exe: None,
            cgroup: 0,
            exited: None,
            cpu_ns: None,
        });
        if info.exec_id <= sample.image.exec_id {
            (info.exec_id, info.comm, info.uids) = (sample.image.exec_id, sample.comm, sample.uids);
        }
    }

    pub(super) fn exit(&mut self, fact: &ProcessFact, cpu_ns: u64) {
        self.learn(fact, None);
        if let Some(info) = self.known.get_mut(&fact.image.process) {
            info.exited = Some(fact.time);
            info.cpu_ns = Some(cpu_ns);
        }
    }

    /// Processes with this number, the newest last.
    pub(super) fn with_number(&self, pid: Pid) -> Vec<ProcessInfo> {
        let mut found: Vec<_> = self.known.values().filter(|p| p.id.pid == pid).cloned().collect();
        found.sort_by_key(|p| p.id.start);
        found
    }

    pub(super) fn list(&self, filter: Filter, holds: impl Fn(ProcessId) -> bool) -> Vec<ProcessInfo> {
        let wanted = |p: &&ProcessInfo| match filter {
            Filter::Alive => p.exited.is_none(),
            Filter::Exited => p.exited.is_some() && holds(p.id),
        };
        self.known.values().filter(wanted).cloned().collect()
    }

    /// Forgets the dead of which nothing is held; over the limit also the oldest dead.
    pub(super) fn forget(&mut self, now: MonoTime, holds: impl Fn(ProcessId) -> bool) {
        self.known.retain(|id, p| p.exited.is_none_or(|at| at.0 + LINGER > now.0 || holds(*id)));
        if self.known.len() > MAX {
            let mut dead: Vec<_> = self.known.values().filter_map(|p| Some((p.exited?, p.id))).collect();
            dead.sort_unstable();
            for (_, id) in dead.into_iter().take(self.known.len() - MAX) {
                self.known.remove(&id);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn is_known(&self, process: ProcessId) -> bool {
        self.known.contains_key(&process)
    }
}
