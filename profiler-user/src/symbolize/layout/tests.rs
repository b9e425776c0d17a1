//! Tests of `symbolize/layout`.

use super::space::SYNTHETIC_BASE;
use super::*;
use crate::event::FileOffset;
use crate::symbolize::fakes::{
    BUILD_ID, FakeFiles, FakeKernel, LIBC, PROGRAM, UNREADABLE, image, kernel, mappings, native,
};
use profiler_ebpf::reasons::Reason;
use proptest::prelude::*;

fn points(frames: &[Frame]) -> HashSet<CodePoint> {
    frames.iter().map(|frame| CodePoint::new(*frame, image())).collect()
}

fn lay(points: &HashSet<CodePoint>, addresses: Addresses<'_>) -> Layout {
    Layout::new(points, addresses, &FakeFiles::default(), &FakeKernel)
}

fn at(layout: &Layout, frame: Frame) -> (Mapping, u64) {
    let place = layout.place(CodePoint::new(frame, image())).expect("every point has a place");
    (layout.mappings[place.mapping].mapping.clone(), place.address)
}

#[test]
fn code_of_a_live_process_has_its_real_address() {
    let (main, copy) = (native(PROGRAM, 0x1410), native(LIBC, 0x2_8010));
    let layout = lay(&points(&[main, copy]), Addresses::Real(&mappings()));
    let (mapping, address) = at(&layout, main);
    assert_eq!((address, mapping.start, mapping.limit), (0x5555_5555_5410, 0x5555_5555_5000, 0x5555_5555_a000));
    assert_eq!((mapping.offset, mapping.build_id.as_str()), (0x1000, BUILD_ID));
    assert_eq!(at(&layout, copy).1, 0x7fff_f7c2_8010);
}

#[test]
fn synthetic_and_real_mappings_match_when_profiles_are_merged() {
    let frame = native(PROGRAM, 0x1410);
    let key = |addresses: Addresses<'_>| {
        let (mapping, address) = at(&lay(&points(&[frame]), addresses), frame);
        (mapping.limit - mapping.start, mapping.offset, mapping.build_id, address - mapping.start)
    };
    assert_eq!(key(Addresses::Synthetic), key(Addresses::Real(&mappings())));
}

#[test]
fn of_two_mappings_of_an_offset_the_lowest_counts() {
    let mut twice = mappings();
    twice.push(MappingSeen { start: 0x1000_0000, end: 0x1000_5000, ..twice[0] });
    let layout = lay(&points(&[native(PROGRAM, 0x1410)]), Addresses::Real(&twice));
    assert_eq!(at(&layout, native(PROGRAM, 0x1410)).1, 0x1000_0410);
}

#[test]
fn after_exec_the_newest_program_keeps_its_addresses() {
    let mut seen = mappings();
    let older = ImageId { exec_id: 0, ..image() };
    seen.insert(0, MappingSeen { image: older, file: Some(UNREADABLE), offset: FileOffset(0x1000), ..seen[0] });
    let (new, old) = (native(PROGRAM, 0x1410), native(UNREADABLE, 0x1410));
    let layout = lay(&points(&[new, old]), Addresses::Real(&seen));
    assert_eq!(at(&layout, new).1, 0x5555_5555_5410);
    assert!(at(&layout, old).1 >= SYNTHETIC_BASE);
}

#[test]
fn the_kernel_lies_where_it_would_without_kaslr() {
    let ext4 = Frame::Kernel { module: ModuleNumber(1), offset: 0x10 };
    let xfs = Frame::Kernel { module: ModuleNumber(2), offset: 0x20 };
    let layout = lay(&points(&[kernel(0x5010), ext4, xfs]), Addresses::Synthetic);
    let (mapping, address) = at(&layout, kernel(0x5010));
    assert_eq!((mapping.start, address, mapping.limit), (KERNEL_BASE, KERNEL_BASE + 0x5010, KERNEL_BASE + 0x140_0000));
    let (mapping, address) = at(&layout, ext4);
    assert_eq!((mapping.start, address), (KERNEL_BASE + 0x140_0000, KERNEL_BASE + 0x140_0010));
    assert_eq!((mapping.file.as_str(), mapping.limit - mapping.start), ("[ext4]", 0x9_2000));
    assert!(at(&layout, xfs).0.start >= mapping.limit);
}

#[test]
fn anonymous_code_keeps_its_address_in_a_process_only() {
    let inside = Frame::Jit { address: 0x7fff_f000_1234 };
    let elsewhere = Frame::Jit { address: 0x4000_0abc };
    let layout = lay(&points(&[inside, elsewhere]), Addresses::Real(&mappings()));
    let (mapping, address) = at(&layout, inside);
    assert_eq!((address, mapping.start, mapping.limit), (0x7fff_f000_1234, 0x7fff_f000_0000, 0x7fff_f001_0000));
    assert_eq!(mapping.file, "//anon");
    let (mapping, address) = at(&layout, elsewhere);
    assert_eq!((address, mapping.start, mapping.limit), (0x4000_0abc, 0x4000_0000, 0x4000_1000));

    let host = lay(&points(&[inside, elsewhere]), Addresses::Synthetic);
    let places = [inside, elsewhere].map(|frame| at(&host, frame).1);
    assert!(places.iter().all(|address| *address >= SYNTHETIC_BASE) && places[0] != places[1], "{places:x?}");
}

#[test]
fn the_book_leads_back_to_the_frames() {
    let frames = [native(PROGRAM, 0x1410), native(UNREADABLE, 0x99), kernel(0x5010)];
    let layout = lay(&points(&frames), Addresses::Real(&mappings()));
    let book = AddressBook::of_layout(&layout);
    for frame in frames {
        assert_eq!(book.frame(at(&layout, frame).1), Some(frame));
    }
    assert_eq!(book.frame(0x1), None);
    assert_eq!(book.frame(0x5555_5555_a000), None);
}

fn any_frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        (1_u32..6, 0_u64..1 << 40).prop_map(|(file, offset)| native(FileNumber(file), offset)),
        (1_u32..3, 0_u64..0x20_0000).prop_map(|(file, offset)| native(FileNumber(file), offset)),
        (0_u16..4, 0_u64..1 << 40).prop_map(|(module, offset)| Frame::Kernel { module: ModuleNumber(module), offset }),
        (0_u64..1 << 48).prop_map(|address| Frame::Jit { address }),
        Just(Frame::Pseudo { reason: Reason::InExec }),
    ]
}

fn any_mapping() -> impl Strategy<Value = MappingSeen> {
    let file = proptest::option::of((1_u32..4).prop_map(FileNumber));
    (file, 0_u64..1 << 36, 0_u64..64, 0_u64..512, 0_u32..3).prop_map(|(file, start, pages, offset, exec_id)| {
        let (start, offset) = (start * PAGE, FileOffset(offset * PAGE));
        MappingSeen { image: ImageId { exec_id, ..image() }, file, start, end: start + pages * PAGE, offset }
    })
}

proptest! {
    #[test]
    fn every_point_lies_in_its_mapping_and_no_mappings_overlap(
        stacks in proptest::collection::vec((any_frame(), 0_u32..3), 0..60),
        seen in proptest::collection::vec(any_mapping(), 0..40),
        real in any::<bool>(),
    ) {
        let points: HashSet<CodePoint> = stacks
            .into_iter()
            .map(|(frame, exec_id)| CodePoint::new(frame, ImageId { exec_id, ..image() }))
            .collect();
        let layout = lay(&points, if real { Addresses::Real(&seen) } else { Addresses::Synthetic });
        let mut addresses = HashSet::new();
        for point in &points {
            let place = layout.place(*point).expect("every point has a place");
            let mapping = &layout.mappings[place.mapping].mapping;
            prop_assert!((mapping.start..mapping.limit).contains(&place.address), "{point:?} {place:?} {mapping:?}");
            prop_assert!(addresses.insert(place.address), "{point:?} shares {:#x}", place.address);
        }
        let mut ranges: Vec<_> = layout.mappings.iter().map(|m| (m.mapping.start, m.mapping.limit)).collect();
        ranges.sort_unstable();
        for pair in ranges.windows(2) {
            prop_assert!(pair[0].1 <= pair[1].0, "{pair:x?}");
        }
    }
}
