//! What the symbol worker makes of parts of debug information that somebody else gives it: nothing, the right ones, and hostile
//! ones.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use profiler_user::event::{FileNumber, FileOffset};
use profiler_user::worker::api::{Part, PartFit, PartKey, Symbolized};
use profiler_user::worker::{GivenPart, PartSource, Subject, TrustDomain, Worker, WorkerConfig};
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const DOMAIN: TrustDomain = TrustDomain { owner: 0, mount_namespace: 1 };
/// Units of the program.
const UNITS: usize = 40;

fn worker() -> Worker {
    let executable = PathBuf::from(env!("CARGO_BIN_EXE_pprofd"));
    let config = WorkerConfig { executable, workers: 1, memory: 2 << 30, deadline: Duration::from_mins(1) };
    Worker::start(config).unwrap()
}

fn run(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A program of many split units, each with a function that holds an inlined call.
fn program() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..UNITS).map(|i| format!("unit{i}.c")).collect();
    for (i, name) in names.iter().enumerate() {
        let text = format!(
            "static volatile int sink;\nstatic inline __attribute__((always_inline)) void inlined_{i}(int x) {{ sink += x; }}\n\
             void outer_{i}(int x) {{ inlined_{i}(x); inlined_{i}(x + 1); }}\n"
        );
        fs::write(folder.path().join(name), text).unwrap();
    }
    fs::write(folder.path().join("main.c"), "int main(void) { return 0; }\n").unwrap();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    run(folder.path(), "gcc", &[&["-O1", "-g", "-gdwarf-5", "-gsplit-dwarf", "-c", "main.c"], &names[..]].concat());
    let objects: Vec<String> = (0..UNITS).map(|i| format!("unit{i}.o")).collect();
    let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
    run(folder.path(), "gcc", &[&["-no-pie", "-o", "program", "main.o"], &objects[..]].concat());
    folder
}

/// File offset of the second byte of each `outer_I`, by nm: without PIE the text begins at 0x400000.
fn offsets(folder: &Path) -> Vec<FileOffset> {
    let symbols = run(folder, "nm", &["program"]);
    let address = |i: usize| {
        let line = symbols.lines().find(|line| line.ends_with(&format!(" outer_{i}"))).unwrap();
        u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap()
    };
    (0..UNITS).map(|i| FileOffset(address(i) - 0x40_0000 + 1)).collect()
}

/// Gives files of the folder, edited.
struct Source<'a> {
    folder: &'a Path,
    edit: &'a dyn Fn(Vec<u8>) -> Vec<u8>,
    questions: Vec<usize>,
    fits: Vec<PartFit>,
}

impl PartSource for Source<'_> {
    fn domain(&self) -> Option<TrustDomain> {
        None
    }

    fn open(&mut self, wanted: &[Part]) -> Option<Vec<GivenPart>> {
        self.questions.push(wanted.len());
        let give = |part: &Part| {
            let file = match part {
                Part::Unit { folder, name, .. } => {
                    assert_eq!(Path::new(folder), self.folder);
                    let mut file = tempfile::tempfile().unwrap();
                    file.write_all(&(self.edit)(fs::read(self.folder.join(name)).unwrap())).unwrap();
                    Some(file.into())
                }
                _ => None,
            };
            GivenPart { part: part.key(), file }
        };
        Some(wanted.iter().map(give).collect())
    }

    fn judged(&mut self, fits: &[PartFit]) {
        self.fits.extend(fits);
    }
}

fn names(answers: Vec<Symbolized>) -> Vec<Vec<String>> {
    let of = |answer| match answer {
        Symbolized::Frames(frames) => frames.into_iter().map(|frame| frame.name).collect(),
        other => panic!("no name: {other:?}"),
    };
    answers.into_iter().map(of).collect()
}

#[test]
fn units_are_wanted_in_bounded_lists_and_complete_the_names() {
    let folder = program();
    let (worker, offsets) = (worker(), offsets(folder.path()));
    let file = File::open(folder.path().join("program")).unwrap();
    let subject = Subject::new(DOMAIN, FileNumber(1), file.as_fd());
    let bare = names(worker.symbolize(subject, &offsets, None).unwrap());
    let mut source = Source { folder: folder.path(), edit: &|bytes| bytes, questions: Vec::new(), fits: Vec::new() };
    let whole = names(worker.symbolize(subject, &offsets, Some(&mut source)).unwrap());
    for i in 0..UNITS {
        assert_eq!(bare[i], [format!("outer_{i}")]);
        assert_eq!(whole[i].last(), Some(&format!("outer_{i}")));
        assert!(whole[i].len() == 1 || whole[i] == [format!("inlined_{i}"), format!("outer_{i}")], "{:?}", whole[i]);
    }
    assert!(whole.iter().any(|names| names.len() == 2), "{whole:?}");
    assert!(source.questions.len() > 1 && source.questions.iter().all(|count| *count <= 16), "{:?}", source.questions);
    assert_eq!(source.fits, [PartFit::Used; UNITS]);
    // They are kept with the file.
    source.questions.clear();
    assert_eq!(names(worker.symbolize(subject, &offsets, Some(&mut source)).unwrap()), whole);
    assert_eq!(source.questions, [0; 0]);
}

#[test]
fn hostile_units_leave_the_names_of_the_symbol_table() {
    let folder = program();
    let (worker, offsets) = (worker(), offsets(folder.path()));
    let file = File::open(folder.path().join("program")).unwrap();
    for round in 0..60_u32 {
        // Some bytes of each unit are others: a generator by Knuth.
        let edit = |mut bytes: Vec<u8>| {
            let mut random = u64::from(round) * 2_654_435_761 + bytes.len() as u64;
            for _ in 0..=round % 24 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = usize::try_from(random >> 33).unwrap() % bytes.len();
                bytes[at] = random.to_le_bytes()[1];
            }
            bytes.truncate(bytes.len() - usize::try_from(round).unwrap() % 7 * 40);
            bytes
        };
        let subject = Subject::new(DOMAIN, FileNumber(100 + round), file.as_fd());
        let mut source = Source { folder: folder.path(), edit: &edit, questions: Vec::new(), fits: Vec::new() };
        let answers = worker.symbolize(subject, &offsets, Some(&mut source));
        let Ok(answers) = answers else { panic!("round {round}: {answers:?}, {:?}", worker.counts()) };
        let named = names(answers);
        for (i, names) in named.iter().enumerate() {
            assert!(names.last().is_some_and(|name| !name.is_empty()), "round {round}, unit {i}: {names:?}");
        }
    }
    assert_eq!(worker.counts().died, 0);
}

#[test]
fn parts_that_nobody_wanted_change_nothing() {
    struct Pushy;
    impl PartSource for Pushy {
        fn domain(&self) -> Option<TrustDomain> {
            None
        }
        fn open(&mut self, _: &[Part]) -> Option<Vec<GivenPart>> {
            let file = || Some(tempfile::tempfile().unwrap().into());
            let parts = [PartKey::Shared, PartKey::Package, PartKey::Unit(7)];
            Some(parts.into_iter().cycle().take(99).map(|part| GivenPart { part, file: file() }).collect())
        }
        fn judged(&mut self, fits: &[PartFit]) {
            assert!(!fits.contains(&PartFit::Used));
        }
    }
    let folder = program();
    let file = File::open(folder.path().join("program")).unwrap();
    let subject = Subject::new(DOMAIN, FileNumber(1), file.as_fd());
    let mut refusing = Patient { rounds: 0, inner: Pushy };
    let answers = worker().symbolize(subject, &offsets(folder.path()), Some(&mut refusing)).unwrap();
    assert_eq!(names(answers)[0], ["outer_0"]);
}

/// Gives up after some rounds, as the agent does.
struct Patient<S> {
    rounds: u32,
    inner: S,
}

impl<S: PartSource> PartSource for Patient<S> {
    fn domain(&self) -> Option<TrustDomain> {
        self.inner.domain()
    }
    fn open(&mut self, wanted: &[Part]) -> Option<Vec<GivenPart>> {
        self.rounds += 1;
        if self.rounds > 5 { None } else { self.inner.open(wanted) }
    }
    fn judged(&mut self, fits: &[PartFit]) {
        self.inner.judged(fits);
    }
}
