//! MiniDebugInfo: `.gnu_debugdata` is an ELF file inside a stripped one, packed by xz, that has only a symbol table.

use super::ParseError;
use super::elf::Elf;
use super::unpack;

/// The file inside; `None` if there is none. One inside of it is not looked for.
pub fn read(elf: &Elf) -> Result<Option<Elf>, ParseError> {
    let Some(section) = elf.section(".gnu_debugdata") else { return Ok(None) };
    let packed = elf.data(section)?;
    let unpacked = unpack::xz(elf.source(), &packed);
    elf.source().release(packed.len() as u64);
    let unpacked = unpacked?;
    let length = unpacked.len() as u64;
    let inside = Elf::parse(elf.source().beside(unpacked));
    if inside.is_err() {
        elf.source().release(length);
    }
    inside.map(Some)
}
