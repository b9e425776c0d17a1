//! Asks a running agent, as any HTTP client could: over its socket, or at an address. It knows nothing of profiles, and of the
//! agent only what anybody is told.

mod error;
mod place;
mod request;

pub use error::ClientError;
pub use place::{Place, PlaceError};

use serde::Deserialize;
use std::time::Duration;

/// How long an answer may take that waits for nothing.
const AT_ONCE: Duration = Duration::from_secs(60);

/// A process as the agent's list has it, as far as commands ask.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its parent, or 0.
    pub parent: u32,
    /// Name.
    pub comm: String,
    /// Real user id.
    pub uid: u32,
}

/// An agent at a place. Each question has a connection of its own, and ends with it when its future is dropped.
#[derive(Clone, Debug)]
pub struct Agent {
    place: Place,
}

impl Agent {
    /// The agent at a place, whether or not one is there.
    pub fn new(place: Place) -> Self {
        Agent { place }
    }

    /// Where it is asked.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Fails unless somebody accepts connections there.
    pub async fn is_there(&self) -> Result<(), ClientError> {
        request::connect(&self.place).await.map(drop)
    }

    /// The body of the answer to `GET path`, which the agent gives after waiting so long. An answer of another status than
    /// 200 is an error with the agent's own sentence.
    pub async fn get(&self, path: &str, waits: Duration) -> Result<Vec<u8>, ClientError> {
        let answer = tokio::time::timeout(waits + AT_ONCE, request::get(&self.place, path));
        match answer.await {
            Ok(answer) => answer,
            Err(_late) => Err(ClientError::Late { place: self.place.clone() }),
        }
    }

    /// The processes that live and that the caller may see, the busiest first.
    pub async fn processes(&self) -> Result<Vec<Process>, ClientError> {
        let bytes = self.get("/api/v1/processes", Duration::ZERO).await?;
        serde_json::from_slice(&bytes).map_err(|source| ClientError::List { place: self.place.clone(), source })
    }
}

#[cfg(test)]
mod tests;
