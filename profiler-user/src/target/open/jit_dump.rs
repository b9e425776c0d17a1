//! The jitdump of a process: the file `jit-PID.dump` that it maps, PID being its number in its own PID namespace. Perf's format
//! has it mapped as executable, so that profilers meet it: it is opened as every mapped file is, verified by the kernel. It
//! counts only if the process's user or root owns it.

use super::attempt::Refusal;
use super::{KeyOf, OpenError, Opened, open};
use crate::event::{FileSeen, ProcessId};
use crate::target::proc::Proc;

/// Size of the largest dump that is opened.
const MAX_SIZE: u64 = 1 << 30;

/// True for the path of a jitdump, of whatever process.
pub fn is_jit_dump(path: &str) -> bool {
    number(path).is_some()
}

/// The number in `jit-NUMBER.dump`.
fn number(path: &str) -> Option<u32> {
    let digits = path.rsplit('/').next()?.strip_prefix("jit-")?.strip_suffix(".dump")?;
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// Opens a dump that a process maps, if it is one to believe, on this thread.
pub(super) fn find(proc: &Proc, process: ProcessId, seen: &FileSeen, key_of: &dyn KeyOf) -> Result<Opened, OpenError> {
    let status = proc.status(process.pid).map_err(|_unreadable| OpenError::Gone)?;
    if number(&String::from_utf8_lossy(&seen.path)) != Some(status.namespace_pid().0) {
        // Of its parent, from which it has the mapping.
        return Err(OpenError::NoPerfMap);
    }
    let opened = open(proc, seen, key_of, MAX_SIZE)?;
    // Looked at last: until now the number could have become another process's.
    if !proc.is_alive(process) {
        return Err(OpenError::Gone);
    }
    if opened.owner != status.uids.effective && opened.owner != 0 {
        return Err(OpenError::PerfMap { refusal: Refusal::Foreign(opened.owner), path: opened.path });
    }
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_is_known_by_its_name() {
        assert_eq!(number("/srv/a b/jit-4711.dump"), Some(4711));
        for path in
            ["/srv/jit-.dump", "/srv/jit-+1.dump", "/srv/jit-1.dump.old", "/srv/xjit-1.dump", "/jit-1.dump/x", ""]
        {
            assert!(!is_jit_dump(path), "{path}");
        }
    }
}
