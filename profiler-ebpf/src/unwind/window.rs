//! Which words of the target's stack a buffer holds: one read of user memory costs the same for 16 bytes and for 2 KiB.

/// The span of addresses at which a pair of words can be taken from the buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Address of the buffer's first word.
    base: u64,
    /// Bytes from there at which a pair may begin; 0: the buffer holds nothing.
    starts: u64,
}

impl Window {
    /// Holds nothing: no address, however wild, finds what another walk left in the buffer.
    pub const EMPTY: Window = Window { base: 0, starts: 0 };

    /// The buffer's first word is the one at `address`, and its last pair begins `last` bytes behind that.
    #[inline(always)]
    pub const fn new(address: u64, last: u64) -> Window {
        Window { base: address, starts: last + 1 }
    }

    /// Where in the buffer the two words at `address` lie, in bytes: whole words from its beginning.
    #[inline(always)]
    pub const fn offset(&self, address: u64) -> Option<u64> {
        let offset = address.wrapping_sub(self.base);
        if offset & 7 == 0 && offset < self.starts { Some(offset) } else { None }
    }
}
