//! What the agent's own process may do and where it is.

use super::{fail, ok, warn};
use crate::config::{DEFAULT_SOCKET, Size};
use crate::doctor::capabilities::{Capability, Needed};
use crate::doctor::facts::ProcMount;
use crate::doctor::report::Check;
use crate::exit::Exit;
use rustix::thread::CapabilitySet;

/// Inode numbers of the initial namespaces, fixed by the kernel (`PROC_PID_INIT_INO`, `PROC_USER_INIT_INO`, `PROC_TIME_INIT_INO`).
pub(super) const INITIAL_PID_NAMESPACE: u64 = 0xefff_fffc;
pub(super) const INITIAL_USER_NAMESPACE: u64 = 0xefff_fffd;
pub(super) const INITIAL_TIME_NAMESPACE: u64 = 0xefff_fffa;
/// Descriptors under which a host with many programs runs out.
const FEW_OPEN_FILES: u64 = 4_096;
const GRANT: &str = "run pprofd as root, or grant it this capability";

pub(super) fn capability(wanted: &Capability, have: CapabilitySet) -> Check {
    if have.intersects(wanted.any) {
        return ok(wanted.name, "there");
    }
    let finding = format!("missing: {}", wanted.lost);
    match wanted.needed {
        Needed::Vital => fail(wanted.name, Exit::NoPermission, finding, GRANT),
        Needed::Optional => warn(wanted.name, finding, GRANT),
    }
}

/// Root of another user namespace has all capabilities, but none that counts here.
pub(super) fn user_namespace(inode: Option<u64>) -> Check {
    let name = "user namespace";
    match inode {
        Some(INITIAL_USER_NAMESPACE) => ok(name, "the initial one"),
        Some(_) => fail(
            name,
            Exit::NoPermission,
            "not the initial one, so the capabilities do not count for the kernel",
            "run pprofd outside of rootless containers",
        ),
        None => warn(name, "cannot be told", "mount /proc"),
    }
}

pub(super) fn pid_namespace(inode: Option<u64>) -> Check {
    let name = "PID namespace";
    match inode {
        Some(INITIAL_PID_NAMESPACE) => ok(name, "the initial one"),
        Some(_) => fail(
            name,
            Exit::Unavailable,
            "not the initial one: pprofd would see other process numbers than the kernel",
            "run it on the host, or its container with the host's PID namespace (--pid=host, hostPID)",
        ),
        None => fail(name, Exit::Unavailable, "cannot be told: /proc is not mounted", "mount /proc"),
    }
}

/// The kernel stamps samples by its own clocks. A kernel without time namespaces has no such file.
pub(super) fn time_namespace(inode: Option<u64>) -> Check {
    let name = "clocks";
    match inode {
        Some(INITIAL_TIME_NAMESPACE) => ok(name, "the kernel's own (the initial time namespace)"),
        Some(_) => fail(
            name,
            Exit::Unavailable,
            "not the kernel's own (another time namespace): samples would lie outside of every window",
            "run pprofd in the initial time namespace",
        ),
        None => ok(name, "the kernel's own (no time namespaces)"),
    }
}

pub(super) fn proc_mount(mount: Option<&ProcMount>) -> Check {
    let name = "/proc";
    match mount {
        None => fail(name, Exit::Unavailable, "not mounted", "mount /proc"),
        Some(ProcMount { only_processes: true, .. }) => fail(
            name,
            Exit::Unavailable,
            "has nothing but processes (subset=pid): the kernel's symbols and settings are missing",
            "mount /proc without subset=pid (systemd: ProcSubset=all)",
        ),
        Some(ProcMount { hidepid: Some(value), .. }) => {
            ok(name, format!("hidepid={value} (does not matter with CAP_SYS_PTRACE)"))
        }
        Some(_) => ok(name, "hides nothing"),
    }
}

pub(super) fn filtered(filtered: bool) -> Check {
    let finding = if filtered {
        "a filter is in force for pprofd, which must let bpf and perf_event_open through"
    } else {
        "no filter is in force for pprofd"
    };
    ok("seccomp", finding)
}

pub(super) fn cpu_clocks(readable: bool) -> Check {
    let name = "CPU clocks";
    if readable {
        return ok(name, "of other processes are readable");
    }
    let finding = "of other processes cannot be read: profiles do not say how many samples are to be expected";
    warn(name, finding, "let clock_gettime through for the CPU clocks of processes")
}

pub(super) fn socket(can_be_made: bool) -> Check {
    let name = "Unix socket";
    if can_be_made {
        return ok(name, format!("can be at {DEFAULT_SOCKET}"));
    }
    let finding = format!("cannot be at {DEFAULT_SOCKET}: users cannot ask for their own processes by it");
    warn(
        name,
        finding,
        "let pprofd have that folder (systemd: RuntimeDirectory=pprofd), or choose another place (--socket)",
    )
}

pub(super) fn open_files(limit: u64) -> Check {
    let (name, finding) = ("open files", format!("{limit} may be open"));
    if limit < FEW_OPEN_FILES {
        return warn(
            name,
            format!("{finding}: files of many programs are closed and opened again"),
            "raise LimitNOFILE",
        );
    }
    ok(name, finding)
}

pub(super) fn locked_memory(limit: Option<u64>) -> Check {
    let limit = limit.map_or_else(|| "no limit".to_owned(), |bytes| Size(bytes).to_string());
    ok("locked memory", format!("{limit} (does not matter: memory of BPF is charged to the control group)"))
}
