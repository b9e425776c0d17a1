//! `pprofd doctor --file`: what a profile can show of a file, asked of a worker, as for a file that a sample met.

use super::StartupError;
use super::file_lines::Description;
use crate::event::{FileNumber, Pid};
use crate::target::Proc;
use crate::target::open::{DebugFound, DebugWanted, FoundBy, KeyOf, MAX_FILE_SIZE, Opener, OpenerConfig};
use crate::worker::api::{FileFacts, Fit};
use crate::worker::{DebugFile, Subject, TrustDomain, Worker, WorkerConfig, WorkerError};
use anyhow::Context;
use profiler_ebpf::abi::event::FileKey;
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a worker may take over one question: nobody else waits.
const WORKER_DEADLINE: Duration = Duration::from_mins(1);
/// As the agent's default.
const WORKER_MEMORY: u64 = 1 << 30;
/// How long opening what lies where debug files are may take.
const OPEN_DEADLINE: Duration = Duration::from_secs(5);
/// The only file that the worker is asked about.
const FILE: FileNumber = FileNumber(1);

/// Why nothing can be said of a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be opened.
    #[error("cannot open {path}")]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A folder, a device.
    #[error("{0} is not a regular file: give the path of a program or a shared library")]
    NotRegular(PathBuf),
    /// Larger than any file that is read.
    #[error("{path} has {size} bytes, more than the {MAX_FILE_SIZE} of the largest file that is read")]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// Its size.
        size: u64,
    },
    /// A worker cannot do anything with it.
    #[error("cannot read {path}")]
    Worker {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: WorkerError,
    },
}

/// A file, and whom its bytes may lie to.
struct Opened {
    path: PathBuf,
    file: OwnedFd,
    domain: TrustDomain,
}

/// What a profile can show of a file, in lines for people.
pub fn describe(path: &Path) -> Result<String, StartupError> {
    let proc = Proc::default();
    let opened = open_file(path, &proc)?;
    let worker = Worker::start(WorkerConfig {
        executable: "/proc/self/exe".into(),
        workers: 1,
        memory: WORKER_MEMORY,
        deadline: WORKER_DEADLINE,
    });
    let worker = worker.context("cannot start a symbol worker").map_err(StartupError::Bug)?;
    let lines = ask(&worker, &proc, &opened)
        .map_err(|source| StartupError::File(FileError::Worker { path: opened.path.clone(), source }))?;
    Ok(lines)
}

fn open_file(path: &Path, proc: &Proc) -> Result<Opened, StartupError> {
    let failed = |source: rustix::io::Errno| FileError::Open { path: path.to_owned(), source: source.into() };
    // Not to wait for a writer, should it be a pipe.
    let file = open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty()).map_err(failed)?;
    let stat = fstat(&file).map_err(failed)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(FileError::NotRegular(path.to_owned()).into());
    }
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    if size > MAX_FILE_SIZE {
        return Err(FileError::TooLarge { path: path.to_owned(), size }.into());
    }
    let mount_namespace = proc.mount_namespace(Pid(std::process::id())).unwrap_or(0);
    let path = path.canonicalize().unwrap_or_else(|_gone| path.to_owned());
    Ok(Opened { path, file, domain: TrustDomain { owner: stat.st_uid, mount_namespace } })
}

fn ask(worker: &Worker, proc: &Proc, opened: &Opened) -> Result<String, WorkerError> {
    let facts = worker.facts(opened.domain, FILE, opened.file.as_fd())?;
    let table = worker.unwind_table(opened.domain, FILE, opened.file.as_fd())?;
    let subject = Subject::new(opened.domain, FILE, opened.file.as_fd());
    let mut debug = DebugLines::default();
    let found = if facts.has_debug_info { DebugFound::default() } else { debug_files(proc, opened, &facts) };
    for (by, candidate) in &found.candidates {
        let domain = TrustDomain { owner: candidate.owner, mount_namespace: candidate.mount_namespace };
        let lent = DebugFile { domain, fd: candidate.file.as_fd() };
        let crc = facts.debug_link.as_ref().filter(|_| *by == FoundBy::Link).map(|link| link.crc);
        match worker.fit(subject.with_debug(lent), crc) {
            Ok(Fit::Fits) => {
                let survey = worker.survey(subject.with_debug(lent))?;
                debug.lines.push(format!("{} fits and is used", candidate.path));
                return Ok(Description { path: &opened.path, facts, table, survey, debug: debug.lines }.to_string());
            }
            other => debug.refuse(&candidate.path, other),
        }
    }
    if !facts.has_debug_info && debug.lines.is_empty() {
        debug.lines.push("none is where gdb looks for it".to_owned());
    }
    if found.refused > 0 {
        debug.lines.push(format!("{} more at such places may not be opened", found.refused));
    }
    let survey = worker.survey(subject)?;
    Ok(Description { path: &opened.path, facts, table, survey, debug: debug.lines }.to_string())
}

/// What became of the files that may be the debug file.
#[derive(Default)]
struct DebugLines {
    lines: Vec<String>,
}

impl DebugLines {
    fn refuse(&mut self, path: &str, fit: Result<Fit, WorkerError>) {
        let why = match fit {
            Ok(Fit::BuildIdDiffers) => "has another build ID".to_owned(),
            Ok(Fit::CrcDiffers) => "has another checksum than the debug link says".to_owned(),
            Ok(Fit::Empty) => "has neither debug information nor a symbol table".to_owned(),
            Ok(Fit::Fits) => "fits".to_owned(),
            Err(error) => error.to_string(),
        };
        self.lines.push(format!("{path} is not used: it {why}"));
    }
}

fn debug_files(proc: &Proc, opened: &Opened, facts: &FileFacts) -> DebugFound {
    let wanted = DebugWanted {
        pid: Pid(std::process::id()),
        mount_namespace: opened.domain.mount_namespace,
        owner: opened.domain.owner,
        path: opened.path.display().to_string(),
        build_id: facts.build_id.clone(),
        link: facts.debug_link.as_ref().map(|link| link.name.clone()),
    };
    // None there is as good as none that can be looked for: both are told in the same line.
    let found = Opener::start(proc.clone(), Arc::new(NoKernel), OpenerConfig::default())
        .and_then(|opener| opener.debug_files(wanted, OPEN_DEADLINE));
    found.unwrap_or_else(|error| {
        tracing::debug!(%error, "cannot look for debug files");
        DebugFound { refused: 1, ..DebugFound::default() }
    })
}

/// Nothing was announced by the kernel here.
struct NoKernel;

impl KeyOf for NoKernel {
    fn key_of(&self, _file: BorrowedFd<'_>) -> Option<FileKey> {
        None
    }
}
