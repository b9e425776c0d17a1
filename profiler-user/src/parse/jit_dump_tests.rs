//! Tests of [`super`]: dumps that are written here by the specification.

use super::*;
use proptest::prelude::*;

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn new() -> Writer {
        let words = [MAGIC, 1, 40, 62, 0, 7, 0, 0, 0, 0];
        Writer(words.iter().flat_map(|word: &u32| word.to_le_bytes()).collect())
    }

    fn record(mut self, id: u32, body: &[u8]) -> Writer {
        self.0.extend(id.to_le_bytes());
        self.0.extend(u32::try_from(16 + body.len()).expect("short").to_le_bytes());
        self.0.extend([0; 8]);
        self.0.extend(body);
        self
    }

    fn load(self, index: u64, start: u64, size: u64, name: &str) -> Writer {
        let words = [0, start, start, size, index].map(u64::to_le_bytes).concat();
        self.record(LOAD, &[&words, name.as_bytes(), &[0], &[0xcc; 8]].concat())
    }

    fn moved(self, index: u64, from: u64, to: u64, size: u64) -> Writer {
        self.record(MOVE, &[0, 0, from, to, size, index].map(u64::to_le_bytes).concat())
    }

    fn lines(self, start: u64, entries: &[(u64, u32, &[u8])]) -> Writer {
        let mut body = [start, entries.len() as u64].map(u64::to_le_bytes).concat();
        for (address, line, file) in entries {
            body.extend(address.to_le_bytes());
            body.extend([*line, 0].map(u32::to_le_bytes).concat());
            body.extend(file.iter().chain(&[0]));
        }
        self.record(LINES, &body)
    }

    /// Name, file and line at an address.
    fn at(&self, address: u64) -> Option<(String, String, u32)> {
        match symbolize(self.0.clone(), &[address]).expect("a dump").remove(0) {
            Symbolized::Frames(mut frames) => {
                let frame = frames.remove(0);
                Some((frame.name, frame.file, frame.line))
            }
            _ => None,
        }
    }

    fn name_at(&self, address: u64) -> Option<String> {
        self.at(address).map(|(name, ..)| name)
    }
}

#[test]
fn the_last_load_that_covers_an_address_names_it() {
    let dump = Writer::new().load(1, 0x1000, 0x100, "old").load(2, 0x1040, 0x10, "new").record(9, &[1; 40]);
    let name = |address| dump.name_at(address);
    assert_eq!(name(0x1000).as_deref(), Some("old"));
    assert_eq!(name(0x1040).as_deref(), Some("new"));
    assert_eq!(name(0x1050).as_deref(), Some("old"));
    assert_eq!((name(0xfff), name(0x1100)), (None, None));
}

#[test]
fn code_that_moved_keeps_its_name_and_its_lines() {
    let entries: [(u64, u32, &[u8]); 2] = [(0x1000, 5, b"a.c"), (0x1010, 6, b"\xff")];
    let dump = Writer::new().lines(0x1000, &entries).load(1, 0x1000, 0x100, "f").moved(1, 0x1000, 0x9000, 0x100);
    for base in [0x1000, 0x9000] {
        assert_eq!(dump.at(base + 0xf), Some(("f".into(), "a.c".into(), 5)));
        assert_eq!(dump.at(base + 0x10), Some(("f".into(), "a.c".into(), 6)));
    }
    assert_eq!(Writer::new().moved(3, 0x1000, 0x9000, 0x100).at(0x9000), None);
}

#[test]
fn lines_of_v8_are_counted_from_an_elf_header() {
    let entries: [(u64, u32, &[u8]); 2] = [(0x1040, 5, b"/a.js"), (0x1050, 6, b"/a.js")];
    let dump = Writer::new().lines(0x1000, &entries).load(1, 0x1000, 0x40, "JS:*hot /a.js:3:1");
    assert_eq!(dump.at(0x100f), Some(("hot".into(), "/a.js".into(), 5)));
    assert_eq!(dump.at(0x1010), Some(("hot".into(), "/a.js".into(), 6)));
}

#[test]
fn lines_are_those_of_the_load_that_follows() {
    let entries: [(u64, u32, &[u8]); 1] = [(0x1000, 5, b"a.c")];
    let dump = Writer::new().lines(0x1000, &entries).load(1, 0x2000, 0x10, "g").load(2, 0x1000, 0x10, "f");
    assert_eq!(dump.at(0x2000), Some(("g".into(), String::new(), 0)));
    assert_eq!(dump.at(0x1000), Some(("f".into(), String::new(), 0)));
    // An entry outside of the code ends them.
    let entries: [(u64, u32, &[u8]); 3] = [(0x1000, 5, b"a.c"), (0x7000, 9, b"?"), (0x1001, 8, b"b.c")];
    let dump = Writer::new().lines(0x1000, &entries).load(1, 0x1000, 0x10, "f");
    assert_eq!(dump.at(0x1002), Some(("f".into(), "a.c".into(), 5)));
}

#[test]
fn a_record_that_is_being_written_is_not_read() {
    let whole = Writer::new().load(1, 0x1000, 0x10, "f").load(2, 0x1000, 0x10, "g");
    assert_eq!(whole.name_at(0x1000).as_deref(), Some("g"));
    for cut in 1..30 {
        let torn = Writer(whole.0[..whole.0.len() - cut].to_vec());
        assert_eq!(torn.name_at(0x1000).as_deref(), Some("f"), "{cut}");
    }
}

#[test]
fn what_is_no_dump_is_refused() {
    let mut swapped = Writer::new().0;
    swapped[..4].reverse();
    for bytes in [Vec::new(), vec![0; 100], swapped, Writer::new().0[..39].to_vec()] {
        assert!(symbolize(bytes, &[0x1000]).is_err());
    }
}

proptest! {
    #[test]
    fn a_damaged_dump_gives_an_answer_per_address(
        edits in proptest::collection::vec((40..400_usize, any::<u8>()), 0..24),
        addresses in proptest::collection::vec(prop_oneof![any::<u64>(), 0x1000..0x1100_u64], 0..8),
    ) {
        let entries: [(u64, u32, &[u8]); 2] = [(0x1000, 5, b"a.c"), (0x1010, 6, b"\xff")];
        let dump = Writer::new().lines(0x1000, &entries).load(1, 0x1000, 0x100, "f");
        let mut bytes = dump.moved(1, 0x1000, 0x9000, 0x100).load(2, 0x1080, 0x100, "g").0;
        for (at, value) in edits {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        if let Ok(names) = symbolize(bytes, &addresses) {
            prop_assert_eq!(names.len(), addresses.len());
        }
    }
}
