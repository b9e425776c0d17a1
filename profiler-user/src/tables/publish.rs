//! Giving finished tables to the kernel: chunks, then rules, then the file's state, in this order, so that no walk meets
//! a file whose rows are not there yet.

use super::dictionary::Dictionary;
use super::look_up::ChunkCache;
use super::pool::{Pool, PoolError};
use crate::event::{FileNumber, FileOffset};
use crate::kernel::{KernelError, TableMaps};
use crate::worker::api::UnwindTable;
use profiler_ebpf::abi::event::FileKey;
use profiler_ebpf::abi::maps::{
    FILE_FRAME_POINTERS, FILE_NO_TABLE, FILE_TABLE, FLAG_ANY_STACK, FLAG_MADE_CODE, FileValue,
};
use profiler_ebpf::reasons::Reason;
use profiler_ebpf::unwind::rule::{CODE_FRAME_POINTER, CODE_FRAME_POINTER_ANY_STACK, DICTIONARY, Rule};

/// The one who writes tables.
pub(super) struct Publisher {
    maps: TableMaps,
    pool: Pool,
    dictionary: Dictionary,
    cache: ChunkCache,
    counts: TableCounts,
}

fn flags(table: &UnwindTable) -> u32 {
    (if table.any_stack { FLAG_ANY_STACK } else { 0 }) | (if table.made_code { FLAG_MADE_CODE } else { 0 })
}

/// A rule in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableRule {
    /// Its code.
    pub code: u16,
    /// What the dictionary says of the code, if it needs one.
    pub rule: Option<Rule>,
}

/// What the tables hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableCounts {
    /// Files with a table.
    pub tables: u64,
    /// Files without unwind information.
    pub frame_pointer_files: u64,
    /// Unwind rows.
    pub rows: u64,
    /// Bytes of the kernel's memory in use for rows.
    pub bytes: u64,
    /// Rules in the dictionary.
    pub rules: u64,
    /// Rules that found no slot.
    pub refused_rules: u64,
}

impl Publisher {
    pub(super) fn new(maps: TableMaps, bytes: u64) -> Result<Publisher, KernelError> {
        let mut publisher = Publisher {
            maps,
            pool: Pool::new(bytes),
            dictionary: Dictionary::new(),
            cache: ChunkCache::default(),
            counts: TableCounts::default(),
        };
        publisher.write_rules()?;
        Ok(publisher)
    }

    fn write_rules(&mut self) -> Result<(), KernelError> {
        for (slot, rule) in self.dictionary.take_new() {
            self.maps.write_rule(slot, &rule)?;
        }
        Ok(())
    }

    /// Publishes the table of a file; the error is why it has none now.
    pub(super) fn publish(
        &mut self,
        number: FileNumber,
        key: &FileKey,
        table: &UnwindTable,
    ) -> Result<FileValue, Reason> {
        let result = self.write(number, key, table);
        if let Err(reason) = result {
            self.refuse(number, key, reason);
        }
        result
    }

    fn write(&mut self, number: FileNumber, key: &FileKey, table: &UnwindTable) -> Result<FileValue, Reason> {
        let mut value = FileValue { number: number.0, state: FILE_TABLE, page_base: 0, flags: flags(table) };
        if table.pages.is_empty() {
            value.state = FILE_FRAME_POINTERS;
        } else {
            let placed = self.pool.place(table, &mut self.dictionary).map_err(|e| match e {
                PoolError::Full => Reason::TableBudget,
                PoolError::Inconsistent => Reason::WorkerFailed,
            })?;
            value.page_base = placed.page_base;
            self.write_chunks(&placed.chunks).map_err(|e| {
                tracing::warn!(error = %e, file = number.0, "cannot write an unwind table to the kernel");
                Reason::TableBudget
            })?;
        }
        self.maps.write_file(key, &value).map_err(|_full| Reason::FileTableFull)?;
        self.counts.rows += table.rows.len() as u64;
        *(if table.has_unwind_info { &mut self.counts.tables } else { &mut self.counts.frame_pointer_files }) += 1;
        Ok(value)
    }

    fn write_chunks(
        &mut self,
        chunks: &std::collections::BTreeMap<u32, Box<profiler_ebpf::abi::maps::Chunk>>,
    ) -> Result<(), KernelError> {
        self.write_rules()?;
        for (number, chunk) in chunks {
            self.cache.forget(*number);
            self.maps.write_chunk(*number, chunk)?;
        }
        Ok(())
    }

    /// Tells the kernel that walks stop at this file.
    pub(super) fn refuse(&mut self, number: FileNumber, key: &FileKey, reason: Reason) {
        let value = FileValue { number: number.0, state: FILE_NO_TABLE, page_base: 0, flags: 0 };
        if let Err(error) = self.maps.write_file(key, &value) {
            tracing::debug!(%error, file = number.0, reason = reason.name(), "cannot mark a file as without table");
        }
    }

    /// Lets the kernel announce the file again, under a new number, when a sample meets it.
    pub(super) fn forget(&mut self, key: &FileKey) {
        if let Err(error) = self.maps.remove_file(key) {
            tracing::debug!(%error, "cannot forget a file");
        }
    }

    /// The rule in force at an offset of a file that was published, as the kernel side finds it; `None` if a row points
    /// outside of the table.
    pub(super) fn look_up(&mut self, value: &FileValue, offset: FileOffset) -> Option<TableRule> {
        if value.state == FILE_FRAME_POINTERS {
            let any_stack = value.flags & FLAG_ANY_STACK != 0;
            return self.rule_of(if any_stack { CODE_FRAME_POINTER_ANY_STACK } else { CODE_FRAME_POINTER });
        }
        let code = self.cache.look_up(&self.maps, value.page_base, offset)?;
        self.rule_of(code)
    }

    fn rule_of(&self, code: u16) -> Option<TableRule> {
        let rule = self.dictionary.rule(code);
        (code & DICTIONARY == 0 || rule.is_some()).then_some(TableRule { code, rule })
    }

    pub(super) fn counts(&self) -> TableCounts {
        TableCounts {
            bytes: self.pool.bytes(),
            rules: self.dictionary.len() as u64,
            refused_rules: self.dictionary.refused(),
            ..self.counts
        }
    }
}
