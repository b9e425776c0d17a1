//! Publishing unwind tables: chunks of the pool, rules of the dictionary, states of files; and taking them back.

use super::KernelError;
use super::errors::removed;
use super::pool::InnerTemplate;
use super::rates::Control;
use aya::maps::of_maps::ArrayOfMaps;
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;
use profiler_ebpf::abi::event::FileKey;
use profiler_ebpf::abi::maps::{CHUNKS_PER_MAP, Chunk, FileValue, MEMO_SLOTS, POOL_MAPS};
use profiler_ebpf::unwind::rule::Rule;
use std::os::fd::AsFd;

/// The maps that hold tables. One owner.
pub struct TableMaps {
    pub(super) template: InnerTemplate,
    pub(super) pool: ArrayOfMaps<MapData, MapData>,
    pub(super) inner: Vec<Array<MapData, Chunk>>,
    /// The first of them once more, to be put where it is.
    pub(super) first: Option<MapData>,
    pub(super) dictionary: Array<MapData, Rule>,
    pub(super) files: HashMap<MapData, FileKey, FileValue>,
    pub(super) memo: PerCpuArray<MapData, [u64; MEMO_SLOTS]>,
    pub(super) control: Control,
}

impl TableMaps {
    /// Most chunks that the pool can hold.
    pub const MAX_CHUNKS: u32 = POOL_MAPS * CHUNKS_PER_MAP;

    /// Writes chunk `number`; memory (1 MiB for 16 chunks) is made when the first of them is written.
    pub fn write_chunk(&mut self, number: u32, chunk: &Chunk) -> Result<(), KernelError> {
        let outer = number / CHUNKS_PER_MAP;
        while self.inner.len() <= outer as usize {
            self.extend()?;
        }
        match self.inner.get_mut(outer as usize) {
            Some(inner) => inner.set(number % CHUNKS_PER_MAP, chunk, 0).map_err(KernelError::map("write", "POOL")),
            None => Err(KernelError::Missing("POOL")),
        }
    }

    /// Finds out whether the pool can grow, where that is in doubt.
    pub(super) fn prove(&mut self) -> Result<(), KernelError> {
        if self.template.is_exact() {
            return Ok(());
        }
        self.extend().map_err(|error| KernelError::PlainPool(Box::new(error)))
    }

    fn extend(&mut self) -> Result<(), KernelError> {
        let map = self.template.create(CHUNKS_PER_MAP)?;
        let index = u32::try_from(self.inner.len()).unwrap_or(u32::MAX);
        self.pool.set(index, &map, 0).map_err(KernelError::map("extend", "POOL"))?;
        if self.first.is_none() {
            let again =
                map.fd().as_fd().try_clone_to_owned().map_err(KernelError::system("duplicate a map's descriptor"))?;
            self.first = Some(MapData::from_fd(again).map_err(KernelError::map("open", "POOL"))?);
        }
        self.inner.push(Array::try_from(Map::Array(map)).map_err(KernelError::map("open", "POOL"))?);
        Ok(())
    }

    /// Reads chunk `number` back.
    pub fn read_chunk(&self, number: u32) -> Result<Box<Chunk>, KernelError> {
        let inner = self.inner.get((number / CHUNKS_PER_MAP) as usize).ok_or(KernelError::Missing("POOL"))?;
        inner.get(&(number % CHUNKS_PER_MAP), 0).map(Box::new).map_err(KernelError::map("read", "POOL"))
    }

    /// Writes rule `slot` of the dictionary.
    pub fn write_rule(&mut self, slot: u32, rule: &Rule) -> Result<(), KernelError> {
        self.dictionary.set(slot, rule, 0).map_err(KernelError::map("write", "DICTIONARY"))
    }

    /// Sets what the programs know of a file.
    pub fn write_file(&mut self, key: &FileKey, value: &FileValue) -> Result<(), KernelError> {
        self.files.insert(key, value, 0).map_err(KernelError::map("write", "FILES"))
    }

    /// Forgets a file: the next sample that meets it gives it a new number and announces it.
    pub fn remove_file(&mut self, key: &FileKey) -> Result<(), KernelError> {
        removed(self.files.remove(key)).map_err(KernelError::map("change", "FILES"))
    }

    /// Makes sure that nothing leads to tables of files that were removed before, so that their chunks can be written anew.
    ///
    /// Three things lead there beside `FILES`: mappings that were cached on each CPU, which the epoch makes void; walks at work,
    /// which began before; and rules that the memos know by the number of a table's page. The kernel ends an update of a map of
    /// maps by waiting for a grace period (`maybe_wait_bpf_programs`): no program that ran before runs any more then. So putting
    /// a map where it is already waits for the walks, by a promise to user space that all kernels in question keep
    /// (membarrier's global command waits alike, but is refused where CPUs run without ticks). The memos are emptied after that:
    /// what programs write to them from then on comes from files that are not removed.
    pub fn retire(&mut self) -> Result<(), KernelError> {
        self.control.raise_epoch()?;
        if let Some(first) = &self.first {
            self.pool.set(0, first, 0).map_err(KernelError::map("wait by", "POOL"))?;
        }
        let cpus = nr_cpus().map_err(|(_, error)| error).map_err(KernelError::system("count the CPUs"))?;
        let empty = PerCpuValues::try_from(vec![[0; MEMO_SLOTS]; cpus]);
        let empty = empty.map_err(KernelError::system("empty the memos"))?;
        self.memo.set(0, empty, 0).map_err(KernelError::map("write", "MEMO"))
    }
}
