//! `profiler-ebpf/prebuilt/manifest.toml`: from what and with what the committed BPF object was built.
//!
//! The fingerprint of the inputs is what tells everybody, without an eBPF toolchain, that the object is stale.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The architecture whose object we build.
pub(crate) const ARCH: &str = "x86_64";

/// Crates whose version in `Cargo.lock` is part of the object.
const BPF_CRATES: [&str; 5] = ["aya-ebpf", "aya-log-ebpf", "aya-log-common", "zerocopy", "zerocopy-derive"];

/// The file's content.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Fingerprint of sources, build recipe and locked BPF crates.
    pub(crate) inputs: String,
    /// SHA-256 of the object.
    pub(crate) object: String,
    /// Versions that built it.
    pub(crate) tools: Tools,
    /// What one kernel's verifier said of the programs; absent if nobody asked one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) verifier: Option<Verifier>,
}

/// What the programs cost the verifier of one kernel; each kernel's counts its own way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verifier {
    /// Which kernel (`uname -r`).
    pub(crate) kernel: String,
    /// Per program.
    pub(crate) programs: BTreeMap<String, Cost>,
}

/// Versions of the tools that make the object's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Tools {
    /// `rustc --version`.
    pub(crate) rustc: String,
    /// rustc's LLVM.
    pub(crate) llvm: String,
    /// The linker.
    pub(crate) bpf_linker: String,
    /// The library of the kernel side, from `Cargo.lock`.
    pub(crate) aya_ebpf: String,
}

/// What a program costs the verifier, so that a review shows its growth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Instructions that the verifier walked.
    pub(crate) verified: u64,
    /// Instructions after its translation.
    pub(crate) translated: u64,
}

/// Where the committed object is.
pub(crate) fn object_path(root: &Path) -> PathBuf {
    root.join(format!("profiler-ebpf/prebuilt/profiler.{ARCH}.bpf.o"))
}

fn manifest_path(root: &Path) -> PathBuf {
    root.join("profiler-ebpf/prebuilt/manifest.toml")
}

impl Manifest {
    /// Reads the committed one.
    pub(crate) fn load(root: &Path) -> Result<Manifest> {
        let path = manifest_path(root);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("cannot parse {}", path.display()))
    }

    /// Writes it beside the object.
    pub(crate) fn store(&self, root: &Path) -> Result<()> {
        let path = manifest_path(root);
        let text = format!("# Written by `cargo xtask ebpf build`; do not edit.\n{}", toml::to_string(self)?);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Fails with what to do if the committed object does not belong to the sources of this checkout.
    pub(crate) fn check_fresh(root: &Path) -> Result<()> {
        const REMEDY: &str = "run `cargo xtask ebpf build` and commit it";
        let manifest = Manifest::load(root).with_context(|| format!("no BPF object is committed: {REMEDY}"))?;
        let object = object_path(root);
        let bytes = fs::read(&object).with_context(|| format!("cannot read {}: {REMEDY}", object.display()))?;
        anyhow::ensure!(hash(&bytes) == manifest.object, "{} is not the manifest's object: {REMEDY}", object.display());
        anyhow::ensure!(fingerprint(root)? == manifest.inputs, "the BPF object is stale: {REMEDY}");
        Ok(())
    }
}

/// SHA-256 as hex.
pub(crate) fn hash(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        // Writing to a String cannot fail.
        let _ok = write!(text, "{byte:02x}");
    }
    text
}

/// Fingerprint of all that decides the object's bytes, tool versions aside.
pub(crate) fn fingerprint(root: &Path) -> Result<String> {
    let mut files = vec![PathBuf::from("profiler-ebpf/Cargo.toml"), PathBuf::from("xtask/src/ebpf.rs")];
    collect(root, Path::new("profiler-ebpf/src"), &mut files)?;
    files.sort();
    let mut all = Sha256::new();
    for file in files {
        let bytes = fs::read(root.join(&file)).with_context(|| format!("cannot read {}", file.display()))?;
        all.update(format!("{} {}\n", file.display(), hash(&bytes)));
    }
    for name in BPF_CRATES {
        all.update(format!("{name} {}\n", locked_version(root, name)?.unwrap_or_default()));
    }
    Ok(all.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
}

fn collect(root: &Path, folder: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(root.join(folder)).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(root, &path, into)?;
        } else {
            into.push(path);
        }
    }
    Ok(())
}

/// The version of a crate in `Cargo.lock`.
pub(crate) fn locked_version(root: &Path, name: &str) -> Result<Option<String>> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
    }
    let text = fs::read_to_string(root.join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let lock: Lock = toml::from_str(&text).context("cannot parse Cargo.lock")?;
    Ok(lock.package.into_iter().find(|package| package.name == name).map(|package| package.version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_object_belongs_to_these_sources() {
        if let Err(error) = Manifest::check_fresh(&crate::sh::root()) {
            panic!("{error:#}");
        }
    }

    #[test]
    fn a_manifest_survives_writing_and_reading() {
        let tools = Tools {
            rustc: "rustc 1.96.0".into(),
            llvm: "22.1.8".into(),
            bpf_linker: "0.13.0".into(),
            aya_ebpf: "0.2.1".into(),
        };
        let programs = [("sample".to_owned(), Cost { verified: 12, translated: 3 })].into();
        for verifier in [None, Some(Verifier { kernel: "6.1.0".into(), programs })] {
            let manifest = Manifest { inputs: "a".into(), object: "b".into(), tools: tools.clone(), verifier };
            let text = toml::to_string(&manifest).map_err(|error| error.to_string());
            assert_eq!(text.and_then(|text| toml::from_str(&text).map_err(|error| error.to_string())), Ok(manifest));
        }
    }

    /// The kernel's limit for a program (`BPF_COMPLEXITY_LIMIT_INSNS`).
    const MOST_VERIFIED: u64 = 1_000_000;

    #[test]
    fn every_program_of_the_object_has_a_verified_count_below_the_kernels_limit() -> Result<()> {
        let root = crate::sh::root();
        let costs = Manifest::load(&root)?.verifier.context("run `cargo xtask ebpf build` as root and commit it")?;
        let programs = programs_of(&fs::read(object_path(&root))?)?;
        assert!(programs.iter().any(|name| name == "sample"), "{programs:?}");
        for name in &programs {
            let verified = costs.programs.get(name).with_context(|| format!("no count of {name}"))?.verified;
            assert!(0 < verified && verified < MOST_VERIFIED, "{name}: {verified} instructions");
        }
        assert_eq!(costs.programs.len(), programs.len(), "{programs:?}");
        Ok(())
    }

    /// Functions that have a section of their own; what programs share is in `.text`.
    fn programs_of(object: &[u8]) -> Result<Vec<String>> {
        use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};
        let file = object::File::parse(object)?;
        let is_program = |symbol: &object::Symbol<'_, '_>| {
            let section = symbol.section_index().and_then(|index| file.section_by_index(index).ok());
            symbol.kind() == SymbolKind::Text
                && symbol.is_global()
                && section.is_some_and(|section| section.name() != Ok(".text"))
        };
        file.symbols().filter(is_program).map(|symbol| Ok(symbol.name()?.to_owned())).collect()
    }
}
