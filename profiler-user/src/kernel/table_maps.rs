//! Publishing unwind tables: chunks of the pool, rules of the dictionary, states of files.

use super::KernelError;
use super::pool::InnerTemplate;
use aya::maps::of_maps::ArrayOfMaps;
use aya::maps::{Array, HashMap, Map, MapData};
use profiler_ebpf::abi::event::FileKey;
use profiler_ebpf::abi::maps::{CHUNKS_PER_MAP, Chunk, FileValue, POOL_MAPS};
use profiler_ebpf::unwind::rule::Rule;

/// The maps that hold tables. One owner.
pub struct TableMaps {
    pub(super) template: InnerTemplate,
    pub(super) pool: ArrayOfMaps<MapData, MapData>,
    pub(super) inner: Vec<Array<MapData, Chunk>>,
    pub(super) dictionary: Array<MapData, Rule>,
    pub(super) files: HashMap<MapData, FileKey, FileValue>,
}

impl TableMaps {
    /// Most chunks that the pool can hold.
    pub const MAX_CHUNKS: u32 = POOL_MAPS * CHUNKS_PER_MAP;

    /// Writes chunk `number`; memory (1 MiB for 16 chunks) is made when the first of them is written. Chunks must be
    /// begun in ascending order.
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
        self.files.remove(key).map_err(KernelError::map("change", "FILES"))
    }
}
