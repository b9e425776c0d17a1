//! To whom a living process belongs: whose its user ids are, and whether the kernel lets that user look at it.

use super::proc::{Proc, ProcError, same_process};
use crate::event::{Ownership, ProcessId, SoleUser};

/// To whom a process belongs now. What cannot be read belongs to nobody alone.
///
/// The kernel gives what is in `/proc/PID` to root where the user may not look at the process (it is not "dumpable"),
/// whatever its ids are: that is asked of the file's owner. A leader that ended while other threads run counts as gone.
pub fn owner(proc: &Proc, process: ProcessId) -> Ownership {
    match look(proc, process) {
        Ok(ownership) => ownership,
        Err(error) if error.is_gone() => Ownership::Gone,
        Err(_) => Ownership::Shut,
    }
}

fn look(proc: &Proc, process: ProcessId) -> Result<Ownership, ProcError> {
    let before = proc.stat(process.pid)?;
    let uids = proc.status(process.pid)?.uids;
    let file = proc.file_owner(process.pid)?;
    // Between two looks at one process its number was nobody else's.
    let after = proc.stat(process.pid)?;
    let is_it = [&before, &after].iter().all(|stat| same_process(process.start, stat.start_ticks));
    Ok(if !is_it || after.is_zombie() {
        Ownership::Gone
    } else if SoleUser::from(uids).is(file) {
        Ownership::Of(file)
    } else {
        Ownership::Shut
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Pid;
    use crate::target::testing::{Child, ProcRoot, compile, eventually};
    use std::process::Command;

    fn process(proc: &Proc, pid: Pid) -> ProcessId {
        let start = crate::target::start_ns(proc.stat(pid).expect("it lives").start_ticks);
        ProcessId { pid, start }
    }

    #[test]
    fn a_child_is_ours_until_it_is_gone() {
        let proc = Proc::default();
        let child = Child::shell("exec sleep 100");
        let id = process(&proc, child.pid());
        assert_eq!(owner(&proc, id), Ownership::Of(rustix::process::getuid().as_raw()));
        assert_eq!(owner(&proc, ProcessId { start: id.start + 1_000_000_000, ..id }), Ownership::Gone);
        drop(child);
        assert_eq!(owner(&proc, id), Ownership::Gone);
    }

    #[test]
    fn one_that_the_kernel_shuts_is_nobodys() {
        if !rustix::process::getuid().is_root() {
            assert_ne!(rustix::process::getuid().as_raw(), 0, "only root can become somebody else");
            return;
        }
        let proc = Proc::default();
        // It came from root, and no exec has made it the user's.
        let source = "#include <sys/types.h>\n#include <unistd.h>\nint setresuid(uid_t, uid_t, uid_t);\n\
                      int main(void) { setresuid(1234, 1234, 1234); for (;;) pause(); }";
        let folder = tempfile::tempdir().expect("temporary folder");
        let child = Child::spawn(&mut Command::new(compile(folder.path(), "fallen", source)));
        let id = process(&proc, child.pid());
        let uids = || proc.status(child.pid()).map(|status| SoleUser::from(status.uids));
        eventually("it is user 1234", || uids().is_ok_and(|user| user.is(1234)));
        assert_eq!(owner(&proc, id), Ownership::Shut);
        let child = Child::shell("exec setpriv --reuid 1234 --regid 1234 --clear-groups sleep 100");
        let id = process(&proc, child.pid());
        eventually("it is user 1234's", || owner(&proc, id) == Ownership::Of(1234));
    }

    #[test]
    fn mixed_ids_and_other_owners_are_nobodys() {
        let root = ProcRoot::new();
        root.process(7, "x", 3, 1234);
        let proc = root.proc();
        let me = rustix::process::getuid().as_raw();
        let status = |uids: [u32; 3]| {
            let [real, effective, saved] = uids;
            root.write("7/status", format!("Tgid:\t7\nPPid:\t3\nUid:\t{real}\t{effective}\t{saved}\t0\nNSpid:\t7\n"));
        };
        let check = |uids, wanted| {
            status(uids);
            assert_eq!(owner(&proc, process(&proc, Pid(7))), wanted, "{uids:?}");
        };
        check([me, me, me], Ownership::Of(me));
        for mixed in [[me + 1, me, me], [me, me + 1, me], [me, me, me + 1], [me + 1; 3]] {
            check(mixed, Ownership::Shut);
        }
        root.write("7/status", "nonsense");
        assert_eq!(owner(&proc, process(&proc, Pid(7))), Ownership::Shut);
    }
}
