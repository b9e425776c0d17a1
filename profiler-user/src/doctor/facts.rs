//! What is read of the host, without judging it.

use crate::kernel::landlock::{has_seccomp_filters, landlock_abi};
use crate::target::limits::raise_open_files;
use rustix::thread::CapabilitySet;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

/// Facts of a host, as far as the agent's needs go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// Effective capabilities of the agent.
    pub(super) capabilities: CapabilitySet,
    /// Release of the kernel, such as `6.1.0-56-amd64`.
    pub(super) kernel: String,
    /// The kernel's own type information.
    pub(super) btf: Access,
    /// Content of the lockdown file; `None` without lockdown or securityfs.
    pub(super) lockdown: Option<String>,
    /// Inode number of the agent's PID namespace.
    pub(super) pid_namespace: Option<u64>,
    /// Inode number of the agent's user namespace.
    pub(super) user_namespace: Option<u64>,
    /// Symbols of the kernel have addresses.
    pub(super) kernel_symbols: bool,
    /// ABI of Landlock.
    pub(super) landlock: Option<u32>,
    /// Seccomp filters exist.
    pub(super) seccomp: bool,
    /// `kernel.perf_event_paranoid`.
    pub(super) perf_event_paranoid: Option<i32>,
    /// Descriptors that may be open, after raising the limit.
    pub(super) open_files: u64,
}

/// Whether a file can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Readable,
    Missing,
    Denied,
}

impl Facts {
    pub(super) fn of_this_host() -> Facts {
        Facts {
            capabilities: rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            btf: access(fs::File::open("/sys/kernel/btf/vmlinux")),
            lockdown: text("/sys/kernel/security/lockdown"),
            pid_namespace: namespace("/proc/self/ns/pid"),
            user_namespace: namespace("/proc/self/ns/user"),
            kernel_symbols: kernel_symbols(),
            landlock: landlock_abi(),
            seccomp: has_seccomp_filters(),
            perf_event_paranoid: text("/proc/sys/kernel/perf_event_paranoid").and_then(|text| text.parse().ok()),
            open_files: raise_open_files(),
        }
    }
}

fn text(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn namespace(path: &str) -> Option<u64> {
    fs::metadata(path).ok().map(|namespace| namespace.ino())
}

fn access(opened: io::Result<fs::File>) -> Access {
    match opened {
        Ok(_) => Access::Readable,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Access::Denied,
        Err(_) => Access::Missing,
    }
}

/// Without permission all addresses are zero. The first symbols are offsets of per-CPU data and may be zero anyway, so a
/// good part of the file is looked at.
fn kernel_symbols() -> bool {
    const ENOUGH: u64 = 1 << 20;
    let mut text = Vec::new();
    let read = fs::File::open("/proc/kallsyms").and_then(|file| file.take(ENOUGH).read_to_end(&mut text));
    let visible = |line: &[u8]| line.iter().take_while(|byte| **byte != b' ').any(|byte| *byte != b'0');
    read.is_ok() && text.split(|byte| *byte == b'\n').any(visible)
}
