//! What is tried out, since no setting tells whether it works: loading and attaching the programs, and starting a symbol
//! worker. What comes out is a check like others; an agent that cannot start says the same.

use super::checks::{fail, ok, warn};
use super::features::WORKER;
use super::report::Check;
use crate::event::{FileNumber, Pid};
use crate::exit::Exit;
use crate::kernel::{self, KernelError, LoadConfig};
use crate::worker::{Sandbox, TrustDomain, Worker, WorkerConfig};
use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

const PROGRAMS: &str = "BPF programs";
/// Bytes of the ring: nobody is sampled.
const RING: u32 = 64 << 10;
const SECOND_NS: u64 = 1_000_000_000;
/// How long a worker may take to read our own binary.
const WORKER_DEADLINE: Duration = Duration::from_secs(20);
const WORKER_MEMORY: u64 = 1 << 30;

/// Tries all.
pub(super) fn checks() -> Vec<Check> {
    vec![programs(), worker()]
}

fn programs() -> Check {
    match run_programs() {
        Ok(finding) => ok(PROGRAMS, finding),
        Err(error) => refused(&error),
    }
}

/// As the agent does at its start, with a base rate of zero.
fn run_programs() -> Result<String, KernelError> {
    let config = LoadConfig {
        object: profiler_ebpf::OBJECT.into(),
        ring_bytes: RING,
        timer_period_ns: SECOND_NS,
        base_period_ns: 0,
        agent: Some(std::process::id()),
    };
    let parts = kernel::load(&config)?;
    parts.inventory.of(Pid(std::process::id()))?;
    let facts = parts.attached.facts();
    let verified: u64 = facts.iter().filter_map(|fact| fact.verified).map(u64::from).sum();
    Ok(format!("{} loaded and attached (the verifier walked {verified} instructions)", facts.len()))
}

/// What the kernel refused, and what that means.
pub(super) fn refused(error: &KernelError) -> Check {
    let finding = format!("{:#}", in_one_line(error));
    let (exit, remedy) = match error {
        KernelError::PlainPool(_) => (Exit::NoPermission, "run pprofd as root, or grant it CAP_SYS_ADMIN"),
        KernelError::BtfFile(_) => (Exit::Unavailable, "boot a kernel built with CONFIG_DEBUG_INFO_BTF"),
        error if error.is_verifiers() => {
            (Exit::Unavailable, "this kernel is one that pprofd does not know: report it with `pprofd doctor --bundle`")
        }
        error if error.is_permission() => (
            Exit::NoPermission,
            "a seccomp filter, a security module or kernel.perf_event_paranoid above 2 stands in the way: let bpf and \
             perf_event_open through, or grant CAP_SYS_ADMIN",
        ),
        _ => (Exit::Unavailable, "see `pprofd doctor`, and report it with `pprofd doctor --bundle`"),
    };
    fail(PROGRAMS, exit, finding, remedy)
}

/// An error with those of its causes that it does not tell itself. Of the verifier's log the end is kept: there it says what it
/// refuses.
fn in_one_line(error: &KernelError) -> String {
    const LAST: usize = 3;
    let mut parts: Vec<String> = Vec::new();
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(cause) = next {
        let text = cause.to_string();
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let skipped = if lines.len() > LAST + 1 { lines.len() - LAST } else { 1 };
        let shown = lines.first().into_iter().chain(lines.iter().skip(skipped));
        let shown = shown.copied().collect::<Vec<_>>().join(" | ");
        if !parts.last().is_some_and(|part| part.contains(&shown)) {
            parts.push(shown);
        }
        next = cause.source();
    }
    parts.join(": ")
}

fn worker() -> Check {
    match run_worker() {
        Ok(sandbox) => started(&sandbox),
        Err(why) => warn(
            WORKER,
            format!("cannot be used, so no program has an unwind table or names: {why}"),
            "the binary must be executable where it lies, and the limits must allow another process",
        ),
    }
}

/// Has a worker read our own binary.
fn run_worker() -> Result<Sandbox, String> {
    let said = |error: &dyn std::error::Error| {
        let causes = std::iter::successors(error.source(), |cause| cause.source());
        causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
    };
    let own = File::open("/proc/self/exe").map_err(|error| said(&error))?;
    let config = WorkerConfig {
        executable: "/proc/self/exe".into(),
        workers: 1,
        memory: WORKER_MEMORY,
        deadline: WORKER_DEADLINE,
    };
    let worker = Worker::start(config).map_err(|error| said(&error))?;
    let domain = TrustDomain { owner: rustix::process::getuid().as_raw(), mount_namespace: 0 };
    worker.facts(domain, FileNumber(1), own.as_fd()).map_err(|error| said(&error))?;
    Ok(worker.sandbox().unwrap_or_default())
}

fn started(sandbox: &Sandbox) -> Check {
    let finding = format!("reads files; refused to it: {}", sandbox.refused.join(", "));
    // Which wall is missing, the check of the sandbox says.
    ok(WORKER, finding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_refusal_says_why_and_what_to_do() {
        let refusal = |kind: io::ErrorKind| KernelError::System { action: "open the timer", source: kind.into() };
        let check = refused(&refusal(io::ErrorKind::PermissionDenied));
        assert_eq!(check.verdict, crate::doctor::Verdict::Fail(Exit::NoPermission));
        assert_eq!(check.finding, "cannot open the timer: permission denied");
        let check = refused(&refusal(io::ErrorKind::OutOfMemory));
        assert_eq!(check.verdict, crate::doctor::Verdict::Fail(Exit::Unavailable));
    }
}
