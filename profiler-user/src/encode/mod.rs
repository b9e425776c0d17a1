//! Bytes of a format: one file (or folder) a format, one trait a shape of answer. Pure.

pub mod pprof;
pub mod text;

use crate::kind::profile::Profile;

/// A format that writes tables.
pub trait EncodeProfile {
    /// Media type of the bytes.
    fn content_type(&self) -> &'static str;
    /// The bytes of a profile.
    fn encode(&self, profile: &Profile) -> Vec<u8>;
}
