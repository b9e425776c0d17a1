//! What `pprofd doctor` says of hosts that are made poorer, and that an agent then says or does the same.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tests::harness::target::dying_with_us;
use tests::harness::{Agent, Target, agent, programs};

fn ended(mut command: Command, arguments: &[&str]) -> Output {
    command.args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// The report of a doctor that is run by this command.
fn report(command: Command) -> serde_json::Value {
    let output = ended(command, &["doctor", "--json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn finding<'r>(report: &'r serde_json::Value, name: &str) -> &'r str {
    let check = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == name);
    check.unwrap_or_else(|| panic!("no check {name}: {report}"))["finding"].as_str().unwrap()
}

/// The agent where others do not start: tracefs is only at its new place, `/proc` hides the processes of others, there is no
/// debugfs, no kernel headers, and no CAP_SYS_RESOURCE. This machine has neither kprobes nor hardware counters nor modules.
fn poor_host() -> Command {
    let script = "set -e; mount --make-rprivate /; mount -t tmpfs none /sys/kernel/debug; \
        mount -t tracefs none /sys/kernel/tracing; mount -t proc -o hidepid=invisible none /proc; \
        [ ! -d /lib/modules ] || mount -t tmpfs none /lib/modules; \
        exec setpriv --bounding-set -sys_resource --inh-caps -sys_resource \"$0\" \"$@\"";
    let mut command = dying_with_us(Path::new("unshare"));
    command.args(["-m", "sh", "-c", script]).arg(agent::binary());
    command
}

#[test]
fn the_agent_runs_where_others_do_not() {
    let output = ended(poor_host(), &["doctor"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.ends_with("pprofd can run here.\n"), "{said}");
    let report = report(poor_host());
    assert_eq!((&report["can_run"], &report["exit"]), (&true.into(), &0.into()), "{report}");
    assert!(finding(&report, "tracefs").starts_with("at /sys/kernel/tracing "), "{report}");
    assert!(finding(&report, "/proc").contains("hidepid=invisible"), "{report}");
    let unneeded = finding(&report, "not needed either");
    assert!(
        unneeded.contains("CAP_SYS_RESOURCE (missing)") && unneeded.contains("kernel headers (missing)"),
        "{unneeded}"
    );
    assert!(finding(&report, "BPF programs").contains(" loaded and attached "), "{report}");
    assert!(finding(&report, "symbol worker").contains("open, /proc, connect, fork, exec, ptrace, kill"), "{report}");
    let target = Target::start(&programs::c("burner.c", &[]), &[]);
    let profile = Agent::start_by(poor_host(), &[]).cpu(target.pid(), 2, 499);
    let whole = profile.complete_share(|sample| sample.has_chain(&["burn_outer", "main"]));
    assert!(whole >= 0.97, "{}", profile.summary());
}

#[test]
fn a_filter_that_refuses_what_is_needed_is_named_by_doctor_and_at_the_start() {
    // bpf, perf_event_open
    for call in ["321", "298"] {
        let filtered = || {
            let mut command = Command::new(programs::root().join("tests/scripts/without-call.py"));
            command.arg(call).arg(agent::binary());
            command
        };
        let report = report(filtered());
        assert_eq!((&report["can_run"], &report["exit"]), (&false.into(), &77.into()), "{report}");
        assert!(finding(&report, "seccomp").starts_with("a filter is in force"), "{report}");
        let found = finding(&report, "BPF programs");
        assert!(found.starts_with("cannot ") && found.contains("Operation not permitted"), "{found}");
        let started = ended(filtered(), &["--listen", "127.0.0.1:0"]);
        let said = String::from_utf8_lossy(&started.stderr);
        assert_eq!(started.status.code(), Some(77), "{said}");
        assert!(
            said.contains("BPF programs: cannot ") && said.contains("let bpf and perf_event_open through"),
            "{said}"
        );
    }
}

#[test]
fn the_clocks_of_a_time_namespace_are_refused() {
    let inside = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--time", "--monotonic", "3600", "--fork", "--kill-child", "--"]).arg(agent::binary());
        ended(command, arguments)
    };
    let said = inside(&["--listen", "127.0.0.1:0"]);
    assert_eq!(said.status.code(), Some(69), "{said:?}");
    assert!(String::from_utf8_lossy(&said.stderr).contains("clocks: not the kernel's own"), "{said:?}");
    assert_eq!(inside(&["doctor"]).status.code(), Some(69));
}

#[test]
fn a_bundle_has_what_a_bug_report_needs_and_nothing_of_other_processes() {
    const SECRET: &str = "hunter2-of-somebody-else";
    let folder = tempfile::tempdir().unwrap();
    let mut target = Command::new(programs::c("burner.c", &[]));
    let mut target = target.args(["60000", SECRET]).env("PASSWORD", SECRET).spawn().unwrap();
    let agent = Agent::start(&["--hz", "23"]);
    assert!(agent.cpu(target.id(), 1, 499).count() > 0);
    let (path, url) = (folder.path().join("bundle"), agent.url(""));
    let arguments = ["doctor", "--bundle", path.to_str().unwrap(), "--url", &url];
    let output = ended(Command::new(agent::binary()), &arguments);
    target.kill().unwrap();
    target.wait().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let parts = unpacked(&path);
    let part = |name: &str| {
        let part = parts.iter().find(|(part, _)| part == name);
        part.unwrap_or_else(|| panic!("no {name} in {:?}", parts.iter().map(|(name, _)| name).collect::<Vec<_>>()))
            .1
            .as_str()
    };
    let json = |name: &str| serde_json::from_str::<serde_json::Value>(part(name)).unwrap();
    assert_eq!(json("config.json")["hz"], 23);
    assert_eq!(json("doctor.json")["can_run"], true);
    assert_eq!(json("agent.json")["pid"], agent.pid());
    let programs = json("agent.json")["programs"].as_array().unwrap().clone();
    assert!(
        programs.iter().any(|program| program["name"] == "sample" && program["id"].as_u64() > Some(0)),
        "{programs:?}"
    );
    assert!(part("log.txt").contains("listening on http://"), "{}", part("log.txt"));
    assert!(part("metrics.txt").contains("pprofd_samples_total"));
    assert!(part("status.txt").contains(&format!("Pid:\t{}\n", agent.pid())), "{}", part("status.txt"));
    assert!(part("host.txt").contains("pprofd ") && part("host.txt").contains("Linux "), "{}", part("host.txt"));
    for (name, text) in &parts {
        assert!(said.contains(name.as_str()), "{name} is not told: {said}");
        assert!(!text.contains(SECRET), "{name} tells of another process: {text}");
    }
}

/// The files of a bundle by name, without their folder.
fn unpacked(path: &Path) -> Vec<(String, String)> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()));
    let read = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (name, text)
    };
    archive.entries().unwrap().map(read).collect()
}
