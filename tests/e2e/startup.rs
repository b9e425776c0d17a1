//! Start and end of the agent: what is said when it cannot run, with which exit code, and what it leaves behind.

use rustix::process::Signal;
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use tests::harness::{Agent, Target, agent, programs, tools, wait};

/// Runs the agent, which must end by itself.
fn ends(mut command: Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn assert_ends(output: &Output, code: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

#[test]
fn wrong_usage_is_64() {
    let with = |arguments: &[&str]| {
        let mut command = Command::new(agent::binary());
        command.args(arguments);
        ends(command)
    };
    assert_ends(&with(&["--nonsense"]), 64, &["--nonsense"]);
    assert_ends(&with(&["--hz", "5000"]), 64, &["hz"]);
    assert_ends(&with(&["--config", "/nonexistent.toml"]), 64, &["/nonexistent.toml"]);
}

#[test]
fn a_port_in_use_is_named_with_the_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = Command::new(agent::binary());
    command.args(["--listen", &taken.local_addr().unwrap().to_string()]);
    assert_ends(&ends(command), 69, &["in use", "--listen"]);
}

#[test]
fn an_ordinary_user_is_told_what_is_missing() {
    // The binary must be one that this user may execute, wherever the checkout lies.
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let binary = folder.path().join("pprofd");
    programs::copy_to(&agent::binary(), &binary);
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]).arg(&binary);
    assert_ends(&ends(command), 77, &["CAP_BPF"]);
}

#[test]
fn another_pid_namespace_is_refused() {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--"]).arg(agent::binary());
    assert_ends(&ends(command), 69, &["PID namespace"]);
}

#[test]
fn sigterm_and_sigint_end_it_cleanly_and_nothing_stays_loaded() {
    for signal in [Signal::TERM, Signal::INT] {
        let agent = Agent::start(&[]);
        let loaded = loaded_by(&agent);
        let status = agent.end(signal);
        assert_eq!(status.code(), Some(0), "{status}");
        gone(&loaded);
    }
}

#[test]
fn sigterm_ends_a_request_that_is_open() {
    let target = Target::start(&programs::c("burner.c", &[]), &[]);
    let agent = Agent::start(&[]);
    let address = agent.address;
    let path = format!("/pid/{}/debug/pprof/profile?seconds=60", target.pid());
    let open = tests::harness::http::send(address, "GET", &path, &[], b"").unwrap();
    wait::window(Duration::from_secs(1));
    assert_eq!(agent.end(Signal::TERM).code(), Some(0));
    drop(open);
}

#[test]
fn kill_9_leaves_nothing_loaded_and_no_worker() {
    let agent = Agent::start(&[]);
    let loaded = loaded_by(&agent);
    let pid = agent.pid();
    let workers = children(pid);
    assert!(!workers.is_empty(), "the agent has no worker");
    agent.end(Signal::KILL);
    gone(&loaded);
    wait::until_true("the workers to be gone", Duration::from_secs(10), || {
        workers.iter().all(|worker| !std::path::Path::new(&format!("/proc/{worker}")).exists())
    });
    drop(Agent::start(&[]));
}

/// What the agent has loaded.
fn loaded_by(agent: &Agent) -> BTreeSet<String> {
    let loaded = tools::bpf_ids_of(agent.pid());
    for kind in ["prog", "map", "link"] {
        assert!(loaded.iter().any(|entry| entry.starts_with(kind)), "the agent loaded no {kind}: {loaded:?}");
    }
    assert!(loaded.is_subset(&tools::bpf_ids()), "the kernel does not list {loaded:?}");
    loaded
}

/// Waits until nothing of it is loaded any more: the kernel frees maps a moment after their last user.
fn gone(loaded: &BTreeSet<String>) {
    wait::until_true("what the agent loaded to be gone", Duration::from_secs(20), || {
        tools::bpf_ids().is_disjoint(loaded)
    });
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
    tasks
        .flat_map(|task| of(task).split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
        .collect()
}
