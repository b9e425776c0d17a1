//! A worker's reply -> plain data, checked as if the file itself had written it.

use super::api::{DebugLink, FileFacts, Segment, SymbolFrame, Symbolized};
use super::protocol::{Facts, FrameMessage, Names, Place};
use crate::event::FileOffset;
use crate::parse::dwarf::MAX_INLINED;
use crate::parse::symbols::MAX_NAME;
use profiler_ebpf::reasons::Reason;

/// Executable segments of one file.
const MAX_SEGMENTS: usize = 4_096;
/// Bytes of a file's name.
const MAX_FILE_NAME: usize = 255;
/// Hex digits of a build ID.
const MAX_BUILD_ID: usize = 128;

pub(super) fn facts(facts: Facts) -> Result<FileFacts, &'static str> {
    let hex = facts.build_id.bytes().all(|b| b.is_ascii_hexdigit());
    if !hex || facts.build_id.len() > MAX_BUILD_ID || facts.segments.len() > MAX_SEGMENTS {
        return Err("the facts of a file make no sense");
    }
    let segments: Vec<_> =
        facts.segments.iter().map(|s| Segment { offset: s.offset, size: s.size, address: s.address }).collect();
    let fits = |s: &Segment| s.offset.checked_add(s.size).is_some() && s.address.checked_add(s.size).is_some();
    if !segments.is_sorted_by_key(|s| s.offset) || !segments.iter().all(fits) {
        return Err("the segments of a file make no sense");
    }
    let Facts { build_id, go, has_debug_info, debug_link, .. } = facts;
    let debug_link = debug_link.filter(|link| is_file_name(&link.name));
    let debug_link = debug_link.map(|link| DebugLink { name: link.name, crc: link.crc });
    Ok(FileFacts { build_id, segments, go, has_debug_info, debug_link })
}

/// The name of a file in some folder.
fn is_file_name(name: &str) -> bool {
    let plain = !name.contains('/') && !name.chars().any(char::is_control);
    plain && !matches!(name, "" | "." | "..") && name.len() <= MAX_FILE_NAME
}

/// Names for the first of the offsets in a file that were asked for: at least one, at most all.
pub(super) fn names(names: &Names, asked: &[u64]) -> Result<Vec<Symbolized>, &'static str> {
    places(names, asked, |start, offset| start <= offset)
}

/// As [`names`], for addresses in code that a process made: there no table says where functions without a name begin.
pub(super) fn made_names(names: &Names, asked: &[u64]) -> Result<Vec<Symbolized>, &'static str> {
    places(names, asked, |_, _| false)
}

/// `begins`: whether a function without a name may begin there and hold what was asked.
fn places(names: &Names, asked: &[u64], begins: impl Fn(u64, u64) -> bool) -> Result<Vec<Symbolized>, &'static str> {
    if names.places.is_empty() || names.places.len() > asked.len() {
        return Err("names for more or less than was asked");
    }
    let places = names.places.iter().zip(asked);
    places.map(|(found, asked)| place(found, |start| begins(start, *asked))).collect()
}

fn place(place: &Place, begins: impl Fn(u64) -> bool) -> Result<Symbolized, &'static str> {
    if place.frames.len() > MAX_INLINED + 1 {
        return Err("too many frames at one address");
    }
    let frames: Vec<_> = place.frames.iter().map(frame).collect();
    if frames.iter().any(|f| f.name.is_empty()) {
        return Err("a frame without a name");
    }
    match (place.start, Reason::from_code(place.missing)) {
        (None, _) if !frames.is_empty() => Ok(Symbolized::Frames(frames)),
        (None, Some(reason)) => Ok(Symbolized::Missing(reason)),
        (None, None) => Err("no names and no reason"),
        (Some(start), None) if frames.is_empty() && begins(start) => {
            Ok(Symbolized::Nameless { start: FileOffset(start) })
        }
        (Some(_), _) => Err("a function without a name begins where it cannot"),
    }
}

fn frame(frame: &FrameMessage) -> SymbolFrame {
    SymbolFrame {
        name: text(&frame.name, MAX_NAME),
        system_name: text(&frame.system_name, MAX_NAME),
        file: text(&frame.file, MAX_NAME),
        line: frame.line,
        column: frame.column,
        start_line: frame.start_line,
    }
}

/// At most `cap` bytes of a text, without control characters: names go into line-based formats.
pub(super) fn text(text: &str, cap: usize) -> String {
    let mut end = text.len().min(cap);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::protocol::LinkMessage;
    use super::*;

    #[test]
    fn texts_are_cut_and_cleaned() {
        assert_eq!(text("a\nb\u{7f}", 100), "a\u{fffd}b\u{fffd}");
        assert_eq!(text("aäb", 2), "a");
    }

    #[test]
    fn a_debug_link_is_the_name_of_a_file() {
        let link = |name: &str| {
            let debug_link = Some(LinkMessage { name: name.into(), crc: 7 });
            facts(Facts { debug_link, ..Facts::default() }).map(|facts| facts.debug_link)
        };
        assert_eq!(link("tool.debug"), Ok(Some(DebugLink { name: "tool.debug".into(), crc: 7 })));
        for name in ["", ".", "..", "../tool.debug", "/etc/shadow", "a\0b", "a\nb", &"n".repeat(256)] {
            assert_eq!(link(name), Ok(None), "{name}");
        }
    }

    #[test]
    fn impossible_names_are_refused() {
        let names_of = |places| names(&Names { places, fits: Vec::new() }, &[0x1234]);
        assert!(names_of(vec![]).is_err());
        let missing = |code| Place { missing: code, ..Place::default() };
        let no_symbol = missing(Reason::NoSymbol as u32);
        assert!(names_of(vec![no_symbol.clone(), no_symbol.clone()]).is_err());
        assert!(names_of(vec![missing(0)]).is_err());
        assert!(names_of(vec![Place { frames: vec![FrameMessage::default()], ..Place::default() }]).is_err());
        let of_two = Names { places: vec![no_symbol], fits: Vec::new() };
        assert_eq!(names(&of_two, &[1, 2]), Ok(vec![Symbolized::Missing(Reason::NoSymbol)]));
    }

    #[test]
    fn a_function_without_a_name_begins_at_or_before_what_was_asked() {
        let names_of = |place: &Place| Names { places: vec![place.clone()], fits: Vec::new() };
        let check = |place: Place, wanted| assert_eq!(names(&names_of(&place), &[0x1234]).ok(), wanted, "{place:?}");
        let begins = |start| Place { start: Some(start), ..Place::default() };
        for start in [0, 0x1200, 0x1234] {
            check(begins(start), Some(vec![Symbolized::Nameless { start: FileOffset(start) }]));
            assert!(made_names(&names_of(&begins(start)), &[0x1234]).is_err(), "an address is no offset in a file");
        }
        check(begins(0x1235), None);
        check(begins(u64::MAX), None);
        // What has a name, or none for a reason, has no start.
        let named = FrameMessage { name: "work".to_owned(), ..FrameMessage::default() };
        check(Place { frames: vec![named], ..begins(0x1200) }, None);
        check(Place { missing: Reason::NoSymbol as u32, ..begins(0x1200) }, None);
    }
}
