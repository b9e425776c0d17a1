//! Containers, by buildah, podman and runc: images made here, in a storage of their own that goes with the test. No registry is asked.

use super::{target, wait};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// Without CAP_SYS_RESOURCE the runtime's own, higher limits are refused; crun wants control groups of version 2 alone.
const RUN: [&str; 12] = [
    "--runtime",
    "runc",
    "run",
    "--rm",
    "--pull",
    "never",
    "--ulimit",
    "nofile=1024:1024",
    "--ulimit",
    "nproc=1024:1024",
    // Ends it should all else fail.
    "--timeout",
    "300",
];

/// Until a container runs.
const START: Duration = Duration::from_secs(30);

/// Images and containers of a test.
#[derive(Debug)]
pub struct Storage {
    folder: tempfile::TempDir,
}

impl Default for Storage {
    fn default() -> Self {
        // Beside what is built: file systems in memory cannot hold an overlay's layers everywhere.
        let folder = tempfile::tempdir_in(super::programs::folder()).expect("target/programs can be written");
        Storage { folder }
    }
}

impl Storage {
    /// Where images and containers are.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, mut program: Command) -> Command {
        program.arg("--root").arg(self.path().join("images")).arg("--runroot").arg(self.path().join("run"));
        program
    }

    /// podman on this storage.
    pub fn podman(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(Command::new("podman"));
        command.args(arguments).stdin(Stdio::null()).output().expect("podman can be started")
    }

    /// An image `localhost/NAME` that holds one static program, at a path.
    pub fn image(&self, name: &str, program: &Path, path: &str) {
        let context = tempfile::tempdir().expect("a folder");
        super::programs::copy_to(program, &context.path().join("program"));
        let recipe = format!("FROM scratch\nCOPY program {path}\nENTRYPOINT [\"{path}\"]\n");
        std::fs::write(context.path().join("Containerfile"), recipe).expect("written");
        let mut build = self.command(Command::new("buildah"));
        build.args(["build", "--isolation", "chroot", "--quiet", "--tag", &format!("localhost/{name}")]);
        let built = build.arg(context.path()).output().expect("buildah can be started");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    }

    /// Starts a container; `arguments` are podman's, the image, and the program's.
    pub fn start(&self, name: &str, arguments: &[&str]) -> Container<'_> {
        // Asked to end it hands the signal on, and then removes the container.
        let mut command = self.command(target::ending_with_us("TERM", &[], Path::new("podman")));
        command.args(RUN).args(["--name", name]).args(arguments);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut container =
            Container { storage: self, name: name.to_owned(), child: child.expect("setpriv can be started"), pid: 0 };
        container.pid = wait::until(&format!("container {name} to run"), START, || {
            container.assert_runs();
            container.first_process()
        });
        container
    }

    /// Runs a container whose program ends by itself.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(target::ending_with_us("TERM", &[], Path::new("podman")));
        command.args(RUN).args(arguments).stdin(Stdio::null()).output().expect("setpriv can be started")
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        // Takes the mounts away too, which the folder could not be removed with.
        drop(self.podman(&["rm", "--all", "--force", "--time", "0"]));
        drop(self.podman(&["rmi", "--all", "--force"]));
        drop(Command::new("umount").arg(self.path().join("images/overlay")).stderr(Stdio::null()).status());
    }
}

/// A container that runs; ended when dropped.
#[derive(Debug)]
pub struct Container<'a> {
    storage: &'a Storage,
    name: String,
    child: Child,
    pid: u32,
}

impl Container<'_> {
    /// Its first process, by the host's number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    fn first_process(&self) -> Option<u32> {
        let output = self.storage.podman(&["inspect", "--format", "{{.State.Pid}}", &self.name]);
        let pid = String::from_utf8_lossy(&output.stdout).trim().parse().ok()?;
        (pid != 0).then_some(pid)
    }

    /// Panics with what it said if it has ended.
    pub fn assert_runs(&mut self) {
        let ended = self.child.try_wait().expect("our own child can be waited for");
        if ended.is_some() {
            let said = self.said();
            panic!("container {} ended: {said}", self.name);
        }
    }

    /// Ends it; what it said on standard error.
    fn said(&mut self) -> String {
        self.end();
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            drop(stderr.read_to_string(&mut said));
        }
        said
    }

    /// Asks its first process to end, as a manager of containers does; its exit code.
    pub fn stop(mut self) -> Option<i32> {
        drop(self.storage.podman(&["stop", "--time", "20", &self.name]));
        self.child.wait().expect("our own child").code()
    }

    fn end(&mut self) {
        drop(self.storage.podman(&["rm", "--force", "--time", "0", &self.name]));
        drop(self.child.wait());
    }

    /// Does something in its network: where its addresses are.
    pub fn in_its_network<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
        use std::os::fd::AsFd;
        let network = std::fs::File::open(format!("/proc/{}/ns/net", self.pid)).expect("it runs");
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may");
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.said();
            show(&self.name, &said);
        }
        self.end();
    }
}

#[allow(clippy::print_stderr, reason = "shown by the test runner beside the failure")]
fn show(name: &str, said: &str) {
    eprintln!("container {name} said:\n{said}");
}
