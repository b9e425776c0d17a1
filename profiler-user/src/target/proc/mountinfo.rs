//! `/proc/PID/mountinfo`: one line a mount. Space, tab, line end, backslash and `#` in names are octal escapes.

use super::number;

/// Lines read of a table (`fs.mount-max` of the kernel).
const MAX_MOUNTS: usize = 100_000;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `s_dev` of the mounted file system: major << 20 | minor, as the kernel side reports devices.
    pub dev: u32,
    /// The folder (or file) of the file system that is mounted.
    pub root: Vec<u8>,
    /// Where, seen from the process's root.
    pub mount_point: Vec<u8>,
    /// Type of the file system.
    pub fs_type: Vec<u8>,
}

/// Parses a table; lines that are none are skipped.
pub(super) fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|b| *b == b'\n').take(MAX_MOUNTS).filter_map(parse_line).collect()
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`.
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|b| *b == b' ');
    let dev = device(fields.nth(2)?)?;
    let root = unescape(fields.next()?);
    let mount_point = unescape(fields.next()?);
    // Optional fields end with a lone hyphen.
    fields.find(|field| *field == b"-")?;
    let fs_type = fields.next()?.to_vec();
    Some(Mount { dev, root, mount_point, fs_type })
}

/// `major:minor`.
fn device(text: &[u8]) -> Option<u32> {
    let colon = text.iter().position(|b| *b == b':')?;
    let (major, minor): (u32, u32) = (number(text.get(..colon)?)?, number(text.get(colon + 1..)?)?);
    (major < 1 << 12 && minor < 1 << 20).then_some(major << 20 | minor)
}

/// Octal escapes (`\040`) to bytes; a backslash that begins none stays.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        if let (b'\\', Some((digits, after))) = (first, tail.split_first_chunk::<3>())
            && let Some(byte) = octal(*digits)
        {
            bytes.push(byte);
            rest = after;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    bytes
}

fn octal(digits: [u8; 3]) -> Option<u8> {
    let value = digits.iter().try_fold(0u32, |value, digit| Some(value << 3 | char::from(*digit).to_digit(8)?))?;
    u8::try_from(value).ok()
}
