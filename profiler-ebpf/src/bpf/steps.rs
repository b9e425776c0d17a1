//! Up to [`FRAMES_PER_CALL`] steps of the walk of `unwind::walk`, over the target's memory and the table maps.

use crate::bpf::mapping::find;
use crate::bpf::maps::{DICTIONARY, MEMO, OUTPUT, POOL, STATE, WINDOW, WINDOW_BYTES, add};
use crate::bpf::state::{MAPPING_ANY_STACK, MAPPING_STOP, MAPPING_TABLE, Mapping, State, WORDS};
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use core::ffi::c_void;
use core::ptr::{read_volatile, write_volatile};
use profiler_ebpf::abi::counters::Counter;
use profiler_ebpf::abi::frame::file_word;
use profiler_ebpf::abi::maps::{CHUNK_WORDS, CHUNKS_PER_MAP, Chunk, MEMO_SLOTS, PAGES_PER_CHUNK};
use profiler_ebpf::reasons::Reason;
use profiler_ebpf::unwind::bits::mask;
use profiler_ebpf::unwind::rule::{CODE_FRAME_POINTER, CODE_FRAME_POINTER_ANY_STACK, PAGE_BITS, Rule};
use profiler_ebpf::unwind::table::{PageEntry, Rows, search};
use profiler_ebpf::unwind::walk::{GO_ON, Memory, Rules, code_of_return, end_in_made_code, step, zero_return};
use profiler_ebpf::unwind::window::Window;

/// More frames a call make the verifier work more (83,097 instructions at 8) and gain little.
pub(crate) const FRAMES_PER_CALL: u32 = 4;

/// The target's stack through a window.
struct Stack {
    buffer: *mut u64,
    window: Window,
    state: *mut State,
}

impl Stack {
    /// Fills the window from `address`, or only up to the page's end if more cannot be read.
    #[inline(always)]
    fn fill(&mut self, address: u64) -> bool {
        if self.read(address, WINDOW_BYTES) {
            self.window = Window::new(address, WINDOW_BYTES - 16);
            return true;
        }
        // A longer rest of the page was part of what could not be read.
        let mut length = 4096 - (address & 4095);
        if length < 16 {
            length = 16;
        }
        let length = mask::<0x1fff>(length);
        if length <= WINDOW_BYTES && self.read(address, length) {
            self.window = Window::new(address, length - 16);
            return true;
        }
        self.window = Window::EMPTY;
        false
    }

    #[inline(always)]
    fn read(&mut self, address: u64, length: u64) -> bool {
        // SAFETY: the window has WINDOW_BYTES and more; the helper checks the address.
        unsafe { bpf_probe_read_user(self.buffer as *mut c_void, length as u32, address as *const c_void) == 0 }
    }
}

impl Memory for Stack {
    #[inline(always)]
    fn pair(&mut self, address: u64) -> Option<(u64, u64)> {
        let offset = match self.window.offset(address) {
            Some(offset) => offset,
            None if self.fill(address) => 0,
            None => return None,
        };
        let index = mask::<{ WINDOW_BYTES as i32 - 1 }>(offset) as usize;
        // SAFETY: the mask bounds the index to the window, which is 16 bytes longer.
        unsafe {
            let at = (self.buffer as *const u8).add(index) as *const u64;
            Some((read_volatile(at), read_volatile(at.add(1))))
        }
    }

    #[inline(always)]
    fn register(&self, number: u8) -> u64 {
        let index = mask::<15>(number as u64) as usize;
        // SAFETY: the mask bounds the index to the 16 registers.
        unsafe { read_volatile(((&raw const (*self.state).registers) as *const u64).add(index)) }
    }

    #[inline(always)]
    fn signal_frame(&mut self, sp: u64) -> Option<(u64, u64, u64)> {
        // struct ucontext: flags, link, stack (40 bytes), then r8-r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip.
        // SAFETY: `scratch` has 168 bytes; this CPU's slot of this class.
        let state = unsafe { &mut *self.state };
        let to = &raw mut state.scratch as *mut c_void;
        // SAFETY: the buffer is longer than 136 bytes; the helper checks the address.
        if unsafe { bpf_probe_read_user(to, 17 * 8, sp.wrapping_add(40) as *const c_void) } != 0 {
            return None;
        }
        let s = &state.scratch;
        state.registers =
            [s[13], s[12], s[14], s[11], s[9], s[8], s[10], s[15], s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]];
        Some((s[16], s[15], s[10]))
    }
}

/// The dictionary map.
struct Dictionary;

impl Rules for Dictionary {
    #[inline(always)]
    fn rule(&self, index: u32) -> Option<&Rule> {
        DICTIONARY.get(index)
    }
}

/// A chunk of rows.
struct ChunkRows(*const u8);

impl Rows for ChunkRows {
    #[inline(always)]
    fn row(&self, index: u64) -> u32 {
        let index = mask::<{ CHUNK_WORDS as i32 - 1 }>(index) as usize;
        // SAFETY: the mask bounds the index to the chunk.
        unsafe { read_volatile(self.0.add(index * 4) as *const u32) }
    }
}

#[inline(always)]
fn chunk(number: u32) -> Option<*const u8> {
    let inner = number & (CHUNKS_PER_MAP - 1);
    POOL.get_value(number / CHUNKS_PER_MAP, &inner).map(|chunk| chunk as *const Chunk as *const u8)
}

/// Code in force at `offset` of the mapping's file.
#[inline(always)]
fn look_up(page_base: u32, offset: u64) -> Option<u32> {
    let page = page_base.wrapping_add((offset >> PAGE_BITS) as u32);
    let pages = chunk(page / PAGES_PER_CHUNK)?;
    let index = mask::<{ PAGES_PER_CHUNK as i32 - 1 }>(page as u64) as usize;
    // SAFETY: the mask bounds the index to the chunk's 8,192 entries.
    let entry = PageEntry(unsafe { read_volatile(pages.add(index * 8) as *const u64) });
    let rows = ChunkRows(chunk(entry.chunk())?);
    Some(search(&rows, entry, offset))
}

/// Like [`look_up`], by the memo if it knows. Its key is (table page, offset), the same for every process of a program,
/// and exact: multiplying by an odd constant is a bijection of 59 bits, 11 choose the slot and 48 are the tag.
#[inline(always)]
fn recall(memo: *mut u64, page_base: u32, offset: u64) -> Option<u32> {
    let key = (((page_base as u64) << PAGE_BITS).wrapping_add(offset)) & ((1 << 47) - 1);
    let hash = key.wrapping_mul(0x1B87_3593_CC9E_2D51) & ((1 << 59) - 1);
    let slot = mask::<{ MEMO_SLOTS as i32 - 1 }>(hash >> 48) as usize;
    let tag = hash << 16;
    // SAFETY: the mask bounds the slot to the memo.
    let entry = unsafe { memo.add(slot) };
    // SAFETY: as above; one 64-bit word, so an interrupt cannot tear it.
    let word = unsafe { read_volatile(entry) };
    if (word ^ tag) >> 16 == 0 && word != 0 {
        return Some(word as u32 & 0xffff);
    }
    add(Counter::MemoMisses, 1);
    let code = look_up(page_base, offset)?;
    // SAFETY: as above.
    unsafe { write_volatile(entry, tag | code as u64) };
    Some(code)
}

/// The code in force at a return address in code that the process made.
#[inline(always)]
fn code_in_memory(state: &mut State, pc: u64) -> u32 {
    let to = &raw mut state.scratch as *mut c_void;
    // SAFETY: `scratch` is longer; the helper checks the address.
    let read = unsafe { bpf_probe_read_user(to, 8, pc as *const c_void) } == 0;
    let code = if read { code_of_return(state.scratch[0]) } else { None };
    code.unwrap_or(CODE_FRAME_POINTER as u32)
}

/// The word that names `address` in `mapping`.
#[inline(always)]
fn frame_word(mapping: &Mapping, address: u64) -> u64 {
    if mapping.file != 0 { file_word(mapping.file, address.wrapping_sub(mapping.bias)) } else { address }
}

/// Walks up to [`FRAMES_PER_CALL`] frames. 0: there may be more; else how the walk ended.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn steps(class: u32) -> u32 {
    let (Some(state), Some(output), Some(buffer), Some(memo)) =
        (STATE.get_ptr_mut(class), OUTPUT.get_ptr_mut(class), WINDOW.get_ptr_mut(class), MEMO.get_ptr_mut(0))
    else {
        return Reason::TableDamaged as u32;
    };
    let memo = memo as *mut u64;
    // SAFETY: this CPU's slots of this class.
    let (s, output) = unsafe { (&mut *state, &mut *output) };
    let mut stack = Stack { buffer: buffer as *mut u64, window: s.window, state };
    let mut cursor = s.cursor;
    let mut frames = s.frames;
    let first = s.first;
    let mut outcome = GO_ON;
    let mut i = 0;
    while i < FRAMES_PER_CALL {
        i += 1;
        if cursor.pc == 0 {
            outcome = zero_return(&cursor);
            // The frame before lay in that mapping.
            if s.mapping.file == 0 && frames > 0 {
                outcome = end_in_made_code(outcome);
            }
            break;
        }
        let address = cursor.pc.wrapping_sub(cursor.is_return);
        if address.wrapping_sub(s.mapping.start) >= s.mapping.length {
            s.wanted = address;
            if find(class) != 0 {
                output.head.bad_pc = cursor.pc;
                outcome = Reason::NoMapping as u32;
                break;
            }
        }
        let index = mask::<{ WORDS as i32 - 1 }>(first + frames) as usize;
        // SAFETY: the mask bounds the index to the record's words.
        unsafe { write_volatile(((&raw mut output.words) as *mut u64).add(index), frame_word(&s.mapping, address)) };
        frames += 1;
        let code = if s.mapping.kind == MAPPING_TABLE {
            match recall(memo, s.mapping.page_base, address.wrapping_sub(s.mapping.bias)) {
                Some(code) => code,
                None => {
                    output.head.bad_pc = cursor.pc;
                    outcome = Reason::TableDamaged as u32;
                    break;
                }
            }
        } else if s.mapping.kind >= MAPPING_STOP {
            output.head.bad_pc = cursor.pc;
            outcome = s.mapping.kind - MAPPING_STOP;
            break;
        } else if s.mapping.file == 0 && cursor.is_return != 0 {
            code_in_memory(s, cursor.pc)
        } else if s.mapping.kind == MAPPING_ANY_STACK {
            CODE_FRAME_POINTER_ANY_STACK as u32
        } else {
            CODE_FRAME_POINTER as u32
        };
        outcome = step(&mut cursor, code, &mut stack, &Dictionary);
        if outcome != GO_ON {
            if s.mapping.file == 0 {
                outcome = end_in_made_code(outcome);
            }
            output.head.bad_pc = cursor.pc;
            break;
        }
    }
    s.cursor = cursor;
    s.frames = frames;
    s.window = stack.window;
    outcome
}
