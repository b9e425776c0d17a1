//! Programs whose debug information lies for a part in other files: split DWARF (`.dwo`, `.dwp`) and what dwz moved into a file
//! for several. A form is right if it shows what its twin shows that was built in one piece. All forms run at once, beside one
//! agent.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tests::harness::profile::Sample;
use tests::harness::{Agent, Profile, Target, message, programs, tools, wait};

const HZ: u32 = 997;
/// Samples of each form that are enough to judge by.
const ENOUGH: i64 = 120;

const GCC: &[&str] = &["g++", "-O2", "-fomit-frame-pointer", "-fno-optimize-sibling-calls", "-Wl,--build-id"];
const CLANG: &[&str] = &["clang++-22", "-O2", "-fno-optimize-sibling-calls", "-Wl,--build-id"];

/// What is to be seen of a form.
#[derive(Clone, Debug)]
enum Shown {
    /// The same as of the whole program of that name.
    As(&'static str),
    /// Lines and functions, but no inlined calls; a comment says so with these words.
    Skeleton(&'static str),
    /// `split_inline` in `split_hot`, as case 22 has it.
    Case22,
    /// Lines and functions at least; a comment says so with these words.
    Named(&'static str),
}

/// A program in a folder of its own, where it was built.
struct Form {
    name: &'static str,
    folder: PathBuf,
    shown: Shown,
}

impl Form {
    fn program(&self) -> PathBuf {
        self.folder.join("program")
    }
}

/// Where the forms are built.
struct Yard {
    root: tempfile::TempDir,
    forms: Vec<Form>,
}

impl Yard {
    fn folder(&self, name: &str) -> PathBuf {
        let folder = self.root.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn add(&mut self, name: &'static str, shown: Shown) -> &Form {
        let folder = self.folder(name);
        self.forms.push(Form { name, folder, shown });
        self.forms.last().unwrap()
    }

    /// The two units of `apart.cc`, compiled and linked in the form's folder.
    fn build(&mut self, name: &'static str, shown: Shown, compiler: &[&str], flags: &[&str]) -> PathBuf {
        let folder = self.add(name, shown).folder.clone();
        build_in(&folder, compiler, flags);
        folder
    }
}

fn build_in(folder: &Path, compiler: &[&str], flags: &[&str]) {
    let source = programs::source("apart.cc");
    for (unit, define) in [("main", "-DMAIN"), ("wheel", "-DWHEEL")] {
        let object = format!("{unit}.o");
        run(folder, &[compiler, flags, &[define, "-c", "-o", &object, text(&source)]].concat());
    }
    run(folder, &[compiler, &["-o", "program", "main.o", "wheel.o"]].concat());
}

/// Runs a command in a folder.
fn run(folder: &Path, command: &[&str]) {
    let (program, arguments) = command.split_first().unwrap();
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    let output = output.unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn remove(folder: &Path, names: &[&str]) {
    for name in names {
        fs::remove_file(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

const UNITS: [&str; 2] = ["main.dwo", "wheel.dwo"];
const SPLIT_4: &[&str] = &["-g", "-gdwarf-4", "-gsplit-dwarf"];
const SPLIT_5: &[&str] = &["-g", "-gdwarf-5", "-gsplit-dwarf"];

/// `.dwo` files where the compiler left them.
fn add_units(yard: &mut Yard) {
    yard.build("whole", Shown::As("whole"), GCC, &["-g", "-gdwarf-5"]);
    yard.build("units 4", Shown::As("whole"), GCC, SPLIT_4);
    yard.build("units 5", Shown::As("whole"), GCC, SPLIT_5);
    let folder =
        yard.build("units with types", Shown::As("whole"), GCC, &[SPLIT_5, &["-fdebug-types-section"]].concat());
    assert!(sections(&folder.join("wheel.dwo")).contains(".debug_info.dwo"));
    // Both moved to where the program was installed.
    let built = yard.folder("elsewhere");
    build_in(&built, GCC, SPLIT_5);
    let folder = yard.add("units beside the program", Shown::As("whole")).folder.clone();
    for name in ["program", "main.dwo", "wheel.dwo"] {
        fs::rename(built.join(name), folder.join(name)).unwrap();
    }
}

/// Packages beside the program, and beside a debug file.
fn add_packages(yard: &mut Yard) {
    let folder = yard.build("package 4", Shown::As("whole"), GCC, SPLIT_4);
    run(&folder, &["dwp", "-e", "program", "-o", "program.dwp"]);
    remove(&folder, &UNITS);
    let folder = yard.build("package 5", Shown::As("whole"), GCC, SPLIT_5);
    run(&folder, &[tools::LLVM_DWP, "-e", "program", "-o", "program.dwp"]);
    remove(&folder, &UNITS);
    let folder = yard.build("package of a stripped program", Shown::As("whole"), GCC, SPLIT_5);
    run(&folder, &[tools::LLVM_DWP, "-e", "program", "-o", "program.dwp"]);
    run(&folder, &["objcopy", "--only-keep-debug", "program", "program.debug"]);
    run(&folder, &["strip", "--strip-all", "program"]);
    run(&folder, &["objcopy", "--add-gnu-debuglink=program.debug", "program"]);
    remove(&folder, &UNITS);
}

/// Case 22: big C++ shops build so, and see only outer functions.
fn add_case_22(yard: &mut Yard) {
    let source = programs::source("cases/split_dwarf.c");
    for (name, version) in [("case 22", "5"), ("case 22: dwo4", "4"), ("case 22: dwo5", "5"), ("case 22: dwp4", "4")] {
        let folder = yard.add(name, Shown::Case22).folder.clone();
        let version = format!("-gdwarf-{version}");
        let flags = ["-O2", "-g", "-fomit-frame-pointer", "-fno-optimize-sibling-calls", &version];
        let split: &[&str] = if name == "case 22" { &[] } else { &["-gsplit-dwarf"] };
        run(&folder, &[&["gcc"], &flags[..], split, &["-c", "-o", "t.o", text(&source)]].concat());
        run(&folder, &["gcc", "-o", "program", "t.o"]);
        if name.ends_with("dwp4") {
            run(&folder, &["dwp", "-e", "program", "-o", "program.dwp"]);
            remove(&folder, &["t.dwo"]);
        }
    }
}

/// What dwz moved away, at its path and in the tree of build IDs.
fn add_shared(yard: &mut Yard) -> OfHost {
    let shared = |yard: &mut Yard, name: &'static str, shown, common: &str| {
        // A type of its own, so that no two build IDs are the same.
        let stamp = format!("-DSTAMP=stamp_{}", name.replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
        let flags = ["-g", "-gdwarf-5", &stamp];
        let folder = yard.build(name, shown, GCC, &flags);
        let other = yard.folder(&format!("{name}, other"));
        build_in(&other, GCC, &[&flags[..], &["-O1"]].concat());
        run(&folder, &["dwz", "-m", "common.debug", "-M", common, "program", text(&other.join("program"))]);
        assert!(sections(&folder.join("program")).contains(".gnu_debugaltlink"));
        folder
    };
    shared(yard, "shared", Shown::As("whole"), "common.debug");
    let folder = shared(yard, "shared by build ID", Shown::As("whole"), "/nowhere/common.debug");
    let common = folder.join("common.debug");
    let notes = tools::output("readelf", &["-n", text(&common)]);
    let build_id =
        notes.lines().find_map(|line| line.trim().strip_prefix("Build ID: ")).expect("a build ID").to_owned();
    let (first, rest) = build_id.split_at(2);
    let tree = PathBuf::from(format!("/usr/lib/debug/.build-id/{first}/{rest}.debug"));
    fs::create_dir_all(tree.parent().unwrap()).unwrap();
    fs::rename(common, &tree).unwrap();
    let folder = shared(yard, "shared, missing", Shown::Named("common.debug: not found"), "common.debug");
    remove(&folder, &["common.debug"]);
    let folder = shared(yard, "shared, of another build", Shown::Named("build ID differs"), "common.debug");
    fs::copy(yard.folder("shared").join("common.debug"), folder.join("common.debug")).unwrap();
    run(&folder, &["objcopy", "--remove-section=.note.gnu.build-id", "common.debug"]);
    OfHost(tree)
}

/// Units that are not there, or not those that they should be.
fn add_unusable(yard: &mut Yard) {
    let folder = yard.build("units missing", Shown::Skeleton("2 split units"), GCC, SPLIT_5);
    remove(&folder, &UNITS);
    let folder = yard.build("units of another build", Shown::Skeleton("build ID differs"), GCC, SPLIT_5);
    let other = yard.folder("another build");
    build_in(&other, GCC, &[SPLIT_5, &["-DOTHER", "-O1"]].concat());
    for name in UNITS {
        fs::copy(other.join(name), folder.join(name)).unwrap();
    }
    let folder = yard.build("units damaged", Shown::Skeleton("damaged"), GCC, SPLIT_5);
    fs::write(folder.join("main.dwo"), [0x7f; 5_000]).unwrap();
    fs::write(folder.join("wheel.dwo"), "").unwrap();
    let folder = yard.build("package of another program", Shown::Skeleton("2 split units"), GCC, SPLIT_5);
    run(&other, &[tools::LLVM_DWP, "-e", "program", "-o", "program.dwp"]);
    fs::copy(other.join("program.dwp"), folder.join("program.dwp")).unwrap();
    remove(&folder, &UNITS);
}

/// LLVM's, by Rust's compiler.
fn add_rust(yard: &mut Yard) {
    let source = programs::source("inlines.rs");
    let rust = |yard: &mut Yard, name, more: &[&str]| {
        let folder = yard.add(name, Shown::As("rust whole")).folder.clone();
        let flags = ["rustc", "--edition", "2024", "-O", "-g", "--crate-name", "program", text(&source)];
        run(&folder, &[&flags, more].concat());
        folder
    };
    rust(yard, "rust whole", &[]);
    let folder = rust(yard, "rust package", &["-Csplit-debuginfo=packed"]);
    assert!(folder.join("program.dwp").exists());
    rust(yard, "rust units", &["-Csplit-debuginfo=unpacked"]);
}

/// LLVM's, by clang.
fn add_clang(yard: &mut Yard) {
    yard.build("clang whole", Shown::As("clang whole"), CLANG, &["-g"]);
    yard.build("clang units 4", Shown::As("clang whole"), CLANG, SPLIT_4);
    let folder = yard.build("clang package 5", Shown::As("clang whole"), CLANG, SPLIT_5);
    run(&folder, &[tools::LLVM_DWP, "-e", "program", "-o", "program.dwp"]);
    remove(&folder, &UNITS);
}

fn sections(file: &Path) -> String {
    tools::output("readelf", &["-SW", text(file)])
}

/// A file of the host that is removed at the end of the test.
struct OfHost(PathBuf);

impl Drop for OfHost {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
        // Of its folder only if nothing else is in it.
        drop(self.0.parent().map(fs::remove_dir));
    }
}

/// A place in a program: functions with file, first line and line, innermost inlined call first.
type Place = Vec<(String, String, i64, i64)>;

/// Samples of a form.
#[derive(Default)]
struct Seen {
    places: BTreeMap<Place, i64>,
    /// All of them, and those with `split_hot` called by `main`.
    count: i64,
    called: i64,
    /// Why stacks are not complete.
    reasons: BTreeSet<String>,
    /// What is said of the program.
    comment: Option<String>,
}

impl Seen {
    fn add(&mut self, profile: &Profile, form: &Form, pid: u32) {
        let pid = pid.to_string();
        let rows = profile.message.sample.iter().zip(&profile.samples);
        // How long a busy host takes for the tables of so many programs is not what is tested.
        let is_ours = |sample: &Sample| sample.label("pid") == pid && sample.label("reason") != "table pending";
        for (row, sample) in rows.filter(|(_, sample)| is_ours(sample)) {
            *self.places.entry(leaf(profile, row)).or_default() += sample.count;
            self.count += sample.count;
            self.reasons.insert(sample.label("reason").to_owned());
            self.called += if sample.has_chain(&["split_hot", "main"]) { sample.count } else { 0 };
        }
        let said = format!("Of {} ", form.program().display());
        let comment = profile.comments().into_iter().find(|comment| comment.starts_with(&said));
        self.comment = comment.map(str::to_owned).or(self.comment.take());
    }

    /// Places with a share of the samples that is no accident.
    fn heavy(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(|(_, count)| **count * 6 >= self.count).map(|(place, _)| place)
    }

    fn assert_as(&self, name: &str, whole: &Seen) {
        assert_eq!(self.comment, None, "{name}");
        for (one, other) in [(self, whole), (whole, self)] {
            for place in one.heavy() {
                assert!(other.places.contains_key(place), "{name}: {place:?} is not in\n{:#?}", other.places);
            }
        }
        assert!(self.places.keys().any(is_inlined), "{name}: {:#?}", self.places);
    }

    fn assert_case_22(&self, name: &str, whole: &Seen) {
        self.assert_as(name, whole);
        let inlined = |place: &Place| {
            let names: Vec<&str> = place.iter().map(|(name, ..)| name.as_str()).collect();
            is_inlined(place) && names == ["split_inline", "split_hot"]
        };
        let inlined: i64 = self.places.iter().filter(|(place, _)| inlined(place)).map(|(_, count)| count).sum();
        let share = |count: i64| count as f64 / self.count as f64;
        // The case has 60 %. To which of the loop's instructions a tick falls is the processor's matter: by perf it is 48 %
        // on one, and the rest in the loop around the inlined call.
        assert!(share(inlined) >= 0.35, "{name}: {:#?}", self.places);
        assert!(share(self.called) >= 0.97, "{name}: {} of {}, {:?}", self.called, self.count, self.reasons);
    }

    fn assert_said(&self, name: &str, words: &str) {
        let comment = self.comment.as_deref().unwrap_or_else(|| panic!("{name}: nothing is said"));
        assert!(comment.contains(words), "{name}: {comment}");
    }

    /// The hot function is named, with its lines, and with inlined calls in it or without.
    fn assert_named(&self, name: &str, inlined: bool) {
        let grind = |place: &Place| {
            let Some((function, file, _, line)) = place.last() else { return false };
            let named = function.starts_with("mill::Wheel::grind(") && file.ends_with("apart.cc") && *line > 0;
            named && (inlined || place.len() == 1)
        };
        assert!(self.heavy().count() > 0 && self.heavy().all(grind), "{name}: {:#?}", self.places);
    }
}

/// Where a sample was taken.
fn leaf(profile: &Profile, row: &message::Sample) -> Place {
    let leaf = row.location_id.first().expect("a stack");
    let location = profile.message.location.iter().find(|location| location.id == *leaf).expect("a location");
    let place = |line: &message::Line| {
        let functions = &profile.message.function;
        let function = functions.iter().find(|function| function.id == line.function_id).expect("a function");
        let text = |index| profile.text(index).to_owned();
        (text(function.name), text(function.filename), function.start_line, line.line)
    };
    location.line.iter().map(place).collect()
}

/// An inlined call with all that there is to know of it and of what it is in.
fn is_inlined(place: &Place) -> bool {
    place.len() > 1 && place.iter().all(|(_, file, start, line)| !file.is_empty() && *start > 0 && *line > 0)
}

/// Samples of all forms, which are our children.
fn watch(agent: &Agent, forms: &[Form], targets: &[Target]) -> BTreeMap<&'static str, Seen> {
    let path = format!("pid/{}/debug/pprof/profile?seconds=3&hz={HZ}&children=1", std::process::id());
    let mut seen: BTreeMap<&str, Seen> = BTreeMap::new();
    wait::until_true("samples of all forms", Duration::from_mins(3), || {
        let profile = agent.profile(&path);
        for (form, target) in forms.iter().zip(targets) {
            seen.entry(form.name).or_default().add(&profile, form, target.pid());
        }
        seen.values().all(|seen| seen.count >= ENOUGH)
    });
    seen
}

#[test]
fn each_form_shows_what_the_whole_program_shows_or_says_what_is_missing() {
    let mut yard = Yard { root: tempfile::tempdir().unwrap(), forms: Vec::new() };
    add_units(&mut yard);
    add_packages(&mut yard);
    add_case_22(&mut yard);
    let _of_host = add_shared(&mut yard);
    add_unusable(&mut yard);
    add_rust(&mut yard);
    match Command::new(CLANG[0]).arg("--version").output() {
        Ok(_) => add_clang(&mut yard),
        Err(_) => println!("no clang: its split units are not tested"),
    }
    let clock = yard.root.path().join("clock");
    let start = |form: &Form| Target::start(&form.program(), &[&format!("{}-{}", text(&clock), form.name)]);
    let targets: Vec<Target> = yard.forms.iter().map(start).collect();
    let agent = Agent::start(&[]);
    let seen = watch(&agent, &yard.forms, &targets);
    for Form { name, shown, .. } in &yard.forms {
        let form = &seen[name];
        match shown {
            Shown::As(whole) => form.assert_as(name, &seen[whole]),
            Shown::Case22 => form.assert_case_22(name, &seen["case 22"]),
            Shown::Skeleton(words) => {
                form.assert_named(name, false);
                form.assert_said(name, words);
            }
            Shown::Named(words) => {
                form.assert_named(name, true);
                form.assert_said(name, words);
            }
        }
    }
    let metric = agent.get("/metrics").text();
    for outcome in ["used", "not found", "build ID differs", "damaged"] {
        let label = format!("outcome=\"{outcome}\"");
        let counted = |line: &str| line.contains("debug_parts") && line.contains(&label) && !line.ends_with(" 0");
        assert!(metric.lines().any(counted), "{outcome} is not counted:\n{metric}");
    }
}
