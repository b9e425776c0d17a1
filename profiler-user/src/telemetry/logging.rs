//! The log: text or JSON lines on standard error, filtered by `PPROFD_LOG` or `RUST_LOG` (default: `info` of the agent, `warn` of
//! a command).

use super::recent::Keep;
use std::io::IsTerminal;
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
    let colors = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(default)?)
        .with_writer(std::io::stderr.and(Keep))
        .with_ansi(colors);
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
