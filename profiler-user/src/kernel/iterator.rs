//! Opening an iterator program over tasks: what it writes for each of them is read as from a file.

use super::KernelError;
use super::syscall::{Attributes, Command, bpf_fd, put_u64, raw};
use crate::event::Pid;
use aya::programs::ProgramFd;
use std::fs::File;
use std::os::fd::AsFd;

/// `BPF_TRACE_ITER` of enum `bpf_attach_type`.
const TRACE_ITERATOR: u32 = 28;

/// Over the tasks of one process or of all. `ESRCH`: it is gone.
pub(super) fn open(program: &ProgramFd, pid: Option<Pid>, over: &'static str) -> Result<File, KernelError> {
    // union bpf_iter_link_info: { tid, pid, pid_fd }
    let info = [0u32, pid.map_or(0, |p| p.0), 0, 0];
    let mut attributes: Attributes = [0; 32];
    attributes[0] = raw(program.as_fd());
    attributes[2] = TRACE_ITERATOR;
    if pid.is_some() {
        put_u64(&mut attributes, 4, info.as_ptr() as u64);
        attributes[6] = 16;
    }
    // SAFETY: `info` lives across the call and has the 16 bytes that the attributes state.
    let link = unsafe { bpf_fd(Command::LinkCreate, &mut attributes, 32) }.map_err(|source| KernelError::Iterator {
        action: "create",
        over,
        source,
    })?;
    let mut attributes: Attributes = [0; 32];
    attributes[0] = raw(link.as_fd());
    // SAFETY: no pointers.
    let iterator = unsafe { bpf_fd(Command::IteratorCreate, &mut attributes, 8) }
        .map_err(|source| KernelError::Iterator { action: "open", over, source })?;
    Ok(File::from(iterator))
}
