//! The checks: facts of a host -> verdicts. Pure.

use super::facts::{Access, Facts};
use super::report::{Check, Report, Verdict};
use crate::exit::Exit;
use rustix::thread::CapabilitySet;

/// Inode numbers of the initial namespaces, fixed by the kernel (`PROC_PID_INIT_INO`, `PROC_USER_INIT_INO`).
const INITIAL_PID_NAMESPACE: u64 = 0xefff_fffc;
const INITIAL_USER_NAMESPACE: u64 = 0xefff_fffd;
/// Oldest kernel: ring buffers, BTF of tasks' memory and the VMA tree.
const OLDEST_KERNEL: (u32, u32) = (6, 1);
/// Descriptors under which a host with many programs runs out.
const FEW_OPEN_FILES: u64 = 4_096;

/// A capability, whether the agent can do without it, and what then is lost.
struct Capability {
    name: &'static str,
    /// Any of these will do.
    any: CapabilitySet,
    vital: bool,
    lost: &'static str,
}

const CAPABILITIES: &[Capability] = &[
    Capability {
        name: "CAP_BPF",
        any: CapabilitySet::BPF.union(CapabilitySet::SYS_ADMIN),
        vital: true,
        lost: "BPF programs cannot be loaded",
    },
    Capability {
        name: "CAP_PERFMON",
        any: CapabilitySet::PERFMON.union(CapabilitySet::SYS_ADMIN),
        vital: true,
        lost: "the CPUs cannot be sampled",
    },
    Capability {
        name: "CAP_SYS_PTRACE",
        any: CapabilitySet::SYS_PTRACE,
        vital: true,
        lost: "programs of other processes cannot be opened: their stacks end early and have no names",
    },
    Capability {
        name: "CAP_DAC_READ_SEARCH",
        any: CapabilitySet::DAC_READ_SEARCH.union(CapabilitySet::DAC_OVERRIDE),
        vital: false,
        lost: "files that only their owner may read have neither unwind tables nor names",
    },
    Capability {
        name: "CAP_CHECKPOINT_RESTORE",
        any: CapabilitySet::CHECKPOINT_RESTORE.union(CapabilitySet::SYS_ADMIN),
        vital: false,
        lost: "deleted and replaced programs, and some in containers, cannot be opened: their stacks end early",
    },
    Capability { name: "CAP_SYSLOG", any: CapabilitySet::SYSLOG, vital: false, lost: "kernel functions have no names" },
];

const GRANT: &str = "run pprofd as root, or grant it this capability";

/// Judges a host.
pub(super) fn judge(facts: &Facts) -> Report {
    let mut checks: Vec<Check> = CAPABILITIES.iter().map(|wanted| capability(wanted, facts.capabilities)).collect();
    checks.extend([
        user_namespace(facts.user_namespace),
        pid_namespace(facts.pid_namespace),
        kernel(&facts.kernel),
        btf(facts.btf),
        lockdown(facts.lockdown.as_deref()),
        kernel_symbols(facts.kernel_symbols),
        sandbox(facts.landlock, facts.seccomp),
        open_files(facts.open_files),
        paranoia(facts.perf_event_paranoid),
    ]);
    Report { checks }
}

fn ok(name: &'static str, finding: impl Into<String>) -> Check {
    Check { name, verdict: Verdict::Ok, finding: finding.into(), remedy: "" }
}

fn warn(name: &'static str, finding: impl Into<String>, remedy: &'static str) -> Check {
    Check { name, verdict: Verdict::Warn, finding: finding.into(), remedy }
}

fn fail(name: &'static str, exit: Exit, finding: impl Into<String>, remedy: &'static str) -> Check {
    Check { name, verdict: Verdict::Fail(exit), finding: finding.into(), remedy }
}

fn capability(wanted: &Capability, have: CapabilitySet) -> Check {
    if have.intersects(wanted.any) {
        return ok(wanted.name, "there");
    }
    let finding = format!("missing: {}", wanted.lost);
    if wanted.vital { fail(wanted.name, Exit::NoPermission, finding, GRANT) } else { warn(wanted.name, finding, GRANT) }
}

/// Root of another user namespace has all capabilities, but none that counts here.
fn user_namespace(inode: Option<u64>) -> Check {
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

fn pid_namespace(inode: Option<u64>) -> Check {
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

fn kernel(release: &str) -> Check {
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

fn btf(access: Access) -> Check {
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

fn lockdown(mode: Option<&str>) -> Check {
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

fn kernel_symbols(visible: bool) -> Check {
    let name = "kernel symbols";
    if visible {
        ok(name, "readable")
    } else {
        warn(name, "hidden: kernel functions have no names", "set kernel.kptr_restrict to 0 or 1 and grant CAP_SYSLOG")
    }
}

fn sandbox(landlock: Option<u32>, seccomp: bool) -> Check {
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

fn open_files(limit: u64) -> Check {
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

fn paranoia(level: Option<i32>) -> Check {
    let finding = level.map_or("unknown".to_owned(), |level| format!("{level} (does not matter with CAP_PERFMON)"));
    ok("perf_event_paranoid", finding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        Facts {
            capabilities: CapabilitySet::all(),
            kernel: "6.1.0-56-amd64".into(),
            btf: Access::Readable,
            lockdown: Some("[none] integrity confidentiality".into()),
            pid_namespace: Some(INITIAL_PID_NAMESPACE),
            user_namespace: Some(INITIAL_USER_NAMESPACE),
            kernel_symbols: true,
            landlock: Some(7),
            seccomp: true,
            perf_event_paranoid: Some(2),
            open_files: 1 << 20,
        }
    }

    /// The exit code and the names of the checks that are not ok.
    fn check(change: impl FnOnce(&mut Facts), exit: Exit, names: &[&str]) {
        let mut facts = good();
        change(&mut facts);
        let report = judge(&facts);
        let bad: Vec<&str> =
            report.checks.iter().filter(|check| check.verdict != Verdict::Ok).map(|check| check.name).collect();
        assert_eq!((report.exit(), bad.as_slice()), (exit, names), "{}", report.table(false));
        for check in report.checks.iter().filter(|check| check.verdict != Verdict::Ok) {
            assert!(!check.remedy.is_empty(), "{}: says what to do", check.name);
        }
    }

    #[test]
    fn a_good_host_has_nothing_to_complain_of() {
        check(|_| {}, Exit::Done, &[]);
    }

    #[test]
    fn without_the_vital_capabilities_there_is_no_permission() {
        let vital = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::SYS_ADMIN;
        check(
            |facts| facts.capabilities -= vital | CapabilitySet::CHECKPOINT_RESTORE,
            Exit::NoPermission,
            &["CAP_BPF", "CAP_PERFMON", "CAP_CHECKPOINT_RESTORE"],
        );
        check(|facts| facts.capabilities -= CapabilitySet::SYS_ADMIN, Exit::Done, &[]);
        check(|facts| facts.capabilities -= CapabilitySet::BPF | CapabilitySet::PERFMON, Exit::Done, &[]);
        check(|facts| facts.capabilities -= CapabilitySet::SYS_PTRACE, Exit::NoPermission, &["CAP_SYS_PTRACE"]);
    }

    #[test]
    fn other_capabilities_only_cost_something() {
        let others = CapabilitySet::SYSLOG | CapabilitySet::DAC_READ_SEARCH | CapabilitySet::DAC_OVERRIDE;
        let names = ["CAP_DAC_READ_SEARCH", "CAP_SYSLOG"];
        check(|facts| facts.capabilities -= others, Exit::Done, &names);
    }

    #[test]
    fn what_the_host_lacks() {
        check(|facts| facts.kernel = "6.0.19".into(), Exit::Unavailable, &["kernel"]);
        check(|facts| facts.kernel = "5.15.0-generic".into(), Exit::Unavailable, &["kernel"]);
        check(|facts| facts.kernel = "7.0-rc1".into(), Exit::Done, &[]);
        check(|facts| facts.btf = Access::Missing, Exit::Unavailable, &["BTF"]);
        check(|facts| facts.pid_namespace = Some(4_026_532_000), Exit::Unavailable, &["PID namespace"]);
        check(|facts| facts.user_namespace = Some(4_026_532_000), Exit::NoPermission, &["user namespace"]);
        let confidential = Some("none integrity [confidentiality]".into());
        check(|facts| facts.lockdown = confidential, Exit::Unavailable, &["lockdown"]);
        check(|facts| facts.lockdown = Some("none [integrity] confidentiality".into()), Exit::Done, &[]);
        check(|facts| facts.lockdown = None, Exit::Done, &[]);
    }

    #[test]
    fn what_can_be_done_without() {
        check(|facts| facts.kernel_symbols = false, Exit::Done, &["kernel symbols"]);
        check(|facts| facts.landlock = None, Exit::Done, &["worker's sandbox"]);
        check(|facts| facts.open_files = 1024, Exit::Done, &["open files"]);
    }

    #[test]
    fn a_missing_permission_comes_before_what_the_host_lacks() {
        let both = |facts: &mut Facts| {
            facts.capabilities = CapabilitySet::all() - CapabilitySet::BPF - CapabilitySet::SYS_ADMIN;
            facts.btf = Access::Missing;
        };
        check(both, Exit::NoPermission, &["CAP_BPF", "BTF"]);
    }

    #[test]
    fn the_table_is_aligned() {
        let mut facts = good();
        facts.btf = Access::Missing;
        insta::assert_snapshot!(judge(&facts).table(false));
    }
}
