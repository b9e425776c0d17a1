//! `/proc/PID/maps`: one line an area of a process's memory. The kernel escapes line ends in names.

/// Lines read of a table (the kernel's `max_map_count` is 65,530 unless raised).
const MAX_AREAS: usize = 1 << 20;

/// One area of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Its memory may be executed.
    pub executable: bool,
    /// Offset of its first byte in the file, if it has one.
    pub offset: u64,
    /// Which file it maps, as far as this table tells them apart: device and inode number.
    pub file: Option<(u64, u64)>,
}

/// Parses a table; lines that are none are skipped.
pub(super) fn parse(text: &[u8]) -> Vec<Area> {
    text.split(|b| *b == b'\n').take(MAX_AREAS).filter_map(parse_line).collect()
}

/// `55d0c0a01000-55d0c0a02000 r-xp 00001000 fd:00 1234      /usr/bin/name`.
fn parse_line(line: &[u8]) -> Option<Area> {
    let mut fields = line.split(|b| *b == b' ');
    let (start, end) = pair(fields.next()?, b'-')?;
    let executable = fields.next()?.get(2) == Some(&b'x');
    let offset = hex(fields.next()?)?;
    let (major, minor) = pair(fields.next()?, b':')?;
    let inode: u64 = super::number(fields.next()?)?;
    let file = (inode != 0).then_some((major << 32 | minor, inode));
    (start < end).then_some(Area { start, end, executable, offset, file })
}

fn pair(text: &[u8], separator: u8) -> Option<(u64, u64)> {
    let at = text.iter().position(|b| *b == separator)?;
    Some((hex(text.get(..at)?)?, hex(text.get(at + 1..)?)?))
}

fn hex(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn areas_with_and_without_a_file() {
        let text = b"55d0c0a01000-55d0c0a02000 r-xp 00001000 fd:01 1234                       /a b-c d r-xp\n\
            7ffd1000-7ffd2000 rw-p 00000000 00:00 0                          [stack]\n\
            7f0000000000-7f0000001000 rwxp 00000000 00:00 0 \n\
            not a line\n2000-1000 r--p 00000000 00:00 0\n";
        let areas = parse(text);
        let file = Some((0xfd_0000_0001, 1234));
        assert_eq!(areas.len(), 3);
        let first = Area { start: 0x55d0_c0a0_1000, end: 0x55d0_c0a0_2000, executable: true, offset: 0x1000, file };
        assert_eq!(areas[0], first);
        assert_eq!((areas[1].executable, areas[1].file), (false, None));
        assert_eq!((areas[2].executable, areas[2].file), (true, None));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in proptest::collection::vec(any::<u8>(), 0..400)) {
            for area in parse(&text) {
                prop_assert!(area.start < area.end);
            }
        }
    }
}
