//! Builds the BPF object from `profiler-ebpf` with Debian's rustc and bpf-linker: `ebpf build` writes the committed object and
//! its manifest, `ebpf verify` proves that the committed one comes from these sources. `cargo build` never needs either.

use crate::cost;
use crate::manifest::{ARCH, Manifest, Tools, fingerprint, hash, locked_version, object_path};
use crate::sh;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The LLVM that Debian's rustc emits bitcode for; bpf-linker must be built against the same major version.
pub(crate) const LLVM: u32 = 22;
/// The linker's version.
pub(crate) const BPF_LINKER: &str = "0.13.0";
/// Debian packages that the build needs.
pub(crate) const PACKAGES: [&str; 6] =
    ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf", "llvm-22-dev", "gcc", "libc6-dev"];

const TARGET: &str = "bpfel-unknown-none";
/// Crates that may use unstable features (inline assembly for BPF); `core` comes prebuilt, so there is no `-Z build-std`.
const BOOTSTRAP: &str = "aya_ebpf,profiler,profiler_ebpf";

/// The tools that were found.
pub(crate) struct Toolchain {
    linker: PathBuf,
    /// Their versions.
    pub(crate) versions: Tools,
}

impl Toolchain {
    /// Looks for rustc, LLVM and bpf-linker; an error lists everything that is missing with the commands that install it.
    pub(crate) fn find(root: &Path) -> Result<Toolchain> {
        let mut missing = Vec::new();
        let rustc = sh::ask("/usr/bin/rustc", &["-vV"]).filter(|_| Path::new("/usr/bin/cargo").exists());
        let llvm = rustc.as_deref().and_then(|text| field(text, "LLVM version: ")).unwrap_or_default();
        let core = sh::ask("/usr/bin/rustc", &["--print", "target-libdir", "--target", TARGET]);
        if llvm.split('.').next() != Some(&LLVM.to_string()) || !core.is_some_and(|path| Path::new(&path).exists()) {
            missing.push(format!("Debian's rustc with LLVM {LLVM} and core for {TARGET}"));
        }
        if !llvm_bin().join("llvm-objcopy").exists() {
            missing.push(format!("LLVM {LLVM}'s tools in {}", llvm_bin().display()));
        }
        let linker = cargo_home().join("bin/bpf-linker");
        let linker_version = sh::ask(&linker, &["--version"]).and_then(|text| field(&text, "bpf-linker "));
        if linker_version.as_deref() != Some(BPF_LINKER) {
            missing.push(format!("bpf-linker {BPF_LINKER}"));
        }
        ensure!(missing.is_empty(), "the eBPF toolchain lacks: {}\n{}", missing.join("; "), remedy());
        let versions = Tools {
            rustc: rustc.as_deref().and_then(|text| text.lines().next()).unwrap_or_default().to_owned(),
            llvm,
            bpf_linker: BPF_LINKER.to_owned(),
            aya_ebpf: locked_version(root, "aya-ebpf")?.context("aya-ebpf is not in Cargo.lock")?,
        };
        Ok(Toolchain { linker, versions })
    }
}

fn remedy() -> String {
    format!(
        "on Debian 12, `cargo xtask setup --ebpf` installs it, or by hand:\n  \
         apt-get install -y --no-install-recommends {}\n  \
         PATH={}:/usr/bin:$PATH LLVM_PREFIX=/usr/lib/llvm-{LLVM} RUSTC=/usr/bin/rustc /usr/bin/cargo install bpf-linker \
         --version {BPF_LINKER} --force --no-default-features --features llvm-{LLVM}",
        PACKAGES.join(" "),
        llvm_bin().display()
    )
}

fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
}

/// LLVM's own folder of tools.
pub(crate) fn llvm_bin() -> PathBuf {
    PathBuf::from(format!("/usr/lib/llvm-{LLVM}/bin"))
}

/// Where cargo keeps its registry and installs programs.
pub(crate) fn cargo_home() -> PathBuf {
    let home = || Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".cargo");
    std::env::var_os("CARGO_HOME").map_or_else(home, PathBuf::from)
}

/// Debian's cargo with LLVM's tools first, and without what rustup's cargo, which runs us, put into the environment.
pub(crate) fn debian_cargo() -> Command {
    let old_path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("/usr/bin/cargo");
    let inherited = ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "CARGO_BUILD_TARGET", "LD_LIBRARY_PATH"];
    for name in inherited.iter().chain(&["CARGO", "RUSTUP_TOOLCHAIN", "CARGO_TARGET_DIR", "CARGO_INCREMENTAL"]) {
        command.env_remove(name);
    }
    let path = format!("{}:/usr/bin:{}:{old_path}", llvm_bin().display(), cargo_home().join("bin").display());
    command.env("PATH", path).env("RUSTC", "/usr/bin/rustc").env("LLVM_PREFIX", format!("/usr/lib/llvm-{LLVM}"));
    command
}

/// Compiles and strips; returns the finished object's path in `target_dir`.
fn compile(root: &Path, toolchain: &Toolchain, target_dir: &Path, bpf_log: bool) -> Result<PathBuf> {
    let flags = [
        format!("-Clinker={}", toolchain.linker.display()),
        "-Clink-arg=--btf".to_owned(),
        "-Cdebuginfo=2".to_owned(),
        "--cfg=bpf_target_arch=\"x86_64\"".to_owned(),
        // Absolute paths sit in the BTF line info: without these two no checkout gives another one's bytes.
        format!("--remap-path-prefix={}=/registry", cargo_home().join("registry/src").display()),
        format!("--remap-path-prefix={}=", root.display()),
    ];
    let mut command = debian_cargo();
    command
        .args(["build", "--locked", "--profile", "bpf", "--target", TARGET, "-p", "profiler-ebpf", "--bin", "profiler"])
        .arg("--target-dir")
        .arg(target_dir)
        .current_dir(root)
        .env("RUSTC_BOOTSTRAP", BOOTSTRAP)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    if bpf_log {
        command.args(["--features", "bpf-log"]);
    }
    sh::run(&mut command)?;
    let built = target_dir.join(TARGET).join("bpf/profiler");
    let finished = target_dir.join(format!("profiler.{ARCH}{}.bpf.o", if bpf_log { ".log" } else { "" }));
    // Debug sections go, BTF (types, line info) stays: a twelfth of the size, and it still loads and explains itself.
    sh::run(Command::new(llvm_bin().join("llvm-objcopy")).arg("--strip-debug").arg(&built).arg(&finished))?;
    let sections = sh::read(Command::new(llvm_bin().join("llvm-readelf")).arg("-SW").arg(&finished))?;
    for section in [" .BTF ", " .BTF.ext "] {
        ensure!(sections.contains(section), "{} has no section{section}", finished.display());
    }
    Ok(finished)
}

/// `ebpf build`: writes the committed object and its manifest. With `bpf_log` it only leaves a talking object in `target/`.
pub(crate) fn build(bpf_log: bool) -> Result<()> {
    let root = sh::root();
    let toolchain = Toolchain::find(&root)?;
    let built = compile(&root, &toolchain, &root.join("target/bpf"), bpf_log)?;
    if bpf_log {
        // Messages make programs larger: root learns at once whether they still load.
        if sh::is_root() {
            cost::ask(&built)?;
        }
        println!("{}\nrun a debug build of the agent with PPROFD_EBPF_OBJECT set to it", built.display());
        return Ok(());
    }
    let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    let object = object_path(&root);
    fs::create_dir_all(object.parent().unwrap_or(&root))?;
    fs::write(&object, &bytes).with_context(|| format!("cannot write {}", object.display()))?;
    let (inputs, hash) = (fingerprint(&root)?, hash(&bytes));
    let verifier = cost::of(&root, &object, &hash);
    let manifest = Manifest { inputs, object: hash, tools: toolchain.versions, verifier };
    manifest.store(&root)?;
    println!("{}: {} bytes, sha256 {}", object.display(), bytes.len(), manifest.object);
    Ok(())
}

/// An object that was just built from these sources.
pub(crate) struct Verified {
    /// Where it is.
    pub(crate) object: PathBuf,
    /// It equals the committed one.
    pub(crate) same_bytes: bool,
}

/// `ebpf verify`: rebuilds from nothing and compares bytes; with the manifest's tools a difference is a failure.
pub(crate) fn verify() -> Result<Verified> {
    let root = sh::root();
    let toolchain = Toolchain::find(&root)?;
    let manifest = Manifest::load(&root)?;
    let target_dir = root.join("target/bpf-verify");
    if target_dir.exists() {
        fs::remove_dir_all(&target_dir).with_context(|| format!("cannot empty {}", target_dir.display()))?;
    }
    let object = compile(&root, &toolchain, &target_dir, false)?;
    let bytes = fs::read(&object).with_context(|| format!("cannot read {}", object.display()))?;
    let same_bytes = hash(&bytes) == manifest.object;
    if same_bytes {
        println!("the committed object is byte for byte what these sources give");
    } else if toolchain.versions == manifest.tools {
        bail!("{} differs from the committed object, though the tools are the same", object.display());
    } else {
        let (there, here) = (&manifest.tools, &toolchain.versions);
        println!("other tools give other bytes\n  committed: {there:?}\n  here:      {here:?}");
    }
    Ok(Verified { object, same_bytes })
}
