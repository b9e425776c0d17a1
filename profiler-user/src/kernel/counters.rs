//! What the kernel side counts: outcomes, losses of processes, and its own running time.

use super::KernelError;
use super::errors::removed;
use aya::maps::{HashMap, MapData, PerCpuArray};
use profiler_ebpf::abi::maps::{COUNTERS, LossKey};
use serde::Serialize;
use std::collections::HashMap as Table;

/// The counters of `COUNTERS_MAP`, summed over CPUs.
pub struct Counters {
    pub(super) map: PerCpuArray<MapData, u64>,
}

impl Counters {
    /// All counters; index = code.
    pub fn read(&self) -> Vec<u64> {
        (0..COUNTERS).map(|i| self.map.get(&i, 0).map_or(0, |values| values.iter().sum())).collect()
    }
}

/// Readings without news after which an entry makes room for others: it was read whole, and its process is quiet or gone.
const QUIET: u32 = 50;

/// Losses by process and reason, read as differences. What finds no room in the map is counted by the kernel side.
pub struct Losses {
    map: HashMap<MapData, LossKey, u64>,
    seen: Table<LossKey, Seen>,
}

#[derive(Clone, Copy)]
struct Seen {
    total: u64,
    /// Readings without news.
    quiet: u32,
}

impl Losses {
    pub(super) fn new(map: HashMap<MapData, LossKey, u64>) -> Losses {
        Losses { map, seen: Table::new() }
    }

    /// What was lost since the last call.
    pub fn read(&mut self) -> Vec<(LossKey, u64)> {
        let mut news = Vec::new();
        for entry in &self.map {
            let Ok((key, total)) = entry else { continue };
            let seen = self.seen.entry(key).or_insert(Seen { total: 0, quiet: 0 });
            if total > seen.total {
                news.push((key, total - seen.total));
                *seen = Seen { total, quiet: 0 };
            } else {
                seen.quiet += 1;
            }
        }
        // Not while iterating: it would begin anew.
        self.seen.retain(|key, seen| seen.quiet < QUIET || removed(self.map.remove(key)).is_err());
        news
    }
}

/// Running time of one of our programs (0 unless `kernel.bpf_stats_enabled` is 1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProgramCost {
    /// Its name.
    pub name: &'static str,
    /// The kernel's number of it.
    pub id: u32,
    /// ns that it ran.
    pub run_time_ns: u64,
    /// How often.
    pub runs: u64,
}

/// Reads the cost of a program.
pub(super) fn cost(name: &'static str, program: &aya::programs::ProgramFd) -> Result<ProgramCost, KernelError> {
    use super::syscall::{Attributes, Command, bpf, put_u64, raw};
    use std::os::fd::AsFd;
    // struct bpf_prog_info: id at byte 4, run_time_ns at byte 192, run_cnt at byte 200 (5.1 and later).
    let mut info = [0u32; 64];
    let mut attributes: Attributes = [0; 32];
    attributes[0] = raw(program.as_fd());
    attributes[1] = 256;
    put_u64(&mut attributes, 2, info.as_mut_ptr() as u64);
    // SAFETY: the buffer has the 256 bytes that the attributes state; all its other fields are zero, so the kernel
    // writes no arrays.
    unsafe { bpf(Command::ObjectInfo, &mut attributes, 16) }
        .map_err(KernelError::system("read the cost of a BPF program"))?;
    let at = |i: usize| u64::from(info[i]) | u64::from(info[i + 1]) << 32;
    Ok(ProgramCost { name, id: info[1], run_time_ns: at(48), runs: at(50) })
}
