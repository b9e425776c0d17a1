//! Stripped programs whose names are elsewhere: packed inside of them, or in debug files beside them, by link or build ID.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use tests::harness::profile::Sample;
use tests::harness::published::Published;
use tests::harness::{Agent, Profile, Target, programs, tools};

const HZ: u32 = 997;
/// Where distributions put debug files.
const DEBUG: &str = "/usr/lib/debug";

/// A program that was built whole, to be stripped, and what a profile of it shows.
struct Language {
    whole: fn() -> PathBuf,
    source: &'static str,
    /// A function, by the end of its name, that is called and holds inlined calls.
    function: &'static str,
    /// Inlined calls in that function, outermost first, then what it is itself; ends of names.
    inlined: &'static [&'static str],
}

const C: Language = Language {
    whole: || programs::c("chain.c", &["-Wl,--build-id"]),
    source: "chain.c",
    function: "main",
    inlined: &["main", "forever", "run_10"],
};

const RUST: Language = Language {
    whole: || programs::rust("inlines.rs", &["-Clink-arg=-Wl,--build-id"]),
    source: "inlines.rs",
    function: "work",
    inlined: &["work", "middle", "leaf"],
};

impl Language {
    /// Functions, lines and inlined calls are there.
    #[track_caller]
    fn assert_all(&self, profile: &Profile) {
        let named = profile.cpu_of(|sample| has(sample, self.function));
        let inlined = profile.cpu_of(|sample| {
            let ends_as = |part: &[String]| part.iter().zip(self.inlined).all(|(name, wanted)| is(name, wanted));
            sample.stack.windows(self.inlined.len()).any(ends_as)
        });
        // Of four chains in C that split the CPU, `run_10` has 40 %; in Rust `work` has 60 % itself.
        assert!(named > 0.4 * profile.cpu_seconds(), "{}", profile.summary());
        assert!(inlined > 0.3 * profile.cpu_seconds(), "{}", profile.summary());
        let lines = lines_of(profile, self.function);
        let right = |(file, line): &(String, i64)| file.ends_with(self.source) && *line > 0;
        assert!(!lines.is_empty() && lines.iter().all(right), "{lines:?}");
    }

    /// Functions are there, and nothing more.
    #[track_caller]
    fn assert_functions(&self, profile: &Profile) {
        let named = profile.cpu_of(|sample| has(sample, self.function));
        assert!(named > 0.4 * profile.cpu_seconds(), "{}", profile.summary());
        let lines = lines_of(profile, self.function);
        assert!(lines.iter().all(|(file, line)| file.is_empty() && *line == 0), "{lines:?}");
    }

    /// Frames of the program say where they are, no more.
    #[track_caller]
    fn assert_nothing(&self, profile: &Profile) {
        assert_eq!(profile.count_of(|sample| has(sample, self.function)), 0, "{}", profile.summary());
        let place = |sample: &Sample| sample.stack.iter().any(|name| name.starts_with("program+0x"));
        assert!(profile.share(place) > 0.9, "{}", profile.summary());
    }
}

/// A name is that of a function, in whatever crate.
fn is(name: &str, function: &str) -> bool {
    name == function || name.strip_suffix(function).is_some_and(|path| path.ends_with("::"))
}

fn has(sample: &Sample, function: &str) -> bool {
    sample.stack.iter().any(|name| is(name, function))
}

/// (file, line) of each place in a function.
fn lines_of(profile: &Profile, function: &str) -> Vec<(String, i64)> {
    let functions: Vec<_> = profile.message.function.iter().filter(|f| is(profile.text(f.name), function)).collect();
    let lines = profile.message.location.iter().flat_map(|location| &location.line);
    let of_it = |line: &tests::harness::message::Line| {
        let function = functions.iter().find(|function| function.id == line.function_id)?;
        Some((profile.text(function.filename).to_owned(), line.line))
    };
    lines.filter_map(of_it).collect()
}

/// A stripped program with a link to its debug file, which lies where nobody looks.
struct Stripped {
    folder: tempfile::TempDir,
    build_id: String,
}

impl Stripped {
    fn new(whole: &Path) -> Stripped {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("apart")).unwrap();
        let notes = tools::output("readelf", &["-n", text(whole)]);
        let build_id = notes.lines().find_map(|line| line.trim().strip_prefix("Build ID: ")).expect("a build ID");
        let stripped = Stripped { build_id: build_id.to_owned(), folder };
        programs::copy_to(whole, &stripped.program());
        tools::output("objcopy", &["--only-keep-debug", text(whole), text(&stripped.debug())]);
        tools::output("strip", &["--strip-all", text(&stripped.program())]);
        stripped.link_to(&stripped.debug());
        stripped
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("program")
    }

    fn debug(&self) -> PathBuf {
        self.folder.path().join("apart/program.debug")
    }

    /// Writes the name and the checksum of a debug file into the program.
    fn link_to(&self, debug: &Path) {
        let program = self.program();
        tools::output("objcopy", &["--remove-section=.gnu_debuglink", text(&program)]);
        tools::output("objcopy", &[&format!("--add-gnu-debuglink={}", debug.display()), text(&program)]);
    }

    /// Puts the debug file beside the program.
    fn put(&self, place: &str) -> PathBuf {
        let place = self.folder.path().join(place);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        programs::copy_to(&self.debug(), &place);
        place
    }

    /// Its place in a folder of build IDs.
    fn by_build_id(&self) -> PathBuf {
        let (first, rest) = self.build_id.split_at(2);
        Path::new(DEBUG).join(".build-id").join(first).join(format!("{rest}.debug"))
    }

    fn start(&self) -> Running {
        Running::start(&self.folder, |clock| Target::start(&self.program(), &[clock]))
    }

    /// Starts it in a mount namespace where `/usr/lib/debug` is empty but for the debug file at `place`.
    fn start_apart(&self, place: Option<&Path>) -> Running {
        fs::create_dir_all(DEBUG).unwrap();
        let put = place.map(|place| {
            let folder = place.parent().unwrap().display();
            format!("&& mkdir -p {folder} && cp {} {}", self.debug().display(), place.display())
        });
        Running::start(&self.folder, |clock| {
            let program = self.program();
            let script = format!(
                "mount -t tmpfs none {DEBUG} {} && exec {} {clock}",
                put.unwrap_or_default(),
                program.display()
            );
            Target::spawn_unchecked(Path::new("unshare"), &["-m", "sh", "-c", &script])
        })
    }

    fn profile(&self) -> (Profile, Agent) {
        self.start().profile()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A target that computes.
struct Running(Target);

impl Running {
    fn start(folder: &tempfile::TempDir, start: impl FnOnce(&str) -> Target) -> Running {
        let clock = folder.path().join("clock");
        let target = start(text(&clock));
        Published::at(&clock).wait();
        Running(target)
    }

    fn profile(&self) -> (Profile, Agent) {
        let agent = Agent::start(&[]);
        (agent.cpu(self.0.pid(), 3, HZ), agent)
    }
}

/// How often the agent says that searches for debug files came out so.
fn outcomes(agent: &Agent, outcome: &str) -> f64 {
    let text = agent.get("/metrics").ok().text();
    let label = format!("outcome=\"{outcome}\"");
    let line = text.lines().find(|line| line.contains("debug_files") && line.contains(&label));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("no {outcome} in\n{text}"))
}

/// A file of the host that is removed at the end of the test.
struct OfHost(PathBuf);

impl OfHost {
    fn put(from: &Path, place: PathBuf) -> OfHost {
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        programs::copy_to(from, &place);
        OfHost(place)
    }
}

impl Drop for OfHost {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
        // Of its folder only if nothing else is in it.
        drop(self.0.parent().map(fs::remove_dir));
    }
}

#[test]
fn debug_sections_packed_by_zstd() {
    for language in [C, RUST] {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        let arguments =
            ["--compress-debug-sections=zstd", text(&(language.whole)()), text(&program)].map(str::to_owned);
        tools::output(tools::LLVM_OBJCOPY, &arguments.each_ref().map(String::as_str));
        assert!(tools::output("readelf", &["-tW", text(&program)]).contains("ZSTD"));
        let running = Running::start(&folder, |clock| Target::start(&program, &[clock]));
        language.assert_all(&running.profile().0);
    }
}

#[test]
fn a_symbol_table_packed_by_xz_inside_of_the_program() {
    for language in [C, RUST] {
        let stripped = Stripped::new(&(language.whole)());
        let small = stripped.folder.path().join("small");
        // As distributions make it: a debug file without debug information.
        tools::output("objcopy", &["--strip-debug", text(&stripped.debug()), text(&small)]);
        tools::output("xz", &[text(&small)]);
        let section = format!(".gnu_debugdata={}.xz", small.display());
        tools::output("objcopy", &["--add-section", &section, text(&stripped.program())]);
        language.assert_functions(&stripped.profile().0);
    }
}

#[test]
fn a_debug_link_leads_to_each_folder() {
    for (language, place) in [(C, "program.debug"), (RUST, ".debug/program.debug")] {
        let stripped = Stripped::new(&(language.whole)());
        stripped.put(place);
        let (profile, agent) = stripped.profile();
        language.assert_all(&profile);
        assert!(outcomes(&agent, "used") >= 1.0);
    }
    let stripped = Stripped::new(&(RUST.whole)());
    let below = Path::new(DEBUG).join(stripped.folder.path().strip_prefix("/").unwrap()).join("program.debug");
    // In the target's own mount namespace: the host has nothing there.
    RUST.assert_all(&stripped.start_apart(Some(&below)).profile().0);
    assert!(!below.exists());
}

#[test]
fn a_build_id_leads_to_the_targets_own_debug_file_and_to_the_hosts() {
    let stripped = Stripped::new(&(C.whole)());
    let place = stripped.by_build_id();
    C.assert_all(&stripped.start_apart(Some(&place)).profile().0);
    assert!(!place.exists(), "the host has none");
    let (profile, agent) = stripped.start_apart(None).profile();
    C.assert_nothing(&profile);
    assert!(outcomes(&agent, "not found") >= 1.0);
    let _of_host = OfHost::put(&stripped.debug(), place);
    C.assert_all(&stripped.profile().0);
    // By its build ID a target of another namespace too.
    C.assert_all(&stripped.start_apart(None).profile().0);
}

#[test]
fn a_debug_link_with_another_checksum_is_refused() {
    let stripped = Stripped::new(&(RUST.whole)());
    let place = stripped.put("program.debug");
    let mut bytes = fs::read(&place).unwrap();
    bytes.push(0);
    fs::write(&place, bytes).unwrap();
    let (profile, agent) = stripped.profile();
    RUST.assert_nothing(&profile);
    assert!(outcomes(&agent, "CRC differs") >= 1.0);
}

#[test]
fn a_debug_file_of_another_build_is_refused() {
    let other = Stripped::new(&programs::c("chain.c", &["-Wl,--build-id", "-O1"]));
    let stripped = Stripped::new(&(C.whole)());
    assert_ne!(stripped.build_id, other.build_id);
    let of_host = OfHost::put(&other.debug(), stripped.by_build_id());
    let (profile, agent) = stripped.profile();
    C.assert_nothing(&profile);
    assert!(outcomes(&agent, "build ID differs") >= 1.0);
    // A link whose checksum is right does not help.
    drop(of_host);
    programs::copy_to(&other.debug(), &stripped.folder.path().join("program.debug"));
    stripped.link_to(&other.debug());
    let (profile, agent) = stripped.profile();
    C.assert_nothing(&profile);
    assert!(outcomes(&agent, "build ID differs") >= 1.0);
}

#[test]
fn a_debug_file_that_is_damaged_or_anothers_is_refused() {
    let stripped = Stripped::new(&(C.whole)());
    let garbage = stripped.folder.path().join("garbage");
    fs::write(&garbage, [0x7f; 5_000]).unwrap();
    let of_host = OfHost::put(&garbage, stripped.by_build_id());
    let (profile, agent) = stripped.profile();
    C.assert_nothing(&profile);
    assert!(outcomes(&agent, "damaged") >= 1.0);
    drop(of_host);
    let place = stripped.put("program.debug");
    chown(&place, Some(12_345), None).unwrap();
    let (profile, agent) = stripped.profile();
    C.assert_nothing(&profile);
    assert!(outcomes(&agent, "not opened") >= 1.0);
}

#[test]
fn links_to_a_debug_file_lead_where_the_programs_owner_could_go() {
    let open = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let stripped = Stripped::new(&(C.whole)());
    let folder = stripped.folder.path();
    open(folder, 0o755);
    chown(stripped.program(), Some(12_345), None).unwrap();
    open(&folder.join("apart"), 0o755);
    // As some distributions do it: links, by way of a folder that is one.
    symlink("apart", folder.join(".debug")).unwrap();
    C.assert_all(&stripped.profile().0);
    fs::remove_file(folder.join(".debug")).unwrap();
    symlink("apart/program.debug", folder.join("program.debug")).unwrap();
    C.assert_all(&stripped.profile().0);
    // Everybody may read the file, but only root may pass the folder.
    open(&folder.join("apart"), 0o700);
    let (profile, agent) = stripped.profile();
    C.assert_nothing(&profile);
    assert!(outcomes(&agent, "not opened") >= 1.0);
}
