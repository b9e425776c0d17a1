//! What the worker says of Go programs: `rows` to unwind them, `names` of their functions, `damage` in their tables.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod damage;
mod names;
mod program;
mod rows;
