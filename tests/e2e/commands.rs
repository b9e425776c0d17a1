//! The commands that ask an agent for profiles, or do without one: `record`, `pprof`, `top`; on terminals and off them.

mod metrics;

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tests::harness::{Agent, Profile, Target, Tmux, agent, judge, programs, strict, tools, wait};

/// An agent with a socket of its own, and a folder for what commands write.
struct Host {
    agent: Agent,
    folder: tempfile::TempDir,
}

impl Host {
    fn new() -> Host {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let socket = folder.path().join("socket").display().to_string();
        Host { agent: Agent::start(&["--socket", &socket]), folder }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// A command that asks this agent.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = pprofd(arguments);
        command.env("PPROFD_SOCKET", self.socket()).current_dir(self.folder.path());
        command.env("PPROF_TMPDIR", self.folder.path().join("pprof"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The profiles in a folder below.
    fn profiles(&self, below: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folder.path().join(below)).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "gz"));
        paths.sort();
        paths
    }
}

/// The binary, with nothing of the surrounding `PPROFD_*`.
fn pprofd(arguments: &[&str]) -> Command {
    let mut command = Command::new(agent::binary());
    for name in ["PPROFD_SOCKET", "PPROFD_URL", "PPROFD_LOG"] {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

fn burner() -> Target {
    Target::start(&programs::c("burner.c", &[]), &[])
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn assert_ends(output: &Output, code: i32, said: &[&str]) {
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}\n{}", text(&output.stdout));
    for word in said {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}

fn read(path: &Path) -> Profile {
    let profile = Profile::parse(&std::fs::read(path).unwrap());
    strict::assert_strict(&profile);
    profile
}

#[test]
fn record_asks_the_agent_and_its_table_is_what_go_says_of_the_file() {
    let (host, target) = (Host::new(), burner());
    let pid = target.pid().to_string();
    let output = host.run(&["record", "--pid", &pid, "--seconds", "2", "--hz", "499"]);
    assert_ends(&output, 0, &["go tool pprof pprofd.burner-"]);
    let files = host.profiles("");
    let [file] = files.as_slice() else { panic!("{files:?}") };
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    assert!(name.ends_with(&format!(".{pid}.profile.001.pb.gz")), "{name}");
    let profile = read(file);
    judge::assert_near("seconds", profile.seconds(), 2.0, 0.0, 0.5);
    assert!(profile.share_of("burn_leaf") > 0.8, "{}", profile.summary());
    let report = text(&output.stdout);
    assert!(report.contains("samples expected") && report.contains("Complete stacks: "), "{report}");
    // Rows of both: own share, whole share, name.
    let go = tools::pprof_ok(&["-top", "-nodefraction=0", &file.display().to_string()]);
    let leaf = |text: &str, own: usize, whole: usize| {
        let line = text.lines().find(|line| line.ends_with(" burn_leaf")).unwrap_or_else(|| panic!("{text}"));
        let words: Vec<&str> = line.split_whitespace().collect();
        [own, whole].map(|at| words[at].trim_end_matches('%').parse::<f64>().unwrap())
    };
    let (ours, theirs) = (leaf(&report, 0, 3), leaf(&go, 1, 4));
    assert!(ours.iter().zip(theirs).all(|(ours, theirs)| (ours - theirs).abs() < 0.06), "{ours:?} {theirs:?}\n{go}");
}

#[test]
fn record_works_without_an_agent_and_writes_nothing_but_the_profile() {
    let target = burner();
    let mut command = pprofd(&["record", "--no-agent", "--pid", &target.pid().to_string(), "--output", "-"]);
    let output = command.args(["--seconds", "2", "--hz", "499"]).output().unwrap();
    assert_ends(&output, 0, &["burn_leaf", "samples expected"]);
    let profile = Profile::parse(&output.stdout);
    strict::assert_strict(&profile);
    assert!(profile.complete_share(|sample| sample.has_chain(&["burn_outer", "main"])) > 0.98, "{}", profile.summary());
}

#[test]
fn record_takes_a_command_with_its_children_and_ends_as_it_does() {
    let host = Host::new();
    let burner = programs::c("burner.c", &[]).display().to_string();
    let script = format!("echo from the command; {burner} 400; {burner} 400 & wait; exit 7");
    let output = host.run(&["record", "--hz", "499", "--", "sh", "-c", &script]);
    assert_ends(&output, 7, &["burn_leaf", "the end of the command"]);
    assert_eq!(text(&output.stdout), "from the command\n");
    let profile = read(host.profiles("").first().expect("a file"));
    let burned = profile.cpu_of(|sample| sample.has("burn_outer"));
    judge::assert_near("CPU seconds of the children", burned + profile.lost_seconds(), 0.8, 0.15, 0.0);
    let alone = pprofd(&["record", "--no-agent", "-o", "-", "--", &burner, "300"]).output().unwrap();
    assert_ends(&alone, 0, &["burn_leaf"]);
    assert!(Profile::parse(&alone.stdout).cpu_of(|sample| sample.has("burn_outer")) > 0.2, "{}", text(&alone.stderr));
}

#[test]
fn what_cannot_be_recorded_is_said_and_the_command_never_begins() {
    let host = Host::new();
    let mark = host.folder.path().join("mark").display().to_string();
    let refused = host.run(&["record", "--seconds", "9999", "--", "touch", &mark]);
    assert_ends(&refused, 64, &["at most 300"]);
    assert_ends(&host.run(&["record", "--", "./no-such-command"]), 69, &["no-such-command", "No such file"]);
    assert_ends(&host.run(&["record", "--comm", "no-such-name"]), 69, &["no process is called no-such-name"]);
    let program = host.folder.path().join("stranger");
    programs::copy_to(&programs::c("burner.c", &[]), &program);
    let pair = [Target::start(&program, &[]), Target::start(&program, &[])];
    let pids = pair.each_ref().map(|target| target.pid().to_string());
    let seen = || text(&host.run(&["record", "--comm", "stranger", "--seconds", "1"]).stderr).contains("--pid");
    wait::until_true("the agent to know both", Duration::from_secs(10), seen);
    let both = host.run(&["record", "--comm", "stranger"]);
    assert_ends(&both, 64, &["2 processes are called stranger", &pids[0], &pids[1]]);
    let [one, other] = pair;
    drop(other);
    wait::until_true("the agent to know one", Duration::from_secs(10), || {
        host.run(&["record", "--comm", "stranger", "--seconds", "1"]).status.success()
    });
    drop(one);
    assert!(!Path::new(&mark).exists(), "the command ran although its profile was refused");
}

#[test]
fn ctrl_c_ends_a_recording_early_and_keeps_what_came() {
    let (host, target) = (Host::new(), burner());
    let mut command = host.command(&["record", "--pid", &target.pid().to_string(), "--seconds", "120", "-o", "early"]);
    let recording = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let open = || host.agent.metric("pprofd_watch_requests").unwrap_or_default() >= 1.0;
    wait::until_true("the window to be open", Duration::from_secs(20), open);
    wait::window(Duration::from_secs(1));
    let began = Instant::now();
    interrupt(&recording);
    let output = recording.wait_with_output().unwrap();
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_ends(&output, 0, &[]);
    assert!(text(&output.stdout).contains("Ended by Ctrl-C"), "{}", text(&output.stdout));
    let profile = read(&host.folder.path().join("early"));
    assert!(profile.seconds() < 30.0 && profile.share_of("burn_leaf") > 0.8, "{}", profile.summary());
    // The one that was given up samples nobody any more.
    wait::until_true("the request to be gone", Duration::from_secs(10), || !open());
}

fn interrupt(child: &Child) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), rustix::process::Signal::INT).unwrap();
}

#[test]
fn pprof_opens_the_profile_or_says_how() {
    let (host, target) = (Host::new(), burner());
    let pid = target.pid().to_string();
    let go = tools::go_command();
    let mut command = host.command(&["pprof", &pid, "--seconds", "1", "--", "-top"]);
    let output = command.env("PATH", with_program(Path::new(go.get_program()))).output().unwrap();
    assert_ends(&output, 0, &["saved as "]);
    assert!(text(&output.stdout).contains("burn_leaf") && text(&output.stdout).contains("Type: cpu"));
    let mut command = host.command(&["pprof", &pid, "--ago", "0", "--seconds", "1", "--", "-http=:0"]);
    let output = command.env("PATH", "/nowhere").output().unwrap();
    assert_ends(&output, 0, &["neither go nor pprof is on PATH"]);
    let files = host.profiles("pprof");
    assert_eq!(files.len(), 2, "{files:?}");
    let line = text(&output.stdout);
    let said = format!("go tool pprof -http=:0 {}\n", files[1].display());
    assert_eq!(line, said);
    assert_ends(&host.run(&["pprof", "4194304"]), 69, &["does not exist", "404"]);
    assert_ends(&host.run(&["pprof", &pid, "heap"]), 69, &["no heap profile yet", "501"]);
    assert_ends(&host.run(&["pprof", &pid, "nosuch"]), 69, &["Unknown profile"]);
    assert_ends(&host.run(&["pprof", &pid, "cmdline"]), 64, &["cmdline is a text"]);
    assert_ends(&host.run(&["pprof", "somebody"]), 64, &["`host` for all processes"]);
    let nobody = pprofd(&["pprof", &pid, "--socket", "/nowhere/socket"]).output().unwrap();
    assert_ends(&nobody, 69, &["no agent answers at /nowhere/socket", "pprofd record"]);
    let by_address = pprofd(&["top", "--once", "--url", &host.agent.url("")]).output().unwrap();
    assert_ends(&by_address, 0, &[]);
}

/// PATH, and before it the folder of a program, if it is not found by its name.
fn with_program(program: &Path) -> std::ffi::OsString {
    let mut path = program.parent().unwrap_or(Path::new("")).as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path
}

#[test]
fn top_prints_processes_and_functions_and_hostile_names_do_no_harm() {
    let host = Host::new();
    let program = host.folder.path().join("\x1b[2J\u{9b}7mx");
    programs::copy_to(&programs::c("burner.c", &[]), &program);
    let target = Target::start(&program, &[]);
    let pid = target.pid().to_string();
    let row = |table: &str| table.lines().find(|line| line.trim_start().starts_with(&pid)).map(str::to_owned);
    let found = wait::until("a table with it", Duration::from_secs(30), || {
        let output = host.run(&["top", "--once", "--seconds", "2"]);
        assert_ends(&output, 0, &[]);
        assert!(!text(&output.stdout).chars().any(|letter| letter.is_control() && letter != '\n'), "{output:?}");
        row(&text(&output.stdout)).filter(|row| row.contains("burn_leaf"))
    });
    let words: Vec<&str> = found.split_whitespace().collect();
    assert!(words[1] == "root" && words[4] == "100.0%" && found.contains("\u{fffd}[2J"), "{found}");
    let output = host.run(&["top", &pid, "--seconds", "2", "-n", "2"]);
    assert_ends(&output, 0, &[]);
    let tables = text(&output.stdout);
    let leaves: Vec<&str> = tables.lines().filter(|line| line.ends_with("  burn_leaf")).collect();
    assert_eq!(leaves.len(), 2, "{tables}");
    let own: f64 = leaves[1].split_whitespace().nth(1).unwrap().trim_end_matches('%').parse().unwrap();
    assert!(own > 80.0, "{tables}");
}

#[test]
fn an_ordinary_user_sees_what_is_his() {
    let host = Host::new();
    let (program, binary) = (host.folder.path().join("own"), host.folder.path().join("pprofd"));
    programs::copy_to(&programs::c("burner.c", &[]), &program);
    programs::copy_to(&agent::binary(), &binary);
    let user = ["--reuid", "12345", "--regid", "12345", "--clear-groups", "--"];
    let own = Target::spawn_until("setpriv", &[&user[..], &[program.to_str().unwrap()]].concat(), "/own");
    let foreign = burner();
    let run = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(user).arg(&binary).args(arguments).env("PPROFD_SOCKET", host.socket()).stdin(Stdio::null());
        command.output().unwrap()
    };
    let (own_pid, foreign_pid) = (own.pid().to_string(), foreign.pid().to_string());
    let output = run(&["record", "--pid", &own_pid, "--seconds", "1", "-o", "-"]);
    assert_ends(&output, 0, &["burn_leaf"]);
    assert_ends(&run(&["record", "--pid", &foreign_pid, "--seconds", "1", "-o", "-"]), 77, &["403"]);
    let table = text(&run(&["top", "--once"]).stdout);
    let first = |pid: &str| table.lines().any(|line| line.split_whitespace().next() == Some(pid));
    assert!(first(&own_pid) && !first(&foreign_pid), "{table}");
}

#[test]
fn top_and_record_on_a_terminal() {
    let (host, target) = (Host::new(), burner());
    let pid = target.pid().to_string();
    let (binary, socket) = (agent::binary(), host.socket());
    let words = |arguments: &[&'static str]| -> Vec<std::ffi::OsString> {
        let first = [binary.clone().into(), arguments[0].into(), "--socket".into(), socket.clone().into()];
        first.into_iter().chain(arguments[1..].iter().map(Into::into)).collect()
    };
    let start = |columns, rows, words: &[std::ffi::OsString]| {
        Tmux::start(host.folder.path(), columns, rows, &words.iter().map(AsRef::<OsStr>::as_ref).collect::<Vec<_>>())
    };
    let tmux = start(100, 12, &words(&["top"]));
    let row =
        |screen: &str| screen.lines().any(|line| line.trim_start().starts_with(&pid) && line.contains("burn_leaf"));
    let screen = tmux.until("a table with the target", row);
    assert!(screen.starts_with("processes: ") && tmux.is_alternate(), "{screen}");
    tmux.resize(40, 5);
    let small = |screen: &str| screen.lines().count() <= 5 && screen.starts_with("processes: ") && screen.contains('…');
    let screen = tmux.until("a small table", small);
    assert!(screen.lines().all(|line| line.chars().count() <= 40), "{screen}");
    tmux.press(&["q"]);
    let screen = tmux.until("its end", |screen| screen.contains("ended with 0"));
    assert!(!tmux.is_alternate() && !screen.contains("processes:"), "{screen}");
    drop(tmux);

    let mut recording = words(&["record", "--seconds", "120"]);
    recording.extend(["--pid".into(), pid.clone().into()]);
    let tmux = start(100, 40, &recording);
    tmux.until("a bar that grows", |screen| screen.contains("[=") && screen.contains("of 120 s"));
    tmux.press(&["C-c"]);
    let screen = tmux.until("its end", |screen| screen.contains("ended with 0"));
    assert!(screen.contains("burn_leaf") && !screen.contains("[="), "{screen}");
    assert_eq!(host.profiles("").len(), 1, "{screen}");
}
