//! `_init` and `_fini`: assembly of the C library's start files (`crti.o`, `crtn.o`) that is in every program and library and
//! has no unwind information. Every opened library is initialized through it.

use super::spans::{Cover, Span, Spans};
use crate::parse::elf::Elf;

/// Bytes that such a section has at most.
const MAX_SIZE: u64 = 256;
/// `endbr64`, where it was built for indirect branch tracking.
const LANDING: &[u8] = &[0xf3, 0x0f, 0x1e, 0xfa];
/// `sub $8,%rsp`.
const DOWN: &[u8] = &[0x48, 0x83, 0xec, 0x08];
/// `add $8,%rsp; ret`.
const UP: &[u8] = &[0x48, 0x83, 0xc4, 0x08, 0xc3];
/// CFA = RSP + 8 and + 16, RBP unchanged: codes of `unwind::rule` (words in the low bits).
const ENTERED: u16 = 1;
const LOWERED: u16 = 2;

/// Adds the spans of both, if they are what the C library has in them and nothing else covers them.
pub(super) fn add(elf: &Elf, spans: &mut Spans<'_>) {
    for name in [".init", ".fini"] {
        let Some(section) = elf.section(name).filter(|section| section.size <= MAX_SIZE) else { continue };
        let Ok(bytes) = elf.data(section) else { continue };
        let Some((lowered, raised)) = body(&bytes) else { continue };
        let at = |offset: usize| section.address.saturating_add(offset as u64);
        for (from, to, code) in [(0, lowered, ENTERED), (lowered, raised, LOWERED), (raised, bytes.len(), ENTERED)] {
            spans.add_uncovered(Span { start: at(from), end: at(to), cover: Cover::Code(code) });
        }
    }
}

/// Offsets at which RSP is lowered by a word, and at which it is back.
fn body(bytes: &[u8]) -> Option<(usize, usize)> {
    let landing = if bytes.starts_with(LANDING) { LANDING.len() } else { 0 };
    let lowered = landing + DOWN.len();
    let fits = bytes.len() >= lowered + UP.len();
    (fits && bytes.get(landing..)?.starts_with(DOWN) && bytes.ends_with(UP)).then(|| (lowered, bytes.len() - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_c_library_has_there_is_believed() {
        let fini = [DOWN, UP].concat();
        assert_eq!(body(&fini), Some((4, 8)));
        assert_eq!(body(&[LANDING, DOWN, &[0x90; 14], UP].concat()), Some((8, 26)));
        assert_eq!(body(&[DOWN, &UP[1..]].concat()), None);
        assert_eq!(body(&[&[0x50], UP].concat()), None);
        assert_eq!(body(&[]), None);
    }
}
