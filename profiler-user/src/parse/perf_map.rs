//! Perf maps (`/tmp/perf-PID.map`): the names that a runtime gives to code that it makes, one line `START SIZE NAME` each,
//! numbers in hexadecimal. A runtime appends to it, so where entries overlap the last line is what lies there now.

use super::ParseError;
use super::demangle::{demangle, is_mangled};
use super::source::{ReadAt, Source};
use super::symbols::MAX_NAME;
use crate::worker::api::{SymbolFrame, Symbolized};
use profiler_ebpf::reasons::Reason;
use std::collections::{BTreeSet, HashMap};

/// Bytes of a map that are read.
pub const MAX_SIZE: u64 = 64 << 20;
/// Lines that are looked at, the newest first.
const MAX_ENTRIES: usize = 1 << 20;
/// Hexadecimal digits of an address.
const MAX_DIGITS: usize = 16;

/// The whole text, as long as the file is now.
pub fn read(reader: impl ReadAt + 'static) -> Result<Vec<u8>, ParseError> {
    let source = Source::new(reader, MAX_SIZE);
    source.read("a perf map", 0, source.size())
}

/// Names of addresses, in their order and as many.
pub fn symbolize(text: &[u8], addresses: &[u64]) -> Vec<Symbolized> {
    let names = newest(text, addresses);
    let named = |address| match names.get(address) {
        Some(name) => Symbolized::Frames(vec![frame(name)]),
        None => Symbolized::Missing(Reason::NoSymbol),
    };
    addresses.iter().map(named).collect()
}

/// The name in the last line that covers each address. From the last line backwards each address is taken once, so however
/// many lines overlap, the work is bounded by lines and addresses.
fn newest<'t>(text: &'t [u8], addresses: &[u64]) -> HashMap<u64, &'t [u8]> {
    let mut nameless: BTreeSet<u64> = addresses.iter().copied().collect();
    let mut names = HashMap::new();
    // What stands behind the last line's end is a line that is being written.
    let whole = text.iter().rposition(|byte| *byte == b'\n').and_then(|end| text.get(..end)).unwrap_or_default();
    for line in whole.rsplit(|byte| *byte == b'\n').take(MAX_ENTRIES) {
        if nameless.is_empty() {
            break;
        }
        let Some(Entry { start, end, name }) = entry(line) else { continue };
        while let Some(address) = nameless.range(start..end).next().copied() {
            nameless.remove(&address);
            names.insert(address, name);
        }
    }
    names
}

/// One line; it covers at least one address and has a name.
struct Entry<'t> {
    start: u64,
    end: u64,
    name: &'t [u8],
}

fn entry(line: &[u8]) -> Option<Entry<'_>> {
    let mut fields = line.splitn(3, |byte| *byte == b' ');
    let (start, size) = (hexadecimal(fields.next()?)?, hexadecimal(fields.next()?)?);
    let name = fields.next()?.trim_ascii();
    let end = start.checked_add(size)?;
    (size > 0 && !name.is_empty()).then_some(Entry { start, end, name })
}

/// With `0x` or without, as runtimes have it.
fn hexadecimal(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(b"0x").unwrap_or(text);
    let is_number = !digits.is_empty() && digits.len() <= MAX_DIGITS && digits.iter().all(u8::is_ascii_hexdigit);
    is_number.then(|| u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()).flatten()
}

/// What the name says: V8's and CPython's hold the source file too. All other names are taken as they are.
pub(super) fn frame(name: &[u8]) -> SymbolFrame {
    let system_name = String::from_utf8_lossy(name.get(..MAX_NAME).unwrap_or(name)).into_owned();
    let (name, file, start_line) =
        v8(&system_name).or_else(|| cpython(&system_name)).unwrap_or_else(|| (plain(&system_name), String::new(), 0));
    SymbolFrame { name, system_name, file, start_line, ..SymbolFrame::default() }
}

fn plain(name: &str) -> String {
    if is_mangled(name) { demangle(name).into_owned() } else { name.to_owned() }
}

/// Kinds of script code; node 18 and older tell functions apart by when they were compiled.
const V8_KINDS: [&str; 4] = ["JS:", "LazyCompile:", "Function:", "Script:"];

/// A name that V8 gave.
pub(super) fn is_v8(name: &[u8]) -> bool {
    V8_KINDS.iter().any(|kind| name.starts_with(kind.as_bytes()))
}

/// `JS:*name file:line:column`; the sign tells how far the function is optimized (`~`, `^`, `+`, `*`). Some have no name, and
/// node 18 and older write no column.
fn v8(text: &str) -> Option<(String, String, u32)> {
    let rest = V8_KINDS.iter().find_map(|kind| text.strip_prefix(kind))?.trim_start_matches(['~', '^', '+', '*']);
    // A name may hold blanks (`get size`), so the beginning of a path or a URL is looked for first.
    let blank = [" /", " node:", " file:", " "].iter().find_map(|begin| rest.find(begin))?;
    let (name, place) = rest.split_at(blank);
    let (before, last) = numbered(place.trim_start())?;
    let (file, line) = numbered(before).unwrap_or((before, last));
    let name = if name.is_empty() { "(anonymous)" } else { name };
    Some((name.to_owned(), file.to_owned(), line))
}

/// What stands before a last `:number`.
fn numbered(text: &str) -> Option<(&str, u32)> {
    let (before, number) = text.rsplit_once(':')?;
    Some((before, number.parse().ok()?))
}

/// `py::qualified.name:file`.
fn cpython(text: &str) -> Option<(String, String, u32)> {
    let (name, file) = text.strip_prefix("py::")?.split_once(':')?;
    (!name.is_empty()).then(|| (name.to_owned(), file.to_owned(), 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name_at(text: &str, address: u64) -> Option<String> {
        match symbolize(text.as_bytes(), &[address]).remove(0) {
            Symbolized::Frames(mut frames) => Some(frames.remove(0).name),
            _ => None,
        }
    }

    #[test]
    fn an_address_has_the_name_of_the_last_line_that_covers_it() {
        let check = |text: &str, address: u64, wanted: Option<&str>| {
            assert_eq!(name_at(text, address).as_deref(), wanted, "{address:#x} in {text:?}");
        };
        let text = "1000 100 old\n1040 10 new\n0x2000 0x10 int Foo::bar(int)\n";
        check(text, 0x0fff, None);
        check(text, 0x1000, Some("old"));
        check(text, 0x103f, Some("old"));
        check(text, 0x1040, Some("new"));
        check(text, 0x1050, Some("old"));
        check(text, 0x1100, None);
        check(text, 0x200f, Some("int Foo::bar(int)"));
        check("1040 10 new\n1000 100 newest\n", 0x1040, Some("newest"));
    }

    #[test]
    fn what_is_no_line_names_nothing() {
        for text in [
            "",
            "\n\n",
            "1000 100 not ended",
            "1000 100\n",
            "1000 100 \n",
            "1000  100 two blanks\n",
            "1000 0 empty\n",
            "+1000 100 sign\n",
            "ffffffffffffffff 2 over the end\n",
            "00000000000001000 100 too many digits\n",
            "x1000 100 no number\n",
        ] {
            assert_eq!(name_at(text, 0x1000), None, "{text:?}");
            assert_eq!(name_at(text, u64::MAX), None, "{text:?}");
        }
    }

    #[test]
    fn names_of_runtimes_hold_files() {
        let check = |text: &str, wanted: (&str, &str, u32)| {
            let frame = frame(text.as_bytes());
            assert_eq!((frame.name.as_str(), frame.file.as_str(), frame.start_line), wanted);
            assert_eq!(frame.system_name, text);
        };
        check("JS:*hot /tmp/a b.js:1:13", ("hot", "/tmp/a b.js", 1));
        check("JS:^ node:internal/timers:3:66", ("(anonymous)", "node:internal/timers", 3));
        check("LazyCompile:*hot /srv/x.js:9", ("hot", "/srv/x.js", 9));
        check("JS:~get size /srv/x.js:2:5", ("get size", "/srv/x.js", 2));
        check("JS:~odd", ("JS:~odd", "", 0));
        check("py::A.hot:/srv/x:y.py", ("A.hot", "/srv/x:y.py", 0));
        check("py::", ("py::", "", 0));
        check("_ZN3foo3barEv", ("foo::bar()", "", 0));
        check("long Split.first(long)", ("long Split.first(long)", "", 0));
    }

    #[test]
    fn a_name_is_cut() {
        let text = format!("10 10 {}\n", "ä".repeat(MAX_NAME));
        assert!(name_at(&text, 0x10).is_some_and(|name| name.len() <= MAX_NAME + 3));
    }

    #[test]
    fn many_overlapping_lines_are_no_more_work_than_others() {
        let text = "0 ffffffff everything\n".repeat(200_000);
        let addresses: Vec<u64> = (0..4096).map(|i| i * 16).collect();
        assert!(symbolize(text.as_bytes(), &addresses).iter().all(|name| matches!(name, Symbolized::Frames(_))));
    }

    #[test]
    fn a_map_over_the_cap_is_refused() {
        struct Huge;
        impl ReadAt for Huge {
            fn size(&self) -> u64 {
                MAX_SIZE + 1
            }
            fn read_exact_at(&self, _: &mut [u8], _: u64) -> std::io::Result<()> {
                Ok(())
            }
        }
        assert!(read(Huge).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer_per_address(text in proptest::collection::vec(any::<u8>(), 0..400), addresses in proptest::collection::vec(any::<u64>(), 0..8)) {
            prop_assert_eq!(symbolize(&text, &addresses).len(), addresses.len());
        }

        #[test]
        fn almost_a_map_gives_an_answer_per_address(text in "([0-9a-fx]{0,4}[ \n]?[0-9a-f]{0,3} ?[a-c:*]{0,3}\n?){0,20}", addresses in proptest::collection::vec(0u64..0x1_0000, 0..8)) {
            prop_assert_eq!(symbolize(text.as_bytes(), &addresses).len(), addresses.len());
        }

        #[test]
        fn the_answer_is_that_of_a_plain_search(lines in proptest::collection::vec((0u64..64, 0u64..16), 0..30)) {
            let entries: Vec<_> = (0..).zip(&lines).map(|(i, (start, size))| format!("{start:x} {size:x} f{i}\n")).collect();
            let text = entries.concat();
            let addresses: Vec<u64> = (0..80).collect();
            for (address, got) in addresses.iter().zip(symbolize(text.as_bytes(), &addresses)) {
                let wanted = lines.iter().rposition(|(start, size)| (*start..start + size).contains(address));
                let got = match got { Symbolized::Frames(frames) => Some(frames[0].name.clone()), _ => None };
                prop_assert_eq!(got, wanted.map(|i| format!("f{i}")));
            }
        }
    }
}
