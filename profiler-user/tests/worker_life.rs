//! The life of symbol workers: their walls, their deaths, whom they serve. These tests look at the children of this
//! process, so they run one after the other.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use profiler_user::event::{FileNumber, FileOffset};
use profiler_user::worker::{DebugFile, Subject, TrustDomain, Worker, WorkerConfig, WorkerError};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const DOMAIN: TrustDomain = TrustDomain { owner: 0, mount_namespace: 1 };
const MEMORY: u64 = 1 << 30;
/// What `/proc/PID/syscall` says of who waits in `poll` or `ppoll`.
const POLL: [&str; 2] = ["7 ", "271 "];
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn worker(deadline: u64) -> Worker {
    let executable = PathBuf::from(env!("CARGO_BIN_EXE_pprofd"));
    let deadline = Duration::from_secs(deadline);
    Worker::start(WorkerConfig { executable, workers: 1, memory: MEMORY, deadline }).unwrap()
}

fn facts(worker: &Worker, domain: TrustDomain, number: u32) -> Result<(), WorkerError> {
    let file = File::open(std::env::current_exe().unwrap()).unwrap();
    worker.facts(domain, FileNumber(number), file.as_fd()).map(drop)
}

/// The worker processes of this process.
fn pids() -> Vec<u32> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let children = tasks.map(|t| fs::read_to_string(t.unwrap().path().join("children")).unwrap_or_default());
    let pids = children.flat_map(|c| c.split_whitespace().map(|p| p.parse().unwrap()).collect::<Vec<u32>>());
    pids.filter(|p| fs::read(format!("/proc/{p}/cmdline")).is_ok_and(|c| c.ends_with(b"symbol-worker\0"))).collect()
}

fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "not in 20 s: {what}");
        std::thread::yield_now();
    }
}

/// Dead with all its threads, and not waited for.
fn is_dead(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    stat.is_ok_and(|stat| stat.contains(") Z ")) && threads == 1
}

#[test]
fn a_worker_is_walled_in() {
    let _alone = alone();
    let worker = worker(60);
    facts(&worker, DOMAIN, 1).unwrap();
    let sandbox = worker.sandbox().unwrap();
    assert_eq!(sandbox.refused, ["open", "/proc", "connect", "fork", "exec", "ptrace", "kill"]);
    // Landlock holds alone, as far as this kernel's goes: connections since 6.7, signals since 6.12 (or by another user).
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let alone = [("open", true), ("connect", sandbox.landlock >= 4), ("kill", root || sandbox.landlock >= 6)];
    let alone: Vec<&str> = alone.into_iter().filter(|(_, holds)| *holds).map(|(act, _)| act).collect();
    assert_eq!(sandbox.refused_without_filter, alone);
    assert!(sandbox.is_complete() && sandbox.missing().is_empty(), "{sandbox:?}");
    let pids = pids();
    assert_eq!(pids.len(), 1);
    let status = fs::read_to_string(format!("/proc/{}/status", pids[0])).unwrap();
    let value = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim().to_owned();
    assert_eq!((value("NoNewPrivs:"), value("Seccomp:")), ("1".into(), "2".into()));
    for set in ["CapPrm:", "CapEff:", "CapInh:", "CapAmb:"] {
        assert_eq!(value(set), "0000000000000000", "{set}");
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", pids[0])).unwrap();
    let limit = |name| limits.lines().find(|l| l.starts_with(name)).unwrap().to_owned();
    assert!(limit("Max address space").contains(&MEMORY.to_string()), "{limits}");
    assert!(limit("Max core file size").split_whitespace().any(|w| w == "0"), "{limits}");
}

#[test]
fn a_death_costs_one_request_and_a_file_that_ends_two_workers_is_refused() {
    let _alone = alone();
    let worker = worker(60);
    for _ in 0..2 {
        facts(&worker, DOMAIN, 1).unwrap();
        let pid = pids()[0];
        signal("-STOP", pid);
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let answer = std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                tell.send(rustix::thread::gettid()).unwrap();
                facts(&worker, DOMAIN, 7)
            });
            let thread = told.recv().unwrap().as_raw_nonzero();
            wait_until("the question to wait for its answer", || {
                let call = fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).unwrap_or_default();
                POLL.iter().any(|number| call.starts_with(number))
            });
            signal("-KILL", pid);
            asking.join().unwrap()
        });
        assert!(matches!(answer, Err(WorkerError::Died)));
    }
    assert!(matches!(facts(&worker, DOMAIN, 7), Err(WorkerError::Denied)));
    facts(&worker, DOMAIN, 8).unwrap();
    let counts = worker.counts();
    assert_eq!((counts.requests, counts.spawned, counts.died, counts.denied), (6, 3, 2, 1));
}

#[test]
fn a_worker_that_ended_between_two_questions_is_no_fault_of_the_next_file() {
    let _alone = alone();
    let worker = worker(60);
    for _ in 0..3 {
        facts(&worker, DOMAIN, 7).unwrap();
        let pid = pids()[0];
        signal("-KILL", pid);
        wait_until("the worker is dead", || is_dead(pid));
    }
    facts(&worker, DOMAIN, 7).unwrap();
    let counts = worker.counts();
    assert_eq!((counts.requests, counts.spawned, counts.died, counts.denied), (4, 4, 0, 0));
}

#[test]
fn a_worker_that_overruns_its_deadline_is_replaced() {
    let _alone = alone();
    let worker = worker(2);
    facts(&worker, DOMAIN, 1).unwrap();
    for pid in pids() {
        signal("-STOP", pid);
        wait_until("the worker is stopped", || {
            fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| s.contains(") T "))
        });
    }
    assert!(matches!(facts(&worker, DOMAIN, 1), Err(WorkerError::TimedOut)));
    facts(&worker, DOMAIN, 1).unwrap();
    assert_eq!((worker.counts().timed_out, worker.counts().spawned), (1, 2));
    drop(worker);
    assert_eq!(pids(), Vec::<u32>::new());
}

#[test]
fn each_trust_domain_gets_a_process_of_its_own() {
    let _alone = alone();
    let worker = worker(60);
    for owner in [1, 1, 2, 2, 1] {
        facts(&worker, TrustDomain { owner, mount_namespace: 1 }, 1).unwrap();
        assert_eq!(pids().len(), 1);
    }
    assert_eq!(worker.counts().spawned, 3);
}

#[test]
fn a_debug_file_of_another_domain_meets_its_file_in_a_process_of_their_own() {
    let _alone = alone();
    let worker = worker(60);
    let [one, other] = [1, 2].map(|owner| TrustDomain { owner, mount_namespace: 1 });
    let file = File::open("/proc/self/exe").unwrap();
    let subject = Subject::new(one, FileNumber(1), file.as_fd());
    let mut spawned = Vec::new();
    for debug in [one, other, other, one] {
        let subject = subject.with_debug(DebugFile { domain: debug, fd: file.as_fd() });
        worker.symbolize(subject, &[FileOffset(0)], None).unwrap();
        spawned.push(worker.counts().spawned);
    }
    // The pair's process serves neither the one nor the other alone.
    facts(&worker, other, 2).unwrap();
    facts(&worker, one, 1).unwrap();
    spawned.push(worker.counts().spawned);
    assert_eq!(spawned, [1, 2, 2, 3, 5]);
}

#[test]
fn many_requests_at_once_are_all_answered() {
    let _alone = alone();
    let worker = worker(60);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|n| {
                scope.spawn({
                    let worker = worker.clone();
                    move || facts(&worker, DOMAIN, n)
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap().unwrap();
        }
    });
    assert_eq!((worker.counts().requests, worker.counts().spawned), (8, 1));
}
