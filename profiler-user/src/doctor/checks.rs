//! The checks: facts of a host -> verdicts. Pure.

mod kernel;
mod process;
#[cfg(test)]
mod tests;

use super::capabilities::CAPABILITIES;
use super::facts::Facts;
use super::report::{Check, Verdict};
use crate::exit::Exit;

/// Judges a host: in the order of importance.
pub(super) fn judge(facts: &Facts) -> Vec<Check> {
    let mut checks: Vec<Check> =
        CAPABILITIES.iter().map(|wanted| process::capability(wanted, facts.capabilities)).collect();
    checks.extend([
        process::user_namespace(facts.user_namespace),
        process::pid_namespace(facts.pid_namespace),
        process::time_namespace(facts.time_namespace),
        process::proc_mount(facts.proc_mount.as_ref()),
        kernel::release(&facts.kernel),
        kernel::btf(facts.btf),
        kernel::lockdown(facts.lockdown.as_deref()),
        kernel::security_modules(facts.lsm.as_deref()),
        process::filtered(facts.filtered),
        kernel::symbols(facts),
        kernel::sandbox(facts.landlock, facts.seccomp),
        process::cpu_clocks(facts.cpu_clocks),
        process::open_files(facts.open_files),
        process::locked_memory(facts.locked_memory),
        process::socket(facts.socket),
        kernel::paranoia(facts.perf_event_paranoid),
        kernel::unprivileged_bpf(facts.unprivileged_bpf_disabled),
        kernel::ptrace_scope(facts.ptrace_scope),
        kernel::cgroups(facts.cgroups),
        kernel::tracefs(facts.tracefs.as_deref()),
        kernel::unneeded(&facts.unneeded),
    ]);
    checks
}

pub(super) fn ok(name: &'static str, finding: impl Into<String>) -> Check {
    Check { name, verdict: Verdict::Ok, finding: finding.into(), remedy: "" }
}

pub(super) fn warn(name: &'static str, finding: impl Into<String>, remedy: &'static str) -> Check {
    Check { name, verdict: Verdict::Warn, finding: finding.into(), remedy }
}

pub(super) fn fail(name: &'static str, exit: Exit, finding: impl Into<String>, remedy: &'static str) -> Check {
    Check { name, verdict: Verdict::Fail(exit), finding: finding.into(), remedy }
}
