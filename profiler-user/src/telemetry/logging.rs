//! The log: text or JSON lines on standard error, filtered by `PPROFD_LOG` or `RUST_LOG` (default: `info` of the agent, `warn` of
//! a command).

use super::recent::Keep;
use std::io::{self, IsTerminal, Write};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is malformed.
    #[error("cannot understand the filter in {variable}")]
    Filter {
        /// Where it stands.
        variable: &'static str,
        /// What is wrong.
        #[source]
        source: ParseError,
    },
    /// There is a log already.
    #[error("cannot set up the log: it is set up already")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// Variables that may hold a filter, the first that is set counts.
const VARIABLES: [&str; 2] = ["PPROFD_LOG", "RUST_LOG"];

/// Sets up the log of this process; messages of crates that use `log` go the same way.
pub fn init(json: bool) -> Result<(), LoggingError> {
    set_up(json, "info")
}

/// Sets up the log of a command, whose standard error is read by who typed it.
pub fn init_for_command() -> Result<(), LoggingError> {
    set_up(false, "warn")
}

fn set_up(json: bool, default: &str) -> Result<(), LoggingError> {
    use tracing_subscriber::fmt::writer::MakeWriterExt;
    use tracing_subscriber::util::SubscriberInitExt;
    // Journals and files shall hold no escape sequences.
    let colors = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let stderr = || Lines(io::stderr());
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter(default)?).with_writer(stderr.and(Keep)).with_ansi(colors);
    // `try_init` connects the `log` crate too.
    let done = if json { builder.json().finish().try_init() } else { builder.finish().try_init() };
    done.map_err(LoggingError::Twice)
}

fn filter(default: &str) -> Result<EnvFilter, LoggingError> {
    for variable in VARIABLES {
        if let Ok(text) = std::env::var(variable) {
            return EnvFilter::try_new(text).map_err(|source| LoggingError::Filter { variable, source });
        }
    }
    Ok(EnvFilter::new(default))
}

/// Writes each record as one line: paths and names in it are a target's, and a line's end in one would begin a line of the
/// target's own.
struct Lines<W>(W);

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        self.0.write_all(one_line(&String::from_utf8_lossy(record)).as_bytes())?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Without control characters but the end, and the colors: tracing escapes all others of those.
pub(super) fn one_line(record: &str) -> String {
    let (text, end) = record.strip_suffix('\n').map_or((record, ""), |text| (text, "\n"));
    let clean = |letter: char| if letter.is_control() && letter != '\u{1b}' { '\u{fffd}' } else { letter };
    text.chars().map(clean).chain(end.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line() {
        let mut written = Vec::new();
        Lines(&mut written).write_all("WARN path=a\nWARN b\r\u{9b}31m c\n".as_bytes()).expect("a vector takes all");
        assert_eq!(written, "WARN path=a\u{fffd}WARN b\u{fffd}\u{fffd}31m c\n".as_bytes());
    }
}
