//! What the tests of this room share: a written `/proc`, children that end with the test, C programs, waiting.

use super::proc::Proc;
use crate::event::Pid;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Waits for a condition; fails the test after a minute.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !condition() {
        assert!(Instant::now() < deadline, "waited a minute: {what}");
        std::thread::yield_now();
    }
}

/// A folder that looks like `/proc`.
pub(crate) struct ProcRoot(tempfile::TempDir);

impl ProcRoot {
    pub(crate) fn new() -> ProcRoot {
        ProcRoot(tempfile::tempdir().expect("temporary folder"))
    }

    pub(crate) fn proc(&self) -> Proc {
        Proc::new(self.0.path())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes `content` to `name` below the root.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        std::fs::write(path, content).expect("write");
    }

    /// Makes a symbolic link.
    pub(crate) fn link(&self, name: &str, target: impl AsRef<Path>) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        std::os::unix::fs::symlink(target, path).expect("symlink");
    }

    /// Writes another process with the number of one that is written.
    pub(crate) fn process_again(&self, pid: u32, comm: &str, parent: u32, start_ticks: u64) {
        std::fs::remove_file(self.0.path().join(format!("{pid}/exe"))).expect("remove");
        self.process(pid, comm, parent, start_ticks);
    }

    /// Writes an ordinary process.
    pub(crate) fn process(&self, pid: u32, comm: &str, parent: u32, start_ticks: u64) {
        let stat = format!(
            "{pid} ({comm}) S {parent} 7 7 0 -1 4194560 900 0 0 0 11 22 5 6 20 0 3 0 {start_ticks} 4096 100 18446744073709551615\n"
        );
        self.write(&format!("{pid}/stat"), stat);
        let status = format!("Name:\t{comm}\nTgid:\t{pid}\nPPid:\t{parent}\nUid:\t10\t20\t30\t40\nNSpid:\t{pid}\t1\n");
        self.write(&format!("{pid}/status"), status);
        self.link(&format!("{pid}/exe"), format!("/bin/of {pid}"));
    }
}

/// A child process that is killed at the end of the test.
pub(crate) struct Child {
    process: std::process::Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Child {
    pub(crate) fn spawn(command: &mut Command) -> Child {
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("spawn");
        let output = BufReader::new(process.stdout.take().expect("stdout"));
        Child { process, output }
    }

    pub(crate) fn shell(script: &str) -> Child {
        Child::spawn(Command::new("sh").args(["-c", script]))
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid(self.process.id())
    }

    /// Next line of its output.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("read from the child");
        line.trim_end().to_owned()
    }

    /// Kills it but leaves it unreaped.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("kill");
    }

    /// Kills it and waits.
    pub(crate) fn end(&mut self) {
        self.kill();
        self.process.wait().expect("wait");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Compiles a C program (the linker of Rust is a C compiler, so it is always there).
pub(crate) fn compile(folder: &Path, name: &str, source: &str) -> PathBuf {
    let (file, program) = (folder.join(format!("{name}.c")), folder.join(name));
    std::fs::write(&file, source).expect("write the source");
    let status = Command::new("cc").args(["-O1", "-pthread", "-o"]).arg(&program).arg(&file).status().expect("run cc");
    assert!(status.success(), "cc failed");
    program
}
