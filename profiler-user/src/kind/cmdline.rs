//! `cmdline`: the arguments of a process, joined by NUL bytes, as Go has it.

use super::KindError;
use super::profiler::Profiler;
use super::subject::Subject;
use crate::event::Pid;

/// Bytes of arguments that the kernel lets a program have: three quarters of the default stack limit (`bprm_stack_limits`).
const MOST: usize = 6 << 20;

/// The command line: of a process, or of the agent itself for the host. Blocking.
pub fn collect(profiler: &Profiler, subject: &Subject) -> Result<Vec<u8>, KindError> {
    let pid = match subject {
        Subject::Host => Pid(std::process::id()),
        Subject::Process(known) if known.alive => known.id.pid,
        Subject::Process(known) => return Err(gone(known.id.pid)),
    };
    let mut arguments = profiler.processes.cmdline(pid, MOST).ok_or_else(|| gone(pid))?;
    if arguments.last() == Some(&0) {
        arguments.pop();
    }
    Ok(arguments)
}

fn gone(pid: Pid) -> KindError {
    KindError::NotFound(format!("process {pid} has exited, and its command line is not recorded"))
}
