//! Which Landlock the kernel has, and whether it has filters of system calls. The worker's sandbox uses both; here they are
//! only asked for.
#![allow(unsafe_code, reason = "landlock_create_ruleset and seccomp have no safe wrapper in rustix")]

use std::ptr;

/// `LANDLOCK_CREATE_RULESET_VERSION`.
const VERSION: libc::c_uint = 1;

/// ABI version of Landlock; `None` if the kernel has none or has it switched off.
pub fn landlock_abi() -> Option<u32> {
    let nothing: *const libc::c_void = ptr::null();
    // SAFETY: with this flag the call takes a null pointer and size 0 and reads no memory.
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, VERSION) };
    u32::try_from(abi).ok().filter(|abi| *abi > 0)
}

/// The kernel takes filters of system calls, and lets the agent set one.
pub fn has_seccomp_filters() -> bool {
    let action: u32 = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the kernel reads one word, which lives through the call, and changes nothing.
    unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) == 0 }
}
