//! Who asks. Every handler takes a [`Caller`], so that what it may see is decided in one place.

use super::error::ApiError;
use super::peer::Peer;
use crate::event::ProcessId;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;

/// Somebody who asks, and may see all: whoever reaches the address, and root by the Unix socket.
#[derive(Clone, Copy, Debug)]
pub struct Caller(());

impl Caller {
    /// True if the caller may know of this process.
    #[allow(clippy::unused_self, reason = "callers with less than all rights are told apart here")]
    pub fn sees(self, _process: ProcessId) -> bool {
        true
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match parts.extensions.get::<Peer>() {
            Some(Peer::Local(peer)) if peer.uid != 0 => {
                Err(ApiError::new(StatusCode::FORBIDDEN, "By this socket only root may ask yet"))
            }
            _ => Ok(Caller(())),
        }
    }
}
