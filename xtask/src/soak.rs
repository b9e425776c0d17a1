//! `soak`: builds the release agent and has the tests' soak churn programs and files under it for some minutes.

use crate::sh;
use anyhow::Result;

/// Prints what the agent took meanwhile, and fails if that is more than it states or grows. Needs root.
pub(crate) fn run(seconds: u32) -> Result<()> {
    sh::run(sh::cargo().args(["build", "--locked", "--release", "-p", "profiler-user"]))?;
    let mut soak = sh::cargo();
    soak.args(["run", "--locked", "--quiet", "--release", "-p", "tests", "--bin", "soak", "--"]);
    sh::run(soak.arg(seconds.to_string()))
}
