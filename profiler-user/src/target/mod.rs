//! Targets: processes, their mappings and identity, and the one function that opens a target's file.
//!
//! Only this room names `/proc/PID`. What it reads there is written by targets: every read is capped, texts are bytes
//! (not UTF-8), and what cannot be parsed is an error of that process alone.

pub mod clock;
pub mod cpu;
pub mod descriptors;
pub mod exit;
pub mod inventory;
pub mod limits;
pub mod open;
pub mod owner;
pub mod proc;
pub mod select;
#[cfg(test)]
mod testing;
pub mod vdso;

pub use inventory::{Exact, inventory};
pub use open::{KeyOf, OpenError, Opened, Opener};
pub use proc::{Proc, ProcError, same_process, start_ns, start_ticks};
