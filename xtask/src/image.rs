//! `image`: the agent as one static file, and a container image that holds nothing else.

use crate::sh;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs that build images, the first on PATH is taken, and what each is told before the arguments that they share.
/// buildah's other ways of isolation ask for more than a build without a single RUN needs.
const BUILDERS: [(&str, &[&str]); 3] =
    [("buildah", &["build", "--isolation", "chroot"]), ("podman", &["build"]), ("docker", &["build"])];

/// The program header of a file that is not static.
const INTERPRETER: &str = "INTERP";

/// Builds the static agent in `target/image`, and an image of it unless that is all that is wanted. `storage` is for
/// buildah and podman: another place for images than the user's.
pub(crate) fn build(binary_only: bool, storage: Option<&Path>) -> Result<()> {
    let folder = sh::root().join("target/image");
    let binary = binary(&folder)?;
    println!("{}", binary.display());
    if binary_only {
        return Ok(());
    }
    let (builder, arguments) = BUILDERS
        .into_iter()
        .find(|(builder, _)| sh::ask(builder, &["--version"]).is_some())
        .context("no buildah, podman or docker is there: install one, or copy the binary, which needs nothing else")?;
    let tag = tag();
    let mut command = Command::new(builder);
    if let Some(storage) = storage {
        ensure!(builder != "docker", "docker keeps images in its daemon's storage only");
        command.arg("--root").arg(storage.join("images")).arg("--runroot").arg(storage.join("run"));
    }
    command.args(arguments).args(["--build-arg", &format!("VERSION={}", version()), "--tag", &tag, "--file"]);
    command.arg(sh::root().join("deploy/docker/Containerfile")).arg(&folder);
    sh::run(&mut command)?;
    println!("{tag} by {builder}");
    Ok(())
}

/// Name and version of the image, as the manifests for Kubernetes have it.
fn tag() -> String {
    format!("localhost/pprofd:{}", version())
}

fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Only the last step, linking, differs from a plain release build, so crates are not compiled again. std has both forms of
/// the C library in it and takes one when a program is linked.
fn binary(folder: &Path) -> Result<PathBuf> {
    let mut build = sh::cargo();
    build.args(["rustc", "--locked", "--release", "-p", "profiler-user", "--bin", "pprofd", "--"]);
    sh::run(build.args(["-C", "target-feature=+crt-static", "-C", "strip=debuginfo"]))?;
    let release = sh::root().join("target/release/pprofd");
    let binary = folder.join("pprofd");
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::copy(&release, &binary).with_context(|| format!("cannot copy {}", release.display()))?;
    // What `cargo build --release` makes stands there again: tests and people expect it.
    sh::run(sh::cargo().args(["build", "--locked", "--release", "-p", "profiler-user", "--bin", "pprofd"]))?;
    let headers = sh::read(Command::new("readelf").args(["--program-headers", "--wide"]).arg(&binary))?;
    ensure!(!headers.contains(INTERPRETER), "{} is not static", binary.display());
    Ok(binary)
}
