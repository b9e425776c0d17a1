//! The frame word: 64 bits that say where a frame's code lies.
//!
//! | bits | meaning |
//! | --- | --- |
//! | 63 = 1 | file: 62..40 file number, 39..0 offset in the file |
//! | 63 = 0, 62..59 = 0 | code without a file: plain user address |
//! | 63 = 0, 62..59 = 1..15 | kinds that the agent or later runtimes use |
//!
//! Words hold the LOOKUP address: the exact pc for the leaf of a user-mode sample and for a frame behind a signal
//! frame, else the return address minus one. Nobody subtracts later.

/// Bits of the offset in a file word (files up to 1 TiB).
pub const OFFSET_BITS: u32 = 40;
/// Bits of the file number.
pub const FILE_BITS: u32 = 23;
/// Number of the vDSO, which has no file.
pub const VDSO_FILE: u32 = (1 << FILE_BITS) - 1;
/// Number that stands for every file that found no room in the kernel's table of files.
pub const UNNUMBERED_FILE: u32 = VDSO_FILE - 1;
/// Bit that marks a file word.
pub const FILE_WORD: u64 = 1 << 63;

/// The word of an offset in a file.
#[inline(always)]
pub const fn file_word(file: u64, offset: u64) -> u64 {
    FILE_WORD | (file & ((1 << FILE_BITS) - 1)) << OFFSET_BITS | (offset & ((1 << OFFSET_BITS) - 1))
}

/// File number and offset of a file word.
pub const fn file_and_offset(word: u64) -> Option<(u32, u64)> {
    if word & FILE_WORD == 0 {
        return None;
    }
    Some((((word >> OFFSET_BITS) & ((1 << FILE_BITS) - 1)) as u32, word & ((1 << OFFSET_BITS) - 1)))
}
