//! The recorder: events in, windows out. One owner thread holds the log store and the process table;
//! everything that can happen to it is one closed enum; queries get immutable blocks and sum on the caller's thread.
//!
//! It holds no names and opens no files, and never looks at a clock: time comes with what it is told.

mod block;
mod clock;
mod gate;
mod live;
mod log;
mod owner;
mod processes;
mod recorder;
mod stacks;
mod sum;
mod totals;
mod waits;
pub mod window;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;

pub use live::{Creation, LIVE_BYTES, LiveStats};
pub use owner::{PROCESS_TABLE, RecorderConfig, RecorderStats};
pub use processes::{Filter, ImageInfo, ProcessInfo};
pub use recorder::{QUEUE_BYTES, RecordError, Recorder};
pub use totals::{TOTALS_BYTES, Totals};
pub use waits::{WAITS_BYTES, WaitStats};

const SECOND: u64 = 1_000_000_000;
