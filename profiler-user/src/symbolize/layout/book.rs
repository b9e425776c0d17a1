//! The way back from an address of a profile to its frame, for `symbol`.

use super::{Layout, Origin};
use crate::event::{FileOffset, Frame, MappingSeen};

/// A range of addresses and whose code it holds.
#[derive(Clone, Debug)]
struct Entry {
    start: u64,
    limit: u64,
    offset: u64,
    origin: Origin,
}

/// The mappings of a profile that was handed out, or those that a process has now. Sorted; entries never overlap.
#[derive(Clone, Debug, Default)]
pub struct AddressBook {
    entries: Vec<Entry>,
}

impl AddressBook {
    /// The book of a layout.
    pub fn of_layout(layout: &Layout) -> Self {
        let entries = layout.mappings.iter().map(|laid| Entry {
            start: laid.mapping.start,
            limit: laid.mapping.limit,
            offset: laid.mapping.offset,
            origin: laid.origin,
        });
        AddressBook::sorted(entries.collect())
    }

    /// The book of a process's mappings.
    pub fn of_mappings(mappings: &[MappingSeen]) -> Self {
        let entries = mappings.iter().map(|mapping| Entry {
            start: mapping.start,
            limit: mapping.end,
            offset: mapping.offset.0,
            origin: mapping.file.map_or(Origin::Anonymous, Origin::File),
        });
        AddressBook::sorted(entries.collect())
    }

    fn sorted(mut entries: Vec<Entry>) -> Self {
        entries.sort_unstable_by_key(|entry| entry.start);
        AddressBook { entries }
    }

    /// The frame at an address.
    pub fn frame(&self, address: u64) -> Option<Frame> {
        let after = self.entries.partition_point(|entry| entry.start <= address);
        let entry = self.entries.get(after.checked_sub(1)?)?;
        if address >= entry.limit {
            return None;
        }
        let offset = entry.offset.checked_add(address - entry.start)?;
        match entry.origin {
            Origin::File(file) => Some(Frame::Native { file, offset: FileOffset(offset) }),
            Origin::Kernel(module) => Some(Frame::Kernel { module, offset }),
            Origin::Anonymous => Some(Frame::Jit { address }),
            Origin::Pseudo => None,
        }
    }
}
