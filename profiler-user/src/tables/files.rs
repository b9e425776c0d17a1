//! What the agent knows of each numbered file.

use crate::event::{FileNumber, FileSeen};
use crate::worker::TrustDomain;
use crate::worker::api::FileFacts;
use profiler_ebpf::abi::event::FileKey;
use profiler_ebpf::abi::maps::{FileValue, MAX_FILES};
use profiler_ebpf::reasons::Reason;
use std::collections::HashMap;
use std::sync::Arc;

/// Where a file stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Announced.
    Seen,
    /// Opened, verified; no table asked for yet.
    Opened,
    /// The kernel has what it needs.
    Ready,
    /// There is no table, and why.
    Failed(Reason),
}

/// One file.
#[derive(Clone, Debug)]
pub struct FileRecord {
    /// As announced.
    pub seen: FileSeen,
    /// Path for people.
    pub path: String,
    /// Facts, once it was parsed.
    pub facts: Option<Arc<FileFacts>>,
    /// Whom its bytes may lie to.
    pub domain: Option<TrustDomain>,
    /// Bytes, 0 if not known.
    pub size: u64,
    /// Where it stands.
    pub state: State,
    /// What the kernel knows of it, once it is ready.
    pub value: Option<FileValue>,
    /// How often it could not be opened.
    pub failures: u32,
    /// It needs no debug file, or there is none that can be used: none is looked for again.
    pub no_debug_file: bool,
}

impl FileRecord {
    /// True while it may yet get a table.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Seen | State::Opened)
    }
}

/// Files by number. A number is never given twice, so old ones must go when others come: the kernel holds
/// [`MAX_FILES`] at a time; twice as many are remembered here, the lowest numbers go first.
#[derive(Default)]
pub(super) struct Files {
    records: HashMap<FileNumber, FileRecord>,
    forgotten: u64,
}

const MAX_RECORDS: usize = 2 * MAX_FILES as usize;

impl Files {
    /// Adds an announced file.
    pub(super) fn add(&mut self, seen: FileSeen) {
        if self.records.len() >= MAX_RECORDS
            && let Some(oldest) = self.records.keys().min().copied()
        {
            self.records.remove(&oldest);
            self.forgotten += 1;
        }
        let path = format!("/{}", String::from_utf8_lossy(&seen.path).trim_start_matches('/'));
        let record = FileRecord {
            path,
            facts: None,
            domain: None,
            size: 0,
            state: State::Seen,
            value: None,
            failures: 0,
            no_debug_file: false,
            seen,
        };
        self.records.insert(record.seen.number, record);
    }

    pub(super) fn get(&self, file: FileNumber) -> Option<&FileRecord> {
        self.records.get(&file)
    }

    pub(super) fn get_mut(&mut self, file: FileNumber) -> Option<&mut FileRecord> {
        self.records.get_mut(&file)
    }

    /// How often files with this key could not be opened, under any number.
    pub(super) fn failures_of(&self, key: &FileKey) -> u32 {
        self.records.values().filter(|record| record.seen.key == *key).map(|record| record.failures).sum()
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Records that were dropped for room.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }
}
