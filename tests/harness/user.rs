//! Other users of this host: programs that they can execute and run, and what they ask by the Unix socket.

use super::http::Answer;
use super::{Target, programs, target};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

/// A folder that all users can pass, with programs that they can execute; the checkout may lie where they cannot.
#[derive(Debug)]
pub struct Commons(tempfile::TempDir);

impl Commons {
    /// An empty one.
    #[allow(clippy::new_without_default, reason = "it makes a folder")]
    pub fn new() -> Commons {
        let folder = tempfile::tempdir_in("/tmp").expect("a folder");
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("our own folder");
        Commons(folder)
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A copy of a program with these rights.
    pub fn copy(&self, program: &Path, name: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        programs::copy_to(program, &path);
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("our own file");
        path
    }
}

fn flags(uid: u32, groups: &str) -> Vec<String> {
    let groups = if groups.is_empty() { "--clear-groups".to_owned() } else { format!("--groups={groups}") };
    vec![format!("--reuid={uid}"), format!("--regid={uid}"), groups]
}

/// Starts a program as a user; waits until the program of this path runs.
pub fn start(uid: u32, program: &Path, arguments: &[&str]) -> Target {
    let mut all = flags(uid, "");
    all.extend(["--".to_owned(), program.display().to_string()]);
    all.extend(arguments.iter().map(|&argument| argument.to_owned()));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    Target::spawn_until("setpriv", &all, &program.display().to_string())
}

/// A request by curl, by the Unix socket, as a user.
#[derive(Clone, Debug)]
pub struct Asker {
    uid: u32,
    groups: String,
    socket: PathBuf,
}

impl Asker {
    /// A user whose only group has his number.
    pub fn new(uid: u32, socket: &Path) -> Asker {
        Asker { uid, groups: String::new(), socket: socket.to_owned() }
    }

    /// The same with supplementary groups.
    pub fn with_groups(self, groups: &str) -> Asker {
        Asker { groups: groups.to_owned(), ..self }
    }

    /// `GET path`.
    pub fn get(&self, path: &str) -> Answer {
        self.get_by(&[], path)
    }

    /// `GET path`, by a program that executes curl in the end.
    pub fn get_by(&self, wrapper: &[&str], path: &str) -> Answer {
        let started = Instant::now();
        let mut command = target::dying_with_us(Path::new("setpriv"));
        command.args(flags(self.uid, &self.groups)).arg("--").args(wrapper).args([
            "curl",
            "-sS",
            "-i",
            "--unix-socket",
        ]);
        command.arg(&self.socket).args(["-H", "Connection: close"]).arg(format!("http://pprofd{path}"));
        let output = command.stdin(Stdio::null()).output().expect("setpriv can be started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "GET {path} as user {}: {said}", self.uid);
        super::http::parse(&output.stdout, started.elapsed()).expect("HTTP")
    }
}

/// Gives a file capabilities as setcap does: those of the mask, in force at exec.
pub fn set_capabilities(program: &Path, mask: u32) {
    // Debian has setcap in a package of its own; this is what it does.
    let mut value = 0x0200_0001_u32.to_le_bytes().to_vec();
    for word in [mask, 0, 0, 0] {
        value.extend(word.to_le_bytes());
    }
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(program, "security.capability", &value, flags).expect("root may give capabilities");
}
