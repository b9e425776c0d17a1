//! All processes of the host as facts, for start-up and after lost events. It reads `/proc` and nothing else.

use super::clock::mono_now;
use super::proc::{Proc, ProcError, cgroup_id, same_process, start_ns};
use crate::event::{Comm, ImageId, Pid, ProcessFact, ProcessId};
use std::path::Path;

/// What the kernel side knows exactly and `/proc` does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exact {
    /// `start_boottime`, ns.
    pub start: u64,
    /// `self_exec_id`.
    pub exec_id: u32,
}

/// Every process with the path of its program (empty for kernel threads and where it may not be read).
///
/// `exact` gives the identity by the kernel's own numbers. Without one, or if it is another process's with that number,
/// the start is the first nanosecond of its clock tick and the exec id 0. Processes that end meanwhile are left out.
pub fn inventory(proc: &Proc, exact: &dyn Fn(Pid) -> Option<Exact>) -> Result<Vec<(ProcessFact, Vec<u8>)>, ProcError> {
    let cgroups = proc.cgroup_mount();
    let pids = proc.pids()?;
    Ok(pids.into_iter().filter_map(|pid| fact(proc, pid, cgroups.as_deref(), exact)).collect())
}

/// One process; `None` if it is gone, or became another one with its number while it was read.
pub fn fact(
    proc: &Proc,
    pid: Pid,
    cgroups: Option<&Path>,
    exact: &dyn Fn(Pid) -> Option<Exact>,
) -> Option<(ProcessFact, Vec<u8>)> {
    let stat = proc.stat(pid).ok()?;
    let status = proc.status(pid).ok()?;
    let exe = proc.exe(pid).unwrap_or_default();
    let cgroup = cgroups.and_then(|mount| cgroup_id(mount, &proc.cgroup(pid).ok()??)).unwrap_or(0);
    let known = exact(pid)
        .filter(|exact| same_process(exact.start, stat.start_ticks))
        .unwrap_or(Exact { start: start_ns(stat.start_ticks), exec_id: 0 });
    if proc.stat(pid).ok()?.start_ticks != stat.start_ticks {
        return None;
    }
    let fact = ProcessFact {
        image: ImageId { process: ProcessId { pid, start: known.start }, exec_id: known.exec_id },
        parent: stat.parent,
        namespace_pid: status.namespace_pid(),
        uids: status.uids,
        time: mono_now(),
        cgroup,
        comm: task_name(&stat.comm),
    };
    Some((fact, exe))
}

/// A name as the kernel keeps it: at most 15 bytes (`/proc` shows more of a kernel worker's).
fn task_name(name: &[u8]) -> Comm {
    let mut comm = Comm(Default::default());
    let kept = comm.0.len() - 1;
    for (to, from) in comm.0.iter_mut().take(kept).zip(name) {
        *to = *from;
    }
    comm
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::testing::ProcRoot;

    #[test]
    fn a_process_of_a_written_proc_becomes_a_fact() {
        let root = ProcRoot::new();
        root.process(7, "7 (a) b) c", 3, 1234);
        let proc = root.proc();
        let facts = inventory(&proc, &|_| None).expect("inventory");
        let (fact, exe) = facts.first().expect("one process");
        assert_eq!(fact.image.process, ProcessId { pid: Pid(7), start: 12_340_000_000 });
        assert_eq!((fact.parent, fact.namespace_pid), (Pid(3), Pid(1)));
        assert_eq!(fact.comm.to_text(), "7 (a) b) c");
        assert_eq!(exe, b"/bin/of 7");
        assert_eq!(facts.len(), 1);
    }

    #[test]
    fn exact_identity_counts_only_for_the_same_process() {
        let root = ProcRoot::new();
        root.process(7, "x", 3, 1234);
        let identity = |start| {
            let exact = move |_| Some(Exact { start, exec_id: 9 });
            let facts = inventory(&root.proc(), &exact).expect("inventory");
            facts.first().map(|(fact, _)| (fact.image.process.start, fact.image.exec_id))
        };
        assert_eq!(identity(12_345_678_901), Some((12_345_678_901, 9)));
        assert_eq!(identity(12_350_000_000), Some((12_340_000_000, 0)));
    }

    #[test]
    fn the_test_itself_is_in_the_inventory_of_the_host() {
        let facts = inventory(&Proc::default(), &|_| None).expect("inventory");
        let me = Pid(std::process::id());
        let (fact, exe) = facts.iter().find(|(fact, _)| fact.image.process.pid == me).expect("this process");
        assert_eq!(exe, std::env::current_exe().expect("exe").as_os_str().as_encoded_bytes());
        assert_eq!(fact.uids.real, rustix::process::getuid().as_raw());
        assert_eq!(fact.parent, Pid(std::os::unix::process::parent_id()));
    }
}
