//! The built binary: help, exit codes, and which source of a setting counts.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::process::{Command, Output};

/// Runs `pprofd` with these arguments and nothing of the surrounding `PPROFD_*`.
fn pprofd(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pprofd"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PPROFD_")) {
        command.env_remove(name);
    }
    command.args(arguments).envs(variables.iter().copied()).output().expect("run pprofd")
}

/// Past the runner, which would keep it to itself: who reads the result should know.
fn left_out(why: &str) {
    writeln!(std::io::stderr(), "left out: {why}").expect("standard error");
}

fn check(arguments: &[&str], variables: &[(&str, &str)], code: i32, says: &str) {
    let output = pprofd(arguments, variables);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?} {variables:?}: {error}");
    assert!(error.contains(says), "{arguments:?} {variables:?}: {error}");
}

#[test]
fn help_says_everything() {
    let output = pprofd(&["--help"], &[]);
    assert_eq!(output.status.code(), Some(0));
    insta::assert_snapshot!(String::from_utf8(output.stdout).expect("text"));
}

/// What is typed in scripts: a flag or command that is renamed is seen.
#[test]
fn the_help_of_each_command() {
    for command in ["serve", "doctor", "record", "top", "pprof", "dump", "completions", "man"] {
        let output = pprofd(&[command, "--help"], &[]);
        assert_eq!(output.status.code(), Some(0), "{command}");
        insta::assert_snapshot!(format!("help_of_{command}"), String::from_utf8(output.stdout).expect("text"));
    }
}

#[test]
fn a_shell_completes_commands_and_flags() {
    let output = pprofd(&["completions", "bash"], &[]);
    assert_eq!(output.status.code(), Some(0));
    let script = String::from_utf8(output.stdout).expect("text");
    let complete = |words: &str, word: &str| {
        let ask = format!(
            "{script}\nCOMP_WORDS=({words} '{word}'); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _pprofd pprofd '{word}' \"${{COMP_WORDS[COMP_CWORD-1]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        let output = Command::new("bash").args(["--norc", "-c", &ask]).output().expect("bash");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(complete("pprofd", "rec"), "record");
    assert_eq!(complete("pprofd record", "--sec"), "--seconds");
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let output = pprofd(&["completions", shell], &[]);
        assert!(String::from_utf8_lossy(&output.stdout).contains("record"), "{shell}");
    }
    check(&["completions", "csh"], &[], 64, "csh");
}

#[test]
fn the_manual_has_all_commands() {
    let output = pprofd(&["man"], &[]);
    let page = String::from_utf8(output.stdout).expect("text");
    assert!(page.contains(".TH pprofd 1") && page.contains("Exit codes: 0 done"), "{page}");
    for command in ["SERVE", "DOCTOR", "RECORD", "TOP", "PPROF", "COMPLETIONS", "MAN"] {
        let (_, section) =
            page.split_once(&format!(".SH \"PPROFD {command}\"\n")).unwrap_or_else(|| panic!("{command}"));
        let section = section.split("\n.SH ").next().unwrap_or_default();
        assert!(section.contains(".SS SYNOPSIS") && section.contains(".SS OPTIONS"), "{section}");
    }
    assert!(!page.contains("SYMBOL-WORKER"), "{page}");
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().to_str().expect("text");
    assert_eq!(pprofd(&["man", "--output-dir", path], &[]).status.code(), Some(0));
    for name in ["pprofd.1", "pprofd-record.1", "pprofd-top.1"] {
        assert!(folder.path().join(name).exists(), "{name}");
    }
    check(&["man", "--output-dir", "/nowhere"], &[], 69, "cannot write /nowhere");
}

#[test]
fn commands_without_an_agent_say_what_to_do() {
    let nowhere = ["--socket", "/nowhere/pprofd.sock"];
    for command in [&["top", "--once"][..], &["pprof", "1"], &["record", "--pid", "1"]] {
        let arguments = [command, &nowhere].concat();
        check(&arguments, &[], 69, "no agent answers at /nowhere/pprofd.sock: start one as root");
    }
    check(&["top", "--once"], &[("PPROFD_URL", "http://127.0.0.1:1")], 69, "no agent answers at http://127.0.0.1:1");
    check(&["top", "--url", "https://localhost"], &[], 64, "write http://HOST:PORT");
    check(&["record", "--pid", "1", "--comm", "x"], &[], 64, "--comm");
    check(&["record"], &[], 64, "--pid");
    check(&["top", "--interval", "0"], &[], 64, "--interval");
}

#[test]
fn version_ends_well() {
    let output = pprofd(&["--version"], &[]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("pprofd {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_ends_with_64() {
    check(&["--nonsense"], &[], 64, "--nonsense");
    check(&["fly"], &[], 64, "fly");
    check(&["--hz"], &[], 64, "--hz");
    check(&["--hz", "1000"], &[], 64, "--hz 1000 is out of bounds: it must be 0 to 999");
    check(&["--ring-memory", "3MiB"], &[], 64, "not a power of two");
    check(&["doctor", "--hz", "7"], &[], 64, "--hz");
}

#[test]
fn a_remote_address_is_refused_with_what_is_missing() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("tokens");
    std::fs::write(&path, "ops all 0123456789abcdef\n").expect("write");
    let file = path.to_str().expect("text");
    let remote = ["--listen", "0.0.0.0:7060"];
    let both = "--allow-remote and --token-file FILE, so that not everybody may ask, are missing";
    check(&remote, &[], 64, both);
    check(&["serve", "--listen", "[::]:7060"], &[], 64, both);
    check(&[&remote[..], &["--token-file", file]].concat(), &[], 64, "--allow-remote is missing");
    let token = "--token-file FILE, so that not everybody may ask, is missing";
    check(&[&remote[..], &["--allow-remote"]].concat(), &[], 64, token);
    check(&remote, &[("PPROFD_ALLOW_REMOTE", "1")], 64, token);
}

#[test]
fn values_of_access_are_checked() {
    check(&["--socket", "relative.sock"], &[], 64, "--socket relative.sock is no path for a socket");
    check(&["--socket-group", "no such group"], &[], 64, "--socket-group no such group is no group");
    check(&["--max-response", "1"], &[], 64, "--max-response 1 is out of bounds");
}

#[test]
fn a_flag_counts_before_the_environment_before_the_file() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("pprofd.toml");
    std::fs::write(&path, "hz = 1001\n").expect("write");
    let file = path.to_str().expect("text");
    check(&["--config", file], &[], 64, "--hz 1001 ");
    check(&["--config", file], &[("PPROFD_HZ", "1002")], 64, "--hz 1002 ");
    check(&["--config", file, "--hz", "1003"], &[("PPROFD_HZ", "1002")], 64, "--hz 1003 ");
    check(&[], &[("PPROFD_CONFIG", file)], 64, "--hz 1001 ");
}

#[test]
fn a_bad_configuration_file_ends_with_64() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("pprofd.toml");
    let file = path.to_str().expect("text");
    check(&["--config", file], &[], 64, "cannot read the configuration file");
    std::fs::write(&path, "hertz = 5\n").expect("write");
    check(&["--config", file], &[], 64, "unknown field `hertz`");
    std::fs::write(&path, "hz = [").expect("write");
    check(&["--config", file], &[], 64, "is not valid");
}

#[test]
fn doctor_names_every_capability_and_ends_as_it_judges() {
    let output = pprofd(&["doctor"], &[]);
    let table = String::from_utf8(output.stdout).expect("text");
    for name in
        ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_CHECKPOINT_RESTORE", "CAP_SYSLOG"]
    {
        assert!(table.contains(name), "{name} in:\n{table}");
    }
    let ends_well = table.ends_with("pprofd can run here.\n");
    assert_eq!(output.status.code() == Some(0), ends_well, "{table}");
    assert!(!table.contains('\x1b'), "no colors in a pipe");
}

#[test]
fn ebpf_info_says_what_the_verifier_counted() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("object");
    std::fs::write(&path, profiler_ebpf::OBJECT).expect("write");
    let output = pprofd(&["ebpf-info", path.to_str().expect("text")], &[]);
    let error = String::from_utf8_lossy(&output.stderr);
    if pprofd(&["doctor"], &[]).status.code() != Some(0) {
        assert!(!output.status.success() && error.starts_with("pprofd: "), "{error}");
        return left_out("this user cannot load the programs, and was told why");
    }
    assert!(output.status.success(), "{error}");
    let text = String::from_utf8(output.stdout).expect("text");
    let verified = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|line| line.split(' ').next()?.parse::<u64>().ok())
            .unwrap_or_else(|| panic!("{name} in:\n{text}"))
    };
    // The sampler walks stacks, a fork only fills a record.
    assert!(verified("sample") > verified("process_fork"), "{text}");
    assert!(verified("process_fork") > 0, "{text}");
}

/// As a kernel without one of the helpers would say.
#[test]
fn what_the_verifier_refuses_is_told_with_its_own_words() {
    // A call of the helper get_current_pid_tgid becomes one of a helper that no kernel has.
    const CALL: [u8; 8] = [0x85, 0, 0, 0, 14, 0, 0, 0];
    const OF_NONE: [u8; 8] = [0x85, 0, 0, 0, 0x0f, 0x27, 0, 0];
    if pprofd(&["doctor"], &[]).status.code() != Some(0) {
        return left_out("this user cannot load the programs");
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("object");
    let mut object = profiler_ebpf::OBJECT.to_vec();
    let at = object.windows(CALL.len()).position(|bytes| bytes == CALL).expect("a call of the helper");
    object.splice(at..at + CALL.len(), OF_NONE);
    std::fs::write(&path, object).expect("write");
    let output = pprofd(&["ebpf-info", path.to_str().expect("text")], &[]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{error}");
    for said in ["the kernel refused the BPF program", "9999", "pprofd doctor --bundle"] {
        assert!(error.contains(said), "{said} is not said: {error}");
    }
    assert!(error.len() < 2_000, "the whole log of the verifier is told: {} bytes", error.len());
}

/// Another user namespace has all capabilities, none of which counts, and every check there is the binary's own.
#[test]
fn a_foreign_namespace_is_refused() {
    let inside = |flags: &[&str], command: &[&str]| {
        let binary = env!("CARGO_BIN_EXE_pprofd");
        Command::new("unshare").args(flags).arg(binary).args(command).output().expect("run unshare")
    };
    if !Command::new("unshare").args(["-Ur", "true"]).status().expect("run unshare").success() {
        return left_out("this user cannot make a user namespace");
    }
    for command in [&["doctor"][..], &[]] {
        assert_eq!(inside(&["-Ur"], command).status.code(), Some(77), "{command:?}");
    }
    let output = inside(&["-Ur", "--pid", "--fork", "--mount-proc"], &["serve"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("PID namespace: not the initial one") && error.contains("user namespace"), "{error}");
    if rustix::process::getuid().is_root() {
        let output = inside(&["--pid", "--fork", "--mount-proc"], &["serve"]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(69), "{error}");
        assert!(error.contains("PID namespace: not the initial one"), "{error}");
    }
}

#[test]
fn a_file_is_described() {
    let output = pprofd(&["doctor", "--file", env!("CARGO_BIN_EXE_pprofd")], &[]);
    let (text, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{error}");
    for said in [
        "position-independent program",
        "symbol table",
        "functions by .eh_frame",
        "rows: stack pointer",
        "bytes of code",
    ] {
        assert!(text.contains(said), "{said} is not said:\n{text}");
    }
}

#[test]
fn a_file_of_which_nothing_can_be_said_is_an_error_that_says_why() {
    check(&["doctor", "--file", "/nowhere/x"], &[], 64, "cannot open /nowhere/x: No such file");
    check(&["doctor", "--file", "/"], &[], 64, "/ is not a regular file: give the path of a program");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    check(&["doctor", "--file", source], &[], 64, "not an ELF file");
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("short");
    for (content, why) in
        [(&b""[..], "not an ELF file"), (b"#!/bin/sh\n", "not an ELF file"), (b"\x7fELF\x02\x01", "ends before")]
    {
        std::fs::write(&path, content).expect("write");
        check(&["doctor", "--file", path.to_str().expect("text")], &[], 64, why);
    }
}
