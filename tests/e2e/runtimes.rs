//! Runtimes that interpret or make code: what is named, and whether stacks reach the start of the program.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use tests::harness::profile::Sample;
use tests::harness::published::Published;
use tests::harness::{Agent, Profile, Target, judge, programs, wait};

const HZ: u32 = 997;

/// A program of `tests/programs` that runs in its runtime and publishes its clock.
struct Script {
    target: Target,
    published: Published,
    _folder: TempDir,
}

impl Script {
    fn start(runtime: &Path, flags: &[&str], source: &str, more: &[&str]) -> Script {
        let folder = tempfile::tempdir().unwrap();
        let (path, clock) = (programs::source(source), folder.path().join("clock"));
        let file = [path.to_str().unwrap(), clock.to_str().unwrap()];
        // By default V8 writes a log of each isolate into the current folder.
        let log = format!("--logfile={}", folder.path().join("v8.log").display());
        let no_log: &[&str] = if runtime.ends_with("node") { &["--no-logfile-per-isolate", &log] } else { &[] };
        let target = Target::start(runtime, &[flags, no_log, &file, more].concat());
        let published = Published::at(&clock);
        published.wait();
        Script { target, published, _folder: folder }
    }

    /// The profile of a window in which all tables are there (those of node and of libjvm.so take a second and more).
    fn profile(&self, agent: &Agent, seconds: u32) -> Profile {
        wait::until("the tables of the runtime's files", Duration::from_mins(1), || {
            Some(agent.cpu(self.target.pid(), 1, HZ)).filter(|profile| !comment_with(profile, "table pending"))
        });
        agent.cpu(self.target.pid(), seconds, HZ)
    }

    /// Shares of the two functions by the program's own clock.
    fn assert_split(&self, profile: &Profile, is_in: impl Fn(&Sample, &str) -> bool) {
        let paths = ["first", "second"];
        let measured = paths.map(|path| profile.cpu_of(|sample| is_in(sample, path)));
        judge::assert_shares(&paths, &measured, &self.published.in_window_of(profile), profile.count());
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.target.kill();
        // Most runtimes leave it there.
        drop(std::fs::remove_file(format!("/tmp/perf-{}.map", self.target.pid())));
    }
}

/// The outermost functions that have names whatever was stripped: of programs, of Java's threads, of libuv's and V8's.
fn is_rooted(sample: &Sample) -> bool {
    const ROOTS: [&str; 7] = [
        "main",
        "node::Start",
        "Py_BytesMain",
        "ThreadJavaMain",
        "thread_native_entry",
        "uv__thread_start",
        "v8::base::ThreadEntry",
    ];
    // A thread of node's own begins in a function without a name; below it there is nothing but libc.
    ROOTS.iter().any(|root| sample.has(root)) || sample.files.first().is_some_and(|file| file.contains("libc.so"))
}

fn is_nameless(sample: &Sample) -> bool {
    sample.stack.iter().any(|name| name.starts_with("[anonymous code"))
}

fn assert_complete(profile: &Profile) {
    let whole = |sample: &Sample| is_rooted(sample) && sample.label("reason").is_empty();
    let share = profile.complete_share(whole);
    let broken = profile.only(|sample| !whole(sample));
    assert!(share >= 0.99, "{:.2} % complete; the others:\n{}", share * 100.0, broken.summary());
}

fn comment_with(profile: &Profile, text: &str) -> bool {
    profile.comments().iter().any(|comment| comment.contains(text))
}

#[test]
fn node_with_a_perf_map_is_named_and_complete() {
    let flags = ["--perf-basic-prof", "--no-turbo-inlining"];
    let script = Script::start(Path::new("/usr/bin/node"), &flags, "split.js", &[]);
    let agent = Agent::start(&[]);
    let profile = script.profile(&agent, 8);
    script.assert_split(&profile, Sample::has);
    assert_complete(&profile);
    let nameless = profile.share(is_nameless);
    assert!(nameless <= 0.01, "{:.2} % without names\n{}", nameless * 100.0, profile.only(is_nameless).summary());
    let deep = profile.only(|sample| sample.has("second"));
    let four = deep.share(|sample| sample.depth_of("second") == 4);
    assert!(four >= 0.97, "{:.1} % of second have all four levels\n{}", four * 100.0, deep.summary());
}

#[test]
fn python_is_complete_up_to_its_main() {
    let script = Script::start(Path::new("/usr/bin/python3"), &[], "split.py", &[]);
    let agent = Agent::start(&[]);
    let profile = script.profile(&agent, 5);
    assert_complete(&profile);
    assert!(comment_with(&profile, "run python3 (3.12 or newer) with -X perf"), "{:?}", profile.comments());
}

/// The newest Python from 3.12 on that is on PATH (a shim of pyenv asks which version is meant).
fn python_with_perf_map() -> Option<PathBuf> {
    ["3.14", "3.13", "3.12"].iter().find_map(|version| {
        let mut command = Command::new(format!("python{version}"));
        command.env("PYENV_VERSION", version).args(["-c", "import sys; print(sys.executable)"]);
        let output = command.output().ok().filter(|output| output.status.success())?;
        Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
    })
}

#[test]
fn python_with_a_perf_map_is_named() {
    let Some(python) = python_with_perf_map() else {
        return println!("no Python from 3.12 on: -X perf is not tested");
    };
    let script = Script::start(&python, &["-X", "perf"], "split.py", &[]);
    let agent = Agent::start(&[]);
    let profile = script.profile(&agent, 8);
    script.assert_split(&profile, Sample::has);
    assert_complete(&profile);
}

const JAVA: &str = "/usr/bin/java";

/// The name of a method is in its signature: `void Split.first(long)`.
fn has_method(sample: &Sample, method: &str) -> bool {
    let call = format!("Split.{method}(");
    sample.stack.iter().any(|name| name.contains(&call))
}

#[test]
fn java_with_frame_pointers_and_a_perf_map_is_named_and_complete() {
    let script = Script::start(Path::new(JAVA), &["-XX:+PreserveFramePointer"], "Split.java", &["40"]);
    let agent = Agent::start(&[]);
    let profile = script.profile(&agent, 8);
    script.assert_split(&profile, has_method);
    assert_complete(&profile);
}

#[test]
fn a_map_that_is_written_anew_all_the_time_still_names() {
    let script = Script::start(Path::new(JAVA), &["-XX:+PreserveFramePointer"], "Split.java", &["10"]);
    let agent = Agent::start(&["--hz", "199"]);
    drop(script.profile(&agent, 2));
    let past = format!("pid/{}/debug/pprof/profile?seconds=2&ago=0", script.target.pid());
    for _ in 0..30 {
        let profile = agent.profile(&past);
        let named = profile.share(|sample| has_method(sample, "first") || has_method(sample, "second"));
        assert!(named >= 0.5, "{:.1} %\n{:?}\n{}", named * 100.0, profile.comments(), profile.summary());
    }
}

#[test]
fn java_without_frame_pointers_says_what_is_missing() {
    let script = Script::start(Path::new(JAVA), &[], "Split.java", &[]);
    let agent = Agent::start(&[]);
    let profile = script.profile(&agent, 4);
    let cut = profile.share(|sample| sample.label("reason") == "jit code without frame pointer");
    assert!(cut >= 0.9, "{:.1} %\n{}", cut * 100.0, profile.summary());
    assert!(comment_with(&profile, "run java with -XX:+PreserveFramePointer"), "{:?}", profile.comments());
    let metric = agent.get("/metrics").text();
    let counted = |line: &str| line.contains("jit code without frame pointer") && !line.ends_with(" 0");
    assert!(metric.lines().any(counted), "not counted");
}

#[test]
fn node_without_a_perf_map_says_what_is_missing() {
    let script = Script::start(Path::new("/usr/bin/node"), &[], "split.js", &[]);
    let agent = Agent::start(&[]);
    let profile = script.profile(&agent, 3);
    assert_complete(&profile);
    assert!(profile.share(is_nameless) >= 0.5, "{}", profile.summary());
    assert!(comment_with(&profile, "of samples: run node with --perf-basic-prof"), "{:?}", profile.comments());
}

#[test]
fn in_a_container_the_map_is_that_of_its_own_number_and_root() {
    let folder = tempfile::tempdir().unwrap();
    programs::copy_to(&programs::source("split.js"), &folder.path().join("split.js"));
    let inside = "mount --bind \"$1\" /tmp && exec /usr/bin/node --perf-basic-prof --no-logfile-per-isolate \
                  --logfile=/tmp/v8.log /tmp/split.js /tmp/clock";
    let arguments = ["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", inside, "sh"];
    let arguments = [&arguments[..], &[folder.path().to_str().unwrap()]].concat();
    let outside = Target::start(Path::new("/usr/bin/unshare"), &arguments);
    Published::at(&folder.path().join("clock")).wait();
    let children = format!("/proc/{0}/task/{0}/children", outside.pid());
    let pid: u32 = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
    assert!(folder.path().join("perf-1.map").exists());
    let agent = Agent::start(&[]);
    drop(agent.cpu(pid, 2, HZ));
    let profile = agent.cpu(pid, 3, HZ);
    let named = profile.share(|sample| sample.has("first") || sample.has("second"));
    assert!(named >= 0.9, "{:.1} %\n{}", named * 100.0, profile.summary());
}

#[test]
fn what_another_user_writes_names_nothing() {
    let script = Script::start(Path::new("/usr/bin/node"), &[], "split.js", &[]);
    let map = format!("/tmp/perf-{}.map", script.target.pid());
    std::fs::write(&map, "1000 7ffffffff000 JS:*lie /srv/lie.js:1:1\n").unwrap();
    std::os::unix::fs::chown(&map, Some(65_534), None).unwrap();
    let agent = Agent::start(&[]);
    let profile = script.profile(&agent, 2);
    assert_eq!(profile.count_of(|sample| sample.has("lie")), 0);
    assert!(comment_with(&profile, "must be a regular file of the process's user or root"), "{:?}", profile.comments());
}

#[test]
fn a_program_that_is_gone_keeps_its_frames_and_says_why() {
    let mut script = Script::start(Path::new("/usr/bin/node"), &["--perf-basic-prof"], "split.js", &[]);
    let agent = Agent::start(&["--hz", "199"]);
    drop(script.profile(&agent, 2));
    script.target.kill();
    let pid = script.target.pid();
    let profile = agent.profile(&format!("pid/{pid}/debug/pprof/profile?seconds=2&ago=0"));
    let gone = profile.share(|sample| sample.stack.iter().any(|name| name == "[anonymous code: process gone]"));
    assert!(gone >= 0.5, "{:.1} %\n{}", gone * 100.0, profile.summary());
    assert!(comment_with(&profile, "of samples: process gone"), "{:?}", profile.comments());
}

/// The only child of a process.
fn child_of(pid: u32) -> u32 {
    wait::until("a child", Duration::from_secs(10), || {
        std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?.trim().parse().ok()
    })
}

/// 13: the map counts that the process wrote under its own number into its own `/tmp`, never a stranger's under the host's.
#[test]
fn a_map_of_a_pid_namespace_is_read_there_and_not_under_the_hosts_number() {
    let folder = tempfile::tempdir().unwrap();
    programs::copy_to(&programs::c("cases/made_code.c", &[]), &folder.path().join("program"));
    let inside = "mount --bind \"$0\" /tmp && exec /tmp/program";
    let arguments = ["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", inside, folder.path().to_str().unwrap()];
    let outside = Target::start_ready(Path::new("/usr/bin/unshare"), &arguments);
    let pid = child_of(outside.pid());
    let decoy = PathBuf::from(format!("/tmp/perf-{pid}.map"));
    std::fs::write(&decoy, "1000 7ffffffff000 wrong_decoy\n").unwrap();
    let agent = Agent::start(&[]);
    let profile = agent.cpu(pid, 2, HZ);
    std::fs::remove_file(&decoy).unwrap();
    assert_eq!(profile.count_of(|sample| sample.has("wrong_decoy")), 0, "{}", profile.summary());
    assert!(profile.share_of("jit_hot_kernel") >= 0.9, "{}", profile.summary());
    let hot = profile.only(|sample| sample.has("jit_hot_kernel"));
    let called = hot.share(|sample| sample.has_chain(&["jit_hot_kernel", "run_jit", "main"]));
    assert!(called >= 0.95, "{:.1} %\n{}", called * 100.0, hot.summary());
}

/// (file, line) of each place in a function.
fn lines_of(profile: &Profile, function: &str) -> Vec<(String, i64)> {
    let message = &profile.message;
    let functions = || message.function.iter().filter(|known| profile.text(known.name) == function);
    let lines = message.location.iter().flat_map(|location| &location.line);
    let of_it = |line: &tests::harness::message::Line| {
        let function = functions().find(|function| function.id == line.function_id)?;
        Some((profile.text(function.filename).to_owned(), line.line))
    };
    lines.filter_map(of_it).collect()
}

#[test]
fn a_jitdump_names_moved_code_and_its_lines() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::start_ready(&programs::c("cases/made_code.c", &[]), &[folder.path().to_str().unwrap()]);
    let dump = folder.path().join(format!("jit-{}.dump", target.pid()));
    let agent = Agent::start(&[]);
    let profile = agent.cpu(target.pid(), 2, HZ);
    let called = profile.share(|sample| sample.has_chain(&["dumped_hot_kernel", "run_jit", "main"]));
    assert!(called >= 0.9, "{:.1} %\n{}", called * 100.0, profile.summary());
    let lines = lines_of(&profile, "dumped_hot_kernel");
    let right = |(file, line): &(String, i64)| file == "/src/made.jit" && [5, 7].contains(line);
    assert!(lines.iter().any(|(_, line)| *line == 7) && lines.iter().all(right), "{lines:?}");
    // Of another user it is not to be believed.
    std::os::unix::fs::chown(&dump, Some(65_534), None).unwrap();
    let profile = agent.cpu(target.pid(), 1, HZ);
    assert_eq!(profile.count_of(|sample| sample.has("dumped_hot_kernel")), 0, "{}", profile.summary());
}

#[test]
fn node_with_a_jitdump_is_named_with_lines() {
    let folder = tempfile::tempdir().unwrap();
    let (source, clock) = (programs::source("split.js"), folder.path().join("clock"));
    // It writes its dump into the current folder.
    let inside = "cd \"$1\" && exec /usr/bin/node --perf-prof --no-logfile-per-isolate --logfile=v8.log \"$2\" \"$3\"";
    let words = [folder.path(), &source, &clock].map(|path| path.to_str().unwrap().to_owned());
    let arguments = [&["-c", inside, "sh"], &words.each_ref().map(String::as_str)[..]].concat();
    let target = Target::spawn_unchecked(Path::new("sh"), &arguments);
    let published = Published::at(&clock);
    published.wait();
    assert!(folder.path().join(format!("jit-{}.dump", target.pid())).exists());
    let agent = Agent::start(&[]);
    let profile = wait::until("the tables of the runtime's files", Duration::from_mins(1), || {
        Some(agent.cpu(target.pid(), 2, HZ)).filter(|profile| !comment_with(profile, "table pending"))
    });
    let named = profile.share(|sample| sample.has("first") || sample.has("second"));
    assert!(named >= 0.9, "{:.1} %\n{}", named * 100.0, profile.summary());
    let lines = lines_of(&profile, "first");
    assert!(lines.iter().any(|(file, line)| file.ends_with("split.js") && *line > 0), "{lines:?}");
}
