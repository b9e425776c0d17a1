//! Why a question to an agent has no answer. Each says what to do, or is the agent's own sentence.

use super::Place;
use crate::exit::Exit;
use std::io;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there.
    #[error(
        "no agent answers at {place}: start one as root (`pprofd`), or say where it listens by --socket or --url; `pprofd record` \
         works without one"
    )]
    NoAgent {
        /// Where.
        place: Place,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The agent refuses, with a reason.
    #[error("{text} ({status} from {place})")]
    Refused {
        /// Where.
        place: Place,
        /// Status of the answer.
        status: u16,
        /// The agent's sentence.
        text: String,
    },
    /// The connection broke, or it was none of HTTP.
    #[error("{place} gave no whole answer: if it is pprofd that listens there, its log may say more")]
    Broken {
        /// Where.
        place: Place,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It took too long.
    #[error("{place} did not answer in time: its log may say more")]
    Late {
        /// Where.
        place: Place,
    },
    /// The list of processes is not one.
    #[error("{place} gave a list of processes that cannot be read: is it an agent of this version?")]
    List {
        /// Where.
        place: Place,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl ClientError {
    /// The exit code of a command that ends with it.
    pub fn exit(&self) -> Exit {
        match self {
            ClientError::Refused { status: 400 | 405, .. } => Exit::Usage,
            ClientError::Refused { status: 401 | 403, .. } => Exit::NoPermission,
            ClientError::NoAgent { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Exit::NoPermission
            }
            ClientError::Refused { status: 500, .. } => Exit::Bug,
            _ => Exit::Unavailable,
        }
    }
}
