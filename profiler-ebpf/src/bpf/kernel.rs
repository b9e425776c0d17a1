//! Reading the running kernel's structures: member offsets from its BTF, set by the agent before loading and frozen, so
//! that the verifier knows them; one object serves all kernels.

use aya_ebpf::Global;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use core::ffi::c_void;
use core::ptr::read_volatile;

/// Declares offsets as frozen globals of their own names.
macro_rules! offsets {
    ($($(#[$doc:meta])* $name:ident)*) => {
        $( $(#[$doc])* #[unsafe(no_mangle)] pub(crate) static $name: Global<u32> = Global::new(0); )*
    };
}

offsets! {
    TASK_MM TASK_FLAGS TASK_LEADER TASK_START TASK_EXEC_ID TASK_CRED TASK_COMM TASK_TGID TASK_PID TASK_PARENT TASK_SIGNAL
    TASK_EXIT_CODE TASK_RUNTIME TASK_STATE TASK_ON_CPU
    /// 0 where the kernel does not keep it.
    TASK_ARRIVAL
    /// When it became runnable, by the scheduler's clock; 0 where the kernel does not keep it.
    TASK_QUEUED
    /// As above: ns in its life in which it was runnable and not on a CPU, up to the last time that it changed its queue.
    TASK_RUN_DELAY
    CRED_UID CRED_SUID CRED_EUID
    SIGNAL_LIVE SIGNAL_RUNTIME SIGNAL_TGID_PID
    PID_LEVEL PID_NUMBERS
    MM_TREE MM_VDSO
    /// 0 where `mm_lock_seq` does not exist or does not tell that a writer is at work: then mappings are not cached.
    MM_SEQ
    VMA_START VMA_END VMA_MM VMA_FLAGS VMA_PGOFF VMA_FILE
    FILE_INODE FILE_DENTRY
    INODE_NUMBER INODE_SB INODE_GENERATION INODE_CTIME_SEC INODE_CTIME_NSEC
    SB_DEV SB_MAGIC
    DENTRY_PARENT DENTRY_SB DENTRY_NAME
    BPRM_FILENAME
}

/// Copies `length` bytes of kernel memory; false if unreadable.
#[inline(always)]
pub(crate) fn read(to: *mut u64, length: u32, from: u64) -> bool {
    // SAFETY: the callers pass a buffer of at least `length` bytes; the helper checks `from` itself.
    unsafe { bpf_probe_read_kernel(to as *mut c_void, length, from as *const c_void) == 0 }
}

/// A word of kernel memory.
#[inline(always)]
pub(crate) fn word(from: u64) -> Option<u64> {
    let mut value = 0u64;
    if read(&raw mut value, 8, from) { Some(value) } else { None }
}

/// A 32-bit word of kernel memory.
#[inline(always)]
pub(crate) fn half(from: u64) -> Option<u32> {
    let mut value = 0u64;
    if read(&raw mut value, 4, from) { Some(value as u32) } else { None }
}

/// A word at a BTF offset of a copied structure.
///
/// # Safety
/// `copy` must be a buffer that reaches 8 bytes beyond every offset that is used with it.
#[inline(always)]
pub(crate) unsafe fn at(copy: *const u64, offset: &Global<u32>) -> u64 {
    // SAFETY: by the caller's promise.
    unsafe { read_volatile((copy as *const u8).add(offset.load() as usize) as *const u64) }
}

/// Like [`at`], 32 bits.
///
/// # Safety
/// As [`at`].
#[inline(always)]
pub(crate) unsafe fn at32(copy: *const u64, offset: &Global<u32>) -> u32 {
    // SAFETY: by the caller's promise.
    unsafe { read_volatile((copy as *const u8).add(offset.load() as usize) as *const u32) }
}

/// A member of a structure behind a BTF pointer, loaded without a helper call: the verifier knows the type and the
/// (frozen) offset.
///
/// # Safety
/// `object` must be a pointer that the verifier knows by its BTF type, and T the member's size.
#[inline(always)]
pub(crate) unsafe fn member<T>(object: *const u8, offset: &Global<u32>) -> T {
    // SAFETY: by the caller's promise; the verifier checks it.
    unsafe { read_volatile(object.add(offset.load() as usize) as *const T) }
}

/// When the process of a task was made, ns since boot.
#[inline(always)]
pub(crate) fn start_of(task: *const u8) -> u64 {
    // SAFETY: callers have a task by its BTF type; the verifier checks it.
    unsafe { member(member(task, &TASK_LEADER), &TASK_START) }
}
