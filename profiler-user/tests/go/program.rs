//! A Go program that is built for a test, and what binutils say of it.

use profiler_user::worker::{TrustDomain, Worker, WorkerConfig};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn hex(word: &str) -> u64 {
    u64::from_str_radix(word.trim_start_matches("0x"), 16).unwrap()
}

pub(crate) const DOMAIN: TrustDomain = TrustDomain { owner: 0, mount_namespace: 1 };

pub(crate) fn worker() -> Worker {
    let executable = PathBuf::from(env!("CARGO_BIN_EXE_pprofd"));
    let config = WorkerConfig { executable, workers: 1, memory: 2 << 30, deadline: Duration::from_mins(1) };
    Worker::start(config).unwrap()
}

pub(crate) struct Program {
    folder: tempfile::TempDir,
}

impl Program {
    pub(crate) fn build(source: &str, flags: &[&str]) -> Program {
        let program = Program { folder: tempfile::tempdir().unwrap() };
        let file = program.folder.path().join("main.go");
        fs::write(&file, source).unwrap();
        let installed = "/usr/local/go/bin/go";
        let mut go = Command::new(if Path::new(installed).exists() { installed } else { "go" });
        go.env("GO111MODULE", "off").env("GOFLAGS", "").env("GOTOOLCHAIN", "local");
        go.env("CGO_ENABLED", if source.contains("import \"C\"") { "1" } else { "0" });
        run(go.arg("build").args(flags).arg("-o").arg(program.path()).arg(&file));
        program
    }

    pub(crate) fn folder(&self) -> String {
        self.folder.path().display().to_string()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("program")
    }

    pub(crate) fn open(&self) -> File {
        File::open(self.path()).unwrap()
    }

    /// What is added to an address of Go code to get its offset in the file.
    pub(crate) fn to_offset(&self) -> u64 {
        let headers = run(Command::new("readelf").args(["-lW"]).arg(self.path()));
        let line = headers.lines().find(|l| l.trim_start().starts_with("LOAD") && l.contains("R E")).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        hex(words[1]).wrapping_sub(hex(words[2]))
    }

    /// Where a section lies in the file.
    pub(crate) fn section(&self, name: &str) -> Option<Range<usize>> {
        let sections = run(Command::new("readelf").args(["-SW"]).arg(self.path()));
        let line = sections.lines().find(|l| l.contains(&format!(" {name} ")))?;
        let words: Vec<&str> = line.split(']').nth(1).unwrap().split_whitespace().collect();
        let (offset, size) = (usize::try_from(hex(words[3])).unwrap(), usize::try_from(hex(words[4])).unwrap());
        Some(offset..offset + size)
    }

    /// Names of functions by address.
    pub(crate) fn names(&self) -> BTreeMap<u64, String> {
        let symbols = run(Command::new("nm").arg(self.path()));
        let words = symbols.lines().map(|l| l.split_whitespace().collect::<Vec<_>>()).filter(|w| w.len() == 3);
        words.filter(|w| w[1].eq_ignore_ascii_case("t")).map(|w| (hex(w[0]), w[2].to_owned())).collect()
    }
}
