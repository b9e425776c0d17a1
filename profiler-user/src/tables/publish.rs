//! Giving finished tables to the kernel: chunks, then rules, then the file's state, in this order, so that no walk meets
//! a file whose rows are not there yet. And taking them back: the file's state first, and its chunks are written again only when
//! no walk can be in them.

use super::chunks::Owner;
use super::dictionary::Dictionary;
use super::evict::Eviction;
use super::look_up::ChunkCache;
use super::pool::{Laid, Pool, PoolError};
use super::uses::Uses;
use crate::event::{FileNumber, FileOffset};
use crate::kernel::{KernelError, TableMaps};
use crate::worker::api::UnwindTable;
use profiler_ebpf::abi::event::FileKey;
use profiler_ebpf::abi::maps::{
    FILE_FRAME_POINTERS, FILE_NO_TABLE, FILE_TABLE, FLAG_ANY_STACK, FLAG_MADE_CODE, FileValue,
};
use profiler_ebpf::reasons::Reason;
use profiler_ebpf::unwind::rule::{CODE_FRAME_POINTER, CODE_FRAME_POINTER_ANY_STACK, DICTIONARY, Rule};
use std::collections::HashMap;

/// The one who writes tables.
pub(super) struct Publisher {
    maps: TableMaps,
    pool: Pool,
    dictionary: Dictionary,
    cache: ChunkCache,
    held: HashMap<FileNumber, Held>,
    /// Times that chunks were waited for.
    waits: u64,
    /// Tables that were moved.
    moves: u64,
}

/// A file that has what it needs.
struct Held {
    key: FileKey,
    value: FileValue,
    /// Rows; `None` if it has no unwind information.
    rows: Option<u64>,
    first_page: u32,
    pages: u32,
}

/// A file to publish a table of.
pub(super) struct Wanted<'a> {
    pub(super) owner: Owner,
    pub(super) key: &'a FileKey,
    pub(super) table: &'a UnwindTable,
}

/// Whoever makes room: when files were last met, what time it is, and who is told of the files that go.
pub(super) struct Room<'a> {
    pub(super) uses: &'a Uses,
    pub(super) now: u64,
    /// Gives the key of a file that the kernel holds, after which it counts as evicted.
    pub(super) evict: &'a mut dyn FnMut(FileNumber, Eviction) -> Option<FileKey>,
    /// A file's table lies elsewhere.
    pub(super) moved: &'a mut dyn FnMut(FileNumber, FileValue),
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
    /// Times that memory of evicted tables was waited for, so that no walk was in it.
    pub waits: u64,
    /// Tables that were moved, so that what lay scattered lies together.
    pub moves: u64,
}

impl Publisher {
    pub(super) fn new(maps: TableMaps, bytes: u64) -> Result<Publisher, KernelError> {
        let mut publisher = Publisher {
            maps,
            pool: Pool::new(bytes),
            dictionary: Dictionary::new(),
            cache: ChunkCache::default(),
            held: HashMap::new(),
            waits: 0,
            moves: 0,
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
    pub(super) fn publish(&mut self, wanted: &Wanted<'_>, room: &mut Room<'_>) -> Result<FileValue, Reason> {
        let result = self.write(wanted, room);
        if result.is_err() {
            self.pool.remove(wanted.owner.file);
        }
        result
    }

    fn write(&mut self, wanted: &Wanted<'_>, room: &mut Room<'_>) -> Result<FileValue, Reason> {
        let Wanted { owner, key, table } = wanted;
        let mut value = FileValue { number: owner.file.0, state: FILE_TABLE, page_base: 0, flags: flags(table) };
        if table.pages.is_empty() {
            value.state = FILE_FRAME_POINTERS;
        } else {
            let laid = self.lay(wanted, room).map_err(|e| match e {
                PoolError::Full => Reason::TableBudget,
                PoolError::Inconsistent => Reason::WorkerFailed,
            })?;
            value.page_base = laid.page_base;
            self.write_chunks(&laid.chunks).map_err(|e| {
                tracing::warn!(error = %e, file = owner.file.0, "cannot write an unwind table to the kernel");
                Reason::TableBudget
            })?;
        }
        self.maps.write_file(key, &value).map_err(|_full| Reason::FileTableFull)?;
        let rows = table.has_unwind_info.then_some(table.rows.len() as u64);
        let pages = u32::try_from(table.pages.len()).unwrap_or(u32::MAX);
        let first_page = u32::try_from(table.first_page).unwrap_or(u32::MAX);
        self.held.insert(owner.file, Held { key: **key, value, rows, first_page, pages });
        Ok(value)
    }

    /// Lays a table out; others go if it has no room.
    fn lay(&mut self, wanted: &Wanted<'_>, room: &mut Room<'_>) -> Result<Laid, PoolError> {
        let Wanted { owner, table, .. } = wanted;
        loop {
            match self.pool.place(*owner, table, &mut self.dictionary) {
                Err(PoolError::Full) => {}
                other => return other,
            }
            let victims = self.pool.victims(*owner, table, room.uses, room.now);
            if victims.is_empty() && !self.gather(room) && !self.pool.has_left() {
                return Err(PoolError::Full);
            }
            for (file, why) in victims {
                if let Some(key) = (room.evict)(file, why) {
                    self.forget(file, &key);
                }
            }
            self.drain().map_err(|error| {
                tracing::warn!(%error, "cannot use memory of evicted unwind tables again");
                PoolError::Full
            })?;
        }
    }

    /// Moves tables that lie scattered closer together, for which nothing has to go; true if there were some.
    fn gather(&mut self, room: &mut Room<'_>) -> bool {
        let before = self.moves;
        while let Some(files) = self.pool.scattered() {
            for owner in files {
                match self.relocate(owner, room) {
                    Ok(()) => self.moves += 1,
                    // There is room for the next ones when no walk is any more in what these left.
                    Err(PoolError::Full) => return self.moves > before,
                    Err(PoolError::Inconsistent) => {
                        if let Some(key) = (room.evict)(owner.file, Eviction::TableBudget) {
                            self.forget(owner.file, &key);
                        }
                    }
                }
            }
        }
        self.moves > before
    }

    /// Moves a table. Walks find it where it was until the kernel knows the new place, and those that began before stay there.
    fn relocate(&mut self, owner: Owner, room: &mut Room<'_>) -> Result<(), PoolError> {
        let Held { value, first_page, pages, key, .. } = self.held.get(&owner.file).ok_or(PoolError::Inconsistent)?;
        let (mut value, key) = (*value, *key);
        let image =
            self.cache.image(&self.maps, value.page_base, *first_page, *pages).ok_or(PoolError::Inconsistent)?;
        let laid = self.pool.relocate(owner, &image)?;
        value.page_base = laid.page_base;
        let written = self.write_chunks(&laid.chunks).and_then(|()| self.maps.write_file(&key, &value));
        written.map_err(|error| {
            tracing::warn!(%error, file = owner.file.0, "cannot move an unwind table");
            PoolError::Inconsistent
        })?;
        if let Some(held) = self.held.get_mut(&owner.file) {
            held.value = value;
        }
        (room.moved)(owner.file, value);
        Ok(())
    }

    /// Waits until no walk is in what evicted files left.
    fn drain(&mut self) -> Result<(), KernelError> {
        self.maps.retire()?;
        self.pool.drained();
        self.waits += 1;
        Ok(())
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

    /// Makes the kernel forget a file: it announces it again, under a new number, when a sample meets it.
    pub(super) fn forget(&mut self, file: FileNumber, key: &FileKey) {
        self.held.remove(&file);
        match self.maps.remove_file(key) {
            Ok(()) => self.pool.remove(file),
            // Walks still go by its rows: they stay where they are.
            Err(error) => tracing::warn!(%error, file = file.0, "cannot evict a file"),
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
        let rows = self.held.values().filter_map(|held| held.rows);
        let (tables, rows) = rows.fold((0, 0), |(tables, sum), rows| (tables + 1, sum + rows));
        TableCounts {
            tables,
            frame_pointer_files: self.held.len() as u64 - tables,
            rows,
            bytes: self.pool.bytes(),
            rules: self.dictionary.len() as u64,
            refused_rules: self.dictionary.refused(),
            waits: self.waits,
            moves: self.moves,
        }
    }
}
