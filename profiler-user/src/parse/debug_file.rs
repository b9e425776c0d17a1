//! Debug files: what a file says of its own and of those that it shares with others, and whether another file is it.

use super::ParseError;
use super::elf::{Elf, MAX_BUILD_ID, hex};
use crate::worker::api::{DebugLink, Fit};
use object::elf::SHT_SYMTAB;

/// Bytes of `.gnu_debuglink`: a name and a checksum.
const MAX_LINK: u64 = 1_024;
/// Bytes of `.gnu_debugaltlink`: a path and a build ID.
const MAX_SHARED_LINK: u64 = 5_000;
/// Bytes that are read at a time for a checksum.
const PIECE: u64 = 1 << 20;

/// `.gnu_debuglink`: the name of the debug file, filled up with NULs to a multiple of four bytes, and its CRC-32.
pub fn link(elf: &Elf) -> Option<DebugLink> {
    let section = elf.section(".gnu_debuglink").filter(|section| section.size <= MAX_LINK)?;
    let bytes = elf.data(section).ok()?;
    elf.source().release(bytes.len() as u64);
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let name = std::str::from_utf8(bytes.get(..end)?).ok()?.to_owned();
    let crc = bytes.get((end + 1).next_multiple_of(4)..)?.first_chunk()?;
    Some(DebugLink { name, crc: u32::from_le_bytes(*crc) })
}

/// `.gnu_debugaltlink`: the path of the file into which dwz moved what several files have, and its build ID in hex.
pub fn shared_link(elf: &Elf) -> Option<(String, String)> {
    let section = elf.section(".gnu_debugaltlink").filter(|section| section.size <= MAX_SHARED_LINK)?;
    let bytes = elf.data(section).ok()?;
    elf.source().release(bytes.len() as u64);
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let (name, build_id) = (bytes.get(..end)?, bytes.get(end + 1..)?);
    let known = !name.is_empty() && !build_id.is_empty();
    known.then_some(())?;
    Some((std::str::from_utf8(name).ok()?.to_owned(), hex(build_id.get(..MAX_BUILD_ID).unwrap_or(build_id))))
}

/// There are functions and lines in it.
pub fn has_debug_info(elf: &Elf) -> bool {
    [".debug_info", ".zdebug_info"].iter().any(|name| elf.section(name).is_some())
}

/// Neither file says that it comes from another build.
pub fn same_build(file: &Elf, debug: &Elf) -> bool {
    match (file.build_id(), debug.build_id()) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
}

/// Whether `debug` describes `file`. One that was found by a debug link must have its checksum; one that was found by a
/// build ID must have that.
pub fn fit(file: &Elf, debug: &Elf, crc: Option<u32>) -> Result<Fit, ParseError> {
    let proved = crc.is_some() || debug.build_id().is_some();
    if !proved || !same_build(file, debug) {
        return Ok(Fit::BuildIdDiffers);
    }
    if let Some(crc) = crc
        && crc_of(debug)? != crc
    {
        return Ok(Fit::CrcDiffers);
    }
    let symbols = debug.sections().iter().any(|section| section.kind == SHT_SYMTAB);
    Ok(if symbols || has_debug_info(debug) { Fit::Fits } else { Fit::Empty })
}

/// CRC-32 of the whole file.
fn crc_of(elf: &Elf) -> Result<u32, ParseError> {
    let source = elf.source();
    let mut crc = crc32fast::Hasher::new();
    let mut offset = 0;
    while offset < source.size() {
        let length = PIECE.min(source.size() - offset);
        crc.update(&source.read("a debug file", offset, length)?);
        source.release(length);
        offset += length;
    }
    Ok(crc.finalize())
}
