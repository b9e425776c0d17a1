//! The agent as an ordinary user with nothing but the capabilities that `pprofd doctor` lists, and without each of them.

use super::namespaces::{Placed, in_container, on_a_detached_mount};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tests::harness::profile::Sample;
use tests::harness::target::ending_with_us;
use tests::harness::{Agent, Profile, Target, agent, programs};

const HZ: u32 = 499;
/// Who runs the agent; owns nothing.
const NOBODY: &str = "65534";
/// Another user, whose program nobody else may read.
const OTHER: &str = "4711";

/// A folder that all may enter, with a copy of the agent that all may execute.
struct Home(tempfile::TempDir);

impl Home {
    fn make() -> Home {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        open_to(folder.path(), 0o755);
        programs::copy_to(&agent::binary(), &folder.path().join("pprofd"));
        Home(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The agent's binary as an ordinary user with these capabilities.
    fn command(&self, capabilities: &[String]) -> Command {
        let set = capabilities.iter().map(|name| format!(",+{}", name.trim_start_matches("CAP_").to_lowercase()));
        let set = format!("-all{}", set.collect::<String>());
        let mut flags = vec!["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--no-new-privs"];
        flags.extend(["--bounding-set", &set, "--inh-caps", &set, "--ambient-caps", &set]);
        ending_with_us("KILL", &flags, &self.path("pprofd"))
    }
}

fn open_to(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

/// What `pprofd doctor --json` says here.
fn doctor(mut command: Command) -> (Output, serde_json::Value) {
    let output = command.args(["doctor", "--json"]).stdin(Stdio::null()).output().unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output, report)
}

/// The names on the doctor's list.
fn listed(needed: &str) -> Vec<String> {
    let (_, report) = doctor(Command::new(agent::binary()));
    let list = report["capabilities"].as_array().unwrap().iter();
    let names = list.filter(|entry| needed.is_empty() || entry["needed"] == needed).map(|entry| &entry["name"]);
    names.map(|name| name.as_str().unwrap().to_owned()).collect()
}

fn without(all: &[String], one: &str) -> Vec<String> {
    all.iter().filter(|name| *name != one).cloned().collect()
}

/// Programs that compute, each with what makes it hard to read for another user.
struct Targets {
    running: Vec<(&'static str, u32)>,
    _alive: Vec<Target>,
    _placed: Vec<Placed>,
}

impl Targets {
    fn start(home: &Home) -> Targets {
        let burner = programs::c("burner.c", &["-static"]);
        let copy = |name: &str| {
            programs::copy_to(&burner, &home.path(name));
            home.path(name).display().to_string()
        };
        let as_other = |path: &str| {
            Target::spawn_until("setpriv", &["--reuid", OTHER, "--regid", OTHER, "--clear-groups", path], path)
        };
        let roots = Target::start(Path::new(&copy("public")), &[]);
        let private = copy("private");
        std::os::unix::fs::chown(&private, OTHER.parse().ok(), None).unwrap();
        open_to(Path::new(&private), 0o500);
        let private = as_other(&private);
        let path = copy("deleted");
        let deleted = as_other(&path);
        std::fs::remove_file(&path).unwrap();
        let kernel = Target::start(Path::new("/bin/dd"), &["if=/dev/zero", "of=/dev/null", "bs=1"]);
        let (container, detached) = (in_container(home.0.path(), &burner), on_a_detached_mount(home.0.path(), &burner));
        let running = vec![
            ("of root", roots.pid()),
            ("of another user, who alone may read it", private.pid()),
            ("of another user, deleted", deleted.pid()),
            ("in a container", container.pid),
            ("on a detached mount", detached.pid),
            (KERNEL, kernel.pid()),
        ];
        Targets { running, _alive: vec![roots, private, deleted, kernel], _placed: vec![container, detached] }
    }

    /// Each one's profile, all at once.
    fn profiles(&self, agent: &Agent) -> Vec<(&'static str, Profile)> {
        std::thread::scope(|scope| {
            let ask = |(name, pid): &(&'static str, u32)| {
                let (name, pid) = (*name, *pid);
                scope.spawn(move || (name, agent.cpu(pid, 2, HZ)))
            };
            let asked: Vec<_> = self.running.iter().map(ask).collect();
            asked.into_iter().map(|asked| asked.join().unwrap()).collect()
        })
    }
}

/// The target that is often in the kernel.
const KERNEL: &str = "in the kernel";

/// What is not as it should be in the profiles that an agent with these capabilities takes.
fn lost(home: &Home, targets: &Targets, capabilities: &[String]) -> Vec<&'static str> {
    let agent = Agent::start_by(home.command(capabilities), &[]);
    let bad = |(name, profile): (&'static str, Profile)| {
        assert!(profile.count() > 0, "{name}: {}", profile.summary());
        let whole = |sample: &Sample| sample.has_chain(&["burn_outer", "main"]) && sample.label("reason").is_empty();
        let named = |sample: &Sample| sample.has("vfs_read") || sample.has("vfs_write");
        let good = profile.count_of(|sample| whole(sample) || named(sample));
        let good = if name == KERNEL { good > 0 } else { good as f64 > 0.95 * profile.count() as f64 };
        // All or nothing: a capability that is lost is lost for each sample.
        let none = profile.count_of(|sample| whole(sample) || named(sample)) == 0;
        assert!(good || none, "{name}: {}", profile.summary());
        (!good).then_some(name)
    };
    targets.profiles(&agent).into_iter().filter_map(bad).collect()
}

/// What `doctor` says of a kind or a feature.
fn allowed(report: &serde_json::Value, name: &str) -> String {
    let all = ["kinds", "features"].iter().flat_map(|list| report[list].as_array().unwrap());
    let offer = all.clone().find(|offer| offer["name"] == name).unwrap_or_else(|| panic!("{name}: {report}"));
    offer["allowed"].as_str().unwrap().to_owned()
}

#[test]
fn an_ordinary_user_with_the_listed_capabilities_has_it_all() {
    let (home, all) = (Home::make(), listed(""));
    let names = "CAP_BPF CAP_PERFMON CAP_SYS_PTRACE CAP_DAC_READ_SEARCH CAP_CHECKPOINT_RESTORE CAP_SYSLOG";
    assert_eq!(all.join(" "), names);
    let (output, report) = doctor(home.command(&all));
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert!(report["checks"].as_array().unwrap().iter().all(|check| check["verdict"] != "fail"), "{report}");
    assert_eq!(lost(&home, &Targets::start(&home), &all), [""; 0]);
}

#[test]
fn without_a_vital_capability_the_start_is_refused_and_names_it() {
    let (home, all, vital) = (Home::make(), listed(""), listed("vital"));
    assert_eq!(vital.join(" "), "CAP_BPF CAP_PERFMON CAP_SYS_PTRACE");
    for name in vital {
        let rest = without(&all, &name);
        let output = home.command(&rest).args(["--listen", "127.0.0.1:0"]).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(77), "{name}: {said}");
        assert!(said.contains(&name) && !all.iter().any(|other| *other != name && said.contains(other)), "{said}");
        let (output, report) = doctor(home.command(&rest));
        assert_eq!(output.status.code(), Some(77), "{report}");
        assert_eq!(allowed(&report, "profile"), "no", "{report}");
    }
}

#[test]
fn without_another_capability_what_doctor_says_is_lost_and_nothing_else() {
    let (home, all) = (Home::make(), listed(""));
    let targets = Targets::start(&home);
    let losses: [(&str, &[&str], &str); 3] = [
        (
            "CAP_DAC_READ_SEARCH",
            &["of another user, who alone may read it", "of another user, deleted", "on a detached mount"],
            "programs that only their owner may read",
        ),
        (
            "CAP_CHECKPOINT_RESTORE",
            &["of another user, deleted", "on a detached mount"],
            "deleted and replaced programs",
        ),
        ("CAP_SYSLOG", &[KERNEL], "names of kernel functions"),
    ];
    let names: Vec<&str> = losses.iter().map(|loss| loss.0).collect();
    assert_eq!(listed("optional"), names);
    for (name, gone, feature) in losses {
        let rest = without(&all, name);
        assert_eq!(lost(&home, &targets, &rest), gone, "without {name}");
        let (output, report) = doctor(home.command(&rest));
        assert_eq!(output.status.code(), Some(0), "{report}");
        assert_eq!((allowed(&report, "profile"), allowed(&report, feature)), ("yes".into(), "no".into()), "{report}");
        let check = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap();
        assert_eq!(check["verdict"], "warn", "{check}");
    }
}
