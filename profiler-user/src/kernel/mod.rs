//! Everything that needs the kernel's BPF and perf interfaces: loading the object, attaching its programs, rings, maps,
//! BTF offsets, kallsyms. Verbs take and return plain data; nothing here knows a profile or HTTP.
#![allow(unsafe_code, reason = "system calls that no library wraps; each block states why it is sound")]

mod btf;
mod counters;
pub mod cpu_clock;
mod errors;
mod inventory;
mod iterator;
mod kallsyms;
pub mod landlock;
mod load;
pub mod memory;
#[cfg(feature = "bpf-log")]
mod messages;
mod offsets;
mod peer_groups;
mod perf;
mod pool;
mod rates;
pub mod readable;
mod ring;
mod syscall;
mod table_maps;
mod threads;
mod waits;

pub use counters::{Counters, Losses, ProgramCost};
pub use errors::KernelError;
pub use inventory::Inventory;
pub use kallsyms::{KernelSymbols, Symbol};
pub use load::{Attached, LoadConfig, Parts, ProgramFacts, inspect, load};
pub use peer_groups::peer_groups;
pub use rates::Rates;
pub use ring::Ring;
pub use table_maps::TableMaps;
pub use threads::Threads;
pub use waits::Waits;

/// Bytes of maps beside the ring of samples, the pool of tables and what each CPU has: files, rules, losses, small rings.
pub const OTHER_MAPS: u64 = 10 << 20;
/// Bytes of maps that each CPU has: the walk's state, records under construction, memo and cached mappings.
pub const MAPS_OF_A_CPU: u64 = 320 << 10;
