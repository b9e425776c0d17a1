//! The last lines of the log, kept for a bug report. Lines about who took which profile are not kept.

use super::logging::one_line;
use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that are kept.
const LINES: usize = 200;
/// Bytes of a line that are kept.
const LINE: usize = 1_000;
/// What is logged under a name with this in it tells of targets and callers.
const AUDIT: &str = "audit";

static KEPT: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

/// The last lines, oldest first.
pub fn lines() -> Vec<String> {
    kept().iter().cloned().collect()
}

fn kept() -> MutexGuard<'static, VecDeque<String>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps what is written. Each write is a whole event.
pub(super) struct Keep;

/// Where one event goes.
pub(super) struct Event {
    kept: bool,
}

impl<'a> MakeWriter<'a> for Keep {
    type Writer = Event;

    fn make_writer(&'a self) -> Event {
        Event { kept: true }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Event {
        Event { kept: !event.target().contains(AUDIT) }
    }
}

impl io::Write for Event {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.kept {
            keep(&one_line(&String::from_utf8_lossy(bytes)));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn keep(text: &str) {
    let mut kept = kept();
    for line in text.lines() {
        if kept.len() == LINES {
            kept.pop_front();
        }
        kept.push_back(plain(line));
    }
}

/// Without the terminal's colors, and not longer than is kept.
fn plain(line: &str) -> String {
    let mut parts = line.split('\x1b');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once('m').map_or(part, |(_color, text)| text));
    }
    plain.chars().take(LINE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_without_colors_and_whole_up_to_a_length() {
        for number in 0..2 * LINES {
            keep(&format!("line {number}\n"));
        }
        keep(&format!("\x1b[2mtime\x1b[0m \x1b[32m INFO\x1b[0m text {}\n", "x".repeat(2 * LINE)));
        let lines = lines();
        assert_eq!(lines.len(), LINES);
        assert_eq!(lines[0], format!("line {}", LINES + 1));
        let last = lines.last().expect("a line");
        assert!(last.starts_with("time  INFO text xxx") && last.len() == LINE, "{last}");
    }
}
