//! ELF headers: segments, sections, build ID. Sections are read when asked for and decompressed under a cap.

use super::ParseError;
use super::debug_file;
use super::headerless;
use super::source::Source;
use super::unpack;
use crate::worker::api::{FileFacts, Segment};
use object::LittleEndian as LE;
use object::elf::{
    self, CompressionHeader64, EM_X86_64, FileHeader64, NoteHeader64, PF_X, PT_DYNAMIC, PT_GNU_EH_FRAME, PT_INTERP,
    PT_LOAD, PT_NOTE, ProgramHeader64, SHF_COMPRESSED, SHF_EXECINSTR, SHT_NOBITS, SHT_NOTE, SectionHeader64,
};
use object::pod::{Pod, from_bytes, slice_from_bytes};

/// Bytes of one section that are read as they are in the file.
const SECTION_CAP: u64 = 256 << 20;
/// Program headers that are looked at.
const MAX_SEGMENTS: usize = 4_096;
/// Segments that are kept: each function and symbol is looked for in all of them. Linkers make less than ten.
const MAX_LOADS: usize = 256;
/// Section headers that are looked at.
const MAX_SECTIONS: usize = 65_536;
/// Bytes of a note section that are looked at.
const MAX_NOTES: u64 = 64 << 10;
/// Note sections, and segments, that are looked at.
const MAX_NOTE_SECTIONS: usize = 64;
/// Bytes of a build ID that are shown.
pub(super) const MAX_BUILD_ID: usize = 64;

/// A section header with its name.
#[derive(Clone, Debug)]
pub struct Section {
    /// Its name, as far as it is UTF-8.
    pub name: String,
    /// `SHT_*`.
    pub kind: u32,
    /// Holds a compression header.
    pub compressed: bool,
    /// Holds code.
    pub executable: bool,
    /// Address as linked.
    pub address: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Bytes in the file.
    pub size: u64,
    /// Number of a section that belongs to it (string table of a symbol table).
    pub link: u32,
}

/// A PT_LOAD segment.
#[derive(Clone, Copy, Debug)]
struct Load {
    executable: bool,
    segment: Segment,
}

/// The headers of a file.
pub struct Elf {
    source: Source,
    entry: u64,
    kind: u16,
    machine: u16,
    interpreted: bool,
    loads: Vec<Load>,
    notes: Vec<(u64, u64)>,
    sections: Vec<Section>,
}

impl Elf {
    /// Reads the headers.
    pub fn parse(source: Source) -> Result<Self, ParseError> {
        // First: a file that is shorter than a header is no damaged program if it does not begin as one.
        let magic = source.read("the ELF magic", 0, source.size().min(elf::ELFMAG.len() as u64))?;
        if magic != elf::ELFMAG {
            return Err(ParseError::NoProgram);
        }
        let bytes = source.read("the ELF header", 0, size_of::<FileHeader64<LE>>() as u64)?;
        let header: &FileHeader64<LE> = pod(&bytes)?;
        let ident = &header.e_ident;
        if ident.class != elf::ELFCLASS64 || ident.data != elf::ELFDATA2LSB {
            return Err(ParseError::NotElf);
        }
        let Headers { loads, notes, dynamic, eh_frame_header, interpreted } = read_segments(&source, header)?;
        // A file without usable section headers (packed, damaged) still has segments.
        let mut sections = read_sections(&source, header).unwrap_or_default();
        if sections.is_empty() {
            let loads: Vec<Segment> = loads.iter().map(|load| load.segment).collect();
            sections = headerless::Segments { source: &source, loads: &loads, dynamic, eh_frame_header }.sections();
        }
        let (entry, machine) = (header.e_entry.get(LE), header.e_machine.get(LE));
        let kind = header.e_type.get(LE);
        Ok(Elf { source, entry, kind, machine, interpreted, loads, notes, sections })
    }

    /// Address at which the program starts, or 0.
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// `ET_*`.
    pub fn kind(&self) -> u16 {
        self.kind
    }

    /// Names a program that loads it.
    pub fn is_interpreted(&self) -> bool {
        self.interpreted
    }

    /// Code for x86-64: unwind rules are made for that only.
    pub fn is_x86_64(&self) -> bool {
        self.machine == EM_X86_64
    }

    /// The underlying file.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// All sections, by their number.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The first section of that name.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|s| s.name == name && s.kind != SHT_NOBITS)
    }

    /// Holds Go code.
    pub fn is_go(&self) -> bool {
        super::pclntab::is_go(self)
    }

    /// Executable segments, by offset.
    pub fn executable(&self) -> Vec<Segment> {
        let mut segments: Vec<_> = self.loads.iter().filter(|l| l.executable).map(|l| l.segment).collect();
        segments.sort_by_key(|s| s.offset);
        segments
    }

    /// The address of a file offset: executable segments first, because alignment lets segments share bytes.
    pub fn address_of(&self, offset: u64) -> Option<u64> {
        let holds = |l: &&Load| offset.checked_sub(l.segment.offset).is_some_and(|at| at < l.segment.size);
        let load = self.loads.iter().filter(|l| l.executable).find(holds).or_else(|| self.loads.iter().find(holds))?;
        load.segment.address.checked_add(offset - load.segment.offset)
    }

    /// The bytes at an address, up to `length` of them, as far as the segment has them in the file: executable segments first.
    /// They are not held against the budget.
    pub(super) fn bytes_at(&self, what: &'static str, address: u64, length: u64) -> Option<Vec<u8>> {
        let at = |load: &Load| address.checked_sub(load.segment.address).filter(|at| *at < load.segment.size);
        let place = |load: &Load| Some((load.segment, at(load)?));
        let first = self.loads.iter().filter(|load| load.executable).find_map(place);
        let (segment, at) = first.or_else(|| self.loads.iter().find_map(place))?;
        let length = length.min(segment.size - at);
        let bytes = self.source.read(what, segment.offset.checked_add(at)?, length).ok()?;
        self.source.release(length);
        Some(bytes)
    }

    /// The facts of the file.
    pub fn facts(&self) -> FileFacts {
        FileFacts {
            build_id: self.build_id().unwrap_or_default(),
            segments: self.executable(),
            go: self.is_go(),
            has_debug_info: debug_file::has_debug_info(self),
            debug_link: debug_file::link(self),
        }
    }

    /// A section's bytes, decompressed.
    pub fn data(&self, section: &Section) -> Result<Vec<u8>, ParseError> {
        cap("a section", section.size)?;
        let raw = self.source.read("a section", section.offset, section.size)?;
        let unpacked = if section.compressed {
            self.decompress(&raw)
        } else if section.name.starts_with(".zdebug") {
            self.decompress_gnu(&raw)
        } else {
            return Ok(raw);
        };
        self.source.release(section.size);
        unpacked
    }

    fn decompress(&self, raw: &[u8]) -> Result<Vec<u8>, ParseError> {
        const HEADER: usize = size_of::<CompressionHeader64<LE>>();
        let header: &CompressionHeader64<LE> = pod(raw)?;
        let (packed, size) = (raw.get(HEADER..).unwrap_or_default(), header.ch_size.get(LE));
        match header.ch_type.get(LE) {
            elf::ELFCOMPRESS_ZLIB => unpack::zlib(&self.source, packed, size),
            elf::ELFCOMPRESS_ZSTD => unpack::zstd(&self.source, packed, size),
            _ => Err(ParseError::Damaged("a section is compressed by something other than zlib and zstd")),
        }
    }

    /// `.zdebug_*`, the older GNU form: "ZLIB", then the size as a big-endian number.
    fn decompress_gnu(&self, raw: &[u8]) -> Result<Vec<u8>, ParseError> {
        let damaged = || ParseError::Damaged("a .zdebug section has no header");
        let rest = raw.strip_prefix(b"ZLIB").ok_or_else(damaged)?;
        let (size, rest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
        unpack::zlib(&self.source, rest, u64::from_be_bytes(*size))
    }

    /// The GNU build ID, in hex: from a note section, else from a note segment (a stripped file may have no sections).
    pub(super) fn build_id(&self) -> Option<String> {
        let sections = self.sections.iter().filter(|s| s.kind == SHT_NOTE).map(|s| (s.offset, s.size));
        let notes = sections.take(MAX_NOTE_SECTIONS).chain(self.notes.iter().copied().take(MAX_NOTE_SECTIONS));
        { notes }.find_map(|(offset, size)| {
            let size = size.min(MAX_NOTES);
            let bytes = self.source.read("notes", offset, size).ok()?;
            self.source.release(size);
            build_id_note(&bytes)
        })
    }
}

fn cap(what: &'static str, size: u64) -> Result<(), ParseError> {
    if size > SECTION_CAP { Err(ParseError::TooLarge { what, size, cap: SECTION_CAP }) } else { Ok(()) }
}

fn pod<T: Pod>(bytes: &[u8]) -> Result<&T, ParseError> {
    from_bytes(bytes).map(|(t, _)| t).map_err(|()| ParseError::Damaged("a header is cut short"))
}

/// Little-endian number at an offset.
pub(super) fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}

/// As [`read_u32`].
pub(super) fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|word| u64::from_le_bytes(*word))
}

/// What the program headers say.
#[derive(Default)]
struct Headers {
    loads: Vec<Load>,
    /// Offset and size of each.
    notes: Vec<(u64, u64)>,
    /// Offset and size.
    dynamic: Option<(u64, u64)>,
    /// Offset and address.
    eh_frame_header: Option<(u64, u64)>,
    interpreted: bool,
}

fn read_segments(source: &Source, header: &FileHeader64<LE>) -> Result<Headers, ParseError> {
    let count = usize::from(header.e_phnum.get(LE)).min(MAX_SEGMENTS);
    let length = (count * size_of::<ProgramHeader64<LE>>()) as u64;
    if count > 0 && usize::from(header.e_phentsize.get(LE)) != size_of::<ProgramHeader64<LE>>() {
        return Err(ParseError::Damaged("program headers of an unknown size"));
    }
    let bytes = source.read("program headers", header.e_phoff.get(LE), length)?;
    let headers = table::<ProgramHeader64<LE>>(&bytes, count);
    let mut found = Headers::default();
    for h in headers {
        let (offset, size) = (h.p_offset.get(LE), h.p_filesz.get(LE));
        // What lies behind the end of the file cannot be mapped with content.
        let size = size.min(source.size().saturating_sub(offset));
        let segment = Segment { offset, size, address: h.p_vaddr.get(LE) };
        match h.p_type.get(LE) {
            PT_LOAD if size > 0 && segment.address.checked_add(size).is_some() && found.loads.len() < MAX_LOADS => {
                found.loads.push(Load { executable: h.p_flags.get(LE) & PF_X != 0, segment });
            }
            PT_INTERP => found.interpreted = true,
            PT_NOTE => found.notes.push((offset, size)),
            PT_DYNAMIC => found.dynamic = Some((offset, size)),
            PT_GNU_EH_FRAME => found.eh_frame_header = Some((offset, segment.address)),
            _ => {}
        }
    }
    Ok(found)
}

fn read_sections(source: &Source, header: &FileHeader64<LE>) -> Result<Vec<Section>, ParseError> {
    const ENTRY: u64 = size_of::<SectionHeader64<LE>>() as u64;
    let offset = header.e_shoff.get(LE);
    if offset == 0 || u64::from(header.e_shentsize.get(LE)) != ENTRY {
        return Ok(Vec::new());
    }
    // Files with 65,280 sections and more keep the counts in the first header.
    let first = source.read("section headers", offset, ENTRY)?;
    let first: &SectionHeader64<LE> = pod(&first)?;
    let count = match header.e_shnum.get(LE) {
        0 => usize::try_from(first.sh_size.get(LE)).unwrap_or(usize::MAX),
        n => usize::from(n),
    };
    let names = match header.e_shstrndx.get(LE) {
        n if n == elf::SHN_XINDEX => first.sh_link.get(LE) as usize,
        n => usize::from(n),
    };
    let count = count.min(MAX_SECTIONS);
    let bytes = source.read("section headers", offset, count as u64 * ENTRY)?;
    let headers = table::<SectionHeader64<LE>>(&bytes, count);
    let strings = headers.get(names).map_or(Ok(Vec::new()), |h| {
        let size = h.sh_size.get(LE);
        cap("section names", size)?;
        source.read("section names", h.sh_offset.get(LE), size)
    })?;
    Ok(headers.iter().map(|h| section(h, &strings)).collect())
}

fn section(header: &SectionHeader64<LE>, strings: &[u8]) -> Section {
    Section {
        name: String::from_utf8_lossy(text_at(strings, header.sh_name.get(LE), 256)).into_owned(),
        kind: header.sh_type.get(LE),
        compressed: header.sh_flags.get(LE) & u64::from(SHF_COMPRESSED) != 0,
        executable: header.sh_flags.get(LE) & u64::from(SHF_EXECINSTR) != 0,
        address: header.sh_addr.get(LE),
        offset: header.sh_offset.get(LE),
        size: header.sh_size.get(LE),
        link: header.sh_link.get(LE),
    }
}

/// The entries of a table of `count` headers; empty if it is cut short.
pub(super) fn table<T: Pod>(bytes: &[u8], count: usize) -> &[T] {
    slice_from_bytes(bytes, count).map_or(&[], |(entries, _)| entries)
}

/// The NUL-ended text at `offset` of a string table; at most `cap` bytes of it, empty if it is not there.
pub(super) fn text_at(strings: &[u8], offset: u32, cap: usize) -> &[u8] {
    let rest = strings.get(offset as usize..).unwrap_or_default();
    let rest = rest.get(..cap).unwrap_or(rest);
    let end = rest.iter().position(|b| *b == 0).unwrap_or(rest.len());
    rest.get(..end).unwrap_or_default()
}

fn build_id_note(mut bytes: &[u8]) -> Option<String> {
    const HEADER: usize = size_of::<NoteHeader64<LE>>();
    loop {
        let header: &NoteHeader64<LE> = pod(bytes).ok()?;
        let (name_size, size) = (header.n_namesz.get(LE) as usize, header.n_descsz.get(LE) as usize);
        let name = bytes.get(HEADER..)?.get(..name_size)?;
        let start = HEADER + name_size.checked_next_multiple_of(4)?;
        let content = bytes.get(start..)?.get(..size)?;
        if name == b"GNU\0" && header.n_type.get(LE) == elf::NT_GNU_BUILD_ID && !content.is_empty() {
            return Some(hex(content.get(..MAX_BUILD_ID).unwrap_or(content)));
        }
        bytes = bytes.get(start + size.checked_next_multiple_of(4)?..)?;
    }
}

/// Two digits a byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from_digit(n.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}
