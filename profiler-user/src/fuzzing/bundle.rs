//! Several pieces of bytes in one input: the first one, then each behind a line `%%NAME ADDRESS`. A piece may grow or shrink
//! without moving the ends of the others, and an editor shows what is what.
//!
//! Pieces may be the sections of an ELF file: programs are large, and most of their bytes are of no interest to one parser.

/// A piece with its name and, as sections have one, its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece<'b> {
    /// What it is.
    pub name: &'b str,
    /// Where it lies in memory, or 0.
    pub address: u64,
    /// Its bytes.
    pub bytes: &'b [u8],
}

/// What is before each piece but the first.
pub const MARK: &[u8] = b"\n%%";
/// Pieces that are taken.
const MAX_PIECES: usize = 64;
const FILE_HEADER: u16 = 64;
const PROGRAM_HEADER: u16 = 56;
/// `SHF_ALLOC`, with `SHF_EXECINSTR` where code lies.
const ALLOCATED: u64 = 2;
const EXECUTABLE: u64 = 6;

/// The first piece, and the named ones. A line that does not say so names nothing.
pub fn unpack(input: &[u8]) -> (&[u8], Vec<Piece<'_>>) {
    let mut parts = split(input);
    let first = parts.next().unwrap_or_default();
    (first, parts.filter_map(piece).take(MAX_PIECES).collect())
}

/// The opposite of [`unpack`].
pub fn pack(first: &[u8], pieces: &[Piece<'_>]) -> Vec<u8> {
    let mut packed = first.to_vec();
    for piece in pieces {
        packed.extend_from_slice(MARK);
        packed.extend_from_slice(format!("{} {:x}\n", piece.name, piece.address).as_bytes());
        packed.extend_from_slice(piece.bytes);
    }
    packed
}

fn split(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(input);
    std::iter::from_fn(move || {
        let now = rest?;
        let Some(at) = now.windows(MARK.len()).position(|window| window == MARK) else { return rest.take() };
        rest = now.get(at + MARK.len()..);
        now.get(..at)
    })
}

fn piece(part: &[u8]) -> Option<Piece<'_>> {
    let end = part.iter().position(|byte| *byte == b'\n')?;
    let (name, address) = str::from_utf8(part.get(..end)?).ok()?.split_once(' ')?;
    let address = u64::from_str_radix(address, 16).ok()?;
    Some(Piece { name, address, bytes: part.get(end + 1..)? })
}

/// A program with these sections, each of them in a segment of its own; `.text` is code.
pub fn program(pieces: &[Piece<'_>]) -> Vec<u8> {
    let mut file = vec![0; usize::from(FILE_HEADER) + usize::from(PROGRAM_HEADER) * pieces.len()];
    let mut names = vec![0];
    let (mut segments, mut sections) = (Vec::new(), vec![0; 64]);
    for piece in pieces {
        let (offset, size) = (file.len() as u64, piece.bytes.len() as u64);
        let code = piece.name == ".text";
        segments.extend([1_u32, if code { 5 } else { 4 }].map(u32::to_le_bytes).concat());
        let segment = [offset, piece.address, piece.address, size, size, 1];
        segments.extend(segment.map(u64::to_le_bytes).concat());
        let name = u32::try_from(names.len()).unwrap_or(0);
        sections.extend(section(
            name,
            kind(piece.name),
            if code { EXECUTABLE } else { ALLOCATED },
            piece.address,
            offset,
            size,
        ));
        names.extend_from_slice(piece.name.as_bytes());
        names.push(0);
        file.extend_from_slice(piece.bytes);
    }
    let (offset, size) = (file.len() as u64, names.len() as u64);
    sections.extend(section(0, 3, 0, 0, offset, size));
    file.extend_from_slice(&names);
    let (count, places) = (pieces.len(), file.len() as u64);
    file.extend_from_slice(&sections);
    for (to, from) in file.iter_mut().zip(file_header(count, places).iter().chain(&segments)) {
        *to = *from;
    }
    file
}

fn kind(name: &str) -> u32 {
    match name {
        ".rela.dyn" => 4,
        name if name.starts_with(".note") => 7,
        _ => 1,
    }
}

fn section(name: u32, kind: u32, flags: u64, address: u64, offset: u64, size: u64) -> Vec<u8> {
    let mut header = [name, kind].map(u32::to_le_bytes).concat();
    header.extend([flags, address, offset, size, 0, 1, 0].map(u64::to_le_bytes).concat());
    header
}

/// Of a position-independent x86-64 program with `count` segments and sections, whose headers are at `places`.
fn file_header(count: usize, places: u64) -> Vec<u8> {
    let count = u16::try_from(count).unwrap_or(0);
    let mut header = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    header.extend([3_u16, 62].map(u16::to_le_bytes).concat());
    header.extend([1_u32].map(u32::to_le_bytes).concat());
    header.extend([0, u64::from(FILE_HEADER), places].map(u64::to_le_bytes).concat());
    header.extend([0_u32].map(u32::to_le_bytes).concat());
    // An empty section comes first, that of the names last.
    header.extend([FILE_HEADER, PROGRAM_HEADER, count, 64, count + 2, count + 1].map(u16::to_le_bytes).concat());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        let pieces = [
            Piece { name: ".text", address: 0x1000, bytes: b"\x90\n\n%" },
            Piece { name: ".eh_frame", address: 0, bytes: b"" },
        ];
        let packed = pack(b"first\n", &pieces);
        assert_eq!(unpack(&packed), (&b"first\n"[..], pieces.to_vec()));
        assert_eq!(unpack(b"\n%%.text\nno address\n%%.text x\n\n%%a 1\nb").1.len(), 1);
        assert_eq!(unpack(b""), (&b""[..], Vec::new()));
    }
}
