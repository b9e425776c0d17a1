//! The profile kinds: one file a kind, one line each in `KINDS`. A kind turns a request into a [`profile::Profile`] (a
//! table); it knows the recorder, the watch and the target, never HTTP or the bytes of a format.

pub mod profile;
