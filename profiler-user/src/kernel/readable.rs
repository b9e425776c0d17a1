//! Waiting on the async runtime until a descriptor is readable. tokio's safe way is deprecated (tokio PR 8587).
#![allow(unsafe_code, reason = "AsyncFd::register_with_interest is unsafe since tokio 1.54")]

use std::io;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Resolves when the descriptor is readable, and closes it. Must be awaited in a tokio runtime with I/O.
pub async fn readable(descriptor: OwnedFd) -> io::Result<()> {
    // SAFETY: an `OwnedFd` is open and refers to the same file until it is dropped, which only the `AsyncFd` does, and its
    // `as_raw_fd` always returns the same number.
    let registered = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?;
    registered.readable().await.map(|mut ready| ready.retain_ready())
}
