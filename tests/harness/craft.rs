//! ELF files made by hand, byte by byte: what no compiler would write. They are programs' files only by their headers; their
//! code can be mapped and called, though.

/// Where the code begins, in the file and as linked.
pub const CODE_AT: u64 = 0x1000;
/// `void spin(unsigned long turns)`: push rbp; mov rbp, rsp; dec rdi; jnz; pop rbp; ret.
pub const SPIN: [u8; 11] = [0x55, 0x48, 0x89, 0xe5, 0x48, 0xff, 0xcf, 0x75, 0xfb, 0x5d, 0xc3];

/// `SHT_PROGBITS`.
pub const PROGBITS: u32 = 1;
/// `SHT_SYMTAB`.
pub const SYMTAB: u32 = 2;
/// `SHT_STRTAB`.
pub const STRTAB: u32 = 3;
/// `SHT_NOTE`.
pub const NOTE: u32 = 7;
/// `SHF_COMPRESSED`.
const COMPRESSED: u64 = 0x800;

/// Bytes of the file header, of a program header, of a section header.
pub const HEADER: usize = 64;
/// As [`HEADER`].
pub const PROGRAM_HEADER: usize = 56;
/// As [`HEADER`].
pub const SECTION_HEADER: usize = 64;
/// Positions of fields in the file header.
pub const E_PHOFF: usize = 0x20;
/// As [`E_PHOFF`].
pub const E_SHOFF: usize = 0x28;
/// As [`E_PHOFF`].
pub const E_PHENTSIZE: usize = 0x36;
/// As [`E_PHOFF`].
pub const E_PHNUM: usize = 0x38;
/// As [`E_PHOFF`].
pub const E_SHENTSIZE: usize = 0x3a;
/// As [`E_PHOFF`].
pub const E_SHNUM: usize = 0x3c;
/// As [`E_PHOFF`].
pub const E_SHSTRNDX: usize = 0x3e;

/// A section of a file to be.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// `SHT_*`.
    pub kind: u32,
    /// `SHF_*`.
    pub flags: u64,
    /// Number of the section that belongs to it.
    pub link: u32,
    /// Where it is, if it is not to be where its bytes are: offset and size.
    pub place: Option<(u64, u64)>,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A file to be: one executable segment with [`SPIN`] and what follows it, and sections.
#[derive(Clone, Debug)]
pub struct Craft {
    code: Vec<u8>,
    sections: Vec<Section>,
}

impl Default for Craft {
    fn default() -> Craft {
        Craft::new()
    }
}

impl Craft {
    /// One page of code, in which `spin` is the only function.
    pub fn new() -> Craft {
        let mut code = SPIN.to_vec();
        code.resize(0x1000, 0xcc);
        Craft { code, sections: Vec::new() }
    }

    /// As [`Craft::new`], with so many bytes of code.
    pub fn with_code(size: usize) -> Craft {
        let mut code = SPIN.to_vec();
        code.resize(size, 0x90);
        Craft { code, sections: Vec::new() }
    }

    /// With a section of bytes.
    #[must_use]
    pub fn section(self, name: &str, kind: u32, bytes: Vec<u8>) -> Craft {
        self.with(Section { name: name.to_owned(), kind, bytes, ..Section::default() })
    }

    /// With a section as it is given.
    #[must_use]
    pub fn with(mut self, section: Section) -> Craft {
        self.sections.push(section);
        self
    }

    /// With a section that says to be packed in this way (1: zlib, 2: zstd), and to have so many bytes.
    #[must_use]
    pub fn packed(self, name: &str, way: u32, size: u64, packed: &[u8]) -> Craft {
        let header = [&u64::from(way).to_le_bytes()[..], &size.to_le_bytes(), &1_u64.to_le_bytes()].concat();
        let bytes = [&header, packed].concat();
        self.with(Section { name: name.to_owned(), kind: PROGBITS, flags: COMPRESSED, bytes, ..Section::default() })
    }

    /// With a symbol table of these symbols (name, offset in the code, size), each a function.
    #[must_use]
    pub fn symbols(self, symbols: &[(&str, u64, u64)]) -> Craft {
        let (mut table, mut names) = (vec![0; 24], vec![0]);
        for (name, at, size) in symbols {
            table.extend(symbol(names.len() as u64, CODE_AT + at, *size));
            names.extend(name.as_bytes());
            names.push(0);
        }
        self.symbol_table(table, names)
    }

    /// With a symbol table and its names.
    #[must_use]
    pub fn symbol_table(self, table: Vec<u8>, names: Vec<u8>) -> Craft {
        // The first section is the null section.
        let link = u32::try_from(self.sections.len()).unwrap_or(0) + 2;
        let symbols = Section { name: ".symtab".to_owned(), kind: SYMTAB, link, bytes: table, ..Section::default() };
        self.with(symbols).section(".strtab", STRTAB, names)
    }

    /// The file.
    pub fn build(&self) -> Vec<u8> {
        let mut file = vec![0; HEADER + PROGRAM_HEADER];
        file.resize(usize::try_from(CODE_AT).unwrap_or(0), 0);
        file.extend(&self.code);
        let mut headers = vec![0; SECTION_HEADER];
        let mut names = vec![0];
        let own = Section { name: ".shstrtab".to_owned(), kind: STRTAB, ..Section::default() };
        for section in self.sections.iter().chain([&own]) {
            let name = names.len() as u64;
            names.extend(section.name.as_bytes());
            names.push(0);
            let bytes = if section.name == ".shstrtab" { &names } else { &section.bytes };
            let (offset, size) = section.place.unwrap_or((file.len() as u64, bytes.len() as u64));
            headers.extend(header(name, section, offset, size));
            file.extend(bytes);
        }
        let count = headers.len() / SECTION_HEADER;
        file.resize(file.len().next_multiple_of(8), 0);
        let at = file.len() as u64;
        file.extend(headers);
        self.head(&mut file, at, count as u64);
        file
    }

    fn head(&self, file: &mut [u8], sections_at: u64, sections: u64) {
        put(file, 0, b"\x7fELF\x02\x01\x01");
        // ET_DYN, EM_X86_64, version 1.
        put(file, 0x10, &[3, 0, 62, 0, 1, 0, 0, 0]);
        let words = [(E_PHOFF, HEADER as u64), (E_SHOFF, sections_at)];
        for (at, value) in words {
            put(file, at, &value.to_le_bytes());
        }
        let halves = [HEADER, PROGRAM_HEADER, 1, SECTION_HEADER].map(|half| half as u64);
        for (position, half) in halves.into_iter().chain([sections, sections - 1]).enumerate() {
            put(file, 0x34 + 2 * position, &half.to_le_bytes()[..2]);
        }
        put(file, HEADER, &load(CODE_AT, CODE_AT, self.code.len() as u64));
    }
}

/// Overwrites bytes.
pub fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = file.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// The header of an executable segment.
pub fn load(offset: u64, address: u64, size: u64) -> Vec<u8> {
    let kind_and_flags = [1, 0, 0, 0, 5, 0, 0, 0];
    let words = [offset, address, address, size, size, 0x1000];
    [&kind_and_flags[..], &words.map(u64::to_le_bytes).concat()].concat()
}

/// A function in a symbol table, in the first section.
pub fn symbol(name: u64, address: u64, size: u64) -> Vec<u8> {
    let name = &name.to_le_bytes()[..4];
    [name, &[0x12, 0, 1, 0], &address.to_le_bytes(), &size.to_le_bytes()].concat()
}

fn header(name: u64, section: &Section, offset: u64, size: u64) -> Vec<u8> {
    let mut header = [&name.to_le_bytes()[..4], &section.kind.to_le_bytes()].concat();
    let entry = if section.kind == SYMTAB { 24 } else { 0 };
    for word in [section.flags, 0, offset, size, u64::from(section.link), 8, entry] {
        header.extend(word.to_le_bytes());
    }
    // The link is a half of a word, and the other half is the information that nobody reads.
    header
}

/// Sections of debug information in which calls are inlined into each other, so many levels deep, all of them at the whole
/// code of `spin`.
pub fn nested_inlines(levels: usize) -> [(&'static str, Vec<u8>); 2] {
    // Forms: 0x01 address, 0x07 eight bytes, 0x08 text, 0x0b one byte, 0x13 reference of four bytes.
    let abbreviations = [
        // A unit: name, low_pc, high_pc.
        &[1, 0x11, 1, 0x03, 0x08, 0x11, 0x01, 0x12, 0x07, 0, 0][..],
        // A function with code: name, low_pc, high_pc.
        &[2, 0x2e, 1, 0x03, 0x08, 0x11, 0x01, 0x12, 0x07, 0, 0],
        // An inlined call: abstract_origin, low_pc, high_pc.
        &[3, 0x1d, 1, 0x31, 0x13, 0x11, 0x01, 0x12, 0x07, 0, 0],
        // A function that is inlined: name, inline.
        &[4, 0x2e, 0, 0x03, 0x08, 0x20, 0x0b, 0, 0],
        &[0],
    ]
    .concat();
    let range = [CODE_AT.to_le_bytes(), (SPIN.len() as u64).to_le_bytes()].concat();
    // Version 4, abbreviations at 0, addresses of 8 bytes; the length comes last.
    let mut unit = vec![0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 8];
    unit.extend([&[1][..], b"unit\0", &range].concat());
    let inlined = u32::try_from(unit.len()).unwrap_or(0);
    unit.extend(b"\x04deep\0\x01");
    unit.extend([&[2][..], b"spin\0", &range].concat());
    let call = [&[3][..], &inlined.to_le_bytes(), &range].concat();
    unit.extend(call.repeat(levels));
    unit.resize(unit.len() + levels + 2, 0);
    let length = u32::try_from(unit.len() - 4).unwrap_or(u32::MAX);
    put(&mut unit, 0, &length.to_le_bytes());
    [(".debug_abbrev", abbreviations), (".debug_info", unit)]
}

/// A mangled name of C++ that is short and stands for 2 to the power of `doublings` words: each parameter is a pair of the one
/// before.
pub fn doubling_name(doublings: usize) -> String {
    const DIGITS: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let digit = |number: usize| DIGITS.get(number).map_or('0', |digit| char::from(*digit)).to_string();
    // P<A, A> is substitution 1, each further pair one more.
    let pair = |number: usize| {
        let number = if number < 36 { digit(number) } else { digit(number / 36) + &digit(number % 36) };
        format!("S_IS{number}_S{number}_E")
    };
    let pairs: String = (1..=doublings).map(pair).collect();
    format!("_Z1f1PI1AS0_E{pairs}")
}

/// A zlib stream of so many MiB of zeros, a thousandth of that long.
pub fn packed_zeros(mebibytes: usize) -> Vec<u8> {
    use flate2::{Compress, Compression, FlushCompress};
    let zeros = vec![0; 1 << 20];
    let mut packer = Compress::new(Compression::best(), true);
    let mut piece = || {
        let mut packed = Vec::with_capacity(1 << 14);
        let packing = packer.compress_vec(&zeros, &mut packed, FlushCompress::Full);
        assert!(packing.is_ok(), "a stream takes more");
        packed
    };
    // The first piece has the header. As each is flushed in full, all others are the same.
    let (first, other) = (piece(), piece());
    // Of zeros one sum is 1 and the other counts them.
    let sums = u32::try_from((mebibytes << 20) % 65_521).unwrap_or(0) << 16 | 1;
    [&first[..], &other.repeat(mebibytes - 1), &[3, 0], &sums.to_be_bytes()].concat()
}
