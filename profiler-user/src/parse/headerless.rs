//! The sections of a file that has no section headers (cut off by packers and some vendors), by what its loader needs:
//! the dynamic segment names the symbols and their strings, a header of its own the unwind information.

use super::elf::{Section, read_u32, read_u64};
use super::source::Source;
use crate::worker::api::Segment;
use object::elf::{DT_GNU_HASH, DT_HASH, DT_STRSZ, DT_STRTAB, DT_SYMTAB, SHT_DYNSYM, SHT_PROGBITS, SHT_STRTAB};

/// Entries of the dynamic segment that are looked at.
const MAX_DYNAMIC: usize = 1_024;
/// Bytes of a hash table that are looked at.
const MAX_HASH: u64 = 64 << 20;
const SYMBOL: u64 = 24;
/// `.eh_frame_hdr`: version 1, then the encodings of three fields. DW_EH_PE_pcrel | DW_EH_PE_sdata4 is what linkers write.
const HEADER_VERSION: u8 = 1;
const PCREL_SDATA4: u8 = 0x1b;

/// What is known of a file without sections.
pub(super) struct Segments<'a> {
    pub(super) source: &'a Source,
    /// All PT_LOAD segments.
    pub(super) loads: &'a [Segment],
    /// PT_DYNAMIC: offset and size.
    pub(super) dynamic: Option<(u64, u64)>,
    /// PT_GNU_EH_FRAME: offset and address.
    pub(super) eh_frame_header: Option<(u64, u64)>,
}

impl Segments<'_> {
    /// `.eh_frame`, `.dynsym` and `.dynstr`, as far as they are found, in an order that `link` may refer to.
    pub(super) fn sections(&self) -> Vec<Section> {
        let mut sections = Vec::new();
        sections.extend(self.eh_frame());
        if let Some((symbols, strings)) = self.symbols() {
            sections.push(strings);
            let link = u32::try_from(sections.len() - 1).unwrap_or(0);
            sections.push(Section { link, ..symbols });
        }
        sections
    }

    /// From where the header points to the end of the segment: a zero length ends it before.
    fn eh_frame(&self) -> Option<Section> {
        let (offset, address) = self.eh_frame_header?;
        let header = self.source.read("the header of unwind information", offset, 8).ok()?;
        if header.first() != Some(&HEADER_VERSION) || header.get(1) != Some(&PCREL_SDATA4) {
            return None;
        }
        let distance = i64::from(i32::from_le_bytes(header.get(4..8)?.try_into().ok()?));
        let address = address.checked_add(4)?.checked_add_signed(distance)?;
        let (offset, size) = self.place(address)?;
        Some(section(".eh_frame", SHT_PROGBITS, address, offset, size))
    }

    fn symbols(&self) -> Option<(Section, Section)> {
        let (offset, size) = self.dynamic?;
        let bytes = self.source.read("the dynamic segment", offset, size.min(MAX_DYNAMIC as u64 * 16)).ok()?;
        let mut entries = bytes.chunks_exact(16).map_while(|entry| Some((read_u64(entry, 0)?, read_u64(entry, 8)?)));
        let entries: Vec<(u64, u64)> = entries.by_ref().take_while(|(tag, _)| *tag != 0).collect();
        let value = |tag: i64| entries.iter().find(|(found, _)| found.cast_signed() == tag).map(|(_, value)| *value);
        let (symbols, strings) = (value(DT_SYMTAB)?, value(DT_STRTAB)?);
        let count = value(DT_HASH)
            .and_then(|at| self.count_by_hash(at))
            .or_else(|| value(DT_GNU_HASH).and_then(|at| self.count_by_gnu_hash(at)))?;
        let (symbols_offset, room) = self.place(symbols)?;
        let (strings_offset, strings_room) = self.place(strings)?;
        let size = count.checked_mul(SYMBOL)?.min(room);
        let strings_size = value(DT_STRSZ)?.min(strings_room);
        let symbols = section(".dynsym", SHT_DYNSYM, symbols, symbols_offset, size);
        Some((symbols, section(".dynstr", SHT_STRTAB, strings, strings_offset, strings_size)))
    }

    /// DT_HASH: number of buckets, number of chains = number of symbols.
    fn count_by_hash(&self, address: u64) -> Option<u64> {
        let (offset, _) = self.place(address)?;
        read_u32(&self.source.read("a hash table", offset, 8).ok()?, 4).map(u64::from)
    }

    /// DT_GNU_HASH: number of buckets, first symbol, words of the filter, shift; filter; buckets; chains, each ended by an
    /// odd value. The last symbol ends the chain of the highest bucket.
    fn count_by_gnu_hash(&self, address: u64) -> Option<u64> {
        let (offset, room) = self.place(address)?;
        let size = room.min(MAX_HASH);
        let bytes = self.source.read("a hash table", offset, size).ok()?;
        let count = gnu_hash_count(&bytes);
        self.source.release(size);
        count
    }

    /// Offset of an address in the file, and the bytes from there to the end of its segment.
    fn place(&self, address: u64) -> Option<(u64, u64)> {
        let at = |load: &Segment| address.checked_sub(load.address).filter(|at| *at < load.size);
        let (load, at) = self.loads.iter().find_map(|load| Some((load, at(load)?)))?;
        Some((load.offset.checked_add(at)?, load.size - at))
    }
}

fn gnu_hash_count(bytes: &[u8]) -> Option<u64> {
    let (buckets, first, words) = (read_u32(bytes, 0)?, read_u32(bytes, 4)?, read_u32(bytes, 8)?);
    let buckets_at = (words as usize).checked_mul(8)?.checked_add(16)?;
    let chains_at = (buckets as usize).checked_mul(4)?.checked_add(buckets_at)?;
    let starts = bytes.get(buckets_at..chains_at)?.chunks_exact(4).filter_map(|word| read_u32(word, 0));
    let mut last = starts.max().filter(|last| *last >= first)?;
    loop {
        let at = ((last - first) as usize).checked_mul(4)?.checked_add(chains_at)?;
        if read_u32(bytes, at)? & 1 != 0 {
            return Some(u64::from(last) + 1);
        }
        last = last.checked_add(1)?;
    }
}

fn section(name: &str, kind: u32, address: u64, offset: u64, size: u64) -> Section {
    Section { name: name.to_owned(), kind, compressed: false, executable: false, address, offset, size, link: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_chain_ends_the_symbols() {
        // Two buckets from symbol 1; chain of bucket 1 is symbols 3 and 4.
        let words: [u32; 12] = [2, 1, 1, 6, 0, 0, 1, 3, 2, 3, 4, 5];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(gnu_hash_count(&bytes), Some(5));
        assert_eq!(gnu_hash_count(&bytes[..44]), None, "a chain without an end");
    }

    proptest! {
        #[test]
        fn any_hash_table_gives_a_count_or_none(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            if let Some(count) = gnu_hash_count(&bytes) {
                prop_assert!(count <= u64::from(u32::MAX) + 1);
            }
        }
    }
}
