//! Functions of programs that were stripped of their symbols, as the symbol worker sees them: judged by the symbols before.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use profiler_ebpf::reasons::Reason;
use profiler_user::event::{FileNumber, FileOffset};
use profiler_user::worker::api::Symbolized;
use profiler_user::worker::{Subject, TrustDomain, Worker, WorkerConfig};
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SOURCE: &str = "
__attribute__((noinline)) static int leaf(int x) { volatile int y = x; return y * 3; }
__attribute__((noinline)) static int outer(int x) { return leaf(x) + leaf(x + 1) * leaf(x + 2); }
int main(int argc, char **argv) { return outer(argc) & 1; }
";

/// Where the header says that the section headers are.
const SECTION_HEADERS: u64 = 0x28;

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
}

/// [`SOURCE`] as a stripped program, and where its functions are: offset and size.
struct Stripped {
    folder: tempfile::TempDir,
    functions: Vec<(u64, u64)>,
}

impl Stripped {
    fn new(flags: &[&str], strip: &[&str]) -> Stripped {
        let folder = tempfile::tempdir().unwrap();
        let (source, program) = (folder.path().join("source.c"), folder.path().join("program"));
        fs::write(&source, SOURCE).unwrap();
        run(Command::new("gcc").arg("-O1").args(flags).arg("-o").arg(&program).arg(source));
        let functions = functions(&program);
        run(Command::new("strip").args(strip).arg(&program));
        Stripped { folder, functions }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("program")
    }

    fn symbolize(&self, offsets: &[FileOffset]) -> Vec<Symbolized> {
        let executable = PathBuf::from(env!("CARGO_BIN_EXE_pprofd"));
        let config = WorkerConfig { executable, workers: 1, memory: 2 << 30, deadline: Duration::from_mins(1) };
        let domain = TrustDomain { owner: 0, mount_namespace: 1 };
        let file = File::open(self.path()).unwrap();
        let subject = Subject::new(domain, FileNumber(1), file.as_fd());
        Worker::start(config).unwrap().symbolize(subject, offsets, None).unwrap()
    }

    /// Panics unless each byte of each function has this answer.
    #[track_caller]
    fn check(&self, wanted: impl Fn(u64) -> Symbolized) {
        for (start, size) in &self.functions {
            let offsets: Vec<FileOffset> = (*start..start + size).map(FileOffset).collect();
            for (answer, offset) in self.symbolize(&offsets).into_iter().zip(offsets) {
                assert_eq!(answer, wanted(*start), "at {offset:?}");
            }
        }
    }
}

/// `leaf`, `outer` and `main`: offsets in the file and sizes, by readelf.
fn functions(program: &Path) -> Vec<(u64, u64)> {
    let words = |option: &str| -> Vec<Vec<String>> {
        let text = run(Command::new("readelf").arg(option).arg(program));
        text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    let code = words("-lW").into_iter().find(|w| w.first().is_some_and(|w| w == "LOAD") && w.contains(&"E".to_owned()));
    let code = code.unwrap();
    let (offset, address) = (hex(&code[1]), hex(&code[2]));
    let named = |w: &Vec<String>| w.get(7).is_some_and(|name| ["leaf", "outer", "main"].contains(&name.as_str()));
    let symbols = words("-sW").into_iter().filter(named);
    let found: Vec<(u64, u64)> = symbols.map(|w| (hex(&w[1]) - address + offset, w[2].parse().unwrap())).collect();
    assert_eq!(found.len(), 3);
    found
}

fn begins(start: u64) -> Symbolized {
    Symbolized::Nameless { start: FileOffset(start) }
}

#[test]
fn each_address_of_a_stripped_function_has_the_functions_start() {
    for flags in [&[][..], &["-no-pie"], &["-Wl,--no-eh-frame-hdr"], &["-static"]] {
        Stripped::new(flags, &["--strip-all"]).check(begins);
    }
}

#[test]
fn a_program_without_section_headers_has_them_by_its_header_of_unwind_information() {
    let stripped = Stripped::new(&[], &["--strip-all"]);
    let file = OpenOptions::new().write(true).open(stripped.path()).unwrap();
    file.write_all_at(&[0; 8], SECTION_HEADERS).unwrap();
    stripped.check(begins);
}

#[test]
fn unwind_information_for_debuggers_has_them_too() {
    let none = ["-g", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"];
    let kept = ["--strip-all", "--keep-section=.debug_frame"];
    Stripped::new(&none, &kept).check(begins);
    // And without any of it there is nothing.
    Stripped::new(&none, &["--strip-all"]).check(|_| Symbolized::Missing(Reason::NoSymbol));
}
