//! Other programs that a command starts: where they are, and lines that a shell would read as they are meant.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The program of this name, as a shell would find it.
pub(super) fn find(name: &OsStr) -> Option<PathBuf> {
    if name.as_encoded_bytes().contains(&b'/') {
        return Some(PathBuf::from(name)).filter(|path| is_program(path));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// Words as a line for a shell.
pub(super) fn line(words: &[OsString]) -> String {
    let quoted = words.iter().map(|word| {
        let word = word.to_string_lossy();
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./=:@%+,".contains(letter);
        if !word.is_empty() && word.chars().all(plain) {
            word.into_owned()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_as_a_shell_does() {
        assert!(find(OsStr::new("sh")).is_some_and(|path| path.is_absolute()));
        assert_eq!(find(OsStr::new("/bin/sh")), Some(PathBuf::from("/bin/sh")));
        for none in ["no-such-program-here", "/bin", "/etc/passwd", ""] {
            assert_eq!(find(OsStr::new(none)), None, "{none}");
        }
    }

    #[test]
    fn a_shell_reads_a_line_as_it_is_meant() {
        let words = ["printf", "%s|", "a b", "it's", "", "$HOME", "-http=:0"].map(OsString::from);
        let output = std::process::Command::new("sh").arg("-c").arg(line(&words)).output().expect("a shell");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "a b|it's||$HOME|-http=:0|");
    }
}
