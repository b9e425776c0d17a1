//! Who asks. Every handler takes a [`Caller`], so that what it may see is decided in one place.

use crate::event::ProcessId;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use std::convert::Infallible;

/// Somebody who asks. Sees all: access is by the address that the agent listens on.
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
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Caller(()))
    }
}
