//! Builds the fuzz targets by cargo alone, with stable Rust: what a fuzzer needs to see where an input leads is put into the code
//! by the compiler's own pass.

use crate::sh;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// As cargo-fuzz has them.
const FLAGS: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// The built targets.
pub(super) struct Targets {
    /// Their names.
    pub(super) names: Vec<String>,
    binaries: PathBuf,
    work: PathBuf,
    package: PathBuf,
}

#[derive(Deserialize)]
struct Manifest {
    bin: Vec<Binary>,
}

#[derive(Deserialize)]
struct Binary {
    name: String,
}

impl Targets {
    /// Builds them.
    pub(super) fn build() -> Result<Targets> {
        let (package, work) = (sh::root().join("profiler-user/fuzz"), sh::root().join("target/fuzz"));
        fs::create_dir_all(&work).context("cannot make target/fuzz")?;
        lock(&package, &work)?;
        let version = sh::ask("rustc", &["-vV"]).context("rustc does not run")?;
        let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
        sh::run(cargo(&package).args(["fmt", "--check"]))?;
        // With a target named, scripts that run while building are not instrumented.
        sh::run(cargo(&package).args(["build", "--quiet", "--release", "--target", host]))?;
        let manifest = fs::read_to_string(package.join("Cargo.toml")).context("cannot read the targets' Cargo.toml")?;
        let manifest: Manifest = toml::from_str(&manifest).context("the targets' Cargo.toml names no targets")?;
        let names = manifest.bin.into_iter().map(|binary| binary.name).collect();
        Ok(Targets { names, binaries: work.join(host).join("release"), work, package })
    }

    /// A target's program.
    pub(super) fn binary(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }

    /// A folder that is not committed.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.work.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    /// A folder of committed inputs; it need not be there.
    pub(super) fn committed(&self, kind: &str, name: &str) -> PathBuf {
        self.package.join(kind).join(name)
    }
}

fn cargo(package: &Path) -> Command {
    let mut command = sh::cargo();
    command.current_dir(package).env_remove("CARGO_ENCODED_RUSTFLAGS");
    command.env("CARGO_INCREMENTAL", "0").env("RUSTFLAGS", flags());
    command
}

fn flags() -> String {
    env::var("RUSTFLAGS").iter().map(String::as_str).chain(FLAGS).collect::<Vec<_>>().join(" ")
}

/// The targets are built of the versions that the agent is built of. What was added for fuzzing stays, as long as these do.
fn lock(package: &Path, work: &Path) -> Result<()> {
    let (root, seen) = (sh::root().join("Cargo.lock"), work.join("Cargo.lock.seen"));
    let (own, now) = (package.join("Cargo.lock"), fs::read(&root).context("cannot read Cargo.lock")?);
    if !own.exists() || fs::read(&seen).ok().as_ref() != Some(&now) {
        fs::write(&own, &now).context("cannot write the targets' Cargo.lock")?;
        fs::write(&seen, &now).context("cannot note the Cargo.lock that was used")?;
    }
    Ok(())
}
