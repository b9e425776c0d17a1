//! What the symbol worker says of real files, judged by binutils and by the sources they were built from.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::rule_at;
use profiler_ebpf::unwind::rule::{
    CODE_STOP, CODE_UNSUPPORTED, KIND_DEREF, KIND_FRAME_POINTER, KIND_PLT, KIND_REGISTER, KIND_SIGNAL, RA_AT_BASE,
    RA_IN_REGISTER, RBP_AT_CFA, RBP_SAME, REGISTER_BP, REGISTER_SP, Rule,
};
use profiler_user::event::{FileNumber, FileOffset};
use profiler_user::worker::api::{Fit, SymbolFrame, Symbolized, UnwindTable};
use profiler_user::worker::{DebugFile, Subject, TrustDomain, Worker, WorkerConfig, WorkerError};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const DOMAIN: TrustDomain = TrustDomain { owner: 0, mount_namespace: 1 };
const FILE: FileNumber = FileNumber(1);

fn worker() -> Worker {
    let executable = PathBuf::from(env!("CARGO_BIN_EXE_pprofd"));
    let config = WorkerConfig { executable, workers: 1, memory: 2 << 30, deadline: Duration::from_mins(1) };
    Worker::start(config).unwrap()
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A program built from source in a folder of its own.
struct Program {
    folder: tempfile::TempDir,
}

impl Program {
    fn compile(compiler: &str, extension: &str, source: &str, flags: &[&str]) -> Program {
        let program = Program { folder: tempfile::tempdir().unwrap() };
        let file = program.folder.path().join("source").with_extension(extension);
        fs::write(&file, source).unwrap();
        run(Command::new(compiler).args(flags).arg("-o").arg(program.path()).arg(&file));
        program
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("program")
    }

    fn open(&self) -> File {
        File::open(self.path()).unwrap()
    }

    fn symbols(&self) -> Vec<(String, u64)> {
        let text = run(Command::new("readelf").args(["-sW"]).arg(self.path()));
        let words = text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>());
        let named = words.filter_map(|w| Some((w.get(7)?.to_string(), u64::from_str_radix(w.get(1)?, 16).ok()?)));
        named.filter(|s| s.1 != 0).collect()
    }

    /// File offset of a symbol plus `plus`, by readelf.
    fn offset_of(&self, symbol: &str, plus: u64) -> FileOffset {
        let (_, address) = self.symbols().into_iter().find(|s| s.0 == symbol).unwrap_or_else(|| panic!("no {symbol}"));
        FileOffset(offset_of(&segments(&self.path()), address).unwrap() + plus)
    }

    fn symbolize(&self, offsets: &[FileOffset]) -> Vec<Vec<SymbolFrame>> {
        let names = worker().symbolize(Subject::new(DOMAIN, FILE, self.open().as_fd()), offsets, None).unwrap();
        let frames = |name| match name {
            Symbolized::Frames(frames) => frames,
            _ => Vec::new(),
        };
        names.into_iter().map(frames).collect()
    }

    fn frames(&self, symbol: &str) -> Vec<SymbolFrame> {
        self.symbolize(&[self.offset_of(symbol, 1)]).remove(0)
    }

    fn table(&self) -> UnwindTable {
        worker().unwind_table(DOMAIN, FILE, self.open().as_fd()).unwrap()
    }
}

/// (offset, address, size) of executable segments, by readelf.
fn segments(path: &Path) -> Vec<(u64, u64, u64)> {
    let text = run(Command::new("readelf").args(["-lW"]).arg(path));
    let hex = |s: &str| u64::from_str_radix(s.trim_start_matches("0x"), 16).unwrap();
    let loads = text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>()).filter(|w| w.first() == Some(&"LOAD"));
    loads
        .filter(|w| w[6..w.len() - 1].iter().any(|f| f.contains('E')))
        .map(|w| (hex(w[1]), hex(w[2]), hex(w[4])))
        .collect()
}

fn offset_of(segments: &[(u64, u64, u64)], address: u64) -> Option<u64> {
    segments.iter().find(|s| address >= s.1 && address < s.1 + s.2).map(|s| address - s.1 + s.0)
}

const C: &str = "
__attribute__((noinline)) int leaf(int x) { volatile int y = x; return y * 3; }
static inline __attribute__((always_inline)) int middle(int x) {
    return leaf(x) + 1;
}
__attribute__((noinline)) int outer(int x) {
    return middle(x) + middle(x + 1);
}
int main(int argc, char **argv) { return outer(argc) & 1; }
";

#[test]
fn functions_lines_and_inlined_calls_of_every_kind_of_debug_information() {
    for flags in [
        &["-gdwarf-2"][..],
        &["-gdwarf-3"],
        &["-gdwarf-4"],
        &["-gdwarf-5"],
        &["-g", "-gz"],
        &["-g", "-gz=zlib-gnu"],
        &["-g", "-no-pie"],
        &["-g", "-static"],
        &["-g", "-static-pie"],
    ] {
        let program = Program::compile("gcc", "c", C, &[&["-O1"], flags].concat());
        check_lines(&program, &format!("{flags:?}"));
    }
}

/// The names of [`C`] with all that debug information tells.
fn check_lines(program: &Program, what: &str) {
    let leaf = program.frames("leaf");
    assert_eq!(leaf.len(), 1, "{what}");
    assert_eq!((leaf[0].name.as_str(), leaf[0].line, leaf[0].start_line), ("leaf", 2, 2), "{what}");
    assert_eq!(Path::new(&leaf[0].file), program.folder.path().join("source.c"), "{what}");
    // Somewhere in `outer` its inlined `middle` calls `leaf`.
    let offsets: Vec<_> = (0..30).map(|plus| program.offset_of("outer", plus)).collect();
    let inlined = program.symbolize(&offsets).into_iter().find(|f| f.len() == 2).unwrap();
    let seen: Vec<_> = inlined.iter().map(|f| (f.name.as_str(), f.line, f.start_line)).collect();
    assert_eq!(seen, [("middle", 4, 3), ("outer", 7, 6)], "{what}");
}

#[test]
fn debug_sections_packed_by_zstd() {
    let program = Program::compile("gcc", "c", C, &["-O1", "-g"]);
    let mut bytes = fs::read(program.path()).unwrap();
    pack_debug_sections(&mut bytes);
    fs::write(program.path(), bytes).unwrap();
    let sections = run(Command::new("readelf").arg("-tW").arg(program.path()));
    assert!(sections.contains("ZSTD"), "{sections}");
    check_lines(&program, "zstd");
}

/// Packs the debug sections of an ELF file as `objcopy --compress-debug-sections=zstd` does; Debian's cannot.
fn pack_debug_sections(bytes: &mut Vec<u8>) {
    let number = |bytes: &[u8], at: usize, size: usize| {
        let mut word = [0; 8];
        word[..size].copy_from_slice(&bytes[at..at + size]);
        usize::try_from(u64::from_le_bytes(word)).unwrap()
    };
    let (headers, count, names) = (number(bytes, 0x28, 8), number(bytes, 0x3c, 2), number(bytes, 0x3e, 2));
    let names = number(bytes, headers + names * 64 + 24, 8);
    for header in (0..count).map(|index| headers + index * 64) {
        let name = names + number(bytes, header, 4);
        if !bytes[name..].starts_with(b".debug_") {
            continue;
        }
        let (offset, size) = (number(bytes, header + 24, 8), number(bytes, header + 32, 8));
        let frame = ruzstd::encoding::compress_to_vec(
            &bytes[offset..offset + size],
            ruzstd::encoding::CompressionLevel::Fastest,
        );
        let packed = [&2_u64.to_le_bytes()[..], &size.to_le_bytes(), &1_u64.to_le_bytes(), &frame].concat();
        let place = (bytes.len().to_le_bytes(), packed.len().to_le_bytes());
        bytes[header + 8..][..8].copy_from_slice(&0x800_u64.to_le_bytes());
        bytes[header + 24..][..8].copy_from_slice(&place.0);
        bytes[header + 32..][..8].copy_from_slice(&place.1);
        bytes.extend(packed);
    }
}

#[test]
fn without_debug_information_the_symbol_table_names_functions() {
    let program = Program::compile("gcc", "c", C, &["-O1"]);
    let frame = SymbolFrame { name: "leaf".into(), system_name: "leaf".into(), ..SymbolFrame::default() };
    assert_eq!(program.frames("leaf"), [frame]);
    let offset = program.offset_of("leaf", 0);
    run(Command::new("strip").arg(program.path()));
    assert!(program.symbolize(&[offset, FileOffset(1 << 39)]).iter().all(Vec::is_empty));
}

#[test]
fn a_symbol_table_inside_a_stripped_file_names_functions() {
    let program = Program::compile("gcc", "c", C, &["-O1", "-g"]);
    let offsets = [program.offset_of("leaf", 1), program.offset_of("main", 0)];
    let at = |name: &str| program.folder.path().join(name);
    run(Command::new("objcopy")
        .args(["--strip-debug", "--remove-section=.comment"])
        .arg(program.path())
        .arg(at("small")));
    run(Command::new("objcopy").arg("--only-keep-debug").arg(at("small")));
    let options = lzma_rust2::XzOptions::with_preset(6);
    let mut packer = lzma_rust2::XzWriter::new(File::create(at("small.xz")).unwrap(), options).unwrap();
    packer.write_all(&fs::read(at("small")).unwrap()).unwrap();
    packer.finish().unwrap();
    run(Command::new("strip").arg(program.path()));
    assert!(program.symbolize(&offsets).iter().all(Vec::is_empty));
    let section = format!(".gnu_debugdata={}", at("small.xz").display());
    run(Command::new("objcopy").args(["--add-section", &section]).arg(program.path()));
    let frames = program.symbolize(&offsets);
    let names: Vec<_> = frames.iter().map(|f| (f.len(), f[0].name.as_str(), f[0].line)).collect();
    assert_eq!(names, [(1, "leaf", 0), (1, "main", 0)]);
    // Damaged, it is as good as none.
    let mut bytes = fs::read(at("small.xz")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..][..100].fill(0x55);
    fs::write(at("small.xz"), bytes).unwrap();
    run(Command::new("objcopy").args(["--update-section", &section]).arg(program.path()));
    assert!(program.symbolize(&offsets).iter().all(Vec::is_empty));
}

/// The debug file of a program, and the program without what is in it, linked to it.
fn split(program: &Program) -> PathBuf {
    let debug = program.folder.path().join("program.debug");
    run(Command::new("objcopy").arg("--only-keep-debug").arg(program.path()).arg(&debug));
    run(Command::new("strip").arg(program.path()));
    run(Command::new("objcopy").arg("--add-gnu-debuglink").arg(&debug).arg(program.path()));
    debug
}

const DEBUG_DOMAIN: TrustDomain = TrustDomain { owner: 5, ..DOMAIN };

#[test]
fn a_debug_file_has_to_be_the_files_own() {
    let worker = worker();
    let program = Program::compile("gcc", "c", C, &["-O1", "-g", "-Wl,--build-id=sha1"]);
    let debug = split(&program);
    let file = program.open();
    let fit = |debug: &Path, crc| {
        let debug = File::open(debug).unwrap();
        let debug = DebugFile { domain: DEBUG_DOMAIN, fd: debug.as_fd() };
        worker.fit(Subject::new(DOMAIN, FILE, file.as_fd()).with_debug(debug), crc)
    };
    let facts = worker.facts(DOMAIN, FILE, file.as_fd()).unwrap();
    let link = facts.debug_link.unwrap();
    assert_eq!((link.name.as_str(), facts.has_debug_info), ("program.debug", false));
    let all = [None, Some(link.crc), Some(link.crc ^ 1)].map(|crc| fit(&debug, crc).unwrap());
    assert_eq!(all, [Fit::Fits, Fit::Fits, Fit::CrcDiffers]);
    // The program itself, and a text.
    assert_eq!(fit(&program.path(), None).unwrap(), Fit::Empty);
    assert!(matches!(fit(&program.folder.path().join("source.c"), None), Err(WorkerError::Refused(_))));
    // Another build's, and one that does not say of which build it is: its checksum must be right.
    let other = Program::compile("gcc", "c", C, &["-O2", "-g", "-Wl,--build-id=sha1"]);
    let other = split(&other);
    assert_eq!(fit(&other, None).unwrap(), Fit::BuildIdDiffers);
    let crc = crc32fast::hash(&fs::read(&other).unwrap());
    assert_eq!(fit(&other, Some(crc)).unwrap(), Fit::BuildIdDiffers);
    let unsaid = Program::compile("gcc", "c", C, &["-O1", "-g", "-Wl,--build-id=none"]);
    let unsaid = split(&unsaid);
    assert_eq!(fit(&unsaid, None).unwrap(), Fit::BuildIdDiffers);
    let crc = crc32fast::hash(&fs::read(&unsaid).unwrap());
    assert_eq!(fit(&unsaid, Some(crc)).unwrap(), Fit::Fits);
}

#[test]
fn a_debug_file_gives_functions_lines_and_inlined_calls() {
    let worker = worker();
    for flags in [&["-g"][..], &["-g", "-gz"], &["-g", "-no-pie"], &["-g", "-static"]] {
        let program = Program::compile("gcc", "c", C, &[&["-O1"], flags].concat());
        let leaf = program.offset_of("leaf", 1);
        let offsets: Vec<_> =
            std::iter::once(leaf).chain((0..30).map(|plus| program.offset_of("outer", plus))).collect();
        let whole = program.symbolize(&offsets);
        let debug = File::open(split(&program)).unwrap();
        assert!(program.symbolize(&offsets).iter().all(Vec::is_empty), "{flags:?}");
        let file = program.open();
        let number = FileNumber(u32::try_from(flags.len()).unwrap() + 10);
        let subject = Subject::new(DOMAIN, number, file.as_fd());
        let subject = subject.with_debug(DebugFile { domain: DOMAIN, fd: debug.as_fd() });
        let names = worker.symbolize(subject, &offsets, None).unwrap();
        let whole: Vec<_> = whole.into_iter().map(Symbolized::Frames).collect();
        assert_eq!(names, whole, "{flags:?}");
    }
}

#[test]
fn damaged_debug_files_cost_their_own_names_only() {
    let worker = worker();
    let program = Program::compile("gcc", "c", C, &["-O1", "-g", "-gz"]);
    let offset = program.offset_of("outer", 8);
    let good = fs::read(split(&program)).unwrap();
    let file = program.open();
    let mut random = 0x1234_5678_9abc_def1_u64;
    let mut below = |limit: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap() % limit
    };
    for round in 0..200 {
        let mut bytes = good.clone();
        for _ in 0..=below(40) {
            let at = [below(bytes.len()), below(1024), bytes.len() - 1 - below(2400)][below(3)];
            bytes[at] = u8::try_from(below(256)).unwrap();
        }
        bytes.truncate(bytes.len() - if round % 5 == 0 { below(4000) } else { 0 });
        let mut debug = tempfile::tempfile().unwrap();
        debug.write_all(&bytes).unwrap();
        let subject = Subject::new(DOMAIN, FILE, file.as_fd());
        let subject = subject.with_debug(DebugFile { domain: DOMAIN, fd: debug.as_fd() });
        let errors = [worker.symbolize(subject, &[offset], None).err(), worker.fit(subject, Some(7)).err()];
        for error in errors.into_iter().flatten() {
            assert!(matches!(error, WorkerError::Refused(_)), "round {round}: {error}");
        }
    }
    assert_eq!((worker.counts().died, worker.counts().spawned), (0, 1));
}

#[test]
fn cpp_is_demangled_and_keeps_its_system_name() {
    let source =
        "namespace n { template <class T> __attribute__((noinline)) T twice(T x) { volatile T y = x; return y + y; } }
int main(int argc, char **) { return n::twice(argc); }";
    for flags in [&["-O1", "-g"][..], &["-O1"]] {
        let frames = Program::compile("g++", "cc", source, flags).frames("_ZN1n5twiceIiEET_S1_");
        assert_eq!(frames[0].name, "int n::twice<int>(int)");
        assert_eq!(frames[0].system_name, "_ZN1n5twiceIiEET_S1_");
    }
}

#[test]
fn rust_is_demangled_without_its_hash() {
    let source = "#[inline(never)] pub fn work(x: usize) -> usize { std::hint::black_box(x) * 3 }
fn main() { std::process::exit((work(std::env::args().count()) & 1) as i32) }";
    for mangling in ["-Csymbol-mangling-version=legacy", "-Csymbol-mangling-version=v0"] {
        // Without this flag 1.95 knows v0 only; the variable lets stable take it.
        let folder = tempfile::tempdir().unwrap();
        let program = Program { folder };
        let file = program.folder.path().join("source.rs");
        fs::write(&file, source).unwrap();
        let flags = ["-O", "-g", "-Zunstable-options", "--crate-name", "demo", mangling];
        run(Command::new("rustc").env("RUSTC_BOOTSTRAP", "1").args(flags).arg("-o").arg(program.path()).arg(&file));
        let mangled = program.symbols().into_iter().find(|s| s.0.contains("4demo4work") || s.0.ends_with("4demo4work"));
        let frames = program.frames(&mangled.clone().unwrap().0);
        let outermost = frames.last().unwrap();
        assert_eq!((outermost.name.as_str(), outermost.start_line), ("demo::work", 1), "{mangling}");
        assert_eq!(outermost.system_name, mangled.unwrap().0);
    }
}

/// A row as readelf prints it.
#[derive(Debug)]
struct Row {
    address: u64,
    cfa: String,
    rbp: Option<String>,
    ra: Option<String>,
}

/// All rows of `.eh_frame` but those of signal frames, by `readelf --debug-dump=frames-interp`.
fn rows_by_readelf(path: &Path) -> Vec<Row> {
    let dump = run(Command::new("readelf").args(["--debug-dump=frames-interp", "-wN"]).arg(path));
    let (mut columns, mut rows, mut signals) = (Vec::new(), Vec::new(), HashMap::new());
    let mut wanted = false;
    for line in dump.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if line.contains(" CIE ") {
            wanted = false;
            signals.insert(words[0].to_owned(), words.iter().any(|w| w.starts_with('"') && w.contains('S')));
        } else if let Some((_, cie)) = line.split_once("cie=") {
            let cie = cie.split_whitespace().next().unwrap();
            wanted = signals.get(cie) == Some(&false);
        } else if words.first() == Some(&"LOC") {
            columns = words[2..].iter().map(|w| (*w).to_owned()).collect();
        } else if wanted && words.len() == columns.len() + 2 {
            let column = |name: &str| Some(words[columns.iter().position(|c| c == name)? + 2].to_owned());
            let address = u64::from_str_radix(words[0], 16).unwrap();
            rows.push(Row { address, cfa: words[1].to_owned(), rbp: column("rbp"), ra: column("ra") });
        }
    }
    rows
}

fn register(name: &str) -> u8 {
    const OTHERS: [&str; 16] =
        ["rax", "rdx", "rcx", "rbx", "rsi", "rdi", "", "", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
    match name {
        "rsp" => REGISTER_SP,
        "rbp" => REGISTER_BP,
        other => 16 + u8::try_from(OTHERS.iter().position(|r| *r == other).unwrap()).unwrap(),
    }
}

fn check_row(row: &Row, code: u16, rule: Rule) {
    let what = format!("{row:x?} -> {code:#x} {rule:?}");
    if row.ra.as_deref() == Some("u") {
        return assert_eq!(code, CODE_STOP, "{what}");
    }
    if let Some(above) = row.ra.as_deref().and_then(|ra| ra.strip_prefix("c+")) {
        // All is in a structure: the caller's RSP is not the CFA but a word in memory, too.
        let offset: i32 = row.cfa.split_once('+').unwrap().1.parse().unwrap();
        let expected = (KIND_DEREF, RA_AT_BASE, offset + above.parse::<i32>().unwrap());
        return assert_eq!((rule.kind, rule.ra_kind, 8 * i32::from(rule.ra_register)), expected, "{what}");
    }
    if row.ra.as_deref() != Some("c-8") {
        return assert!(code == CODE_UNSUPPORTED || rule.ra_kind == RA_IN_REGISTER, "{what}");
    }
    if row.cfa == "exp" {
        return assert!(rule.kind != KIND_REGISTER, "{what}");
    }
    let (name, offset) = row.cfa.split_once('+').unwrap();
    let expected = (KIND_REGISTER, register(name), offset.parse().unwrap());
    assert_eq!((rule.kind, rule.cfa_register, rule.cfa_offset), expected, "{what}");
    match row.rbp.as_deref() {
        None | Some("u" | "s") => assert_eq!(rule.rbp_kind, RBP_SAME, "{what}"),
        Some(at) if at.starts_with("c-") => {
            assert_eq!((rule.rbp_kind, -rule.rbp_offset), (RBP_AT_CFA, at[2..].parse().unwrap()), "{what}");
        }
        Some(_) => assert!(rule.rbp_kind > RBP_AT_CFA, "{what}"),
    }
}

/// Compares a file's table with readelf's rows; returns how many were compared.
fn compare_with_readelf(path: &Path) -> usize {
    let table = worker().unwind_table(DOMAIN, FILE, File::open(path).unwrap().as_fd()).unwrap();
    assert!(table.has_unwind_info);
    let (segments, rows) = (segments(path), rows_by_readelf(path));
    let mut compared = 0;
    for (row, next) in rows.iter().zip(rows.iter().skip(1)) {
        // A row that is followed by one at the same address never holds.
        if let (Some(offset), true) = (offset_of(&segments, row.address), row.address != next.address) {
            let (code, rule) = rule_at(&table, FileOffset(offset));
            check_row(row, code, rule);
            compared += 1;
        }
    }
    compared
}

#[test]
fn rows_of_libraries_are_those_of_readelf() {
    let folder = Path::new("/lib/x86_64-linux-gnu");
    let files = ["libc.so.6", "libm.so.6", "libcrypto.so.3"].map(|f| folder.join(f));
    let compared: usize = files.iter().filter(|f| f.exists()).map(|f| compare_with_readelf(f)).sum();
    assert!(compared > 15_000, "{compared}");
    assert!(compare_with_readelf(Path::new("/lib64/ld-linux-x86-64.so.2")) > 500);
}

#[test]
fn rows_of_programs_and_of_the_vdso_are_those_of_readelf() {
    let source = "__attribute__((noinline)) int f(int n) {
    __attribute__((aligned(64))) volatile char a[128]; char b[n]; __builtin_memset(b, n, n); a[0] = b[0]; return a[0]; }
int main(int argc, char **argv) { return f(argc); }";
    for flags in [&["-O2"][..], &["-O2", "-static"], &["-O0"]] {
        assert!(compare_with_readelf(&Program::compile("gcc", "c", source, flags).path()) > 5);
    }
    let folder = tempfile::tempdir().unwrap();
    let vdso = folder.path().join("vdso");
    fs::write(&vdso, vdso_image()).unwrap();
    assert!(compare_with_readelf(&vdso) > 5);
}

fn vdso_image() -> Vec<u8> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|l| l.ends_with("[vdso]")).unwrap();
    let (start, end) = line.split_whitespace().next().unwrap().split_once('-').unwrap();
    let (start, end) = (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
    let mut image = vec![0; usize::try_from(end - start).unwrap()];
    File::open("/proc/self/mem").unwrap().read_exact_at(&mut image, start).unwrap();
    image
}

#[test]
fn special_rules() {
    let program = Program::compile("gcc", "c", "#include <unistd.h>\nint main() { return vfork(); }", &["-static"]);
    let table = program.table();
    let at = |symbol, plus| rule_at(&table, program.offset_of(symbol, plus));
    assert_eq!(at("_start", 4).0, CODE_STOP);
    let restore = program.offset_of("__restore_rt", 0);
    assert_eq!(rule_at(&table, restore).1.kind, KIND_SIGNAL);
    // A signal handler returns to the first byte; the lookup address is the byte before.
    assert_eq!(rule_at(&table, FileOffset(restore.0 - 1)).1.kind, KIND_SIGNAL);
    let rdi = 5;
    assert!((0..16).map(|plus| at("__vfork", plus).1).any(|r| (r.ra_kind, r.ra_register) == (RA_IN_REGISTER, rdi)));

    let flags = ["-no-pie", "-Wl,-z,lazy", "-fcf-protection=none"];
    let lazy = Program::compile("gcc", "c", "#include <stdio.h>\nint main() { return puts(\"\"); }", &flags);
    assert!(lazy.table().rules.iter().any(|r| r.kind == KIND_PLT && (10..=11).contains(&r.threshold)));
}

#[test]
fn without_unwind_information_the_entry_is_a_root() {
    let flags =
        ["-nostdlib", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-static", "-Wl,--build-id=none"];
    let program = Program::compile("gcc", "c", "void _start(void) { for (;;); }", &flags);
    let table = program.table();
    assert!(!table.has_unwind_info && !table.any_stack);
    assert_eq!(rule_at(&table, program.offset_of("_start", 1)).0, CODE_STOP);
}

#[test]
fn go_programs_have_rows_by_their_function_table_and_stop_at_known_roots() {
    const SOURCE: &str = "package main

import \"os\"

//go:noinline
func work(n int) int {
\treturn n * 3
}

func main() {
\tos.Exit(work(len(os.Args)) & 1)
}
";
    let program = Program { folder: tempfile::tempdir().unwrap() };
    let file = program.folder.path().join("main.go");
    fs::write(&file, SOURCE).unwrap();
    let installed = "/usr/local/go/bin/go";
    let go = if Path::new(installed).exists() { installed } else { "go" };
    run(Command::new(go).args(["build", "-o"]).arg(program.path()).arg(&file).env("CGO_ENABLED", "0"));
    assert!(worker().facts(DOMAIN, FILE, program.open().as_fd()).unwrap().go);
    let table = program.table();
    assert!(table.any_stack);
    let work = rule_at(&table, program.offset_of("main.work", 1)).1;
    assert_eq!((work.kind, work.cfa_offset, work.rbp_kind), (KIND_REGISTER, 8, RBP_SAME));
    let names = program.symbols();
    let at = |function: &str, plus: u64| {
        let name = &names.iter().find(|s| s.0.strip_suffix(".abi0").unwrap_or(&s.0) == function).unwrap().0;
        FileOffset(program.offset_of(name, 0).0.wrapping_add(plus))
    };
    // Behind the prologue of a function with calls.
    let main = rule_at(&table, at("main.main", 0x18)).1;
    assert_eq!((main.kind, main.threshold), (KIND_FRAME_POINTER, 1));
    for root in ["runtime.goexit", "runtime.mstart", "runtime.rt0_go"] {
        assert_eq!(rule_at(&table, at(root, 1)).0, CODE_STOP, "{root}");
    }
    // Its caller is on the stack that it leaves; what it calls is on another.
    assert_eq!(rule_at(&table, at("runtime.mcall", 0)).1.cfa_offset, 8);
    assert!((0..0x60).any(|plus| rule_at(&table, at("runtime.mcall", plus)).0 == CODE_STOP));
    assert_eq!(rule_at(&table, at("runtime.sigreturn__sigaction", u64::MAX)).1.kind, KIND_SIGNAL);
    let frames = program.symbolize(&[program.offset_of("main.work", 0)]).remove(0);
    assert_eq!((frames[0].name.as_str(), frames[0].system_name.as_str()), ("main.work", "main.work"));
    // A function that needs no frame begins with its body.
    assert!(matches!((frames[0].line, frames[0].start_line), (6 | 7, 6)), "{frames:?}");
}

#[test]
fn facts_are_those_of_readelf() {
    let program = Program::compile("gcc", "c", C, &["-Wl,--build-id=0x0123456789abcdef"]);
    let facts = worker().facts(DOMAIN, FILE, program.open().as_fd()).unwrap();
    assert_eq!((facts.build_id.as_str(), facts.go), ("0123456789abcdef", false));
    let seen: Vec<_> = facts.segments.iter().map(|s| (s.offset, s.address, s.size)).collect();
    assert_eq!(seen, segments(&program.path()));
}

#[test]
fn damaged_files_cost_their_own_names_only() {
    let worker = worker();
    let program = Program::compile("gcc", "c", C, &["-O1", "-g"]);
    let good = fs::read(program.path()).unwrap();
    let offset = program.offset_of("outer", 8);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |limit: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap() % limit
    };
    for round in 0..300 {
        let mut bytes = good.clone();
        for _ in 0..=below(40) {
            // Much of the damage goes to the headers at both ends.
            let at = [below(bytes.len()), below(1024), bytes.len() - 1 - below(2400)][below(3)];
            bytes[at] = u8::try_from(below(256)).unwrap();
        }
        bytes.truncate(bytes.len() - if round % 5 == 0 { below(4000) } else { 0 });
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let number = FileNumber(1000 + round);
        let errors = [
            worker.symbolize(Subject::new(DOMAIN, number, file.as_fd()), &[offset], None).err(),
            worker.unwind_table(DOMAIN, number, file.as_fd()).err(),
            worker.facts(DOMAIN, number, file.as_fd()).err(),
        ];
        for error in errors.into_iter().flatten() {
            assert!(matches!(error, WorkerError::Refused(_)), "round {round}: {error}");
        }
    }
    assert_eq!((worker.counts().died, worker.counts().spawned), (0, 1));
}

#[test]
fn a_perf_map_names_addresses_and_is_read_again_when_it_grew() {
    use profiler_user::event::{Pid, ProcessId};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("perf-1.map");
    fs::write(&path, "7f00 100 JS:~hot /srv/app.js:3:1\n").unwrap();
    let worker = worker();
    let process = ProcessId { pid: Pid(1), start: 1 };
    let names =
        |addresses: &[u64]| worker.perf_map(DOMAIN, process, File::open(&path).unwrap().as_fd(), addresses).unwrap();
    let first = |answer: &Symbolized| match answer {
        Symbolized::Frames(frames) => frames[0].system_name.clone(),
        Symbolized::Missing(reason) => reason.name().to_owned(),
        Symbolized::Nameless { start } => panic!("no file has a function at {start:?}"),
    };
    let before = names(&[0x7f10, 0x8000]);
    assert_eq!([first(&before[0]), first(&before[1])], ["JS:~hot /srv/app.js:3:1", "no symbol"]);
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"7f00 20 JS:*hot /srv/app.js:3:1\n8000 8 stub\n").unwrap();
    let after = names(&[0x7f10, 0x8000, 0x7f20]);
    assert_eq!(
        after.iter().map(first).collect::<Vec<_>>(),
        ["JS:*hot /srv/app.js:3:1", "stub", "JS:~hot /srv/app.js:3:1"]
    );
    let many: Vec<u64> = (0..10_000).collect();
    assert_eq!(names(&many).len(), many.len());
}
