//! The window never gives out words that it does not hold.

use profiler_ebpf::unwind::walk::LOST_FRAME_POINTER;
use profiler_ebpf::unwind::window::Window;
use proptest::prelude::*;

#[test]
fn an_empty_window_holds_no_address() {
    for address in [0, LOST_FRAME_POINTER, 8, 16, u64::MAX, u64::MAX - 7, 1 << 63] {
        assert_eq!(Window::EMPTY.offset(address), None, "{address:#x}");
    }
}

#[test]
fn pairs_are_found_up_to_the_last_whole_one() {
    let window = Window::new(0x1000, 48);
    let check = |address, expected| assert_eq!(window.offset(address), expected, "{address:#x}");
    check(0x1000, Some(0));
    check(0x1008, Some(8));
    check(0x1030, Some(48));
    check(0x1038, None);
    check(0x1004, None);
    check(0xff8, None);
    assert_eq!(Window::new(0x1001, 0).offset(0x1001), Some(0));
}

proptest! {
    #[test]
    fn what_it_gives_out_it_holds(base: u64, length in 16..5_000u64, far: u64, near in 0..6_000u64) {
        let window = Window::new(base, length - 16);
        for address in [far, base.wrapping_add(near)] {
            if let Some(offset) = window.offset(address) {
                prop_assert!(offset + 16 <= length && offset % 8 == 0);
                prop_assert_eq!(base.wrapping_add(offset), address);
            } else {
                let offset = address.wrapping_sub(base);
                prop_assert!(offset % 8 != 0 || offset.saturating_add(16) > length);
            }
        }
    }
}
