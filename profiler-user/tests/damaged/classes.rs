//! Headers, sections, symbols and packed sections that lie.

use super::craft::{self, CODE_AT, Craft, HEADER, PROGBITS, PROGRAM_HEADER, SECTION_HEADER, Section, load, put};
use super::{Damaged, written};
use std::os::unix::fs::FileExt;

/// Bytes of a section that are read at most.
const CAP: u64 = 256 << 20;

/// Those files.
pub(crate) fn all() -> Vec<Damaged> {
    [headers(), sections(), symbols(), packed()].into_iter().flatten().collect()
}

fn plain() -> Vec<u8> {
    Craft::new().symbols(&[("spin", 0, 11)]).build()
}

/// Headers that overlap, point outside, or have other sizes.
fn headers() -> Vec<Damaged> {
    let mut all = Vec::new();
    let mut field = |name: &str, at: usize, bytes: &[u8]| {
        let mut file = plain();
        put(&mut file, at, bytes);
        all.push(Damaged::bytes(format!("{name} is {bytes:x?}"), file));
    };
    for (name, at) in [("e_phoff", craft::E_PHOFF), ("e_shoff", craft::E_SHOFF)] {
        for value in [0, 1, 0x20, 0x1001, u64::MAX, u64::MAX - 63, 1 << 40] {
            field(name, at, &value.to_le_bytes());
        }
    }
    let halves = [
        ("e_phentsize", craft::E_PHENTSIZE),
        ("e_phnum", craft::E_PHNUM),
        ("e_shentsize", craft::E_SHENTSIZE),
        ("e_shnum", craft::E_SHNUM),
        ("e_shstrndx", craft::E_SHSTRNDX),
    ];
    for (name, at) in halves {
        for value in [0_u16, 1, 0xfffe, 0xffff] {
            field(name, at, &value.to_le_bytes());
        }
    }
    // Offset, address and size of the segment.
    for (name, at) in [("p_offset", 8), ("p_vaddr", 16), ("p_filesz", 32)] {
        for value in [0, 1, u64::MAX, u64::MAX - 0x1000, 1 << 63] {
            field(name, HEADER + at, &value.to_le_bytes());
        }
    }
    all.push(many_segments("one over the other", |_| (CODE_AT, CODE_AT)));
    all.push(many_segments("backwards", |at| (at, u64::MAX / 2 - at)));
    all.push(many_segments("side by side", |at| (at, at)));
    all
}

/// As many program headers as there can be, at places that `place` gives.
fn many_segments(what: &str, place: fn(u64) -> (u64, u64)) -> Damaged {
    const COUNT: u16 = 0xffff;
    let mut file = Craft::with_code(1 << 20).build();
    let at = file.len() as u64;
    put(&mut file, craft::E_PHOFF, &at.to_le_bytes());
    put(&mut file, craft::E_PHNUM, &COUNT.to_le_bytes());
    for number in 0..u64::from(COUNT) {
        let (offset, address) = place(CODE_AT + number * 16);
        file.extend(load(offset, address, 16));
    }
    assert_eq!(file.len() as u64, at + u64::from(COUNT) * PROGRAM_HEADER as u64);
    Damaged::bytes(format!("{COUNT} segments {what}"), file)
}

/// Sections without number, of sizes and at places that cannot be.
fn sections() -> Vec<Damaged> {
    let mut all = Vec::new();
    for name in [".debug_info", ".eh_frame", ".symtab", ".gopclntab", ".note", ".gnu_debuglink", ".gnu_debugdata"] {
        for place in [(0, u64::MAX), (u64::MAX, 1), (1 << 40, 1 << 40), (0, 1 << 20), (CODE_AT, CAP + 1)] {
            let section = Section { name: name.to_owned(), kind: PROGBITS, place: Some(place), ..Section::default() };
            all.push(Damaged::bytes(format!("{name} at {place:x?}"), Craft::new().with(section).build()));
        }
    }
    all.push(many_sections(65_536));
    all.push(many_sections(1 << 40));
    all
}

/// The count does not fit into the header and is in the first section's; the headers are a hole in the file.
fn many_sections(count: u64) -> Damaged {
    Damaged::file(format!("{count} sections"), move || {
        let mut bytes = plain();
        let at = bytes.len() as u64;
        put(&mut bytes, craft::E_SHOFF, &at.to_le_bytes());
        put(&mut bytes, craft::E_SHNUM, &[0, 0]);
        let file = written(&bytes);
        file.write_all_at(&count.to_le_bytes(), at + 32).unwrap();
        file.set_len(at + count.min(65_536) * SECTION_HEADER as u64).unwrap();
        file
    })
}

/// Symbols without end, all in one place, with names without end.
fn symbols() -> Vec<Damaged> {
    const MANY: u64 = 10_000_000;
    const FEWER: u64 = 300_000;
    let holes = || {
        let place = |at, size| Some((at, size));
        let symbols = |at| Section {
            name: ".symtab".to_owned(),
            kind: craft::SYMTAB,
            place: place(at, MANY * 24),
            ..Section::default()
        };
        let at = Craft::new().with(symbols(0)).build().len() as u64;
        let file = written(&Craft::new().with(symbols(at)).build());
        file.set_len(at + MANY * 24).unwrap();
        file
    };
    let names = |length: usize| [vec![0], vec![b'n'; length]].concat();
    let table = |size: u64| (0..FEWER).flat_map(|n| craft::symbol(1 + n % 4000, CODE_AT + n % 4096, size)).collect();
    let endless: Vec<u8> = Craft::new().symbol_table(table(u64::MAX), names(1 << 20)).build();
    let nested: Vec<u8> = Craft::new().symbol_table(table(4096), names(8192)).build();
    let link = |link| {
        let table = Section {
            name: ".symtab".to_owned(),
            kind: craft::SYMTAB,
            link,
            bytes: vec![1; 2400],
            ..Section::default()
        };
        Craft::new().with(table).build()
    };
    let mangled = [10, 22, 23, 100].map(craft::doubling_name);
    let mangled: Vec<_> = mangled.iter().map(|name| Craft::new().symbols(&[(name, 0, 11)]).build()).collect();
    let mut all = vec![
        Damaged::file("ten million symbols", holes),
        Damaged::bytes("symbols without end and a name of a megabyte", endless),
        Damaged::bytes("symbols inside each other", nested),
        Damaged::bytes("names of symbols in no section", link(99)),
        Damaged::bytes("names of symbols in the table of symbols", link(1)),
    ];
    all.extend(mangled.into_iter().map(|file| Damaged::bytes("a name that stands for megabytes", file)));
    all
}

/// Packed sections that do not unpack to what they say.
fn packed() -> Vec<Damaged> {
    const ZEROS: u64 = 2 << 20;
    let zstd = ruzstd::encoding::compress_to_vec(&vec![0; 2 << 20][..], ruzstd::encoding::CompressionLevel::Fastest);
    let small = craft::packed_zeros(2);
    let mut all = Vec::new();
    let mut add = |what: &str, craft: Craft| all.push(Damaged::bytes(what, craft.build()));
    for (way, packed) in [(1, &small), (2, &zstd)] {
        for size in [0, ZEROS - 1, ZEROS, ZEROS + 1, CAP, CAP + 1, 1 << 40, u64::MAX] {
            add(&format!("packed ({way}), {size} said"), Craft::new().packed(".debug_info", way, size, packed));
        }
        add("packed, cut short", Craft::new().packed(".debug_info", way, ZEROS, &packed[..packed.len() / 2]));
    }
    add("packed by no known way", Craft::new().packed(".debug_info", 77, ZEROS, &small));
    add("a header that is cut short", {
        let section = Section {
            name: ".debug_info".to_owned(),
            kind: PROGBITS,
            flags: 0x800,
            bytes: vec![1; 7],
            ..Section::default()
        };
        Craft::new().with(section)
    });
    add("the older form without a size", Craft::new().section(".zdebug_info", PROGBITS, b"ZLIB".to_vec()));
    let older = [&b"ZLIB"[..], &u64::MAX.to_be_bytes(), &small].concat();
    add("the older form, a lie", Craft::new().section(".zdebug_info", PROGBITS, older));
    add("no xz in .gnu_debugdata", Craft::new().section(".gnu_debugdata", PROGBITS, vec![0xfd; 100]));
    // Each within the cap of a section, together more than a worker may hold.
    let large = craft::packed_zeros(200);
    let names = [".debug_abbrev", ".debug_info", ".debug_line", ".debug_str", ".debug_ranges", ".debug_addr"];
    let bomb = names.into_iter().fold(Craft::new(), |craft, name| craft.packed(name, 1, 200 << 20, &large));
    add("1.2 GB in 1.2 MB", bomb);
    all
}
