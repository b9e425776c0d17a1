//! Each fact that is not as it should be, and what is made of it.

use super::judge;
use super::process::{INITIAL_PID_NAMESPACE, INITIAL_TIME_NAMESPACE, INITIAL_USER_NAMESPACE};
use crate::doctor::capabilities::stated;
use crate::doctor::facts::{Access, CgroupMode, Facts, ProcMount};
use crate::doctor::report::{Report, Verdict};
use crate::exit::Exit;
use rustix::thread::CapabilitySet;

fn good() -> Facts {
    Facts {
        capabilities: CapabilitySet::all(),
        kernel: "6.1.0-56-amd64".into(),
        btf: Access::Readable,
        lockdown: Some("[none] integrity confidentiality".into()),
        lsm: Some("lockdown,capability,landlock,yama,apparmor,bpf".into()),
        pid_namespace: Some(INITIAL_PID_NAMESPACE),
        user_namespace: Some(INITIAL_USER_NAMESPACE),
        time_namespace: Some(INITIAL_TIME_NAMESPACE),
        kernel_symbols: true,
        kptr_restrict: Some(0),
        landlock: Some(7),
        seccomp: true,
        filtered: false,
        perf_event_paranoid: Some(2),
        unprivileged_bpf_disabled: Some(2),
        ptrace_scope: Some(1),
        proc_mount: Some(ProcMount { hidepid: None, only_processes: false }),
        cpu_clocks: true,
        open_files: 1 << 20,
        locked_memory: Some(8 << 20),
        socket: true,
        cgroups: CgroupMode::Second,
        tracefs: Some("/sys/kernel/tracing".into()),
        unneeded: vec![("kprobes", true), ("hardware counters", false)],
    }
}

fn report(facts: &Facts) -> Report {
    Report::new(judge(facts), stated(facts.capabilities))
}

/// The exit code and the names of the checks that are not ok.
fn check(change: impl FnOnce(&mut Facts), exit: Exit, names: &[&str]) {
    let mut facts = good();
    change(&mut facts);
    let report = report(&facts);
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
    check(|facts| facts.time_namespace = Some(4_026_532_000), Exit::Unavailable, &["clocks"]);
    check(|facts| facts.time_namespace = None, Exit::Done, &[]);
    check(|facts| facts.proc_mount = None, Exit::Unavailable, &["/proc"]);
    let subset = Some(ProcMount { hidepid: None, only_processes: true });
    check(|facts| facts.proc_mount = subset, Exit::Unavailable, &["/proc"]);
}

#[test]
fn what_can_be_done_without() {
    let restricted = |facts: &mut Facts| (facts.kernel_symbols, facts.kptr_restrict) = (false, Some(2));
    check(restricted, Exit::Done, &["kernel symbols"]);
    check(|facts| facts.cpu_clocks = false, Exit::Done, &["CPU clocks"]);
    check(|facts| facts.seccomp = false, Exit::Done, &["worker's sandbox"]);
    check(|facts| facts.kernel_symbols = false, Exit::Done, &["kernel symbols"]);
    check(|facts| facts.landlock = None, Exit::Done, &["worker's sandbox"]);
    check(|facts| facts.open_files = 1024, Exit::Done, &["open files"]);
    check(|facts| facts.socket = false, Exit::Done, &["Unix socket"]);
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
    facts.capabilities -= CapabilitySet::CHECKPOINT_RESTORE | CapabilitySet::SYS_ADMIN;
    insta::assert_snapshot!(report(&facts).table(false));
}

#[test]
fn what_does_not_matter_is_said_and_is_no_complaint() {
    let strange = |facts: &mut Facts| {
        facts.proc_mount = Some(ProcMount { hidepid: Some("2".into()), only_processes: false });
        (facts.perf_event_paranoid, facts.ptrace_scope, facts.unprivileged_bpf_disabled) = (Some(4), Some(3), None);
        (facts.locked_memory, facts.cgroups, facts.tracefs) = (Some(0), CgroupMode::None, None);
        (facts.filtered, facts.lsm, facts.kptr_restrict) = (true, None, None);
    };
    check(strange, Exit::Done, &[]);
}

/// Programs read these names: a change is one of the interface.
#[test]
fn the_json_is_stable() {
    let mut facts = good();
    facts.capabilities -= CapabilitySet::SYSLOG;
    facts.kernel_symbols = false;
    let json = report(&facts).json().expect("JSON");
    insta::assert_snapshot!(json.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
}
