//! Builds the target programs, once a run, under `target/programs`: the file's name says with which flags.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Optimized, with debug information, without frame pointers.
pub const PLAIN: &[&str] = &["-O2", "-g", "-fomit-frame-pointer", "-fno-optimize-sibling-calls", "-pthread"];

/// One build at a time: two tests may want the same program.
static BUILDING: Mutex<()> = Mutex::new(());

/// The checkout's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the checkout").to_path_buf()
}

/// The source of a program.
pub fn source(name: &str) -> PathBuf {
    root().join("tests/programs").join(name)
}

/// Where built programs are.
pub fn folder() -> PathBuf {
    let folder = root().join("target/programs");
    std::fs::create_dir_all(&folder).expect("target/programs can be made");
    folder
}

/// A C program with [`PLAIN`] and more flags (libraries last, as the linker wants them).
pub fn c(name: &str, more: &[&str]) -> PathBuf {
    compile("gcc", name, &[PLAIN, more].concat())
}

/// A C program with nothing but these flags.
pub fn bare(name: &str, flags: &[&str]) -> PathBuf {
    compile("gcc", name, &[&["-O2"], flags].concat())
}

/// A program by any compiler that is called as gcc is, with nothing but these flags.
pub fn by(compiler: &str, name: &str, flags: &[&str]) -> PathBuf {
    compile(compiler, name, flags)
}

/// A C program with nothing but these flags, for the C library musl.
pub fn musl(name: &str, flags: &[&str]) -> PathBuf {
    compile("musl-gcc", name, &[&["-O2"], flags].concat())
}

/// A C++ program.
pub fn cpp(name: &str, more: &[&str]) -> PathBuf {
    compile("g++", name, &[PLAIN, more].concat())
}

/// A shared library in C.
pub fn library(name: &str, more: &[&str]) -> PathBuf {
    compile("gcc", name, &[PLAIN, &["-fPIC", "-shared"], more].concat())
}

/// A Rust program, as `cargo build --release` with debug information would make it.
pub fn rust(name: &str, more: &[&str]) -> PathBuf {
    compile("rustc", name, &[&["--edition", "2024", "-O", "-g"], more].concat())
}

/// A Go program of one file.
pub fn go(name: &str, more: &[&str]) -> PathBuf {
    built(name, more, |output, source| {
        let mut command = super::tools::go_command();
        command.args(["build", "-o"]).arg(output).args(more).arg(source);
        command
    })
}

/// A Go program or plugin of one file that C's linker links.
pub fn go_with_c(name: &str, more: &[&str]) -> PathBuf {
    built(name, &[&["cgo"], more].concat(), |output, source| {
        let mut command = super::tools::go_command();
        command.env("CGO_ENABLED", "1").args(["build", "-o"]).arg(output).args(more).arg(source);
        command
    })
}

/// A program of `tests/programs/async`, as cargo builds it for release.
pub fn cargo(bin: &str) -> PathBuf {
    let _one_at_a_time = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // A folder of its own would compile the crates once more.
    let target = root().join("target");
    command
        .args(["build", "--quiet", "--locked", "--release", "-p", "targets", "--bin", bin, "--target-dir"])
        .arg(&target);
    succeed(command.current_dir(root()));
    target.join("release").join(bin)
}

/// A copy of a program without symbol table and debug information.
pub fn stripped(program: &Path) -> PathBuf {
    let _one_at_a_time = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let output = PathBuf::from(format!("{}.stripped", program.display()));
    succeed(Command::new("strip").arg("--strip-all").arg("-o").arg(&output).arg(program));
    output
}

/// A copy under another path, e.g. to be deleted while it runs.
pub fn copy_to(program: &Path, path: &Path) {
    std::fs::copy(program, path).unwrap_or_else(|error| panic!("cannot copy {}: {error}", program.display()));
}

fn compile(compiler: &str, name: &str, flags: &[&str]) -> PathBuf {
    built(name, &[&[compiler], flags].concat(), |output, source| {
        let mut command = Command::new(compiler);
        // Libraries count for what stands left of them, all else for what stands right.
        let (libraries, flags): (Vec<&str>, Vec<&str>) = flags.iter().partition(|flag| flag.starts_with("-l"));
        command.args(flags).arg(source).args(libraries).arg("-o").arg(output);
        command
    })
}

fn built(name: &str, key: &[&str], command: impl Fn(&Path, &Path) -> Command) -> PathBuf {
    let _one_at_a_time = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let source = source(name);
    let output = folder().join(output_name(&source, key));
    if !is_newer(&output, &source) {
        succeed(&mut command(&output, &source));
    }
    output
}

/// The stem of the source, and for other flags than the usual ones a number that stands for them.
fn output_name(source: &Path, key: &[&str]) -> String {
    let stem = source.file_stem().expect("a source has a name").to_string_lossy().into_owned();
    let mut number: u32 = 2_166_136_261;
    for byte in key.iter().flat_map(|flag| flag.bytes().chain([0])) {
        number = (number ^ u32::from(byte)).wrapping_mul(16_777_619);
    }
    format!("{stem}-{number:08x}")
}

fn is_newer(output: &Path, source: &Path) -> bool {
    let time = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
    let header = root().join("tests/programs/published.h");
    time(output)
        .is_some_and(|built| [source, &header].iter().all(|input| time(input).is_some_and(|input| input < built)))
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}
