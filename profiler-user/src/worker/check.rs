//! A worker's reply -> plain data, checked as if the file itself had written it.

use super::api::{DebugLink, FileFacts, Segment, SymbolFrame, Symbolized};
use super::protocol::{Facts, FrameMessage, Names, Place};
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

/// Names for the first of `asked` offsets: at least one, at most all.
pub(super) fn names(names: &Names, asked: usize) -> Result<Vec<Symbolized>, &'static str> {
    if names.places.is_empty() || names.places.len() > asked {
        return Err("names for more or less than was asked");
    }
    names.places.iter().map(place).collect()
}

fn place(place: &Place) -> Result<Symbolized, &'static str> {
    if place.frames.len() > MAX_INLINED + 1 {
        return Err("too many frames at one address");
    }
    let frames: Vec<_> = place.frames.iter().map(frame).collect();
    if frames.iter().any(|f| f.name.is_empty()) {
        return Err("a frame without a name");
    }
    match Reason::from_code(place.missing) {
        _ if !frames.is_empty() => Ok(Symbolized::Frames(frames)),
        Some(reason) => Ok(Symbolized::Missing(reason)),
        None => Err("no names and no reason"),
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
        let names_of = |places| Names { places, fits: Vec::new() };
        assert!(names(&names_of(vec![]), 1).is_err());
        let names_of = |places| Names { places, fits: Vec::new() };
        let missing = |code| Place { frames: vec![], missing: code };
        let no_symbol = missing(Reason::NoSymbol as u32);
        assert!(names(&names_of(vec![no_symbol.clone(), no_symbol.clone()]), 1).is_err());
        assert!(names(&names_of(vec![missing(0)]), 1).is_err());
        assert!(names(&names_of(vec![Place { frames: vec![FrameMessage::default()], missing: 0 }]), 1).is_err());
        assert_eq!(names(&names_of(vec![no_symbol]), 2), Ok(vec![Symbolized::Missing(Reason::NoSymbol)]));
    }
}
