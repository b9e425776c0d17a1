//! Capped reads of files in `/proc`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// At most `cap` bytes of a file.
pub(super) fn capped(path: &Path, cap: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(cap as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Drops a last line that the cap may have cut.
pub(super) fn whole_lines(mut bytes: Vec<u8>, cap: usize) -> Vec<u8> {
    if bytes.len() >= cap {
        let end = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        bytes.truncate(end);
    }
    bytes
}
