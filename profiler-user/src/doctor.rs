//! What this host allows, why not, and what to do. `pprofd doctor` prints the list; errors at start-up come from the
//! same one. `pprofd doctor --file` tells what a profile can show of one file, `--bundle` writes what a bug report needs.

mod bundle;
mod capabilities;
mod checks;
mod facts;
mod features;
mod file;
mod file_lines;
mod probe;
mod report;
mod table;

pub use bundle::{BundleError, Said, bundle};
pub use capabilities::{CAPABILITIES, Capability, Needed, Stated};
pub use features::{Allowed, Offer};
pub use file::{FileError, describe};
pub use report::{Check, Report, Verdict};

use crate::agent::SocketError;
use crate::config::{ConfigError, TokenFileError};
use crate::exit::Exit;
use crate::kernel::KernelError;
use std::io;
use std::net::SocketAddr;

/// Looks at this host.
pub fn check() -> Report {
    looked_at(false)
}

/// Looks at this host and tries out what the agent does at its start.
pub fn examine() -> Report {
    looked_at(true)
}

fn looked_at(tried: bool) -> Report {
    let facts = facts::Facts::of_this_host();
    let mut checks = checks::judge(&facts);
    // What is known to be impossible would only fail again, with a poorer reason.
    if tried && !checks.iter().any(|check| matches!(check.verdict, Verdict::Fail(_))) {
        checks.extend(probe::checks());
    }
    Report::new(checks, capabilities::stated(facts.capabilities))
}

/// What stops the agent on this host: exit code and text. `None` if it can run.
pub fn startup_error(report: &Report) -> Option<(Exit, String)> {
    let exit = report.exit();
    (exit != Exit::Done).then(|| (exit, report.failures()))
}

/// Fails if the agent cannot run on this host.
pub fn require(report: &Report) -> Result<(), StartupError> {
    startup_error(report).map_or(Ok(()), |(exit, text)| Err(StartupError::Host { exit, text }))
}

/// Why the agent did not start, or had to stop. Says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    /// The configuration is not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The host lacks something, or permission is missing.
    #[error("{text}")]
    Host {
        /// The code.
        exit: Exit,
        /// What is missing and what to do.
        text: String,
    },
    /// The port is taken.
    #[error("{0} is in use: another pprofd may be running; stop it or choose another port with --listen")]
    PortInUse(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: choose another address with --listen")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The Unix socket that was asked for cannot be had.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// There are no tokens.
    #[error(transparent)]
    Tokens(#[from] TokenFileError),
    /// A file of which nothing can be said.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file for a bug report cannot be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Everything else: a bug, or a host that we do not understand yet.
    #[error("pprofd could not do its work, which is a bug")]
    Bug(#[source] anyhow::Error),
}

impl StartupError {
    /// The error of an agent that could not start: what the kernel refused is the host's, all else a bug.
    pub fn of_start(error: anyhow::Error) -> StartupError {
        match error.chain().find_map(|cause| cause.downcast_ref::<KernelError>()).map(probe::refused) {
            Some(Check { verdict: Verdict::Fail(exit), finding, remedy, name }) => {
                StartupError::Host { exit, text: format!("{name}: {finding}; {remedy}") }
            }
            _ => StartupError::Bug(error),
        }
    }

    /// The error of a failed `bind`.
    pub fn of_bind(address: SocketAddr, source: io::Error) -> StartupError {
        match source.kind() {
            io::ErrorKind::AddrInUse => StartupError::PortInUse(address),
            _ => StartupError::Listen { address, source },
        }
    }

    /// Its exit code.
    pub fn exit(&self) -> Exit {
        match self {
            StartupError::File(FileError::Open { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                Exit::NoPermission
            }
            StartupError::Config(_)
            | StartupError::Tokens(_)
            | StartupError::File(_)
            | StartupError::Bundle(BundleError::Write { .. }) => Exit::Usage,
            StartupError::Host { exit, .. } => *exit,
            StartupError::Socket(error) => error.exit(),
            StartupError::Listen { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Exit::NoPermission
            }
            StartupError::PortInUse(_) | StartupError::Listen { .. } => Exit::Unavailable,
            StartupError::Bug(_) | StartupError::Bundle(BundleError::Json(_)) => Exit::Bug,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_says_what_to_do() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = taken.local_addr().expect("address");
        let error = StartupError::of_bind(address, std::net::TcpListener::bind(address).expect_err("taken"));
        assert_eq!(error.exit(), Exit::Unavailable);
        assert!(error.to_string().contains("--listen"), "{error}");
    }
}
