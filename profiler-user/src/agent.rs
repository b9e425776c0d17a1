//! Builds the parts, owns the threads and the order of shutdown.

use crate::cli::Exit;
use crate::config::Config;
use crate::doctor::{self, StartupError};
use std::process::ExitCode;

/// Runs the agent until it is told to stop.
pub fn run(_config: Config) -> Result<(), StartupError> {
    doctor::require(&doctor::check())
}

/// Runs a symbol worker.
pub fn symbol_worker() -> ExitCode {
    Exit::Unavailable.into()
}
