//! The identity of a mapped file, its number and table, and its announcement when it is seen for the first time.

use crate::bpf::kernel::{
    self, DENTRY_NAME, DENTRY_PARENT, DENTRY_SB, FILE_DENTRY, FILE_INODE, INODE_CTIME_NSEC, INODE_CTIME_SEC,
    INODE_GENERATION, INODE_NUMBER, INODE_SB, MM_VDSO, SB_DEV, SB_MAGIC, at, at32, read,
};
use crate::bpf::log;
use crate::bpf::maps::{CONTROL, FILES, LAST_FILE, NEW_FILE, STATE, add, add_at};
use crate::bpf::quota;
use crate::bpf::state::{MAPPING_ANY_STACK, MAPPING_FRAME_POINTER, MAPPING_STOP, MAPPING_TABLE, State};
use crate::bpf::vma::COPY_BYTES;
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel_str, bpf_ringbuf_output};
use core::ffi::c_void;
use profiler_ebpf::abi::counters::Counter;
use profiler_ebpf::abi::event::{COMPONENT_LENGTH, FileKey, KIND_NEW_FILE, MAX_COMPONENTS, NewFile};
use profiler_ebpf::abi::frame::{UNNUMBERED_FILE, VDSO_FILE};
use profiler_ebpf::abi::maps::{
    FILE_FRAME_POINTERS, FILE_NO_TABLE, FILE_PENDING, FILE_TABLE, FLAG_ANY_STACK, FLAG_MADE_CODE, FileValue,
};
use profiler_ebpf::reasons::Reason;
use profiler_ebpf::unwind::bits::mask;

/// `s_magic` of btrfs: one device for all subvolumes, and each numbers its inodes from 257.
const BTRFS_MAGIC: u64 = 0x9123_683e;
/// From 6.13 on bit 31 of the nanoseconds says "somebody has called stat since the last change".
const NSEC_MASK: u32 = 0x3fff_ffff;
const BPF_NOEXIST: u64 = 1;
const BPF_RB_FORCE_WAKEUP: u64 = 2;
const NO_KEY: FileKey = FileKey { ino: 0, dev: 0, generation: 0, ctime: 0, inode: 0 };

/// Identity of `state.file` into `state.key`; false if unreadable.
#[inline(always)]
pub(crate) fn key(state: &mut State) -> bool {
    let copy = (&raw mut state.copy) as *mut u64;
    let Some(inode) = kernel::word(state.file + FILE_INODE.load() as u64) else { return false };
    if !read(copy, COPY_BYTES, inode) {
        return false;
    }
    // SAFETY: the offsets in use lie below COPY_BYTES (the agent checks it before loading).
    let (sb, ino, seconds, nanoseconds) = unsafe {
        (
            at(copy, &INODE_SB),
            at(copy, &INODE_NUMBER),
            at(copy, &INODE_CTIME_SEC),
            at32(copy, &INODE_CTIME_NSEC) & NSEC_MASK,
        )
    };
    // Read on its own: i_generation lies at 592 on 6.1 and at 124 from 6.12 on.
    let Some(generation) = kernel::half(inode + INODE_GENERATION.load() as u64) else { return false };
    let Some(dev) = kernel::half(sb + SB_DEV.load() as u64) else { return false };
    let Some(magic) = kernel::word(sb + SB_MAGIC.load() as u64) else { return false };
    state.key.ino = ino;
    state.key.dev = dev;
    state.key.generation = generation;
    state.key.ctime = seconds << 32 | nanoseconds as u64;
    state.key.inode = if magic == BTRFS_MAGIC { inode } else { 0 };
    true
}

/// Number and table of the mapping that `walk` found; a file that was never seen gets a number and is announced.
/// 0 known, 1 not.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn identify(class: u32) -> u32 {
    let Some(state) = STATE.get_ptr_mut(class) else { return 1 };
    // SAFETY: this CPU's slot of this class.
    let state = unsafe { &mut *state };
    if state.file == 0 {
        let vdso = kernel::word(state.mm + MM_VDSO.load() as u64).unwrap_or(0);
        if vdso != state.mapping.start {
            state.mapping.kind = MAPPING_FRAME_POINTER;
            return 0;
        }
        state.key = NO_KEY; // published by the agent at its start
    } else if !key(state) {
        return 1;
    }
    // SAFETY: the value is copied at once.
    let known = unsafe { FILES.get(&state.key) }.copied();
    let value = match known {
        Some(value) => value,
        None if state.file == 0 => FileValue { number: VDSO_FILE, state: FILE_NO_TABLE, page_base: 0, flags: 0 },
        None => admit(class, state),
    };
    // An inventory tells of the file: it may be a jitdump, which is mapped to be found.
    let is_code = value.flags & FLAG_MADE_CODE != 0 && state.source == 0;
    state.mapping.file = if is_code { 0 } else { value.number as u64 };
    state.mapping.page_base = value.page_base;
    state.mapping.kind = match value.state {
        FILE_TABLE => MAPPING_TABLE,
        FILE_FRAME_POINTERS if value.flags & FLAG_ANY_STACK == 0 => MAPPING_FRAME_POINTER,
        FILE_FRAME_POINTERS => MAPPING_ANY_STACK,
        FILE_PENDING => MAPPING_STOP + Reason::TablePending as u32,
        FILE_NO_TABLE => MAPPING_STOP + Reason::NoTable as u32,
        FILE_OVER_QUOTA => MAPPING_STOP + Reason::FileQuota as u32,
        _ => MAPPING_STOP + Reason::FileTableFull as u32,
    };
    0
}

/// State of a file that found no room in the table of files.
const FILE_REFUSED: u32 = 4;
/// State of a file whose process has brought too many.
const FILE_OVER_QUOTA: u32 = 5;

/// Gives a new file its number and announces it.
#[inline(always)]
fn admit(class: u32, state: &mut State) -> FileValue {
    let refused = FileValue { number: UNNUMBERED_FILE, state: FILE_REFUSED, page_base: 0, flags: 0 };
    if quota::is_used_up(state.tgid as u32) {
        add(Counter::FilesOverQuota, 1);
        return FileValue { state: FILE_OVER_QUOTA, ..refused };
    }
    if state.spare == 0 {
        let Some(last) = LAST_FILE.get_ptr_mut(0) else { return refused };
        // SAFETY: a map value; the add is atomic. Two CPUs may take two numbers for one file; the first insert wins.
        state.spare = unsafe { increment(last) };
    }
    let number = state.spare;
    if number >= UNNUMBERED_FILE as u64 {
        return refused;
    }
    state.value = FileValue { number: number as u32, state: FILE_PENDING, page_base: 0, flags: 0 };
    if FILES.insert(&state.key, &state.value, BPF_NOEXIST).is_ok() {
        // Only now somebody may have seen the number: a full table does not use numbers up.
        state.spare = 0;
        add(Counter::NewFiles, 1);
        let sent = announce(class) == 0;
        log::announced(state.value.number, state.tgid as u32, sent);
        if sent {
            quota::charge(state.tgid as u32);
        } else {
            // Not heard: the next sample that meets the file tries again.
            add(Counter::AnnouncementsLost, 1);
            if FILES.remove(&state.key).is_err() {
                add(Counter::FilesNotForgotten, 1);
            }
        }
        return state.value;
    }
    // SAFETY: the value is copied at once.
    match unsafe { FILES.get(&state.key) } {
        Some(value) => *value,
        None => {
            add_at(Reason::FileTableFull as u32, 1);
            log::refused(number as u32, state.tgid as u32);
            refused
        }
    }
}

/// Atomic add of 1; the value after it. (core has no fetch_add for this target.)
///
/// # Safety
/// `counter` must point to a map value.
#[inline(always)]
unsafe fn increment(counter: *mut u64) -> u64 {
    let mut value = 1u64;
    // SAFETY: by the caller's promise; needs kernel 5.12.
    unsafe { core::arch::asm!("{0} = atomic_fetch_add((u64 *)({1} + 0), {0})", inout(reg) value, in(reg) counter) };
    value + 1
}

/// Sends identity, one mapping and path of `state.file` (number in `state.value`) to the agent. 0 sent.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn announce(class: u32) -> u32 {
    let Some(state) = STATE.get_ptr_mut(class) else { return 1 };
    let Some(record) = NEW_FILE.get_ptr_mut(class) else { return 1 };
    // SAFETY: this CPU's slots of this class.
    let (state, record) = unsafe { (&mut *state, &mut *record) };
    record.head.kind = KIND_NEW_FILE;
    record.head.number = state.value.number;
    record.head.tgid = state.tgid as u32;
    record.head.key = state.key;
    record.head.start = state.mapping.start;
    record.head.end = state.mapping.start + state.mapping.length;
    record.head.offset = state.mapping.start.wrapping_sub(state.mapping.bias);
    record.head.source = state.source as u32;
    let mut dentry = kernel::word(state.file + FILE_DENTRY.load() as u64).unwrap_or(0);
    // The path's own file system: not the inode's on overlayfs before 6.5.
    let sb = kernel::word(dentry + DENTRY_SB.load() as u64).unwrap_or(0);
    record.head.path_dev = kernel::half(sb + SB_DEV.load() as u64).unwrap_or(0);
    let mut count = 0u32;
    while count < MAX_COMPONENTS as u32 {
        let Some(parent) = kernel::word(dentry + DENTRY_PARENT.load() as u64) else { break };
        if parent == dentry {
            break;
        }
        let name = kernel::word(dentry + DENTRY_NAME.load() as u64).unwrap_or(0);
        let slot = mask::<31>(count as u64) as usize;
        let to = ((&raw mut record.components) as *mut [u8; COMPONENT_LENGTH]).wrapping_add(slot);
        // SAFETY: the mask bounds the slot to the record's 32 components; the helper checks the source.
        unsafe { bpf_probe_read_kernel_str(to as *mut c_void, COMPONENT_LENGTH as u32, name as *const c_void) };
        dentry = parent;
        count += 1;
    }
    record.head.components = count;
    let length = size_of::<NewFile>() as u64 + mask::<31>(count as u64) * COMPONENT_LENGTH as u64;
    // SAFETY: the record is at least `length` bytes.
    let sent = unsafe {
        bpf_ringbuf_output(
            &raw const CONTROL as *mut c_void,
            record as *mut _ as *mut c_void,
            length,
            BPF_RB_FORCE_WAKEUP,
        )
    };
    (sent != 0) as u32
}
