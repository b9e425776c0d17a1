//! Names of stripped Go programs, judged by what Go's runtime tells of the same addresses of the whole program.

use crate::program::{DOMAIN, Program, hex, worker};
use profiler_user::event::{FileNumber, FileOffset};
use profiler_user::worker::Subject;
use profiler_user::worker::api::{SymbolFrame, Symbolized};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

/// Inlined calls, generic functions, wrappers; needs `-checklinkname=0`.
pub(crate) const SOURCE: &str = include_str!("told.go");

/// Addresses of each function: the first, and some of its middle.
fn addresses(program: &Program) -> Vec<u64> {
    let functions: Vec<u64> = program.names().into_keys().collect();
    let sizeable = functions.windows(2).filter(|pair| pair[1] - pair[0] > 8);
    let parts = |size: u64| [0, size / 3, size / 2, size * 2 / 3];
    sizeable.flat_map(|pair| parts(pair[1] - pair[0]).map(|at| pair[0] + at)).collect()
}

/// What the program tells of addresses: function, file, line and first line of each frame.
fn told(program: &Program, addresses: &[u64]) -> BTreeMap<u64, Vec<String>> {
    let main = program.names().into_iter().find(|(_, name)| name == "main.main").unwrap().0;
    let mut child = Command::new(program.path());
    child.arg(format!("{main:x}")).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = child.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let lines: Vec<String> = addresses.iter().map(|address| format!("{address:x}")).collect();
    let writer = std::thread::spawn(move || input.write_all(lines.join("\n").as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let frames = |line: &str| line.split('\t').skip(1).map(str::to_owned).collect();
    text.lines().map(|line| (hex(line.split('\t').next().unwrap()), frames(line))).collect()
}

/// What the worker says of addresses of Go code.
fn symbolized(program: &Program, addresses: &[u64]) -> Vec<Vec<SymbolFrame>> {
    let to_offset = program.to_offset();
    let offsets: Vec<_> = addresses.iter().map(|address| FileOffset(address.wrapping_add(to_offset))).collect();
    let frames = |named| if let Symbolized::Frames(frames) = named { frames } else { Vec::new() };
    let (worker, file) = (worker(), program.open());
    let subject = Subject::new(DOMAIN, FileNumber(1), file.as_fd());
    offsets.chunks(1000).flat_map(|some| worker.symbolize(subject, some, None).unwrap()).map(frames).collect()
}

/// Every address that Go knows has the same frames in the stripped program.
fn check(source: &str, mode: &str) {
    let build = |linker: &str| Program::build(source, &[mode, &format!("-ldflags=-checklinkname=0 {linker}")]);
    let (whole, stripped) = (build(""), build("-s -w"));
    let addresses = addresses(&whole);
    let told = told(&whole, &addresses);
    let (mut same, mut inlined, mut generic) = (0, 0, 0);
    for (address, frames) in addresses.iter().zip(symbolized(&stripped, &addresses)) {
        // Each was built in a folder of its own.
        let here = |frame: &String| frame.replace(&whole.folder(), &stripped.folder());
        let expected: Vec<_> = told[address].iter().map(here).collect();
        // Alignment between functions and code that is not Go's, which Go does not know.
        if expected.iter().any(|frame| frame.starts_with('|') || frame.contains("|?|")) {
            continue;
        }
        let shown = |f: &SymbolFrame| format!("{}|{}|{}|{}", f.name, f.file, f.line, f.start_line);
        assert_eq!(frames.iter().map(shown).collect::<Vec<_>>(), expected, "{mode} {address:#x}");
        same += 1;
        inlined += usize::from(frames.len() > 1);
        generic += usize::from(frames.iter().any(|f| f.name.contains("[...]") && f.system_name.contains("[go.shape")));
    }
    assert!(same > 5000 && inlined > 500 && generic > 50, "{same} the same, {inlined} inlined, {generic} generic");
}

#[test]
fn a_stripped_program_has_the_names_that_go_tells() {
    check(SOURCE, "-buildmode=exe");
}

#[test]
fn a_stripped_position_independent_program_has_the_names_that_go_tells() {
    check(SOURCE, "-buildmode=pie");
}

#[test]
fn a_stripped_program_with_c_code_has_the_names_that_go_tells() {
    let source = SOURCE.replacen("import (", "import \"C\"\n\nimport (", 1);
    for mode in ["-buildmode=exe", "-buildmode=pie"] {
        check(&source, mode);
    }
}
