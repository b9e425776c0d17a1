//! The few `bpf(2)` and `perf_event_open(2)` calls that aya does not offer.
//!
//! Layouts: `union bpf_attr` and `struct perf_event_attr` of include/uapi/linux/{bpf,perf_event}.h.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `bpf(2)` commands in use.
#[derive(Clone, Copy)]
pub(super) enum Command {
    MapCreate = 0,
    ProgramTestRun = 10,
    ObjectInfo = 15,
    RawTracepointOpen = 17,
    BtfById = 19,
    LinkCreate = 28,
    IteratorCreate = 33,
}

/// `union bpf_attr` as 32-bit words.
pub(super) type Attributes = [u32; 32];

/// Calls `bpf(2)` with the first `bytes` of `attributes`, which the kernel may write to.
///
/// # Safety
/// Every pointer inside `attributes` must be valid for what the command does with it.
pub(super) unsafe fn bpf(command: Command, attributes: &mut Attributes, bytes: usize) -> io::Result<i64> {
    debug_assert!(bytes <= size_of::<Attributes>());
    // SAFETY: the pointer and length describe `attributes`; the rest is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command as i64, attributes.as_mut_ptr(), bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Like [`bpf`], for commands that return a descriptor.
///
/// # Safety
/// As [`bpf`].
pub(super) unsafe fn bpf_fd(command: Command, attributes: &mut Attributes, bytes: usize) -> io::Result<OwnedFd> {
    // SAFETY: by the caller's promise.
    let fd = unsafe { bpf(command, attributes, bytes) }?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just given this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts a 64-bit value (or an address) at word `index` (even) of the attributes.
pub(super) fn put_u64(attributes: &mut Attributes, index: usize, value: u64) {
    let bytes = value.to_ne_bytes();
    let (low, high) = bytes.split_at(4);
    for (slot, half) in [(index, low), (index + 1, high)] {
        if let (Some(slot), Ok(half)) = (attributes.get_mut(slot), <[u8; 4]>::try_from(half)) {
            *slot = u32::from_ne_bytes(half);
        }
    }
}

/// The descriptor as the kernel's structures hold it.
pub(super) fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}
