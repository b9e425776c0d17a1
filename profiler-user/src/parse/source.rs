//! Positioned reads of a file, capped. No mmap: the target may truncate its file at any moment, and a mapped file then
//! kills its reader with SIGBUS, while a read just ends short.

use super::ParseError;
use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

/// Something that is read at positions.
pub trait ReadAt {
    /// Bytes it has.
    fn size(&self) -> u64;
    /// Fills `buffer` from `offset`, or fails.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn size(&self) -> u64 {
        // Not `metadata`: that asks by statx, which takes paths too, so the worker's filter refuses it.
        rustix::fs::fstat(self).map_or(0, |s| u64::try_from(s.st_size).unwrap_or(0))
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }
}

impl ReadAt for &[u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).ok().and_then(|o| self.get(o..)?.get(..buffer.len()));
        from.map(|bytes| buffer.copy_from_slice(bytes)).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.as_slice().read_exact_at(buffer, offset)
    }
}

/// Bytes that one file may take in memory, read and decompressed together.
pub const FILE_BUDGET: u64 = 1 << 30;

/// A file with a budget: what is read from it (or decompressed) is taken from the budget before it is allocated.
pub struct Source {
    reader: Box<dyn ReadAt>,
    size: u64,
    left: Rc<Cell<u64>>,
}

impl Source {
    /// A source that may hand out `budget` bytes altogether.
    pub fn new(reader: impl ReadAt + 'static, budget: u64) -> Self {
        let size = reader.size();
        Source { reader: Box::new(reader), size, left: Rc::new(Cell::new(budget)) }
    }

    /// A file that belongs to this one and is paid from the same budget.
    pub fn beside(&self, reader: impl ReadAt + 'static) -> Self {
        let size = reader.size();
        Source { reader: Box::new(reader), size, left: Rc::clone(&self.left) }
    }

    /// Size of the file when it was opened.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// `length` bytes from `offset`.
    pub fn read(&self, what: &'static str, offset: u64, length: u64) -> Result<Vec<u8>, ParseError> {
        let short = || ParseError::Short { offset, length };
        if offset.checked_add(length).is_none_or(|end| end > self.size) {
            return Err(short());
        }
        let mut bytes = self.buffer(what, length)?;
        bytes.resize(usize::try_from(length).unwrap_or(0), 0);
        match self.reader.read_exact_at(&mut bytes, offset) {
            Ok(()) => Ok(bytes),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(short()),
            Err(source) => Err(ParseError::Read { offset, source }),
        }
    }

    /// An empty buffer with room for `length` bytes, paid from the budget.
    pub fn buffer(&self, what: &'static str, length: u64) -> Result<Vec<u8>, ParseError> {
        let too_large = |cap| ParseError::TooLarge { what, size: length, cap };
        let wanted = usize::try_from(length).or(Err(too_large(usize::MAX as u64)))?;
        self.pay(what, length)?;
        let mut bytes = Vec::new();
        if bytes.try_reserve_exact(wanted).is_err() {
            self.release(length);
            return Err(too_large(0));
        }
        Ok(bytes)
    }

    /// Takes bytes from the budget, for what is made of the file and kept.
    pub fn pay(&self, what: &'static str, length: u64) -> Result<(), ParseError> {
        let left = self.left.get();
        let rest = left.checked_sub(length).ok_or(ParseError::TooLarge { what, size: length, cap: left })?;
        self.left.set(rest);
        Ok(())
    }

    /// Gives back what was read for a moment only.
    pub fn release(&self, length: u64) {
        self.left.set(self.left.get().saturating_add(length));
    }

    /// Bytes of the budget that are not taken.
    pub fn left(&self) -> u64 {
        self.left.get()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn reads_are_capped_by_size_and_budget() {
        let source = Source::new(&b"0123456789"[..], 8);
        assert_eq!(source.read("x", 2, 3).unwrap(), b"234");
        assert!(matches!(source.read("x", 8, 3), Err(ParseError::Short { .. })));
        assert!(matches!(source.read("x", u64::MAX, 3), Err(ParseError::Short { .. })));
        assert!(matches!(source.read("x", 0, 6), Err(ParseError::TooLarge { .. })));
        source.release(3);
        assert_eq!(source.read("x", 0, 6).unwrap(), b"012345");
        source.pay("x", 1).unwrap();
        assert!(matches!(source.pay("x", 2), Err(ParseError::TooLarge { .. })));
        assert_eq!(source.left(), 1);
    }

    #[test]
    fn a_file_that_shrank_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(100).unwrap();
        let source = Source::new(file.try_clone().unwrap(), 1000);
        file.set_len(10).unwrap();
        assert!(matches!(source.read("x", 0, 50), Err(ParseError::Short { .. })));
    }
}
