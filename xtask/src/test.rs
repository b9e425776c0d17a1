//! `test`: everything that must pass, in stages with their times; at the end the table and the runners' own count.

use crate::ebpf::{self, Verified};
use crate::fuzz;
use crate::manifest::Manifest;
use crate::setup;
use crate::sh;
use crate::stage::Stages;
use anyhow::Result;
use std::ffi::OsString;
use std::process::Command;

/// Set-up, static checks, all tests, the object from source, and the end-to-end tests on that object. Needs root.
pub(crate) fn all() -> Result<()> {
    let mut stages = Stages::default();
    setup::into(&mut stages);
    ordinary(&mut stages, &[]);
    stages.run("fuzz targets", || fuzz::run(&fuzz::Options::default()));
    let verified = stages.run("BPF object from source", ebpf::verify);
    stages.run("BPF object with messages loads", || ebpf::build(true));
    let agent = verified.and_then(|verified| stages.run("agent, release", || agent(&verified)));
    if let Some(agent) = agent {
        let mut command = end_to_end(&[]);
        stages.test("end to end", command.envs(agent.environment));
    }
    stages.finish()
}

/// Tests beside the code that need more than stable Rust and gcc: the program, and what their names hold.
const MORE: [(&str, &[&str]); 2] =
    [("go", &["go_tool_pprof", "go_program", "a_damaged_function_table"]), ("g++", &["cpp_is_demangled"])];

/// What an ordinary user can run with nothing but stable Rust: all except the eBPF toolchain and the end-to-end tests.
pub(crate) fn unprivileged() -> Result<()> {
    let mut stages = Stages::default();
    ordinary(&mut stages, &left_out(on_path));
    stages.finish()
}

/// Tests that need a program which is not there, each with a sentence. Only who cannot install leaves any out.
fn left_out(is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let absent = MORE.iter().filter(|(program, _)| !is_there(program));
    absent
        .flat_map(|(program, tests)| {
            println!("left out: tests {}, as {program} is not there (`cargo xtask setup`)", tests.join(" and "));
            tests.iter().copied()
        })
        .collect()
}

fn on_path(program: &str) -> bool {
    std::env::split_paths(&path()).any(|folder| folder.join(program).exists())
}

/// PATH, and after it what set-up installs for the project alone.
pub(crate) fn path() -> OsString {
    let own = sh::root().join("target/tools/bin");
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":");
    path.push(own);
    path
}

/// `vm`: the boot of another kernel alone.
pub(crate) fn vm() -> Result<()> {
    sh::run(sh::cargo().args(["build", "--locked", "--release", "-p", "profiler-user"]))?;
    sh::run(&mut end_to_end(&["kernels::"]))
}

fn ordinary(stages: &mut Stages, left_out: &[&str]) {
    stages.run("formatting", || sh::run(sh::cargo().args(["fmt", "--all", "--check"])));
    stages.run("BPF object fresh", || Manifest::check_fresh(&sh::root()));
    stages.run("clippy", || {
        sh::run(sh::cargo().args(["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    });
    let mut tests = sh::cargo();
    tests.env("PATH", path());
    tests.args(["test", "--locked", "--no-fail-fast", "--workspace", "--exclude", "tests", "--"]);
    for test in left_out {
        tests.args(["--skip", test]);
    }
    stages.test("unit and property tests", &mut tests);
}

/// What the end-to-end tests must be told.
struct Agent {
    environment: Vec<(&'static str, String)>,
}

/// Builds the agent around the object that was just built from source. If that is the committed one byte for byte, it is the
/// release build; else a debug build, which can be told to load the fresh object.
fn agent(verified: &Verified) -> Result<Agent> {
    let mut build = sh::cargo();
    build.args(["build", "--locked", "-p", "profiler-user"]);
    let target = sh::root().join("target");
    if verified.same_bytes {
        sh::run(build.arg("--release"))?;
        return Ok(Agent { environment: vec![("PPROFD_BIN", target.join("release/pprofd").display().to_string())] });
    }
    println!("end-to-end tests use a debug build of the agent with {}", verified.object.display());
    sh::run(&mut build)?;
    let binary = target.join("debug/pprofd").display().to_string();
    Ok(Agent {
        environment: vec![("PPROFD_BIN", binary), ("PPROFD_EBPF_OBJECT", verified.object.display().to_string())],
    })
}

/// One at a time: each test has the CPUs and the kernel's BPF side for itself.
fn end_to_end(filters: &[&str]) -> Command {
    let mut command = sh::cargo();
    command.args(["test", "--locked", "-p", "tests", "--test", "e2e", "--", "--test-threads=1"]).args(filters);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_of_an_absent_program_are_left_out() {
        assert!(left_out(|_| true).is_empty());
        assert_eq!(left_out(|program| program != "g++"), ["cpp_is_demangled"]);
    }
}
