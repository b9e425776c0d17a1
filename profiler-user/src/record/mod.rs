//! The recorder: events in, windows out. One owner thread holds the log store and the process table; everything that can
//! happen to it is one closed enum; queries get immutable blocks and sum on the caller's thread.

mod block;
mod clocks;
mod log;
mod owner;
mod processes;
pub mod window;

pub use owner::{RecordError, Recorder, RecorderConfig, RecorderStats};
pub use processes::{Filter, ProcessInfo};

#[cfg(test)]
mod tests;
