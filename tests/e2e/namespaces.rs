//! Targets in namespaces, roots and mounts of their own, and the agent in a container that sees the host's processes.

use std::path::{Path, PathBuf};
use std::time::Duration;
use tests::harness::{Agent, Profile, Target, agent, programs, target, tools, wait};

const HZ: u32 = 997;

/// A target somewhere.
pub(super) struct Placed {
    name: &'static str,
    /// The one that computes.
    pub(super) pid: u32,
    /// Where its program is for who looks from the host.
    path: String,
    _target: Target,
}

/// Starts `program` by a script in namespaces made by `unshare` with these flags.
fn placed(name: &'static str, flags: &[&str], script: &str, path: String) -> Placed {
    let script = format!("set -e; {script}");
    let target = Target::spawn_unchecked(Path::new("unshare"), &[flags, &["sh", "-c", &script]].concat());
    let is_it = |pid: &u32| {
        std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.file_name().is_some_and(|exe| exe == "burn"))
    };
    let pid = wait::until(&format!("{name} to run"), Duration::from_secs(10), || {
        [vec![target.pid()], children(target.pid())].concat().into_iter().find(is_it)
    });
    Placed { name, pid, path, _target: target }
}

fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Below a second mount, which only the target sees.
fn below_two_mounts(folder: &Path, program: &Path) -> Placed {
    let (outer, inner) = (folder.join("outer"), folder.join("outer/inner"));
    std::fs::create_dir(&outer).unwrap();
    let (outer, inner, program) = (outer.display(), inner.display(), program.display());
    let script = format!(
        "mount -t tmpfs none {outer}; mkdir {inner}; mount -t tmpfs none {inner}; mkdir {inner}/bin; \
         cp {program} {inner}/bin/burn; exec {inner}/bin/burn"
    );
    placed("below two mounts", &["-m"], &script, format!("{inner}/bin/burn"))
}

/// In its own mount, PID, user, cgroup, network, IPC and host name namespaces.
fn in_all_namespaces(folder: &Path, program: &Path) -> Placed {
    let place = folder.join("all").join("burn");
    std::fs::create_dir(folder.join("all")).unwrap();
    programs::copy_to(program, &place);
    let flags = [
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--user",
        "--map-root-user",
        "--cgroup",
        "--net",
        "--ipc",
        "--uts",
    ];
    placed("in all namespaces", &flags, &format!("exec {}", place.display()), place.display().to_string())
}

fn in_chroot(folder: &Path, program: &Path) -> Placed {
    let root = folder.join("chroot");
    std::fs::create_dir(&root).unwrap();
    programs::copy_to(program, &root.join("burn"));
    placed(
        "in a chroot",
        &["-m"],
        &format!("exec chroot {} /burn", root.display()),
        root.join("burn").display().to_string(),
    )
}

/// On an overlay that is its root, with nothing of the host and without `/tmp`.
pub(super) fn in_container(folder: &Path, program: &Path) -> Placed {
    let layers = folder.join("container");
    for part in ["lower/app", "lower/old", "upper", "work", "merged"] {
        std::fs::create_dir_all(layers.join(part)).unwrap();
    }
    programs::copy_to(program, &layers.join("lower/app/burn"));
    programs::copy_to(Path::new("/usr/bin/busybox"), &layers.join("lower/busybox"));
    let layers = layers.display();
    let script = format!(
        "mount -t overlay overlay -o lowerdir={layers}/lower,upperdir={layers}/upper,workdir={layers}/work {layers}/merged; \
         cd {layers}/merged; pivot_root . old; /busybox umount -l /old; exec /app/burn"
    );
    placed(
        "in a container",
        &["--mount", "--pid", "--fork", "--kill-child", "--cgroup"],
        &script,
        "/app/burn".to_owned(),
    )
}

/// On a file system that is no longer mounted anywhere.
pub(super) fn on_a_detached_mount(folder: &Path, program: &Path) -> Placed {
    let mount = folder.join("detached");
    std::fs::create_dir(&mount).unwrap();
    let (at, program) = (mount.display(), program.display());
    let script = format!("mount -t tmpfs none {at}; cp {program} {at}/burn; exec {at}/burn");
    let placed = placed("on a detached mount", &["-m"], &script, "/burn".to_owned());
    tools::output("nsenter", &["-m", "-t", &placed.pid.to_string(), "umount", "-l", mount.to_str().unwrap()]);
    placed
}

/// The agent with a root of its own, made of what its binary needs and the host's `/proc` and `/sys`: without `/dev` even.
fn agent_in_container(folder: &Path) -> Agent {
    let root = folder.join("agent");
    std::fs::create_dir_all(&root).unwrap();
    let binary = agent::binary();
    let libraries = tools::output("ldd", &[binary.to_str().unwrap()]);
    let libraries = libraries.split_whitespace().filter(|word| word.starts_with('/')).collect::<Vec<_>>().join(" ");
    let script = format!(
        "set -e; mount -t tmpfs none {root}; cd {root}; mkdir proc sys old tmp; for tree in proc sys; do mount --rbind /$tree $tree; done; \
         for file in {libraries}; do mkdir -p .$(dirname $file); cp -L $file .$file; done; \
         cp {binary} pprofd; cp /usr/bin/busybox busybox; \
         pivot_root . old; /busybox umount -l /old; \
         exec /pprofd \"$@\"",
        root = root.display(),
        binary = binary.display(),
    );
    let mut command = target::dying_with_us(Path::new("unshare"));
    command.args(["-m", "sh", "-c", &script, "sh"]);
    Agent::start_by(command, &[])
}

/// Each target's own profile, all at once.
fn profiles(agent: &Agent, targets: &[Placed]) -> Vec<Profile> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = targets.iter().map(|placed| scope.spawn(|| agent.cpu(placed.pid, 2, HZ))).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    })
}

#[track_caller]
fn assert_named(agent: &Agent, targets: &[Placed]) {
    for (placed, profile) in targets.iter().zip(profiles(agent, targets)) {
        let what = |text: &str| format!("{}: {text}\n{:?}\n{}", placed.name, profile.files(), profile.summary());
        assert!(profile.count() > 50, "{}", what("few samples"));
        let whole = |sample: &tests::harness::profile::Sample| {
            sample.has_chain(&["burn_outer", "main"]) && sample.label("reason").is_empty()
        };
        assert!(profile.complete_share(whole) >= 0.97, "{}", what("not whole"));
        assert_eq!(profile.main_binary(), placed.path, "{}", what("another path"));
    }
}

#[test]
fn targets_in_other_namespaces_roots_and_mounts() {
    let folder = tempfile::tempdir().unwrap();
    let program: PathBuf = folder.path().join("burn");
    programs::copy_to(&programs::c("burner.c", &["-static"]), &program);
    let make = [below_two_mounts, in_all_namespaces, in_chroot, in_container, on_a_detached_mount];
    let targets: Vec<Placed> = make.iter().map(|make| make(folder.path(), &program)).collect();
    assert_named(&Agent::start(&[]), &targets);
    assert_named(&agent_in_container(folder.path()), &targets);
}
