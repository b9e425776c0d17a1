//! The commands that ask for profiles and show them, one file each, and those that describe the command line itself. They ask
//! a running agent by `client`; `record` also starts the agent's parts, and then asks those. Everything that a target named is
//! shown by `printable`.

pub mod bundle;
pub mod completions;
pub mod dump;
pub mod functions;
pub mod man;
pub mod pprof;
pub mod printable;
pub mod record;
pub mod top;

mod error;
mod file;
pub mod flags;
mod program;
mod progress;
mod question;
mod report;
mod source;

pub use error::CommandError;
pub use question::{Question, Who};

use std::io::{self, Write};
use tokio::runtime::Runtime;

/// Writes to standard output. False if its reader is gone (`| head`), who has what he wanted.
fn write_out(bytes: &[u8]) -> Result<bool, CommandError> {
    match io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).map_err(CommandError::StandardOutput),
    }
}

/// Says something to who watches, beside the result.
fn say(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

/// What runs a command's waiting.
fn runtime() -> Result<Runtime, CommandError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| CommandError::Bug(error.into()))
}
