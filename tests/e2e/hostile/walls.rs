//! The walls around what reads targets' files: tried by a debugger from inside, and missed where the kernel has none.

use std::process::Command;
use std::time::Duration;
use tests::harness::target::dying_with_us;
use tests::harness::{Agent, agent, programs, tools, wait};

/// The agent's workers.
fn workers(agent: &Agent) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", agent.pid())).unwrap();
    let children = |task: std::io::Result<std::fs::DirEntry>| {
        let children = std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
        children.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>()
    };
    tasks.flat_map(children).collect()
}

/// What gdb makes the worker do: the call, its number and arguments.
const ACTS: &[(&str, &str)] = &[
    ("open", "257, -100, $text, 0, 0"),
    ("openat2", "437, -100, $text, $text, 24"),
    ("connect", "42, 3, $text, 16"),
    ("socket", "41, 2, 1, 0"),
    ("fork", "57"),
    ("clone", "56, 17, 0, 0, 0"),
    ("exec", "59, $text, 0, 0"),
    ("ptrace", "101, 16, $parent, 0, 0"),
    ("kill", "62, $parent, 0"),
    ("tgkill", "234, $parent, $parent, 0"),
    ("process_vm_readv", "310, $parent, $text, 1, $text, 1"),
    ("mount", "165, $text, $text, $text, 0"),
    ("bpf", "321, 0, $text, 16"),
    ("io_uring", "425, 1, $text"),
    ("memory that is code", "9, 0, 4096, 5, 34"),
    ("memory that is a file", "9, 0, 4096, 1, 1, 3"),
];

/// What gdb prints when it makes a process do this; `None` if the process ended meanwhile.
fn told(pid: u32, script: &[String]) -> Option<String> {
    let mut command = Command::new("gdb");
    command.args(["-nx", "-batch", "-p", &pid.to_string(), "-ex", "set debuginfod enabled off"]);
    let output = command.args(script.iter().flat_map(|line| ["-ex", line.as_str()])).output().unwrap();
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whoever has taken a worker over can do no more than gdb, which calls from inside of it.
#[test]
fn a_debugger_inside_a_worker_gets_nowhere() {
    let agent = Agent::start(&[]);
    // The process has no memory of its own to spare for a text: the name of its program will do.
    let mut script = vec![
        format!("set $parent = {}", agent.pid()),
        "set $text = (long)program_invocation_name".to_owned(),
        "printf \"text %s\\n\", (char *)$text".to_owned(),
    ];
    // Of a kind that succeeds, to know that calls are made at all: getrandom of nothing.
    let acts = [("allowed", "318, $text, 0, 0")];
    for (act, arguments) in acts.iter().chain(ACTS) {
        script.push(format!("set $done = ((long (*)())syscall)({arguments})"));
        script.push(format!("printf \"act %s: %ld %d\\n\", \"{act}\", $done, *((int *(*)())__errno_location)()"));
    }
    // A worker may be replaced at any moment by one for another user's files.
    let said = wait::until("a worker that stays", Duration::from_mins(1), || {
        let said = told(*workers(&agent).first()?, &script)?;
        ACTS.last().is_some_and(|(act, _)| said.contains(&format!("act {act}: "))).then_some(said)
    });
    let result = |act: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(&format!("act {act}: ")));
        line.unwrap_or_else(|| panic!("{act} was not tried: {said}")).to_owned()
    };
    assert!(result("allowed").starts_with("0 "), "{said}");
    for (act, _) in ACTS {
        assert_eq!(result(act), "-1 1", "{act} is not refused with EPERM: {said}");
    }
}

/// The agent under a filter by which a system call does not exist.
fn agent_without(wall: &str) -> Agent {
    let mut command: Command = dying_with_us(&programs::bare("hostile/without.c", &[]));
    command.arg(wall).arg(agent::binary());
    Agent::start_by(command, &[])
}

fn doctor_without(wall: &str) -> String {
    let without = programs::bare("hostile/without.c", &[]).display().to_string();
    tools::output(&without, &[wall, &agent::binary().display().to_string(), "doctor"])
}

#[test]
fn a_kernel_without_a_wall_is_said_to_have_none() {
    for (wall, doctor_says, worker_says) in [
        ("landlock", "seccomp only: this kernel has no Landlock", "no Landlock"),
        ("seccomp", "Landlock only: this kernel has no seccomp", "no filter of system calls (seccomp); not refused: "),
    ] {
        let said = doctor_without(wall);
        assert!(said.contains(doctor_says) && said.contains("can run here"), "{said}");
        let agent = agent_without(wall);
        let log = agent.log();
        let warning = |text: &str| log.lines().any(|line| line.contains("WARN") && line.contains(text));
        assert!(warning(doctor_says), "{log}");
        assert!(warning(&format!("not walled in as they should be: {worker_says}")), "{log}");
        assert!(!workers(&agent).is_empty(), "workers work all the same");
    }
}
