//! `bench`: builds the release agent and has the tests' bench measure it beside `perf record -g`, in the same run.

use crate::sh;
use anyhow::Result;

/// Prints the table for `docs/performance.md`. Needs root.
pub(crate) fn run(seconds: u32) -> Result<()> {
    sh::run(sh::cargo().args(["build", "--locked", "--release", "-p", "profiler-user"]))?;
    let mut bench = sh::cargo();
    sh::run(bench.args([
        "run",
        "--locked",
        "--quiet",
        "--release",
        "-p",
        "tests",
        "--bin",
        "bench",
        "--",
        &seconds.to_string(),
    ]))
}
