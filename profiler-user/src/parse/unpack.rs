//! Unpacks what a file holds compressed. The room is paid from the file's budget before it is allocated; what does not
//! fit in it, or leaves some of it empty, is damage.

use super::ParseError;
use super::source::Source;
use flate2::{Decompress, FlushDecompress, Status};
use lzma_rust2::XzReader;
use ruzstd::decoding::FrameDecoder;
use std::io::{Cursor, Read};

/// Bytes, unpacked, of one section.
pub const UNPACKED_CAP: u64 = 256 << 20;
/// Deflate packs at most 1:1032, so a larger claim is a lie and not worth its memory.
const ZLIB_RATIO: u64 = 1_100;
/// A zstd block has 128 KiB at most and takes 4 bytes at least.
const ZSTD_RATIO: u64 = 32 << 10;
/// LZMA spends at least a third of a bit on 273 bytes.
const XZ_RATIO: u64 = 8 << 10;
/// Bytes that a decoder may look back, and so keep beside the result: what the strongest levels ask for.
const WINDOW: u64 = 128 << 20;

const WHAT: &str = "a compressed section";
const NOT_ITS_SIZE: ParseError = ParseError::Damaged("a compressed section does not unpack to its size");

/// Unpacks a zlib stream of `size` bytes.
pub fn zlib(source: &Source, packed: &[u8], size: u64) -> Result<Vec<u8>, ParseError> {
    into_room(source, packed, size, ZLIB_RATIO, |bytes| {
        let done = Decompress::new(true).decompress_vec(packed, bytes, FlushDecompress::Finish);
        matches!(done, Ok(Status::StreamEnd))
    })
}

/// Unpacks zstd frames of `size` bytes altogether.
pub fn zstd(source: &Source, packed: &[u8], size: u64) -> Result<Vec<u8>, ParseError> {
    into_room(source, packed, size, ZSTD_RATIO, |bytes| {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(source.left().min(WINDOW));
        decoder.decode_all_to_vec(packed, bytes).is_ok()
    })
}

/// Unpacks xz streams, of the size that their indexes tell.
pub fn xz(source: &Source, packed: &[u8]) -> Result<Vec<u8>, ParseError> {
    let size = lzma_rust2::xz_uncompressed_size(Cursor::new(packed)).or(Err(NOT_ITS_SIZE))?;
    into_room(source, packed, size, XZ_RATIO, |bytes| {
        let kilobytes = u32::try_from(source.left().min(WINDOW) >> 10).unwrap_or(0);
        let mut reader = XzReader::new_mem_limit(packed, true, kilobytes);
        bytes.resize(bytes.capacity(), 0);
        // A read behind the last byte, so that the end is checked too.
        reader.read_exact(bytes).is_ok() && matches!(reader.read(&mut [0]), Ok(0))
    })
}

/// Lets `unpack` fill a buffer that has room for `size` bytes; false or another number of bytes is damage.
fn into_room(
    source: &Source,
    packed: &[u8],
    size: u64,
    ratio: u64,
    unpack: impl FnOnce(&mut Vec<u8>) -> bool,
) -> Result<Vec<u8>, ParseError> {
    if size > UNPACKED_CAP {
        return Err(ParseError::TooLarge { what: WHAT, size, cap: UNPACKED_CAP });
    }
    if size / ratio > packed.len() as u64 {
        return Err(NOT_ITS_SIZE);
    }
    let mut bytes = source.buffer(WHAT, size)?;
    if unpack(&mut bytes) && bytes.len() as u64 == size {
        return Ok(bytes);
    }
    source.release(size);
    Err(NOT_ITS_SIZE)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use lzma_rust2::{XzOptions, XzWriter};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    use std::io::Write;

    const BUDGET: u64 = 1 << 20;

    fn source() -> Source {
        Source::new(&b""[..], BUDGET)
    }

    fn pack_zlib(bytes: &[u8]) -> Vec<u8> {
        let mut packed = Vec::with_capacity(bytes.len() + 1024);
        let mut packer = flate2::Compress::new(flate2::Compression::fast(), true);
        packer.compress_vec(bytes, &mut packed, flate2::FlushCompress::Finish).unwrap();
        packed
    }

    fn pack_zstd(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    fn pack_xz(bytes: &[u8]) -> Vec<u8> {
        let mut writer = XzWriter::new(Vec::new(), XzOptions::with_preset(0)).unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    type Pack = fn(&[u8]) -> Vec<u8>;
    type Unpack = fn(&Source, &[u8], u64) -> Result<Vec<u8>, ParseError>;
    const FORMS: [(Pack, Unpack); 2] = [(pack_zlib, zlib), (pack_zstd, zstd)];
    /// A stream of xz needs a dictionary of 256 KiB and some tables.
    const XZ_BUDGET: u64 = 4 << 20;

    #[test]
    fn another_size_than_the_claimed_one_is_damage_and_costs_nothing() {
        for (pack, unpack) in FORMS {
            let source = source();
            let packed = pack(&[7; 5_000]);
            assert_eq!(unpack(&source, &packed, 5_000).unwrap(), [7; 5_000]);
            assert_eq!(source.left(), BUDGET - 5_000);
            for size in [0, 4_999, 5_001, 500_000] {
                assert!(matches!(unpack(&source, &packed, size), Err(ParseError::Damaged(_))), "{size}");
            }
            for size in [BUDGET, UNPACKED_CAP + 1, u64::MAX] {
                assert!(unpack(&source, &packed, size).is_err(), "{size}");
            }
            assert_eq!(source.left(), BUDGET - 5_000);
        }
    }

    #[test]
    fn several_zstd_frames_are_one_section() {
        let packed = [pack_zstd(&[1; 100]), pack_zstd(&[2; 50])].concat();
        let unpacked = zstd(&source(), &packed, 150).unwrap();
        assert_eq!(unpacked, [vec![1; 100], vec![2; 50]].concat());
    }

    #[test]
    fn a_zstd_window_beyond_the_budget_is_refused() {
        // Magic number, no content size, a window of 16 MiB, one last block of 5 equal bytes.
        let packed = [0x28, 0xb5, 0x2f, 0xfd, 0, 14 << 3, 0x2b, 0, 0, 7];
        assert!(zstd(&source(), &packed, 5).is_err());
        assert_eq!(zstd(&Source::new(&b""[..], 32 << 20), &packed, 5).unwrap(), [7; 5]);
    }

    #[test]
    fn xz_streams_have_the_size_of_their_indexes() {
        let source = Source::new(&b""[..], XZ_BUDGET);
        let packed = [pack_xz(&vec![1; 70_000]), pack_xz(&[2; 50])].concat();
        assert_eq!(xz(&source, &packed).unwrap(), [vec![1; 70_000], vec![2; 50]].concat());
        assert_eq!(source.left(), XZ_BUDGET - 70_050);
        assert!(xz(&source, &packed[..packed.len() - 4]).is_err());
        assert!(xz(&source, &[]).is_err());
        // Neither the dictionary nor the result may be larger than what is left.
        assert!(xz(&Source::new(&b""[..], 200 << 10), &packed).is_err());
        assert!(xz(&Source::new(&b""[..], 70_049), &packed).is_err());
    }

    proptest! {
        #[test]
        fn hostile_xz_is_refused_or_unpacks_within_the_budget(
            bytes in vec(0..4_u8, 0..3_000),
            edits in vec((any::<usize>(), any::<u8>()), 0..8),
            cut in 0..64_usize,
        ) {
            let mut packed = pack_xz(&bytes);
            let source = Source::new(&b""[..], XZ_BUDGET);
            prop_assert_eq!(xz(&source, &packed).unwrap(), bytes.clone());
            source.release(bytes.len() as u64);
            for (at, value) in &edits {
                let at = at % packed.len();
                packed[at] = *value;
            }
            packed.truncate(packed.len() - cut.min(packed.len()));
            let unpacked = xz(&source, &packed);
            prop_assert_eq!(source.left(), XZ_BUDGET - unpacked.map_or(0, |bytes| bytes.len() as u64));
        }

        #[test]
        fn what_was_packed_comes_back(bytes in vec(any::<u8>(), 0..5_000)) {
            for (pack, unpack) in FORMS {
                prop_assert_eq!(unpack(&source(), &pack(&bytes), bytes.len() as u64).unwrap(), bytes.clone());
            }
        }

        #[test]
        fn hostile_bytes_are_refused_or_fill_the_room(
            bytes in vec(0..4_u8, 0..3_000),
            edits in vec((any::<usize>(), any::<u8>()), 0..8),
            cut in 0..64_usize,
            size in 0..10_000_u64,
        ) {
            for (pack, unpack) in FORMS {
                let mut packed = pack(&bytes);
                for (at, value) in &edits {
                    let at = at % packed.len();
                    packed[at] = *value;
                }
                packed.truncate(packed.len() - cut.min(packed.len()));
                for size in [size, bytes.len() as u64] {
                    let source = source();
                    let unpacked = unpack(&source, &packed, size);
                    prop_assert_eq!(source.left(), if unpacked.is_ok() { BUDGET - size } else { BUDGET });
                    prop_assert!(unpacked.is_err() || unpacked.unwrap().len() as u64 == size);
                }
            }
        }
    }
}
