//! Names of code that a process made, and names for people.

use super::honest;
use crate::fuzzing::Look;
use crate::parse::{demangle as names_for_people, jit_dump as dump, perf_map as map};
use crate::worker::api::Symbolized;
use crate::worker::{check, server};

/// Addresses that are asked for.
const ASKED: usize = 64;
/// Bytes that a name for people may have: the cap of `demangle`.
const MAX_NAME: usize = 4_096;

/// A perf map; asked is where its lines begin.
pub(crate) fn perf_map(input: &[u8], look: Look) {
    let Ok(text) = map::read(input.to_vec()) else { return };
    let number = |line: &[u8]| {
        let word = line.split(|byte| *byte == b' ').next()?;
        u64::from_str_radix(str::from_utf8(word).ok()?.trim_start_matches("0x"), 16).ok()
    };
    let asked: Vec<u64> = text.split(|byte| *byte == b'\n').filter_map(number).take(ASKED).collect();
    show(&asked, map::symbolize(&text, &asked), look);
}

/// A jitdump; asked is whatever word in it may be where code lies.
pub(crate) fn jit_dump(input: &[u8], look: Look) {
    let words = input.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
    let asked: Vec<u64> = words.filter(|word| *word > 0xffff).take(ASKED).collect();
    if let Ok(found) = dump::symbolize(input.to_vec(), &asked) {
        show(&asked, found, look);
    }
}

fn show(asked: &[u64], found: Vec<Symbolized>, look: Look) {
    assert_eq!(found.len(), asked.len());
    if asked.is_empty() {
        return;
    }
    let found = honest(check::made_names(&server::names(found.into_iter()), asked));
    if found.iter().any(|name| matches!(name, Symbolized::Frames(_))) {
        look(&found);
    }
}

/// A mangled name.
pub(crate) fn demangle(input: &[u8], look: Look) {
    let Ok(name) = str::from_utf8(input) else { return };
    let shown = names_for_people::demangle(name);
    if shown != name {
        assert!(shown.len() <= MAX_NAME);
        look(&shown);
    }
}

/// A piece of code with a name and lines, and where it was moved to, as the specification has them.
pub(crate) fn jit_dumps() -> Vec<Vec<u8>> {
    let words = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let record = |id: u32, body: &[u8]| {
        let length = u32::try_from(16 + body.len()).unwrap_or(0);
        [&id.to_le_bytes()[..], &length.to_le_bytes(), &[0; 8], body].concat()
    };
    let header = [0x4a69_5444_u32, 1, 40, 62, 0, 7, 0, 0, 0, 0].map(u32::to_le_bytes).concat();
    let (start, moved) = (0x7f00_0000_1000, 0x7f00_0000_5000);
    let lines = |shift: u64| {
        let line = |at: u64, line: u32, file: &[u8]| {
            [&words(&[start + shift + at]), &line.to_le_bytes()[..], &[0; 4], file, &[0]].concat()
        };
        record(2, &[words(&[start, 2]), line(0, 3, b"/srv/a.js"), line(8, 4, &[0xff])].concat())
    };
    let load = |name: &[u8]| record(0, &[&words(&[0, start, start, 32, 1]), name, &[0], &[0xcc; 32]].concat());
    let moving = record(1, &words(&[0, 0, start, moved, 32, 1]));
    vec![
        [header.clone(), lines(0), load(b"long Split.first(long)")].concat(),
        [header, lines(0x40), load(b"JS:*hot /srv/a.js:1:13"), moving].concat(),
    ]
}
