//! How much of a file's code is covered by unwind information, of which origin, and where there is none.

use super::PADDING;
use super::spans::{Cover, Span};
use crate::parse::elf::Elf;
use object::elf::SHT_NOBITS;
use std::cmp::Reverse;

/// Holes that are told, the largest.
const MAX_HOLES: usize = 8;

/// Code that nothing covers: longer than what aligns the next function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Address as linked.
    pub start: u64,
    /// Bytes.
    pub size: u64,
}

/// What covers a file's code. Of a file without section headers the code is not known, and so no holes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Functions that `.eh_frame` describes.
    pub eh_frame: u64,
    /// Functions that only `.debug_frame` describes.
    pub debug_frame: u64,
    /// Functions that only Go's table describes.
    pub go: u64,
    /// Functions that reach into the next one: they are cut there.
    pub overlapping: u64,
    /// Bytes of code.
    pub code: u64,
    /// Bytes of code in all holes.
    pub uncovered: u64,
    /// Number of holes.
    pub holes: u64,
    /// The largest holes, by address.
    pub largest: Vec<Hole>,
}

impl Coverage {
    /// Counts by the spans of a file, which are sorted.
    pub(super) fn of(elf: &Elf, spans: &[Span]) -> Coverage {
        let count = |which: fn(&Cover) -> bool| spans.iter().filter(|span| which(&span.cover)).count() as u64;
        let overlaps = |pair: &&[Span]| matches!(pair, [one, next] if one.end > next.start);
        let mut coverage = Coverage {
            eh_frame: count(|cover| matches!(cover, Cover::EhFrame(_))),
            debug_frame: count(|cover| matches!(cover, Cover::DebugFrame(_))),
            go: count(|cover| matches!(cover, Cover::Go(_))),
            overlapping: spans.windows(2).filter(overlaps).count() as u64,
            ..Coverage::default()
        };
        let mut found = Vec::new();
        let code = elf.sections().iter().filter(|section| section.executable && section.kind != SHT_NOBITS);
        for (start, end) in merged(code.map(|s| (s.address, s.address.saturating_add(s.size))).collect()) {
            coverage.code = coverage.code.saturating_add(end - start);
            found.extend(holes(start, end, spans));
        }
        coverage.holes = found.len() as u64;
        coverage.uncovered = found.iter().map(|hole| hole.size).fold(0, u64::saturating_add);
        found.sort_by_key(|hole| Reverse(hole.size));
        found.truncate(MAX_HOLES);
        found.sort_by_key(|hole| hole.start);
        coverage.largest = found;
        coverage
    }
}

/// The same ranges without overlaps, so that each function is looked at once, however many sections lie over it.
fn merged(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (start, end) in ranges {
        match merged.last_mut() {
            Some(last) if start < last.1 => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    merged
}

fn holes(start: u64, end: u64, spans: &[Span]) -> Vec<Hole> {
    let mut holes = Vec::new();
    let mut reached = start;
    let mut add = |from: u64, to: u64| {
        if to > from.saturating_add(PADDING) {
            holes.push(Hole { start: from, size: to - from });
        }
    };
    let first = spans.partition_point(|span| span.start < start).saturating_sub(1);
    for span in spans.iter().skip(first).take_while(|span| span.start < end) {
        add(reached, span.start);
        reached = reached.max(span.end);
    }
    add(reached, end);
    holes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(spans: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let span = |(start, end): &(u64, u64)| Span { start: *start, end: *end, cover: Cover::EhFrame(0) };
        let spans: Vec<Span> = spans.iter().map(span).collect();
        holes(100, 200, &spans).iter().map(|hole| (hole.start, hole.size)).collect()
    }

    #[test]
    fn sections_that_lie_over_each_other_are_one_range() {
        assert_eq!(merged(vec![(5, 9), (1, 4), (2, 3), (8, 12), (12, 13)]), [(1, 4), (5, 12), (12, 13)]);
    }

    #[test]
    fn holes_are_what_lies_between_and_is_longer_than_padding() {
        assert_eq!(found(&[]), [(100, 100)]);
        assert_eq!(found(&[(100, 200)]), []);
        assert_eq!(found(&[(50, 110), (125, 150), (166, 300)]), [(150, 16)]);
        assert_eq!(found(&[(0, 50), (120, 190), (130, 140)]), [(100, 20)]);
        assert_eq!(found(&[(300, 400)]), [(100, 100)]);
    }
}
