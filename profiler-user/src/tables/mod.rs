//! Which unwind tables the kernel holds: files by number, building in the background, the budget. It parses nothing (the
//! worker does) and opens nothing itself (`target/` does).

mod builder;
mod building;
mod chunks;
mod debug;
mod dictionary;
mod evict;
mod files;
mod look_up;
mod names;
mod parts;
mod pool;
mod publish;
mod queue;
mod uses;

pub use builder::{FileCounts, Tables, TablesConfig};
pub use debug::Outcome;
pub use evict::Eviction;
pub use files::{FileRecord, State};
pub use parts::MissingParts;
pub use publish::{TableCounts, TableRule};

/// Bytes that the records of files, and what is kept beside them, take at most: the records, keys by which files are
/// recognized, times of use, and chunks at hand.
pub const FILE_RECORDS: u64 = files::RECORD_BYTES + files::KNOWN_BYTES + look_up::CACHE_BYTES + (1 << 20);
