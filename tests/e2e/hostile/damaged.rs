//! Damaged copies of real files, mapped and run: each has its samples, whatever is left of its tables and names.

use super::bystander;
use super::loader::{self, Part};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tests::harness::{Agent, Profile, programs, tools, wait};

/// Copies of each of two files.
const COPIES: usize = 25;
const SECONDS: u32 = 6;
const PAGE: usize = 4096;
/// Bytes by which an ELF file is known.
const MAGIC: usize = 4;
/// How a stack may end in a damaged file: its table may be missing, in part or whole, or say something wrong.
const ENDS: &[&str] = &[
    "",
    "no table",
    "table pending",
    "unsupported rule",
    "table damaged",
    "bad frame pointer",
    "unreadable stack",
    "no mapping",
    "truncated",
    "complete at zero",
    "stack copy too short",
];

/// Numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit.max(1)
    }
}

/// Writes a copy in which everything but two pages from `offset` on may be something else.
fn damaged(path: &Path, good: &[u8], offset: u64, random: &mut Random) -> PathBuf {
    let mut bytes = good.to_vec();
    let kept = usize::try_from(offset).unwrap() & !(PAGE - 1);
    let kept = kept..(kept + 2 * PAGE).min(good.len());
    for _ in 0..=random.below(40) {
        let at = match random.below(4) {
            // The headers at both ends.
            0 => random.below(1024),
            1 => bytes.len() - 1 - random.below(4000.min(bytes.len() - 1)),
            _ => random.below(bytes.len()),
        };
        // What is no ELF file at all is code that a process made, and shown without a file.
        if at >= MAGIC && !kept.contains(&at) {
            bytes[at] = u8::try_from(random.below(256)).unwrap();
        }
    }
    if random.below(4) == 0 {
        bytes.truncate(kept.end.max(bytes.len() - random.below(bytes.len() / 2)));
    }
    loader::foreign(path, &bytes)
}

/// The copies of a file, of which a function is run that a symbol names.
fn copies(folder: &Path, file: &Path, symbol: &str, kind: &'static str, random: &mut Random) -> Vec<Part> {
    let good = std::fs::read(file).unwrap();
    let offset = offset_of(file, symbol);
    let copy = |number: usize| {
        let path = damaged(&folder.join(format!("{symbol}-{number}")), &good, offset, random);
        Part::at(path, offset, kind)
    };
    (0..COPIES).map(copy).collect()
}

/// Where in its file a function is that other files may call, by binutils.
fn offset_of(file: &Path, symbol: &str) -> u64 {
    let path = file.display().to_string();
    let symbols = tools::output("readelf", &["-W", "--dyn-syms", "--syms", &path]);
    let named = |name: &&str| name.split('@').next() == Some(symbol);
    let line = symbols.lines().find(|line| line.split_whitespace().nth(7).as_ref().is_some_and(named));
    let address = line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or_else(|| panic!("{path}: {symbol}"));
    u64::from_str_radix(address, 16).unwrap() - tools::to_offset(file)
}

#[test]
fn fifty_damaged_copies_of_real_files_that_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(0x5eed_5eed);
    let paged = programs::by("g++", "hostile/paged.cc", &["-O2", "-g", "-Wl,--build-id"]);
    let libc = Path::new("/lib/x86_64-linux-gnu/libc.so.6");
    let mut parts = copies(folder.path(), &paged, "paged_spin", "spin", &mut random);
    parts.extend(copies(folder.path(), libc, "memfrob", "frob", &mut random));
    let agent = Agent::start(&[]);
    let target = loader::load(&parts);
    let beside = bystander::start(folder.path(), "beside");
    let profile = std::thread::scope(|scope| {
        let profile = scope.spawn(|| agent.cpu(target.pid(), SECONDS, 997));
        bystander::assert_unharmed(&agent, &beside, SECONDS.into());
        profile.join().unwrap()
    });
    // On a busy host not each of them had time within the window.
    let mut unseen: Vec<&PathBuf> = parts.iter().map(|part| &part.path).collect();
    let mut look = |profile: &Profile| {
        unseen.retain(|path| loader::in_file(profile, path).count() == 0);
        unseen.is_empty()
    };
    if !look(&profile) {
        wait::until_true("samples of each file", Duration::from_mins(1), || look(&agent.cpu(target.pid(), 2, 997)));
    }
    let ends = profile.only(|sample| !ENDS.contains(&sample.label("reason")));
    assert_eq!(ends.count(), 0, "{}", ends.summary());
    // Much of the damage costs neither table nor names.
    let whole = profile.share(|sample| sample.has_chain(&["run_part", "main"]));
    assert!(whole >= 0.1, "{:.1} % lead on\n{}", whole * 100.0, profile.summary());
    let named = profile.share(|sample| sample.has("paged_spin") || sample.has("memfrob"));
    assert!(named >= 0.1, "{:.1} % have names\n{}", named * 100.0, profile.summary());
}
