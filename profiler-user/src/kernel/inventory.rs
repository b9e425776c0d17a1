//! Asking the kernel side instead of being told: the mappings of a process, the key of an opened file.
//!
//! Both run programs that share one per-CPU state, so one lock lets one caller in at a time.

use super::KernelError;
use super::iterator;
use super::syscall::{Attributes, Command, bpf, put_u64, raw};
use crate::event::{Event, KernelPlaces, MappingSeen, Pid, decode};
use aya::maps::{Array, MapData};
use aya::programs::ProgramFd;
use profiler_ebpf::abi::event::{FileKey, MappingRecord};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

/// Mappings that one inventory of one process may return.
const MAX_MAPPINGS: usize = 200_000;

/// The two programs that the agent runs on demand.
pub struct Inventory {
    mappings: ProgramFd,
    key_of: ProgramFd,
    answer: Mutex<Array<MapData, FileKey>>,
}

impl Inventory {
    pub(super) fn new(mappings: ProgramFd, key_of: ProgramFd, answer: Array<MapData, FileKey>) -> Inventory {
        Inventory { mappings, key_of, answer: Mutex::new(answer) }
    }

    /// All executable mappings of all processes. Files that were never seen are announced on the way.
    pub fn all(&self) -> Result<Vec<MappingSeen>, KernelError> {
        self.iterate(None)
    }

    /// Executable mappings of one process, in address order; none if it is gone.
    pub fn of(&self, pid: Pid) -> Result<Vec<MappingSeen>, KernelError> {
        match self.iterate(Some(pid)) {
            Err(error) if error.is_no_such_process() => Ok(vec![]),
            other => other,
        }
    }

    fn iterate(&self, pid: Option<Pid>) -> Result<Vec<MappingSeen>, KernelError> {
        let _one_at_a_time = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        read_mappings(iterator::open(&self.mappings, pid, "mappings")?)
    }

    /// The kernel's own key of an opened file; `None` if it cannot be mapped.
    pub fn key_of(&self, file: BorrowedFd<'_>) -> Option<FileKey> {
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        let page = Page::of(file)?;
        let argument = [page.0 as u64];
        let mut attributes: Attributes = [0; 32];
        attributes[0] = raw(self.key_of.as_fd());
        // test.ctx_size_in at byte 40, test.ctx_in at byte 48
        attributes[10] = 8;
        put_u64(&mut attributes, 12, argument.as_ptr() as u64);
        // SAFETY: the context is the 8 bytes of `argument`, which live across the call.
        unsafe { bpf(Command::ProgramTestRun, &mut attributes, 80) }.ok()?;
        if attributes[1] != 0 {
            return None;
        }
        answer.get(&0, 0).ok()
    }
}

/// One page of a file, mapped readable and never touched.
struct Page(*mut libc::c_void);

impl Page {
    fn of(file: BorrowedFd<'_>) -> Option<Page> {
        use std::os::fd::AsRawFd;
        // SAFETY: a new private mapping at an address of the kernel's choice; it is not read through.
        let at =
            unsafe { libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd(), 0) };
        (at != libc::MAP_FAILED).then_some(Page(at))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: the mapping that `of` made.
        unsafe { libc::munmap(self.0, 4096) };
    }
}

/// Records need no kernel addresses.
struct NoPlaces;

impl KernelPlaces for NoPlaces {
    fn place(&self, _: u64) -> crate::event::Frame {
        crate::event::Frame::Pseudo { reason: profiler_ebpf::reasons::Reason::KernelHidden }
    }
}

fn read_mappings(mut iterator: File) -> Result<Vec<MappingSeen>, KernelError> {
    const RECORD: usize = size_of::<MappingRecord>();
    let mut found: Vec<MappingSeen> = Vec::new();
    let mut buffer = vec![0u8; RECORD * 256];
    let mut held = 0;
    while found.len() < MAX_MAPPINGS {
        let free = buffer.get_mut(held..).unwrap_or_default();
        let read =
            iterator.read(free).map_err(|source| KernelError::Iterator { action: "read", over: "mappings", source })?;
        if read == 0 {
            break;
        }
        held += read;
        let whole = held / RECORD * RECORD;
        for record in buffer.get(..whole).unwrap_or_default().chunks_exact(RECORD) {
            if let Ok(Event::Mapping(mapping)) = decode(record, &NoPlaces) {
                // A process whose leader is gone reports once for each of its threads.
                found.push(mapping);
            }
        }
        buffer.copy_within(whole..held, 0);
        held -= whole;
    }
    found.sort_by_key(|m| (m.image, m.start, m.end));
    found.dedup();
    Ok(found)
}
