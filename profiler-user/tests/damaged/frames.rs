//! Call frame information that overlaps, runs backwards, or has no end.

use super::Damaged;
use super::craft::{self, CODE_AT, Craft, PROGBITS, Section};

/// `DW_CFA_*`.
const ADVANCE: u8 = 0x40;
const DEF_CFA: [u8; 3] = [0x0c, 7, 8];
const REMEMBER: u8 = 0x0a;
const RESTORE: u8 = 0x0b;

/// Those files.
pub(crate) fn all() -> Vec<Damaged> {
    let mut all = ranges();
    all.extend(programs());
    all.extend(entries());
    all.extend(crosswise());
    all
}

/// Much of one thing for each of another.
fn crosswise() -> Vec<Damaged> {
    const MANY: u64 = 20_000;
    let mut frames = common(&DEF_CFA);
    (0..MANY).for_each(|n| function(&mut frames, CODE_AT + n * 32, 16, &[]));
    let with = |craft: Craft| craft.section(".eh_frame", PROGBITS, frames.clone());
    let code = || Craft::with_code(1 << 20);
    // Code that is in many sections.
    let place = Some((CODE_AT, 1 << 20));
    let section = Section { name: ".text".to_owned(), kind: PROGBITS, flags: 4, place, ..Section::default() };
    let sections = (0..60_000).fold(code(), |craft, _| craft.with(section.clone()));
    // Go code that ends stacks everywhere.
    let roots = (0..MANY).flat_map(|n| craft::symbol(1, CODE_AT + n * 32 + 20, 4)).collect();
    let roots =
        code().section(".go.buildinfo", PROGBITS, vec![0; 32]).symbol_table(roots, b"\0runtime.goexit\0".to_vec());
    // Notes that are all the same bytes.
    let note = Section { name: ".note".to_owned(), kind: craft::NOTE, place, ..Section::default() };
    let notes = (0..60_000).fold(code(), |craft, _| craft.with(note.clone()));
    vec![
        Damaged::bytes("60,000 sections of the same code", with(sections).build()),
        Damaged::bytes("20,000 roots of Go's stacks", with(roots).build()),
        Damaged::bytes("60,000 sections of the same notes", notes.build()),
    ]
}

/// A common entry with these rules: version 1, no augmentation, code by 1, data by -8, return address in 16.
fn common(rules: &[u8]) -> Vec<u8> {
    let mut entry = [&[0, 0, 0, 0, 1, 0, 1, 0x78, 16][..], rules].concat();
    entry.resize(entry.len().next_multiple_of(4), 0);
    [&u32::try_from(entry.len()).unwrap().to_le_bytes()[..], &entry].concat()
}

/// Adds a function by the common entry at the start of the section.
fn function(section: &mut Vec<u8>, start: u64, length: u64, rules: &[u8]) {
    let to_common = u32::try_from(section.len() + 4).unwrap();
    let mut entry = [&to_common.to_le_bytes()[..], &start.to_le_bytes(), &length.to_le_bytes(), rules].concat();
    entry.resize(entry.len().next_multiple_of(4), 0);
    section.extend(u32::try_from(entry.len()).unwrap().to_le_bytes());
    section.extend(entry);
}

fn with(what: &str, code: usize, frames: Vec<u8>) -> Damaged {
    Damaged::bytes(
        what,
        Craft::with_code(code).symbols(&[("spin", 0, 11)]).section(".eh_frame", PROGBITS, frames).build(),
    )
}

/// So many functions, where `place` says.
fn many(what: &str, count: u64, common_rules: &[u8], place: impl Fn(u64) -> (u64, u64)) -> Damaged {
    let mut section = common(common_rules);
    for number in 0..count {
        let (start, length) = place(number);
        function(&mut section, start, length, &[]);
    }
    with(what, 1 << 20, section)
}

fn ranges() -> Vec<Damaged> {
    const COUNT: u64 = 20_000;
    let nops = [&DEF_CFA[..], &vec![0; 60_000]].concat();
    vec![
        many("functions one over the other", COUNT, &DEF_CFA, |_| (CODE_AT, 0x1000)),
        many("functions inside each other", COUNT, &DEF_CFA, |n| (CODE_AT + n, (COUNT - n) * 2)),
        many("functions that run backwards", COUNT, &DEF_CFA, |n| (CODE_AT + (COUNT - n) * 8, 16)),
        many("functions that end before they begin", COUNT, &DEF_CFA, |n| (CODE_AT + n, u64::MAX - n)),
        many("functions outside of the code", COUNT, &DEF_CFA, |n| (u64::MAX - n, 8)),
        many("functions without length", COUNT, &DEF_CFA, |n| (CODE_AT + n * 8, 0)),
        many("a common entry of 60 KB for 20,000 functions", COUNT, &nops, |n| (CODE_AT + n * 8, 8)),
    ]
}

/// One function with such rules.
fn programs() -> Vec<Damaged> {
    let one = |what: &str, rules: Vec<u8>| {
        let mut section = common(&DEF_CFA);
        function(&mut section, CODE_AT, 1 << 20, &rules);
        with(what, 1 << 20, section)
    };
    // Each is another rule: the dictionary of a file has room for some thousands only.
    let rules = |n: u32| [&[ADVANCE | 1, 0x0c, 3][..], &leb(u64::from(n) * 8)].concat();
    vec![
        one("rows at one address", [&[ADVANCE], &DEF_CFA[..]].concat().repeat(100_000)),
        one("two rules in turn, 300,000 times", [ADVANCE | 1, 0x0e, 16, ADVANCE | 1, 0x0e, 8].repeat(150_000)),
        one("100,000 rules", (0..100_000).flat_map(rules).collect()),
        one("states that are remembered without end", vec![REMEMBER; 300_000]),
        one("states that were never remembered", vec![RESTORE; 1_000]),
        one("remembered and restored", [REMEMBER, RESTORE].repeat(100_000)),
        one("an expression that goes back to its start", [&[0x0f, 4, 0x2f, 0xfd, 0xff, 0x96][..]; 1_000].concat()),
        one("an expression longer than the section", [&[0x0f][..], &leb(u64::MAX)].concat()),
        one("an advance over the end", [&[4][..], &[0xff; 4], &DEF_CFA, &[4], &[0xff; 4]].concat()),
        one("an advance to before the start", [&[1][..], &0_u64.to_le_bytes(), &DEF_CFA].concat()),
        one("rules of registers that do not exist", [&[5][..], &leb(65_535), &[1]].concat().repeat(1_000)),
        one("operations that do not exist", vec![0x3f; 1_000]),
    ]
}

/// Entries whose lengths, augmentations and references lie.
fn entries() -> Vec<Damaged> {
    let mut all = Vec::new();
    let mut add = |what: &str, section: Vec<u8>| all.push(with(what, 0x1000, section));
    for length in [0_u32, 3, 0xffff_fff0, 0xffff_ffff] {
        let mut section = common(&DEF_CFA);
        function(&mut section, CODE_AT, 64, &[]);
        section.extend(length.to_le_bytes());
        section.extend([0; 30]);
        add(&format!("an entry of {length:#x} bytes"), section);
    }
    for back in [0_u32, 4, 20, 24, 0x7fff_ffff, u32::MAX] {
        let mut section = common(&DEF_CFA);
        let entry = [&back.to_le_bytes()[..], &CODE_AT.to_le_bytes(), &64_u64.to_le_bytes()].concat();
        section.extend(u32::try_from(entry.len()).unwrap().to_le_bytes());
        section.extend(entry);
        add(&format!("a function whose common entry is {back:#x} bytes before"), section);
    }
    for augmentation in ["zRPLSB", "eh", "zzzz", "zP", "q", "armcc+"] {
        let entry =
            [&[0, 0, 0, 0, 1][..], augmentation.as_bytes(), &[0, 1, 0x78, 16, 0x7f, 0xff, 0xff, 0xff, 0xff]].concat();
        let mut section = [&u32::try_from(entry.len()).unwrap().to_le_bytes()[..], &entry].concat();
        function(&mut section, CODE_AT, 64, &DEF_CFA);
        add(&format!("augmentation {augmentation}"), section);
    }
    for address_size in [0_u8, 1, 3, 16] {
        // Version 4 says the size of addresses.
        let entry = [0, 0, 0, 0, 4, 0, address_size, 0, 1, 0x78, 16, 0];
        let mut section = [&u32::try_from(entry.len()).unwrap().to_le_bytes()[..], &entry].concat();
        function(&mut section, CODE_AT, 64, &DEF_CFA);
        add(&format!("addresses of {address_size} bytes"), section);
    }
    all
}

fn leb(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).unwrap();
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
