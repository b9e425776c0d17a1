//! Messages for the agent's log, in an object that is built with `bpf-log`; in any other these functions are nothing.
//! Only for what is rare. Each message is a global function of scalars, so that the verifier walks it once.

/// A new file has its number and was announced, or the control ring was full.
#[inline(always)]
pub(crate) fn announced(number: u32, tgid: u32, sent: bool) {
    #[cfg(feature = "bpf-log")]
    on::log_announced(number, tgid, sent as u32);
    let _ = (number, tgid, sent);
}

/// The table of files has no room for a file.
#[inline(always)]
pub(crate) fn refused(number: u32, tgid: u32) {
    #[cfg(feature = "bpf-log")]
    on::log_refused(number, tgid);
    let _ = (number, tgid);
}

/// A deep stack could not be walked on: the tail call came back.
#[inline(always)]
pub(crate) fn no_tail_call(tgid: u32, frames: u32) {
    #[cfg(feature = "bpf-log")]
    on::log_no_tail_call(tgid, frames);
    let _ = (tgid, frames);
}

#[cfg(feature = "bpf-log")]
mod on {
    use aya_log_ebpf::{info, warn};

    #[unsafe(no_mangle)]
    #[inline(never)]
    pub(crate) extern "C" fn log_announced(number: u32, tgid: u32, sent: u32) -> u32 {
        if sent != 0 {
            info!((), target: "bpf", "file {} of process {} announced", number, tgid);
        } else {
            warn!((), target: "bpf", "file {} of process {} not announced: the ring is full", number, tgid);
        }
        0
    }

    #[unsafe(no_mangle)]
    #[inline(never)]
    pub(crate) extern "C" fn log_refused(number: u32, tgid: u32) -> u32 {
        warn!((), target: "bpf", "file {} of process {} refused: the table of files is full", number, tgid);
        0
    }

    #[unsafe(no_mangle)]
    #[inline(never)]
    pub(crate) extern "C" fn log_no_tail_call(tgid: u32, frames: u32) -> u32 {
        warn!((), target: "bpf", "no tail call: a stack of process {} ends after {} frames", tgid, frames);
        0
    }
}
