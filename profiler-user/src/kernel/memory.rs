//! Memory that the allocator holds back.

/// Gives memory that is free to the kernel. The allocator keeps it by thread, where tables that were built and profiles that
/// were made leave it in pieces: without this the agent seems to grow although nothing is kept.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no precondition; it may be called at any time, from any thread.
    let _given = unsafe { libc::malloc_trim(0) };
}
