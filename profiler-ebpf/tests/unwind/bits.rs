//! The host's twins of the inline assembly.

use profiler_ebpf::unwind::bits::{mask, one_if_negative, ones_if_negative};
use proptest::prelude::*;

fn check(x: i64) {
    assert_eq!(ones_if_negative(x), if x < 0 { u64::MAX } else { 0 }, "{x}");
    assert_eq!(one_if_negative(x), u64::from(x < 0), "{x}");
    let bits = x.cast_unsigned();
    assert_eq!(mask::<31>(bits), bits % 32, "{x}");
    assert_eq!(mask::<2047>(bits), bits % 2048, "{x}");
    assert_eq!(mask::<0x1fff>(bits), bits % 8192, "{x}");
}

#[test]
fn signs_at_the_borders() {
    for x in [i64::MIN, i64::MIN + 1, -2, -1, 0, 1, 2, i64::MAX - 1, i64::MAX] {
        check(x);
    }
}

proptest! {
    #[test]
    fn any_word(x: i64) {
        check(x);
    }
}
