//! Debug information that refers to itself, goes deep, or has no end.

use super::Damaged;
use super::craft::{self, CODE_AT, Craft, PROGBITS, SPIN, put};

/// Those files.
pub(crate) fn all() -> Vec<Damaged> {
    let mut all: Vec<Damaged> = [10, 300, 5_000].map(deep).into();
    all.extend(references());
    all.extend(units());
    all.extend(lines());
    all
}

fn with(what: &str, sections: &[(&str, Vec<u8>)]) -> Damaged {
    let craft = Craft::new().symbols(&[("spin", 0, SPIN.len() as u64)]);
    let add = |craft: Craft, (name, bytes): &(&str, Vec<u8>)| craft.section(name, PROGBITS, bytes.clone());
    Damaged::bytes(what, sections.iter().fold(craft, add).build())
}

fn deep(levels: usize) -> Damaged {
    with(&format!("{levels} inlined calls inside each other"), &craft::nested_inlines(levels))
}

/// A unit of version 4 with this content.
fn unit(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len() + 7).unwrap();
    [&length.to_le_bytes()[..], &[4, 0, 0, 0, 0, 0, 8], content].concat()
}

fn range() -> Vec<u8> {
    [CODE_AT.to_le_bytes(), (SPIN.len() as u64).to_le_bytes()].concat()
}

/// Functions that are instances of themselves, of each other, of what lies nowhere.
fn references() -> Vec<Damaged> {
    let abbreviations = [
        // A unit: low_pc, high_pc. A function: abstract_origin and specification in the unit, low_pc, high_pc.
        &[1, 0x11, 1, 0x11, 0x01, 0x12, 0x07, 0, 0][..],
        &[2, 0x2e, 0, 0x31, 0x13, 0x47, 0x13, 0x11, 0x01, 0x12, 0x07, 0, 0],
        // The same by its place in the section, and the import of a unit by that.
        &[3, 0x2e, 0, 0x31, 0x10, 0x47, 0x10, 0x11, 0x01, 0x12, 0x07, 0, 0],
        &[4, 0x3d, 0, 0x18, 0x10, 0, 0],
        // A function inside itself: sibling.
        &[5, 0x2e, 1, 0x01, 0x13, 0x11, 0x01, 0x12, 0x07, 0, 0],
        &[0],
    ]
    .concat();
    let head = [&[1][..], &range()].concat();
    let at = u32::try_from(11 + head.len()).unwrap();
    let twice = |code: u8, to: u32| [&[code][..], &to.to_le_bytes(), &to.to_le_bytes(), &range()].concat();
    let once = |code: u8, to: u32| [&[code][..], &to.to_le_bytes()].concat();
    let size = u32::try_from(twice(2, 0).len()).unwrap();
    let mut all = Vec::new();
    let mut add = |what: &str, content: Vec<u8>| {
        let info = unit(&[head.clone(), content, vec![0]].concat());
        all.push(with(what, &[(".debug_abbrev", abbreviations.clone()), (".debug_info", info)]));
    };
    for code in [2, 3] {
        add("a function that is an instance of itself", twice(code, at));
        add("two functions, instances of each other", [twice(code, at + size), twice(code, at)].concat());
        add("an instance of the unit's header", twice(code, 0));
        add("an instance of what lies outside", twice(code, u32::MAX));
    }
    // A long chain: each is an instance of the next one.
    let chain = (1..20_000).flat_map(|next| twice(2, at + next * size)).collect();
    add("a chain of 20,000 instances", chain);
    add("a unit that imports itself", once(4, 0).repeat(1000));
    let inside = [&[5][..], &at.to_le_bytes(), &range()].concat();
    add("a sibling that lies before", inside.repeat(100));
    all
}

/// Units whose length is a lie, that overlap, that are without number.
fn units() -> Vec<Damaged> {
    let [abbreviations, whole] = craft::nested_inlines(2);
    let mut all = Vec::new();
    let mut add = |what: &str, info: Vec<u8>| all.push(with(what, &[abbreviations.clone(), (".debug_info", info)]));
    for length in [0_u32, 1, 7, 0xffff_fff0, 0xffff_ffff] {
        let mut info = whole.1.clone();
        put(&mut info, 0, &length.to_le_bytes());
        add(&format!("a unit of {length:#x} bytes"), info);
    }
    for version in [0_u8, 1, 6, 255] {
        let mut info = whole.1.clone();
        put(&mut info, 4, &[version, 0]);
        add(&format!("a unit of version {version}"), info);
    }
    add("100,000 units at one place", unit(&[&[1][..], b"u\0", &range(), &[0]].concat()).repeat(100_000));
    add("units of nothing", unit(&[]).repeat(100_000));
    let long = [&[0xff; 4][..], &u64::MAX.to_le_bytes(), &[5, 0, 1, 8]].concat();
    add("a unit of 64 bits without end", long);
    let endless = [&[1][..], &[0x11, 1], &[0x03, 0x08].repeat(10_000)].concat();
    all.push(with("an abbreviation without end", &[(".debug_abbrev", endless), whole.clone()]));
    let same = [1, 0x11, 1, 0, 0].repeat(20_000);
    all.push(with("abbreviations of one number", &[(".debug_abbrev", same), whole.clone()]));
    let high = [&[0xff; 9][..], &[1, 0x11, 1, 0, 0, 0]].concat();
    all.push(with("an abbreviation of a huge number", &[(".debug_abbrev", high), whole]));
    all
}

/// Programs of line numbers: endless, backwards, by lengths that lie.
fn lines() -> Vec<Damaged> {
    // A unit: low_pc, high_pc, and its lines at 0.
    let abbreviations = vec![1, 0x11, 0, 0x11, 0x01, 0x12, 0x07, 0x10, 0x17, 0, 0, 0];
    let info = unit(&[&[1][..], &range(), &[0; 4]].concat());
    let header = |max_operations: u8, range: u8, base: u8, program: &[u8]| {
        // Version 4: shortest instruction 1, operations, statement, lines from `base` in `range`; opcodes up to 9; one file.
        let fields = [1, max_operations, 1, base, range, 10, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0];
        let files = b"file.c\0\0\0\0\0";
        let fields = [&fields[..], files].concat();
        let head = [&[4, 0][..], &u32::try_from(fields.len()).unwrap().to_le_bytes(), &fields, program].concat();
        [&u32::try_from(head.len()).unwrap().to_le_bytes()[..], &head].concat()
    };
    let set = [&[0, 9, 2][..], &CODE_AT.to_le_bytes()].concat();
    let end = [0, 1, 1];
    let mut all = Vec::new();
    let mut add = |what: &str, lines: Vec<u8>| {
        let sections =
            [(".debug_abbrev", abbreviations.clone()), (".debug_info", info.clone()), (".debug_line", lines)];
        all.push(with(what, &sections));
    };
    let program = |rows: Vec<u8>| [set.clone(), rows, end.to_vec()].concat();
    add("a line range of zero", header(1, 0, 0, &program(vec![20; 100])));
    add("no operations in an instruction", header(0, 14, 0xfb, &program(vec![20; 100])));
    add("half a million lines at one address", header(1, 14, 0xfb, &program(vec![13; 500_000])));
    add("lines that run backwards", header(1, 14, 0xfb, &program([3, 0x7f, 1].repeat(50_000))));
    add(
        "addresses beyond the end",
        header(1, 14, 0xfb, &program([2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1].repeat(5_000))),
    );
    add("sequences without number", header(1, 14, 0xfb, &program(vec![20; 3]).repeat(20_000)));
    let mut cut = header(1, 14, 0xfb, &program(vec![20; 100]));
    put(&mut cut, 6, &u32::MAX.to_le_bytes());
    add("a header longer than its program", cut);
    add("a program that is not there", vec![0xff; 64]);
    all
}
