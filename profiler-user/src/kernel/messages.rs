//! The messages of programs that were built with `bpf-log`, into the agent's log: a thread that ends with the process.

use super::KernelError;
use aya::Ebpf;
use aya_log::{EbpfLogger, Error};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Shows what the programs of this object say from now on; most objects say nothing.
pub(super) fn show(object: &mut Ebpf) -> Result<(), KernelError> {
    let mut messages = match EbpfLogger::init(object) {
        Ok(messages) => messages,
        Err(Error::MapNotFound) => {
            tracing::info!("the BPF object was built without messages");
            return Ok(());
        }
        Err(error) => {
            let source = std::io::Error::other(error);
            return Err(KernelError::System { action: "read the programs' messages", source });
        }
    };
    let wait = move || {
        loop {
            match poll(&mut [PollFd::new(&messages, PollFlags::IN)], None) {
                Ok(_) | Err(Errno::INTR) => messages.flush(),
                Err(error) => return tracing::warn!(%error, "the programs' messages end here"),
            }
        }
    };
    std::thread::Builder::new()
        .name("bpf-log".to_owned())
        .spawn(wait)
        .map(drop)
        .map_err(KernelError::system("start the thread of the programs' messages"))
}
