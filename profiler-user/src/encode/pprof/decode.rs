//! Bytes -> the messages of a profile, with a bound on what they unpack to: they may come from any agent.

use super::message::Profile;
use flate2::read::GzDecoder;
use prost::Message;
use std::io::{self, Read};

/// Bytes that a profile may unpack to.
const MAX_UNPACKED: u64 = 256 << 20;

/// Why bytes are no profile.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// They are not packed by gzip.
    #[error("no gzip")]
    Packing(#[source] io::Error),
    /// What was packed is something else.
    #[error("no profile")]
    Message(#[source] prost::DecodeError),
}

/// Unpacks and decodes a profile.
pub fn decode(zipped: &[u8]) -> Result<Profile, DecodeError> {
    let mut bytes = Vec::new();
    let mut reader = GzDecoder::new(zipped).take(MAX_UNPACKED);
    reader.read_to_end(&mut bytes).map_err(DecodeError::Packing)?;
    Profile::decode(bytes.as_slice()).map_err(DecodeError::Message)
}
