//! What is read of the host, without judging it.

mod mounts;

use crate::config::DEFAULT_SOCKET;
use crate::event::Pid;
use crate::kernel::landlock::{has_seccomp_filters, landlock_abi};
use crate::target::{cpu, limits};
use rustix::thread::CapabilitySet;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::str::FromStr;

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
    /// Security modules in force; `None` without securityfs.
    pub(super) lsm: Option<String>,
    /// Inode number of the agent's PID namespace.
    pub(super) pid_namespace: Option<u64>,
    /// Inode number of the agent's user namespace.
    pub(super) user_namespace: Option<u64>,
    /// Inode number of the agent's time namespace.
    pub(super) time_namespace: Option<u64>,
    /// Symbols of the kernel have addresses.
    pub(super) kernel_symbols: bool,
    /// `kernel.kptr_restrict`.
    pub(super) kptr_restrict: Option<i32>,
    /// ABI of Landlock.
    pub(super) landlock: Option<u32>,
    /// Seccomp filters exist.
    pub(super) seccomp: bool,
    /// A seccomp filter is in force for the agent itself.
    pub(super) filtered: bool,
    /// `kernel.perf_event_paranoid`.
    pub(super) perf_event_paranoid: Option<i32>,
    /// `kernel.unprivileged_bpf_disabled`.
    pub(super) unprivileged_bpf_disabled: Option<i32>,
    /// `kernel.yama.ptrace_scope`.
    pub(super) ptrace_scope: Option<i32>,
    /// How `/proc` is mounted.
    pub(super) proc_mount: Option<ProcMount>,
    /// CPU clocks of other processes can be read.
    pub(super) cpu_clocks: bool,
    /// Descriptors that may be open, after raising the limit.
    pub(super) open_files: u64,
    /// Bytes that may be locked; `None` without a limit.
    pub(super) locked_memory: Option<u64>,
    /// The Unix socket can be made at its usual place.
    pub(super) socket: bool,
    /// Control groups.
    pub(super) cgroups: CgroupMode,
    /// Where tracefs is mounted.
    pub(super) tracefs: Option<String>,
    /// What other profilers need, and whether it is there.
    pub(super) unneeded: Vec<(&'static str, bool)>,
}

/// Whether a file can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Readable,
    Missing,
    Denied,
}

/// How `/proc` is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProcMount {
    /// Value of `hidepid`, if it hides anything.
    pub(super) hidepid: Option<String>,
    /// Nothing but processes is in it.
    pub(super) only_processes: bool,
}

/// Which control groups a host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CgroupMode {
    First,
    Hybrid,
    Second,
    None,
}

impl Facts {
    pub(super) fn of_this_host() -> Facts {
        let capabilities = rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
        let table = text("/proc/self/mountinfo").unwrap_or_default();
        Facts {
            capabilities,
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            btf: access(fs::File::open("/sys/kernel/btf/vmlinux")),
            lockdown: text("/sys/kernel/security/lockdown"),
            lsm: text("/sys/kernel/security/lsm"),
            pid_namespace: namespace("/proc/self/ns/pid"),
            user_namespace: namespace("/proc/self/ns/user"),
            time_namespace: namespace("/proc/self/ns/time"),
            kernel_symbols: kernel_symbols(),
            kptr_restrict: number("/proc/sys/kernel/kptr_restrict"),
            landlock: landlock_abi(),
            seccomp: has_seccomp_filters(),
            filtered: text("/proc/self/status").is_some_and(|status| status.contains("\nSeccomp:\t2")),
            perf_event_paranoid: number("/proc/sys/kernel/perf_event_paranoid"),
            unprivileged_bpf_disabled: number("/proc/sys/kernel/unprivileged_bpf_disabled"),
            ptrace_scope: number("/proc/sys/kernel/yama/ptrace_scope"),
            proc_mount: mounts::proc_mount(&table),
            cpu_clocks: cpu::cpu_clock(Pid(1)).is_some(),
            open_files: limits::raise_open_files(),
            locked_memory: limits::locked_memory(),
            socket: can_be_made(Path::new(DEFAULT_SOCKET)),
            cgroups: mounts::cgroups(&table),
            tracefs: mounts::tracefs(&table),
            unneeded: unneeded(capabilities),
        }
    }
}

/// What other profilers cannot do without.
fn unneeded(capabilities: CapabilitySet) -> Vec<(&'static str, bool)> {
    let there = |path: &str| Path::new(path).exists();
    let headers = format!("/lib/modules/{}/build", rustix::system::uname().release().to_string_lossy());
    vec![
        ("CAP_SYS_RESOURCE", capabilities.contains(CapabilitySet::SYS_RESOURCE)),
        ("kprobes", there("/sys/bus/event_source/devices/kprobe")),
        ("hardware counters", there("/sys/bus/event_source/devices/cpu")),
        ("kernel headers", there(&headers) || there("/sys/kernel/kheaders.tar.xz")),
        ("/proc/modules", there("/proc/modules")),
    ]
}

/// The folder of a file that is to be made may be written, or may be made itself.
fn can_be_made(file: &Path) -> bool {
    let Some(folder) = file.parent() else { return false };
    let place = if folder.exists() { Some(folder) } else { folder.parent() };
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    place.is_some_and(|place| rustix::fs::access(place, access).is_ok())
}

fn text(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn number<T: FromStr>(path: &str) -> Option<T> {
    text(path)?.parse().ok()
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
