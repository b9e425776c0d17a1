//! Texts that a target chooses: its path, its name, its arguments, its functions. They hold line ends, what steers terminals,
//! what pages take for their own, lines that look like the kernel's.

use super::loader::{self, Part};
use std::path::Path;
use tests::harness::craft::{Craft, SPIN, put};
use tests::harness::target::dying_with_us;
use tests::harness::{Agent, Profile, agent, programs, wait};

/// Of a folder, a program, an argument: a title for the terminal, colors, a line of a memory map, one of a log.
const ODD: &str =
    "a\n7f0000000000-7f0000001000 r-xp 00000000 00:01 7 [vdso]\n\x1b]0;owned\x07\x1b[31m (deleted) \u{9b}1m\rx";
const TAG: &str = "<script>alert(1)</script>";

fn is_clean(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

#[test]
fn texts_of_targets_steer_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join(ODD);
    std::fs::create_dir(&place).unwrap();
    let functions = [("spin\n\x1b[31m<script>", 0, SPIN.len() as u64)];
    let craft = |functions: &[(&str, u64, u64)]| Craft::new().symbols(functions).build();
    let named = loader::foreign(&place.join("a name\n\x1b[2J (deleted)"), &craft(&functions));
    let nameless = loader::foreign(&place.join("no\nname\x1b[1m"), &Craft::new().build());
    // Not of this machine's word size, so it has no table, which the log tells.
    let mut broken = Craft::new().build();
    put(&mut broken, 4, &[1]);
    let broken = loader::foreign(&place.join("INFO \n2026-01-01T00:00:00Z ERROR \x1b[2Jforged (deleted)"), &broken);
    let mut command = dying_with_us(&agent::binary());
    command.env("PPROFD_LOG", "info,profiler_user=debug");
    let agent = Agent::start_by(command, &[]);
    let target = loader::load(&[named, nameless, broken].map(Part::of_craft));
    let odd_task = folder.path().join(format!("odd\n\x1b[31m {} (deleted)", "name"));
    programs::copy_to(&programs::c("cases/odd_task.c", &[]), &odd_task);
    let mut odd = dying_with_us(&odd_task);
    let mut odd = odd.args([ODD, TAG]).stdout(std::process::Stdio::null()).spawn().unwrap();
    wait::until_true("its name", std::time::Duration::from_secs(10), || {
        std::fs::read_to_string(format!("/proc/{}/comm", odd.id())).is_ok_and(|comm| comm.starts_with("a) Z"))
    });

    let profile = agent.cpu(target.pid(), 2, 997);
    check_profile(&profile);
    let of_task = agent.cpu(odd.id(), 1, 997);
    check_profile(&of_task);
    assert!(of_task.share_of("odd_hot") > 0.9, "{}", of_task.summary());
    assert!(
        Path::new(of_task.main_binary()).ends_with("odd\u{fffd}\u{fffd}[31m name (deleted)"),
        "{}",
        of_task.main_binary()
    );
    check_list(&agent, odd.id());
    check_page(&agent);
    odd.kill().unwrap();
    odd.wait().unwrap();
    check_log(&agent.log());
}

/// No name of a function or a file steers a terminal.
fn check_profile(profile: &Profile) {
    for sample in &profile.samples {
        let mut texts = sample.stack.iter().chain(&sample.files);
        assert!(texts.all(|text| is_clean(text)), "{sample:?}");
    }
    assert!(profile.comments().iter().all(|comment| is_clean(comment)), "{:?}", profile.comments());
    assert!(profile.count() >= 20, "{}", profile.summary());
}

/// The list has texts as they are, which JSON escapes.
fn check_list(agent: &Agent, odd: u32) {
    let text = agent.get("/api/v1/processes").ok().text();
    assert!(text.bytes().all(|byte| byte >= b' '), "raw control characters");
    let list: serde_json::Value = serde_json::from_str(&text).unwrap();
    let process = list.as_array().unwrap().iter().find(|process| process["pid"] == odd).unwrap();
    assert_eq!(process["comm"], "a) Z 1 1\n\"(\\\u{1}");
    assert!(process["cmdline"].as_str().unwrap().contains(TAG), "{process}");
}

/// The page shows them, and takes none for its own.
fn check_page(agent: &Agent) {
    let page = agent.get("/").ok().text();
    assert!(page.lines().all(is_clean), "raw control characters");
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"), "{page}");
}

/// Each line is the agent's own.
fn check_log(log: &str) {
    assert!(log.contains("forged"), "the log does not tell of the file at all: {log}");
    for line in log.lines() {
        assert!(is_clean(line), "{line:?}");
        let mut words = line.split_whitespace();
        let (time, level) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        assert!(time.starts_with("20") && time.ends_with('Z'), "{line:?}");
        assert!(["ERROR", "WARN", "INFO", "DEBUG"].contains(&level), "{line:?}");
    }
}
