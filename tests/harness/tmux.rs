//! A terminal that can be looked at: a tmux server of its own with one window, ended when dropped.

use super::wait;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long something may take to be seen.
const LIMIT: Duration = Duration::from_secs(30);

/// A terminal in which a command runs; when that ends, its exit code is shown.
#[derive(Debug)]
pub struct Tmux {
    name: String,
}

impl Tmux {
    /// Starts a command, as words, in a folder and a terminal of that size.
    pub fn start(folder: &Path, columns: u16, rows: u16, words: &[&OsStr]) -> Tmux {
        let tmux = Tmux { name: format!("pprofd-test-{}", std::process::id()) };
        let mut command = tmux.command(&["new-session", "-d", "-x", &columns.to_string(), "-y", &rows.to_string()]);
        command.arg("-c").arg(folder);
        // The shell stays for what comes after the command, also when Ctrl-C ended that.
        command.args(["sh", "-c", "trap : INT; \"$@\"; echo \"ended with $?\"; exec sleep 120", "sh"]).args(words);
        let output = command.output().expect("tmux can be started: `cargo xtask setup`");
        assert!(output.status.success(), "tmux: {}", String::from_utf8_lossy(&output.stderr));
        tmux
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.args(["-u", "-f", "/dev/null", "-L", &self.name]).args(arguments).env_remove("TMUX");
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("tmux can be started");
        assert!(output.status.success(), "tmux {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What is on the screen.
    pub fn screen(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    /// Waits until the screen is as wanted; gives it.
    pub fn until(&self, what: &str, is_wanted: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        let end = std::time::Instant::now() + LIMIT;
        wait::until(what, LIMIT + Duration::from_secs(5), || {
            last = self.screen();
            assert!(std::time::Instant::now() < end, "waited in vain for {what}; the screen:\n{last}");
            is_wanted(&last).then(|| last.clone())
        })
    }

    /// Presses keys, by tmux's names.
    pub fn press(&self, keys: &[&str]) {
        self.run(&[&["send-keys"], keys].concat());
    }

    /// Makes the terminal another size.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.run(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    /// True if the program draws on the alternate screen.
    pub fn is_alternate(&self) -> bool {
        self.run(&["display-message", "-p", "#{alternate_on}"]).trim() == "1"
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        drop(self.command(&["kill-server"]).output());
    }
}
