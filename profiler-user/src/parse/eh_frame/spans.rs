//! The ranges of a file's code that are covered by something: the first pass.

use super::Bytes;
use super::rules::Rules;
use crate::worker::api::Segment;
use gimli::{BaseAddresses, CieOrFde, CommonInformationEntry, UnwindOffset, UnwindSection};
use std::collections::HashMap;

/// Functions of one file that are listed.
const MAX_SPANS: usize = 2 << 20;
/// Common entries that are kept parsed.
const MAX_COMMON: usize = 4_096;

/// What says how to unwind a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cover {
    /// An entry of `.eh_frame` at this offset of the section.
    EhFrame(u32),
    /// An entry of `.debug_frame` at this offset of the section.
    DebugFrame(u32),
    /// The function of that number in Go's table.
    Go(u32),
    /// A code.
    Code(u16),
}

/// A range of addresses, inside one executable segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) cover: Cover,
}

impl Span {
    /// The span up to where the next one begins.
    pub(super) fn clip(self, next: u64) -> Span {
        Span { end: self.end.min(next), ..self }
    }

    /// Not from unwind information.
    pub(super) fn is_code(self) -> bool {
        matches!(self.cover, Cover::Code(_))
    }
}

/// Spans of a file. `sorted_to` of the list are sorted by start; the ones behind fill holes between those.
pub(super) struct Spans<'a> {
    segments: &'a [Segment],
    list: Vec<Span>,
    sorted_to: usize,
}

impl<'a> Spans<'a> {
    pub(super) fn new(segments: &'a [Segment]) -> Self {
        Spans { segments, list: Vec::new(), sorted_to: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Sorts what was added so far; what is added later must find a hole.
    pub(super) fn sort(&mut self) {
        self.list.sort_by_key(|s| s.start);
        self.sorted_to = self.list.len();
    }

    /// What was sorted so far.
    pub(super) fn sorted_so_far(&self) -> &[Span] {
        self.list.get(..self.sorted_to).unwrap_or_default()
    }

    pub(super) fn sorted(mut self) -> Vec<Span> {
        self.sort();
        self.list
    }

    /// Adds every function of a section. A section that is cut off gives what is before the cut.
    pub(super) fn add_functions<'b, S: UnwindSection<Bytes<'b>>>(
        &mut self,
        section: &S,
        bases: &BaseAddresses,
        cover: fn(u32) -> Cover,
        rules: &mut Rules,
    ) {
        let mut common: HashMap<usize, CommonInformationEntry<Bytes<'b>>> = HashMap::new();
        let mut entries = section.entries(bases);
        loop {
            let partial = match entries.next() {
                Ok(Some(CieOrFde::Fde(partial))) => partial,
                Ok(Some(CieOrFde::Cie(_))) => continue,
                Ok(None) => return,
                Err(_) => return rules.unsupported("rest of a damaged section", None),
            };
            let fde = partial.parse(|section, bases, offset| {
                let key = UnwindOffset::into(offset);
                if let Some(entry) = common.get(&key) {
                    return Ok(entry.clone());
                }
                let entry = section.cie_from_offset(bases, offset)?;
                if common.len() >= MAX_COMMON {
                    common.clear();
                }
                common.insert(key, entry.clone());
                Ok(entry)
            });
            let (Ok(fde), true) = (fde, self.list.len() < MAX_SPANS) else {
                rules.unsupported("unreadable function", None);
                continue;
            };
            let Ok(offset) = u32::try_from(fde.offset()) else { return };
            let start = fde.initial_address();
            self.add(Span { start, end: start.saturating_add(fde.len()), cover: cover(offset) });
        }
    }

    /// Adds a span unless something covers its start; it ends where the next one begins.
    pub(super) fn add_uncovered(&mut self, span: Span) {
        self.sort();
        self.add(span);
    }

    /// Adds a span unless something that was sorted covers its start.
    pub(super) fn add(&mut self, span: Span) {
        let holds = |s: &&Segment| span.start.checked_sub(s.address).is_some_and(|at| at < s.size);
        let Some(segment) = self.segments.iter().find(holds) else { return };
        let span = span.clip(segment.address.saturating_add(segment.size));
        if span.end > span.start && !self.is_covered(span.start) {
            self.list.push(span);
        }
    }

    fn is_covered(&self, address: u64) -> bool {
        let sorted = self.sorted_so_far();
        let behind = sorted.partition_point(|s| s.start <= address);
        behind.checked_sub(1).and_then(|i| sorted.get(i)).is_some_and(|s| s.end > address)
    }
}
