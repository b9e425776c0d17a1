//! The unit for systemd. No systemd runs where the tests run, so `tests/scripts/as-unit.py` does to the agent what systemd
//! would do.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tests::harness::profile::Sample;
use tests::harness::{Agent, Target, agent, programs, target, tools};

fn path() -> PathBuf {
    programs::root().join("deploy/systemd/pprofd.service")
}

fn text() -> String {
    std::fs::read_to_string(path()).unwrap()
}

/// All values of a setting.
fn values<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect()
}

/// A list of capabilities; each has a comment that says what for.
pub(super) fn capabilities(list: &str) -> BTreeSet<String> {
    values(&text(), list).into_iter().map(str::to_owned).collect()
}

#[test]
fn each_capability_has_a_comment() {
    let text = text();
    let lines: Vec<&str> = text.lines().collect();
    let of = |line: &&str| line.starts_with("AmbientCapabilities=");
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| of(line)) {
        assert!(lines[at - 1].starts_with("# "), "{line}: the line above must say what needs it");
    }
}

#[test]
fn systemd_understands_the_unit_and_finds_it_little_exposed() {
    let folder = tempfile::tempdir().unwrap();
    // The program must be where the unit says; else that is what systemd complains of.
    let here = agent::binary().display().to_string();
    let unit = folder.path().join("pprofd.service");
    std::fs::write(&unit, text().replace("/usr/local/bin/pprofd", &here)).unwrap();
    let verified = Command::new("systemd-analyze").arg("verify").arg(&unit).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    let about_it: Vec<&str> = said.lines().filter(|line| line.contains("pprofd")).collect();
    assert!(verified.status.success() && about_it.is_empty(), "{said}");

    let judged = ["security", "--offline=true", "--no-pager", "--threshold=30"];
    let judged = Command::new("systemd-analyze").args(judged).arg(path()).output().unwrap();
    let said = String::from_utf8_lossy(&judged.stdout);
    assert!(said.contains("Overall exposure level"), "{said}");
    assert!(judged.status.success(), "3.0 or more: {said}");
}

/// The unit's user, as systemd makes it.
fn user() -> (String, String) {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("etc")).unwrap();
    let file = programs::root().join("deploy/systemd/pprofd.sysusers");
    tools::output("systemd-sysusers", &[&format!("--root={}", root.path().display()), file.to_str().unwrap()]);
    let users = std::fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    let user = values(&text(), "User")[0].to_owned();
    let line = users.lines().find(|line| line.split(':').next() == Some(user.as_str()));
    let fields: Vec<&str> = line.unwrap_or_else(|| panic!("no {user} in {users}")).split(':').collect();
    (fields[2].to_owned(), fields[3].to_owned())
}

#[test]
fn the_agent_profiles_within_the_units_walls_and_says_when_it_is_ready() {
    let (uid, gid) = user();
    assert_ne!(uid, "0");
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let socket = folder.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o666)).unwrap();
    manager.set_read_timeout(Some(Duration::from_mins(1))).unwrap();

    let mut command = target::dying_with_us(Path::new("python3"));
    command.arg(programs::root().join("tests/scripts/as-unit.py")).arg(path()).args([&uid, &gid]).arg(agent::binary());
    command.env("NOTIFY_SOCKET", &socket);
    let agent = Agent::start_by(command, &[]);
    assert_eq!(told(&manager), "READY=1");
    assert_eq!(std::fs::metadata(format!("/proc/{}", agent.pid())).map(|data| owner(&data)).unwrap(), uid);

    // Of root, and of a user that is neither root nor the agent's; its program only its owner may read.
    let program = folder.path().join("burn");
    programs::copy_to(&programs::c("burner.c", &[]), &program);
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o711)).unwrap();
    let of_root = Target::start(&program, &[]);
    let as_nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--", program.to_str().unwrap()];
    let of_nobody = Target::spawn_until("setpriv", &as_nobody, "burn");
    for target in [&of_root, &of_nobody] {
        let profile = agent.cpu(target.pid(), 2, 997);
        let whole = |sample: &Sample| sample.has_chain(&["burn_outer", "main"]);
        assert!(profile.count() > 50, "{}", profile.summary());
        assert!(profile.complete_share(whole) >= 0.97, "{:?}\n{}", profile.comments(), profile.summary());
    }
    let walls = agent.log();
    assert!(!walls.contains("sandbox") && !walls.contains("CAP_"), "{walls}");
    assert_eq!(agent.end(rustix::process::Signal::TERM).code(), Some(0));
    assert_eq!(told(&manager), "STOPPING=1");
}

fn owner(data: &std::fs::Metadata) -> String {
    std::os::unix::fs::MetadataExt::uid(data).to_string()
}

fn told(manager: &UnixDatagram) -> String {
    let mut text = [0; 256];
    let length = manager.recv(&mut text).expect("the agent tells it");
    String::from_utf8_lossy(&text[..length]).into_owned()
}

#[test]
fn the_memory_limit_holds_what_help_states() {
    let help = tools::output(agent::binary().to_str().unwrap(), &["--help"]);
    let mib = |before: &str, after: &str| -> u64 {
        let (_, rest) = help.split_once(before).unwrap_or_else(|| panic!("{before:?} is not in {help}"));
        let size = rest.split_once(after).unwrap_or_else(|| panic!("{after:?} is not in {help}")).0;
        let (number, unit) = size.split_at(size.find(|c: char| !c.is_ascii_digit()).unwrap());
        number.parse::<u64>().unwrap() * if unit == "GiB" { 1024 } else { 1 }
    };
    let workers: u64 = help.split_once("Each of the ").unwrap().1.split_once(' ').unwrap().0.parse().unwrap();
    let stated = mib("add up to ", " by default") + workers * mib("symbol workers may map ", " while");
    let limit: u64 = values(&text(), "MemoryMax")[0].strip_suffix('M').unwrap().parse().unwrap();
    assert!((stated + 64..stated * 2).contains(&limit), "{limit} MiB, and {stated} MiB are stated");
    assert_eq!(super::Manifest::read().memory(), limit, "the manifest's");
}
