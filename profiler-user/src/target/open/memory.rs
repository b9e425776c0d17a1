//! Copies of a process's memory, without stopping it. Reading may block as long as the process likes: a page may wait for its
//! own userfaultfd handler, or for a file system. So this belongs on threads that can be given up.

use super::OpenError;
use crate::event::ProcessId;
use crate::target::proc::Proc;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// A part of a process's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// First address.
    pub address: u64,
    /// Bytes at most.
    pub length: usize,
}

/// The bytes of each part up to the first that cannot be read.
pub(super) fn copy(proc: &Proc, process: ProcessId, parts: &[Part]) -> Result<Vec<Vec<u8>>, OpenError> {
    let memory = File::open(proc.path(process.pid, "mem")).map_err(OpenError::Memory)?;
    // Looked at when it is open: until then the number could have become another process's.
    if !proc.is_alive(process) {
        return Err(OpenError::Gone);
    }
    Ok(parts.iter().map(|part| read(&memory, *part)).collect())
}

fn read(memory: &File, part: Part) -> Vec<u8> {
    let mut bytes = vec![0; part.length];
    let mut held = 0;
    while let Some(free) = bytes.get_mut(held..).filter(|free| !free.is_empty()) {
        match memory.read_at(free, part.address.saturating_add(held as u64)) {
            Ok(0) => break,
            Ok(read) => held += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_unreadable) => break,
        }
    }
    bytes.truncate(held);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Pid;
    use crate::target::start_ns;

    #[test]
    fn bytes_up_to_the_end_of_what_is_mapped() {
        let me = Pid(std::process::id());
        let ticks = Proc::default().stat(me).expect("our own").start_ticks;
        let process = ProcessId { pid: me, start: start_ns(ticks) };
        let words = [0x1122_3344_5566_7788_u64, 7];
        let part = |address, length| Part { address, length };
        let parts = [part(words.as_ptr() as u64, 16), part(8, 64)];
        let found = copy(&Proc::default(), process, &parts).expect("our own memory");
        assert_eq!(found[0], words.map(u64::to_ne_bytes).concat());
        assert_eq!(found[1], b"");
        let other = ProcessId { start: process.start + 1_000_000_000, ..process };
        assert!(matches!(copy(&Proc::default(), other, &parts), Err(OpenError::Gone)));
    }
}
