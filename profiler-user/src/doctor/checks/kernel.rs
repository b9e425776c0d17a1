//! What the kernel has, and how it is set.

use super::{fail, ok, warn};
use crate::doctor::facts::{Access, CgroupMode, Facts};
use crate::doctor::report::Check;
use crate::exit::Exit;
use rustix::thread::CapabilitySet;

/// Oldest kernel: ring buffers, BTF of tasks' memory and the VMA tree.
const OLDEST_KERNEL: (u32, u32) = (6, 1);
/// From this value of `kernel.perf_event_paranoid` on, distributions' kernels want more than the kernel's own authors do.
const PATCHED: i32 = 3;

pub(super) fn release(release: &str) -> Check {
    let (name, finding) = ("kernel", release.to_owned());
    match version(release) {
        Some(version) if version >= OLDEST_KERNEL => ok(name, finding),
        Some(_) => fail(name, Exit::Unavailable, format!("{finding} is too old"), "pprofd needs Linux 6.1 or newer"),
        None => warn(name, format!("{finding} is no version that pprofd understands"), "it needs Linux 6.1 or newer"),
    }
}

/// Major and minor of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

pub(super) fn btf(access: Access) -> Check {
    let name = "BTF";
    match access {
        Access::Readable => ok(name, "/sys/kernel/btf/vmlinux is readable"),
        Access::Missing => fail(
            name,
            Exit::Unavailable,
            "/sys/kernel/btf/vmlinux does not exist",
            "mount /sys, or boot a kernel built with CONFIG_DEBUG_INFO_BTF",
        ),
        Access::Denied => {
            fail(name, Exit::NoPermission, "/sys/kernel/btf/vmlinux may not be read", "run pprofd as root")
        }
    }
}

pub(super) fn lockdown(mode: Option<&str>) -> Check {
    let name = "lockdown";
    match mode {
        Some(mode) if mode.contains("[confidentiality]") => fail(
            name,
            Exit::Unavailable,
            "confidentiality: BPF programs may not read the kernel's memory, which unwinding needs",
            "boot with lockdown=integrity or without lockdown",
        ),
        Some(mode) => ok(name, mode),
        None => ok(name, "not in this kernel, or /sys/kernel/security is not mounted"),
    }
}

pub(super) fn security_modules(list: Option<&str>) -> Check {
    ok("security modules", list.unwrap_or("cannot be told: /sys/kernel/security is not mounted"))
}

pub(super) fn symbols(facts: &Facts) -> Check {
    let name = "kernel symbols";
    let setting = facts.kptr_restrict.map_or_else(|| "unknown".to_owned(), |value| value.to_string());
    if facts.kernel_symbols {
        return ok(name, format!("readable (kptr_restrict {setting})"));
    }
    let finding = format!("hidden (kptr_restrict {setting}): kernel functions have no names");
    let remedy = if facts.capabilities.contains(CapabilitySet::SYSLOG) {
        "set kernel.kptr_restrict to 0 or 1"
    } else {
        "set kernel.kptr_restrict to 0 or 1 and grant CAP_SYSLOG"
    };
    warn(name, finding, remedy)
}

pub(super) fn sandbox(landlock: Option<u32>, seccomp: bool) -> Check {
    let name = "worker's sandbox";
    match (landlock, seccomp) {
        (Some(abi), true) => ok(name, format!("seccomp and Landlock (ABI {abi})")),
        (None, true) => warn(
            name,
            "seccomp only: this kernel has no Landlock, one wall less around what reads targets' files",
            "boot with landlock in lsm=, if the kernel has it",
        ),
        (Some(_), false) => {
            warn(name, "Landlock only: this kernel has no seccomp", "boot a kernel with CONFIG_SECCOMP_FILTER")
        }
        (None, false) => {
            warn(name, "neither seccomp nor Landlock", "boot a kernel with CONFIG_SECCOMP_FILTER and Landlock")
        }
    }
}

pub(super) fn paranoia(level: Option<i32>) -> Check {
    let note = |level| match level {
        PATCHED.. => format!("{level} (a distribution's own: some want CAP_SYS_ADMIN then)"),
        _ => format!("{level} (does not matter with CAP_PERFMON)"),
    };
    ok("perf_event_paranoid", level.map_or_else(|| "unknown".to_owned(), note))
}

pub(super) fn unprivileged_bpf(setting: Option<i32>) -> Check {
    let note = |setting| format!("{setting} (does not matter with CAP_BPF)");
    ok("unprivileged_bpf_disabled", setting.map_or_else(|| "unknown".to_owned(), note))
}

/// Yama looks at those who attach; pprofd only reads `/proc`.
pub(super) fn ptrace_scope(setting: Option<i32>) -> Check {
    let note = |setting| format!("{setting} (does not matter: pprofd attaches to no process)");
    ok("ptrace_scope", setting.map_or_else(|| "not in this kernel".to_owned(), note))
}

pub(super) fn cgroups(mode: CgroupMode) -> Check {
    let finding = match mode {
        CgroupMode::First => "version 1",
        CgroupMode::Hybrid => "version 1 with version 2 beside it (hybrid)",
        CgroupMode::Second => "version 2",
        CgroupMode::None => "none are mounted",
    };
    ok("control groups", format!("{finding} (does not matter: groups of processes are not in this version)"))
}

/// The tracepoints in use are found by BTF.
pub(super) fn tracefs(mount: Option<&str>) -> Check {
    let finding = mount.map_or_else(|| "not mounted".to_owned(), |place| format!("at {place}"));
    ok("tracefs", format!("{finding} (not needed: tracepoints are attached by BTF)"))
}

pub(super) fn unneeded(things: &[(&'static str, bool)]) -> Check {
    let state = |there: &bool| if *there { "there" } else { "missing" };
    let list: Vec<String> = things.iter().map(|(thing, there)| format!("{thing} ({})", state(there))).collect();
    ok("not needed either", list.join(", "))
}
