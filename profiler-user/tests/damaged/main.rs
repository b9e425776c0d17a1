//! Five hundred damaged files, each through all that a worker is asked: it answers or refuses in time, never dies, and a whole
//! file that is asked in between is answered in full.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod classes;
#[path = "../../../tests/harness/craft.rs"]
#[allow(unreachable_pub, dead_code, reason = "the end-to-end tests make files by it too")]
mod craft;
mod dwarf;
mod frames;
mod mutations;

use profiler_user::event::{FileNumber, FileOffset};
use profiler_user::worker::api::{FileFacts, FileSurvey, Symbolized, UnwindTable};
use profiler_user::worker::{Subject, TrustDomain, Worker, WorkerConfig, WorkerError};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// As the agent's, so that what is slow here is slow there.
const DEADLINE: Duration = Duration::from_secs(20);
/// As the agent's.
const MEMORY: u64 = 1 << 30;
/// Files of which one is asked after so many damaged ones.
const WHOLE_EACH: usize = 10;
/// Addresses whose names are asked for.
const QUESTIONS: u64 = 64;

/// A damaged file, and what was done to it.
pub(crate) struct Damaged {
    what: String,
    make: Box<dyn Fn() -> File + Send + Sync>,
}

impl Damaged {
    /// A file of these bytes.
    pub(crate) fn bytes(what: impl Into<String>, bytes: Vec<u8>) -> Damaged {
        Damaged::file(what, move || written(&bytes))
    }

    /// A file that is made so.
    pub(crate) fn file(what: impl Into<String>, make: impl Fn() -> File + Send + Sync + 'static) -> Damaged {
        Damaged { what: what.into(), make: Box::new(make) }
    }
}

/// A file without a name.
pub(crate) fn written(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// All that a worker says of a file.
#[derive(Debug, PartialEq)]
struct Answers {
    facts: FileFacts,
    table: UnwindTable,
    survey: FileSurvey,
    names: Vec<Symbolized>,
}

/// Asks by all verbs, each within the deadline; what is refused comes back as `None`.
fn ask(worker: &Worker, number: FileNumber, file: &File, what: &str) -> Option<Answers> {
    // Of a file that root owns, as most are.
    let domain = TrustDomain { owner: 0, mount_namespace: 1 };
    let subject = Subject::new(domain, number, file.as_fd());
    let size = file.metadata().unwrap().len();
    let first = craft::CODE_AT.min(size / 2);
    let offsets: Vec<_> =
        (0..QUESTIONS).map(|i| FileOffset(first + i * (size.saturating_sub(first) / QUESTIONS))).collect();
    Some(Answers {
        facts: answered(what, "facts", || worker.facts(domain, number, file.as_fd()))?,
        table: answered(what, "rows", || worker.unwind_table(domain, number, file.as_fd()))?,
        survey: answered(what, "survey", || worker.survey(subject))?,
        names: answered(what, "names", || worker.symbolize(subject, &offsets, None))?,
    })
}

fn answered<T>(what: &str, verb: &str, ask: impl FnOnce() -> Result<T, WorkerError>) -> Option<T> {
    let start = Instant::now();
    let answer = ask();
    match answer {
        Ok(answer) => Some(answer),
        Err(WorkerError::Refused(_)) => None,
        Err(error) => panic!("{what}: {verb}: {error}, after {:?}", start.elapsed()),
    }
}

#[test]
fn damaged_files_are_answered_or_refused_and_delay_nobody() {
    let executable = PathBuf::from(env!("CARGO_BIN_EXE_pprofd"));
    let worker = Worker::start(WorkerConfig { executable, workers: 2, memory: MEMORY, deadline: DEADLINE }).unwrap();
    let whole = mutations::whole();
    let reference = ask(&worker, FileNumber(1), &written(&whole), "the whole file").unwrap();
    assert!(reference.names.iter().any(|name| matches!(name, Symbolized::Frames(_))), "{reference:?}");
    let all = [classes::all(), dwarf::all(), frames::all(), mutations::all(&whole)];
    let all: Vec<Damaged> = all.into_iter().flatten().collect();
    assert!(all.len() >= 500, "{} files", all.len());

    let (next, answers) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let run = || {
        let take = || {
            let at = next.fetch_add(1, Relaxed);
            all.get(at).map(|damaged| (at, damaged))
        };
        while let Some((at, damaged)) = take() {
            let number = FileNumber(u32::try_from(at + 100).unwrap());
            let answered = ask(&worker, number, &(damaged.make)(), &damaged.what);
            answers.fetch_add(usize::from(answered.is_some()), Relaxed);
            if at % WHOLE_EACH == 0 {
                let again = ask(&worker, FileNumber(1), &written(&whole), "the whole file").unwrap();
                assert_eq!(again, reference, "after {}", damaged.what);
            }
        }
    };
    std::thread::scope(|scope| {
        let two = [scope.spawn(run), scope.spawn(run)];
        for thread in two {
            thread.join().unwrap();
        }
    });
    let counts = worker.counts();
    assert_eq!((counts.died, counts.timed_out, counts.hostile, counts.denied, counts.busy), (0, 0, 0, 0, 0));
    assert_eq!(counts.spawned, 2, "a worker was replaced");
    // The test would be worth nothing if most damage made a file unreadable at once.
    let answers = answers.into_inner();
    assert!(answers * 2 > all.len(), "{answers} of {} were answered", all.len());
}
