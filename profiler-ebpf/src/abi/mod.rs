//! What crosses the border between kernel and agent: records, map values, names. Plain `repr(C)` integers and arrays
//! without padding, so that both sides read the same bytes (`zerocopy` refuses hidden padding at compile time).

pub mod counters;
pub mod event;
pub mod frame;
pub mod maps;
