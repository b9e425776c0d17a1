//! How Go's compiler sets a frame pointer: what its code looks like at that place.

/// Longest form in which a frame pointer is set.
pub(crate) const SETTING: usize = 16;

/// Length of the instructions that set the frame pointer, behind the one by which the stack got this deep, whose last byte is the
/// first of `bytes`; and whether they are the older form.
pub(crate) fn setting(bytes: &[u8; SETTING + 1], depth: i32) -> Option<(u64, bool)> {
    // push rbp; mov rbp, rsp
    if depth == 8 && bytes.starts_with(&[0x55, 0x48, 0x89, 0xe5]) {
        return Some((3, false));
    }
    // mov [rsp + n], rbp; lea rbp, [rsp + n], so that RBP lies below the return address.
    let below = depth.checked_sub(8)?;
    let bytes = bytes.get(1..)?;
    let short = i8::try_from(below).ok().map(i8::cast_unsigned);
    match (bytes, short) {
        ([0x48, 0x89, 0x2c, 0x24, 0x48, 0x8d, 0x2c, 0x24, ..], Some(0)) => Some((8, true)),
        ([0x48, 0x89, 0x6c, 0x24, a, 0x48, 0x8d, 0x6c, 0x24, b, ..], Some(n)) if *a == n && *b == n => Some((10, true)),
        ([0x48, 0x89, 0xac, 0x24, a @ ..], _) => {
            let (first, rest) = a.split_first_chunk::<4>()?;
            let second = rest.strip_prefix(&[0x48, 0x8d, 0xac, 0x24])?.first_chunk::<4>()?;
            let n = below.to_le_bytes();
            (*first == n && *second == n).then_some((16, true))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn padded(bytes: &[u8]) -> [u8; SETTING + 1] {
        let mut padded = [0xcc; SETTING + 1];
        padded[..bytes.len()].copy_from_slice(bytes);
        padded
    }

    #[test]
    fn a_frame_pointer_is_set_in_these_forms() {
        let push = padded(&[0x55, 0x48, 0x89, 0xe5]);
        assert_eq!(setting(&push, 8), Some((3, false)));
        // Not at the top of the frame.
        assert_eq!(setting(&push, 16), None);
        let zero = padded(&[0x08, 0x48, 0x89, 0x2c, 0x24, 0x48, 0x8d, 0x2c, 0x24]);
        assert_eq!(setting(&zero, 8), Some((8, true)));
        let short = padded(&[0x18, 0x48, 0x89, 0x6c, 0x24, 0x10, 0x48, 0x8d, 0x6c, 0x24, 0x10]);
        assert_eq!(setting(&short, 0x18), Some((10, true)));
        assert_eq!(setting(&short, 0x20), None);
        let long = [0, 0x48, 0x89, 0xac, 0x24, 0xb0, 1, 0, 0, 0x48, 0x8d, 0xac, 0x24, 0xb0, 1, 0, 0];
        assert_eq!(setting(&long, 0x1b8), Some((16, true)));
        assert_eq!(setting(&long, 8), None);
        for depth in [i32::MIN, -8, 0, i32::MAX] {
            assert_eq!(setting(&padded(&[0x41, 0x54]), depth), None);
        }
    }
}
