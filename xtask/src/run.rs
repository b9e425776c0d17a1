//! `run`: builds the release agent with stable Rust and becomes it, as root (by sudo if need be).

use crate::sh;
use anyhow::{Context, Result};
use std::os::unix::process::CommandExt;

/// Does not return unless something failed.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    sh::run(sh::cargo().args(["build", "--locked", "--release", "-p", "profiler-user"]))?;
    let binary = sh::root().join("target/release/pprofd").display().to_string();
    Err(sh::as_root(&binary).args(arguments).exec()).with_context(|| format!("cannot start {binary}"))
}
