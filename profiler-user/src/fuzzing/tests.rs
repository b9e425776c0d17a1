//! Every committed seed and everything that fuzzing found, given to its parser. New findings are added as files.

use super::*;
use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// What a worker has, for recursion.
const STACK: usize = 64 << 20;
/// Far more than any input takes, on a busy machine and without optimization.
const SLOW: Duration = Duration::from_secs(30);

fn files(kind: &str, target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(kind).join(target);
    let entries = fs::read_dir(folder).map(|entries| entries.flatten().map(|entry| entry.path()).collect());
    entries.unwrap_or_default()
}

/// True if it was accepted. What is found can be shown.
fn run(target: Target, what: &str, input: &[u8]) -> bool {
    let start = Instant::now();
    let mut shown = 0;
    let parsed =
        catch_unwind(AssertUnwindSafe(|| (target.run)(input, &mut |found| shown += format!("{found:?}").len())));
    assert!(parsed.is_ok(), "{}: {what} makes its parser panic", target.name);
    assert!(start.elapsed() < SLOW, "{}: {what} took {:?}", target.name, start.elapsed());
    shown > 0
}

/// How many inputs there are, and how many of them are accepted.
fn replay(kind: &'static str) -> BTreeMap<&'static str, (usize, usize)> {
    let all = move || {
        let one = |target: Target| {
            let files = files(kind, target.name);
            let inputs = files.iter().map(|file| (file.display().to_string(), fs::read(file).expect("a file")));
            let accepted = inputs.filter(|(name, input)| run(target, name, input)).count();
            (target.name, (files.len(), accepted))
        };
        TARGETS.into_iter().map(one).collect()
    };
    let thread = thread::Builder::new().stack_size(STACK).spawn(all).expect("a thread");
    thread.join().expect("every input to be parsed")
}

#[test]
fn what_fuzzing_found_stays_mended() {
    let found: usize = replay("regressions").values().map(|(files, _)| files).sum();
    assert!(found > 0, "the files are not where they are looked for");
}

#[test]
fn seeds_are_accepted() {
    for (name, (files, accepted)) in replay("seeds") {
        let made = target(name).map(|target| (target.seeds)()).unwrap_or_default();
        assert!(files + made.len() > 0, "{name} has no seeds");
        assert_eq!(files, accepted, "{name}: files in which nothing is found");
    }
}

#[test]
fn what_our_own_code_writes_is_accepted() {
    for target in TARGETS {
        for (index, seed) in (target.seeds)().iter().enumerate() {
            assert!(run(target, &format!("seed {index}"), seed), "{}: seed {index} is refused", target.name);
        }
    }
}

#[test]
fn every_target_is_a_program_of_the_fuzz_package() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("the package's Cargo.toml");
    for Target { name, .. } in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"")), "{name}");
        let source = fs::read_to_string(folder.join("fuzz_targets").join(name).with_extension("rs")).expect("a target");
        assert!(source.contains(&format!("start(\"{name}\")")), "{name}");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
}

#[test]
fn every_file_belongs_to_a_target() {
    for kind in ["seeds", "regressions"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(kind);
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            assert!(target(&name).is_some(), "{kind}/{name} is no target's");
        }
    }
}
