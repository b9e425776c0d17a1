//! Other people's tools as judges and clients: `go tool pprof`, perf, gdb, bpftool, curl, the kernel's list of BPF ids.

use super::programs;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// LLVM's objcopy: Debian's binutils cannot pack sections by zstd.
pub const LLVM_OBJCOPY: &str = "/usr/lib/llvm-22/bin/llvm-objcopy";
/// LLVM's packer of split units: binutils' knows version 4 of DWARF only.
pub const LLVM_DWP: &str = "/usr/lib/llvm-22/bin/llvm-dwp";

/// The Go command: the one on PATH, else the one that `cargo xtask setup` installed.
pub fn go_command() -> Command {
    let installed = programs::root().join("target/tools/bin/go");
    let mut command = if on_path("go") { Command::new("go") } else { Command::new(installed) };
    command.env("GO111MODULE", "off").env("GOFLAGS", "").env("GOTOOLCHAIN", "local").env("CGO_ENABLED", "0");
    command.env("PPROF_TMPDIR", programs::folder().join("pprof"));
    command
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}

/// Runs `go tool pprof` and gives its output (both streams), whatever its exit status.
pub fn pprof(arguments: &[&str]) -> Output {
    go_command().args(["tool", "pprof"]).args(arguments).stdin(Stdio::null()).output().expect("go can be started")
}

/// Runs `go tool pprof`, which must succeed; gives stdout.
pub fn pprof_ok(arguments: &[&str]) -> String {
    let output = pprof(arguments);
    assert!(output.status.success(), "go tool pprof {arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a program that must succeed; gives stdout.
pub fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// File offsets of the function whose mangled or demangled name has `part` in it, by binutils.
pub fn offsets_of(program: &Path, part: &str) -> std::ops::Range<u64> {
    let hex = |word: &str| u64::from_str_radix(word, 16).unwrap();
    let to_offset = to_offset(program);
    let symbols = output("nm", &["-SC", &program.display().to_string()]);
    let wanted = |line: &&str| line.contains(part) || line.ends_with(part.trim_end_matches("::"));
    let line = symbols.lines().find(wanted).unwrap_or_else(|| panic!("nm shows no {part}"));
    let words: Vec<&str> = line.split_whitespace().collect();
    let start = hex(words[0]) - to_offset;
    start..start + hex(words[1])
}

/// What is subtracted from an address of a program's code to get its offset in the file, by binutils.
pub fn to_offset(program: &Path) -> u64 {
    let hex = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).unwrap();
    let headers = output("readelf", &["-lW", &program.display().to_string()]);
    let text = headers.lines().find(|line| line.trim_start().starts_with("LOAD") && line.contains("R E")).unwrap();
    let words: Vec<&str> = text.split_whitespace().collect();
    hex(words[2]) - hex(words[1])
}

/// Where in a program's file the functions begin that its `.eh_frame` describes, by readelf.
pub fn described_functions(program: &Path) -> BTreeSet<u64> {
    let to_offset = to_offset(program);
    let frames = output("readelf", &["--debug-dump=frames", &program.display().to_string()]);
    let starts = frames.lines().filter_map(|line| line.split_once(" pc=")?.1.split_once(".."));
    starts.map(|(start, _)| u64::from_str_radix(start, 16).unwrap() - to_offset).collect()
}

/// Function, file and line of addresses of a Go program, by `go tool addr2line`.
pub fn go_lines(program: &Path, addresses: &[u64]) -> Vec<(String, String)> {
    let mut command = go_command();
    command.args(["tool", "addr2line"]).arg(program).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("go can be started");
    let text = addresses.iter().map(|address| format!("{address:#x}")).collect::<Vec<_>>().join("\n");
    child.stdin.take().expect("stdin is a pipe").write_all(text.as_bytes()).expect("it reads all");
    let output = child.wait_with_output().expect("our own child can be waited for");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2 * addresses.len(), "go tool addr2line {}: {text}", program.display());
    lines.chunks(2).map(|two| (two[0].to_owned(), two[1].to_owned())).collect()
}

/// A `perf record` of one process, under way.
#[derive(Debug)]
pub struct Perf {
    child: Child,
    file: PathBuf,
}

impl Perf {
    /// Starts recording the leaf addresses of a process for so many seconds.
    pub fn start(pid: u32, hz: u32, seconds: u32, folder: &Path) -> Perf {
        let file = folder.join(format!("perf-{pid}.data"));
        let mut command = Command::new("perf");
        command.args(["record", "-q", "-e", "cpu-clock", "-F", &hz.to_string(), "-p", &pid.to_string(), "-o"]);
        command.arg(&file).args(["--", "sleep", &seconds.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        Perf { child: command.spawn().expect("perf can be started"), file }
    }

    /// Starts recording whose each CPU is, for so many seconds.
    pub fn start_host(hz: u32, seconds: u32, folder: &Path) -> Perf {
        let file = folder.join("perf-host.data");
        let mut command = Command::new("perf");
        command.args(["record", "-q", "-a", "-e", "cpu-clock", "-F", &hz.to_string(), "-o"]);
        command.arg(&file).args(["--", "sleep", &seconds.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        Perf { child: command.spawn().expect("perf can be started"), file }
    }

    /// Waits for its end; the lines of what it recorded with these fields.
    fn script(&mut self, fields: &str) -> String {
        let status = self.child.wait().expect("perf can be waited for");
        assert!(status.success(), "perf record: {status}");
        output("perf", &["script", "-i", &self.file.display().to_string(), "-F", fields])
    }

    /// Waits for its end; gives name and process id of each sample.
    pub fn processes(mut self) -> Vec<(String, String)> {
        let text = self.script("comm,pid");
        let of = |line: &str| line.trim().rsplit_once(' ').map(|(comm, pid)| (comm.trim().to_owned(), pid.to_owned()));
        text.lines().filter_map(of).collect()
    }

    /// Waits for its end; gives samples by the function in which they were taken.
    pub fn leaves(mut self) -> BTreeMap<String, i64> {
        let mut leaves = BTreeMap::new();
        for line in self.script("ip,sym").lines() {
            // "  55d0c0a01170 spin_10"
            let function = line.split_whitespace().nth(1).unwrap_or("").to_owned();
            *leaves.entry(function).or_default() += 1;
        }
        leaves
    }
}

/// The stack of a process's first thread as gdb sees it, leaf first.
pub fn gdb_stack(pid: u32) -> Vec<String> {
    let pid = pid.to_string();
    let arguments = [
        "-nx",
        "-batch",
        "-p",
        &pid,
        "-ex",
        "set backtrace limit 2000",
        "-ex",
        "set debuginfod enabled off",
        "-ex",
        "bt -frame-info short-location",
    ];
    let text = output("gdb", &arguments);
    text.lines().filter_map(frame_of).collect()
}

/// The function in a line of gdb's backtrace: `#1  0x0000 in descend (n=3) at chain.c:9` or `#0  spin (...)`.
fn frame_of(line: &str) -> Option<String> {
    let rest = line.strip_prefix('#')?;
    let (_, rest) = rest.split_once(' ')?;
    let rest = rest.trim_start();
    let rest = if rest.starts_with("0x") { rest.split_once(" in ")?.1 } else { rest };
    rest.split([' ', '(']).next().map(str::to_owned)
}

/// BPF programs, maps and links that are loaded, as `kind id`. It opens none of them.
pub fn bpf_ids() -> BTreeSet<String> {
    let script = super::programs::root().join("tests/scripts/bpf-ids.py");
    output("python3", &[&script.display().to_string()]).lines().map(str::to_owned).collect()
}

/// What of these a process holds: programs, maps and links of its own, whatever else is loaded meanwhile.
pub fn bpf_ids_of(pid: u32) -> BTreeSet<String> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("the process lives").flatten();
    let id = |line: &str| {
        let (kind, id) = line.split_once("_id:")?;
        ["prog", "map", "link"].contains(&kind).then(|| format!("{kind} {}", id.trim()))
    };
    let texts = open.map(|file| std::fs::read_to_string(file.path()).unwrap_or_default());
    texts.flat_map(|text| text.lines().filter_map(id).collect::<Vec<_>>()).collect()
}
