//! Why a command has no result. Each says what to do.

use crate::client::ClientError;
use crate::doctor::StartupError;
use crate::encode::pprof::decode::DecodeError;
use crate::exit::Exit;
use crate::kind::KindError;
use std::io;
use std::path::PathBuf;

/// Why a command has no result.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// What was typed does not make sense.
    #[error("{0}")]
    Usage(String),
    /// What was asked for is not there.
    #[error("{0}")]
    Unavailable(String),
    /// The agent was not reached, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The parts of the agent do not start here.
    #[error(transparent)]
    Startup(#[from] StartupError),
    /// Without an agent there is none to ask, and none of our own either.
    #[error(
        "no agent answers at {place} ({why}), and `pprofd record` cannot sample by itself:\n{cause}\nRun it as root, start \
         an agent as root (`pprofd`), or say where one listens by --socket or --url"
    )]
    Neither {
        /// Where an agent was looked for.
        place: String,
        /// What was met there.
        why: String,
        /// What the host lacks.
        cause: String,
        /// The code.
        exit: Exit,
    },
    /// The parts that run here have no answer.
    #[error(transparent)]
    Kind(#[from] KindError),
    /// What came is no profile.
    #[error("what came is no profile of pprof's format")]
    NoProfile(#[from] DecodeError),
    /// A file could not be written.
    #[error("cannot write {path}: say another by --output")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Standard output could not be written to.
    #[error("cannot write to standard output")]
    StandardOutput(#[source] io::Error),
    /// A program could not be started.
    #[error("cannot start {program}")]
    Program {
        /// Which.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The terminal does not take what `top` needs.
    #[error("cannot draw on this terminal: `pprofd top --once` prints a table instead")]
    Terminal(#[source] io::Error),
    /// Everything else.
    #[error("pprofd could not do its work, which is a bug")]
    Bug(#[source] anyhow::Error),
}

impl CommandError {
    /// Its exit code.
    pub fn exit(&self) -> Exit {
        match self {
            CommandError::Usage(_) => Exit::Usage,
            CommandError::Client(error) => error.exit(),
            CommandError::Startup(error) => error.exit(),
            CommandError::Neither { exit, .. } => *exit,
            CommandError::Kind(KindError::BadRequest(_)) => Exit::Usage,
            CommandError::Kind(KindError::Task(_)) | CommandError::Bug(_) => Exit::Bug,
            CommandError::File { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => Exit::NoPermission,
            CommandError::Unavailable(_)
            | CommandError::Kind(_)
            | CommandError::NoProfile(_)
            | CommandError::File { .. }
            | CommandError::StandardOutput(_)
            | CommandError::Program { .. }
            | CommandError::Terminal(_) => Exit::Unavailable,
        }
    }
}
