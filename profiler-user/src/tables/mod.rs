//! Which unwind tables the kernel holds: files by number, building in the background, the budget. It parses nothing (the
//! worker does) and opens nothing itself (`target/` does).

mod builder;
mod debug;
mod dictionary;
mod files;
mod look_up;
mod parts;
mod pool;
mod publish;
mod queue;

pub use builder::{Tables, TablesConfig};
pub use debug::Outcome;
pub use files::{FileRecord, State};
pub use parts::MissingParts;
pub use publish::{TableCounts, TableRule};
