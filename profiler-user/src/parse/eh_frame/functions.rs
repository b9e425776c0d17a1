//! Where functions begin and end by the call frame information alone, which a stripped file still has.
//!
//! The entries themselves are listed, not the table that `.eh_frame_hdr` has for searching: it does not say where functions end,
//! so that each answer of it would have to be proved by its entry.

use super::{Information, Rules, Sections};
use crate::parse::ParseError;
use crate::parse::elf::Elf;
use crate::worker::api::Segment;

/// A function: the first address, and the first one behind it.
type Range = (u64, u64);

/// The functions of a file, by address.
#[derive(Default)]
pub struct Functions(Vec<Range>);

impl Functions {
    /// Lists them. Only the list is held against the file's budget afterwards.
    pub fn read(elf: &Elf) -> Result<Self, ParseError> {
        let information = Information::read(elf)?;
        let segments = elf.executable();
        let functions = Self::of(&information.sections(elf), &segments);
        elf.source().release(information.size());
        elf.source().pay("a list of functions", size_of_val(functions.0.as_slice()) as u64)?;
        Ok(functions)
    }

    fn of(sections: &Sections<'_>, segments: &[Segment]) -> Self {
        // What is damaged is counted where the unwind table is made.
        let spans = sections.spans(segments, &mut Rules::new());
        Functions(spans.sorted_so_far().iter().map(|span| (span.start, span.end)).collect())
    }

    /// Where the function begins that holds an address. One that reaches into the next ends there.
    pub fn start_of(&self, address: u64) -> Option<u64> {
        let behind = self.0.partition_point(|(start, _)| *start <= address);
        let (start, end) = self.0.get(behind.checked_sub(1)?)?;
        (address < *end).then_some(*start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gimli::{BaseAddresses, DebugFrame, EhFrame, LittleEndian};
    use proptest::prelude::*;

    /// One common entry, then one entry a function: start and length, 8 bytes each.
    fn entries(functions: &[(u64, u64)]) -> Vec<u8> {
        // Length, id, version 1, no augmentation, code alignment 1, data alignment -8, return address in 16, two `nop`s.
        let mut bytes = vec![12, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0x78, 16, 0, 0, 0];
        for (start, length) in functions {
            let to_common = u32::try_from(bytes.len() + 4).expect("short");
            bytes.extend([20_u32, to_common].iter().flat_map(|word| word.to_le_bytes()));
            bytes.extend([start, length].iter().flat_map(|word| word.to_le_bytes()));
        }
        bytes
    }

    fn functions(eh_frame: &[u8], debug_frame: &[u8]) -> Functions {
        let segments = [(0x1000, 0x400), (0x9000, 0x1000)];
        let segments = segments.map(|(address, size)| Segment { offset: address, size, address });
        let sections = Sections {
            eh_frame: EhFrame::new(eh_frame, LittleEndian),
            debug_frame: DebugFrame::new(debug_frame, LittleEndian),
            bases: BaseAddresses::default().set_eh_frame(0x20_0000),
        };
        Functions::of(&sections, &segments)
    }

    #[track_caller]
    fn check(functions: &Functions, wanted: &[(u64, Option<u64>)]) {
        for (address, start) in wanted {
            assert_eq!(functions.start_of(*address), *start, "{address:#x}");
        }
    }

    #[test]
    fn all_addresses_of_a_function_have_its_start() {
        let found = functions(&entries(&[(0x1000, 0x20), (0x1040, 0x10)]), &[]);
        let first = Some(0x1000);
        check(&found, &[(0xfff, None), (0x1000, first), (0x1001, first), (0x101f, first), (0x1020, None)]);
        check(&found, &[(0x103f, None), (0x1040, Some(0x1040)), (0x104f, Some(0x1040)), (0x1050, None)]);
        check(&found, &[(0, None), (u64::MAX, None)]);
        check(&Functions::default(), &[(0x1000, None)]);
    }

    #[test]
    fn entries_in_disorder_or_over_each_other_have_their_starts() {
        let found = functions(&entries(&[(0x9000, 0x10), (0x1040, 0x40), (0x1000, 0x80), (0x1040, 0x40)]), &[]);
        check(
            &found,
            &[(0x1000, Some(0x1000)), (0x103f, Some(0x1000)), (0x1040, Some(0x1040)), (0x9008, Some(0x9000))],
        );
    }

    #[test]
    fn entries_outside_of_the_code_or_without_length_are_none() {
        let outside = [(0, 0x2000), (0xfff, 0x100), (0x1400, 0x10), (0x5000, 0x10), (u64::MAX, u64::MAX)];
        let found = functions(&entries(&[&outside[..], &[(0x1100, 0)]].concat()), &[]);
        assert!(found.0.is_empty(), "{:x?}", found.0);
    }

    #[test]
    fn a_function_ends_with_its_segment() {
        let found = functions(&entries(&[(0x13f0, u64::MAX)]), &[]);
        check(&found, &[(0x13ff, Some(0x13f0)), (0x1400, None), (0x9000, None)]);
    }

    #[test]
    fn what_is_before_a_cut_is_kept() {
        let whole = entries(&[(0x1000, 0x10), (0x1010, 0x10), (0x1020, 0x10)]);
        for length in 0..whole.len() {
            let kept = functions(&whole[..length], &[]).0.len();
            assert_eq!(kept, length.saturating_sub(16) / 24, "{length} bytes");
        }
    }

    #[test]
    fn debug_frame_has_what_eh_frame_leaves() {
        // In .debug_frame a common entry has another id, and is named by its offset.
        let mut debug = entries(&[(0x1008, 0x10), (0x1200, 0x10)]);
        for (at, id) in [(4, u32::MAX), (20, 0), (44, 0)] {
            debug[at..at + 4].copy_from_slice(&id.to_le_bytes());
        }
        let found = functions(&entries(&[(0x1000, 0x10)]), &debug);
        check(&found, &[(0x100f, Some(0x1000)), (0x1010, None), (0x120f, Some(0x1200))]);
    }

    proptest! {
        #[test]
        fn any_bytes_have_starts_inside_the_code(
            damage in prop::collection::vec((0usize..200, any::<u8>()), 0..40),
            tail in prop::collection::vec(any::<u8>(), 0..200),
            addresses in prop::collection::vec(0xf00_u64..0xb000, 1..50),
        ) {
            let mut bytes = entries(&[(0x1000, 0x80), (0x1080, 0x80), (0x9000, 0x800), (0x9800, 0x10)]);
            bytes.extend(tail);
            for (at, byte) in damage {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            let found = functions(&bytes, &bytes);
            for address in addresses {
                if let Some(start) = found.start_of(address) {
                    prop_assert!(start <= address);
                    prop_assert!((0x1000..0x1400).contains(&start) || (0x9000..0xa000).contains(&start));
                    prop_assert!((start < 0x2000) == (address < 0x2000), "in the same segment");
                }
            }
        }
    }
}
