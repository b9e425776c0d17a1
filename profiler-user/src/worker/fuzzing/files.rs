//! Program files: whole ones, and such as are put together of the sections that one parser reads.

use super::honest;
use crate::event::FileOffset;
use crate::fuzzing::Look;
use crate::fuzzing::bundle::{Piece, pack, program, unpack};
use crate::parse::elf::Elf;
use crate::parse::names::ParsedFile;
use crate::parse::source::Source;
use crate::worker::api::{FileFacts, Part, Symbolized, UnwindTable};
use crate::worker::parts::{part_message, wanted};
use crate::worker::protocol::{MAX_MESSAGE, MAX_WANTED};
use crate::worker::{check, server, survey, table};
use prost::Message;

/// What a file may take: small, so that memory that is not paid for shows.
pub(super) const BUDGET: u64 = 64 << 20;
/// Places in each segment of code that are asked for, and segments.
const ASKED: u64 = 32;
const SEGMENTS: usize = 4;
/// Rounds in which parts are given.
const ROUNDS: usize = 4;
/// Bytes of a program that is taken as a whole.
const SMALL: usize = 48 << 10;
/// Bytes of a section that are kept of a program.
const KEPT: usize = 24 << 10;

/// A whole file: its facts, whether it fits itself, its survey, its rows and names, with itself as its debug file.
pub(crate) fn elf(input: &[u8], look: Look) {
    let Some(file) = parse(input.to_vec()) else { return };
    let facts = facts(&file);
    let survey = file.survey().ok().map(|found| honest(survey::check(&survey::message(found))));
    let rows = rows(&file);
    let fit = file.fit(input.to_vec(), Some(crc32fast::hash(input))).ok();
    let names = file.with_debug_file(input.to_vec()).ok().map(|mut file| names(&mut file, input));
    look(&(facts, survey, rows, fit, names));
}

/// Unwind information: `.eh_frame`, `.debug_frame` and the code that it describes.
pub(crate) fn eh_frame(input: &[u8], look: Look) {
    let file = program(&unpack(input).1);
    let Some(mut parsed) = parse(file.clone()) else { return };
    let Some(table) = rows(&parsed).filter(|table| table.has_unwind_info && !table.rows.is_empty()) else { return };
    // Without any names this tells where functions begin.
    look(&(table, names(&mut parsed, &file)));
}

/// Debug information; the parts of it that are wanted are in the same file.
pub(crate) fn dwarf(input: &[u8], look: Look) {
    let file = program(&unpack(input).1);
    let Some(mut parsed) = parse(file.clone()) else { return };
    let names = names(&mut parsed, &file);
    if names.iter().any(|name| matches!(name, Symbolized::Frames(_))) {
        look(&names);
    }
}

/// Go's function table: names, lines and inlined calls, and rows.
pub(crate) fn gopclntab(input: &[u8], look: Look) {
    let file = program(&unpack(input).1);
    let Some(mut parsed) = parse(file.clone()) else { return };
    let table = rows(&parsed).filter(|table| !table.rows.is_empty());
    let names = names(&mut parsed, &file);
    if table.is_some() && names.iter().any(|name| matches!(name, Symbolized::Frames(_))) {
        look(&(table, names));
    }
}

fn parse(bytes: Vec<u8>) -> Option<ParsedFile> {
    ParsedFile::parse(bytes, BUDGET).ok()
}

fn facts(file: &ParsedFile) -> FileFacts {
    honest(check::facts(server::facts(file)))
}

/// The table, after its way through a memory file.
fn rows(file: &ParsedFile) -> Option<UnwindTable> {
    let made = file.unwind_table().ok()?;
    let memory = table::memory_file().ok()?;
    let written = table::write(&made, memory.try_clone().ok()?).ok()?;
    let read = honest(table::read(written, memory));
    assert_eq!(read.rows, made.rows);
    Some(read)
}

/// Names of some places in the code. Whatever part is wanted, `other` is given.
fn names(file: &mut ParsedFile, other: &[u8]) -> Vec<Symbolized> {
    let mut asked = Vec::new();
    for segment in file.facts().segments.iter().take(SEGMENTS) {
        let places = (0..ASKED).map(|place| segment.offset.saturating_add(segment.size / ASKED * place));
        asked.extend(places.chain([segment.offset.saturating_add(segment.size).saturating_sub(1)]));
    }
    let offsets: Vec<FileOffset> = asked.iter().copied().map(FileOffset).collect();
    for _ in 0..ROUNDS {
        let parts: Vec<Part> = file.wanted(&offsets, MAX_WANTED);
        if parts.is_empty() {
            break;
        }
        for part in honest(wanted(parts.into_iter().map(part_message).collect())) {
            file.take_part(part.key(), other.to_vec());
            file.settle_part(part.key());
        }
    }
    if asked.is_empty() {
        return Vec::new();
    }
    let names = server::names(offsets.into_iter().map(|offset| file.symbolize(offset)));
    assert!(names.encoded_len() <= MAX_MESSAGE);
    honest(check::names(&names, &asked))
}

/// A program with a build ID.
pub(crate) fn whole() -> Vec<Vec<u8>> {
    let note = [&[4, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0][..], b"GNU\0\x0a\xff\x01\x02"].concat();
    let pieces = [
        Piece { name: ".text", address: 0x1000, bytes: &[0x90; 64] },
        Piece { name: ".note.gnu.build-id", address: 0x2000, bytes: &note },
    ];
    vec![program(&pieces)]
}

/// A file that is small enough to be mutated as a whole.
pub(crate) fn small(program: &[u8]) -> Option<Vec<u8>> {
    (program.len() <= SMALL && program.starts_with(b"\x7fELF")).then(|| program.to_vec())
}

pub(crate) fn unwind_sections(program: &[u8]) -> Option<Vec<u8>> {
    sections(program, &[".eh_frame", ".debug_frame"], &[".plt", ".plt.sec", ".init", ".text"])
}

pub(crate) fn debug_sections(program: &[u8]) -> Option<Vec<u8>> {
    sections(program, &[".debug_", ".zdebug_", ".gnu_debug"], &[".text"])
}

/// The sections whose names begin so, and those that go with them; `None` if it has none of the first, or they are large.
fn sections(program: &[u8], wanted: &[&str], with: &[&str]) -> Option<Vec<u8>> {
    let elf = Elf::parse(Source::new(program.to_vec(), BUDGET)).ok()?;
    let is_wanted = |name: &str| wanted.iter().any(|wanted| name.starts_with(wanted));
    let kept =
        elf.sections().iter().filter(|section| is_wanted(&section.name) || with.contains(&section.name.as_str()));
    let kept: Vec<_> = kept.filter_map(|section| Some((section, elf.data(section).ok()?))).collect();
    if !kept.iter().any(|(section, _)| is_wanted(&section.name)) || kept.iter().any(|(_, bytes)| bytes.len() > KEPT) {
        return None;
    }
    let pieces: Vec<Piece<'_>> = kept
        .iter()
        .map(|(section, bytes)| Piece {
            name: section.name.as_str(),
            address: section.address,
            bytes: bytes.as_slice(),
        })
        .collect();
    Some(pack(b"", &pieces))
}
