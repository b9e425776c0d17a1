//! Text that a process moved out of its file's mapping: programs that want huge pages for their code copy it into anonymous
//! memory at the same addresses. The kernel then knows no file there, but the process's other areas of that file still
//! lie around it: together they say where in the file an address is.
//!
//! An address is believed to lie in a file's text only if its run (areas without a gap that may be executed) still holds
//! a piece of the file's mapping, or fills exactly the place that an executable segment of the file next to it has.
//! A process that arranges its memory to pretend so lies about its own names only.

use super::attempt::reopen;
use super::ways::{PLACE, named};
use super::{MAX_FILE_SIZE, OpenError, Opened};
use crate::event::{FileOffset, ProcessId};
use crate::target::proc::{Area, Proc};
use rustix::fs::{CWD, Mode, openat, readlinkat};

/// Runs of one process that are looked at.
const MAX_RUNS: usize = 16;
const PAGE: u64 = 4096;

/// An executable segment of a file, as its headers say.
#[derive(Clone, Copy, Debug)]
pub struct TextSegment {
    /// Offset in the file.
    pub offset: u64,
    /// Bytes in the file.
    pub size: u64,
    /// Address as linked.
    pub address: u64,
}

/// A run of executable memory that may hold a file's text.
#[derive(Debug)]
pub struct MovedText {
    /// The file. Nothing is known of its content.
    pub file: Opened,
    run: Run,
}

impl MovedText {
    /// Where in the file an address lies, whose executable segments these are; `None` if it is not known to lie in it.
    pub fn offset_of(&self, address: u64, segments: &[TextSegment]) -> Option<FileOffset> {
        self.run.offset_of(address, segments).map(FileOffset)
    }
}

/// Areas without a gap between them that may be executed, some of them without a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    start: u64,
    end: u64,
    /// Address and offset of a piece that is still the file's.
    piece: Option<(u64, u64)>,
    /// The file's area that is opened.
    area: (u64, u64),
}

impl Run {
    fn offset_of(&self, address: u64, segments: &[TextSegment]) -> Option<u64> {
        if !(self.start..self.end).contains(&address) {
            return None;
        }
        let (start, offset) = match self.piece {
            Some(piece) => piece,
            None => (self.start, self.only_fit(segments)?),
        };
        let offset = offset.checked_add_signed(address.checked_signed_diff(start)?)?;
        let holds = |s: &TextSegment| offset.checked_sub(s.offset).is_some_and(|at| at < s.size);
        segments.iter().any(holds).then_some(offset)
    }

    /// Offset of the first page of the one segment that takes as many pages as the run has.
    fn only_fit(&self, segments: &[TextSegment]) -> Option<u64> {
        let pages = |segment: &&TextSegment| {
            let end = segment.address.checked_add(segment.size).and_then(|end| end.checked_next_multiple_of(PAGE));
            end.and_then(|end| end.checked_sub(segment.address / PAGE * PAGE)) == Some(self.end - self.start)
        };
        let mut fit = segments.iter().filter(pages);
        match (fit.next(), fit.next()) {
            (Some(segment), None) => Some(segment.offset / PAGE * PAGE),
            _ => None,
        }
    }
}

/// Opens the files whose text may lie at these addresses, on this thread.
pub(super) fn find(proc: &Proc, process: ProcessId, addresses: &[u64]) -> Result<Vec<MovedText>, OpenError> {
    let pid = process.pid;
    let areas = proc.maps(pid).map_err(|_unreadable| OpenError::Gone)?;
    let mount_namespace = proc.mount_namespace(pid).unwrap_or(1 << 63 | u64::from(pid.0));
    let open = |run: Run| {
        let link = proc.path(pid, &format!("map_files/{:x}-{:x}", run.area.0, run.area.1));
        let place = openat(CWD, &link, PLACE, Mode::empty()).ok()?;
        let (file, stat) = reopen(&place, MAX_FILE_SIZE).ok()?;
        let path = named(readlinkat(CWD, &link, Vec::new()).ok()?.into_bytes(), stat.st_nlink > 0);
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let file = Opened {
            file,
            path: String::from_utf8_lossy(&path).into_owned(),
            owner: stat.st_uid,
            mount_namespace,
            size,
        };
        Some(MovedText { file, run })
    };
    let found = runs(&areas, addresses).into_iter().filter_map(open).collect();
    // Looked at last: until now the number could have become another process's.
    if proc.is_alive(process) { Ok(found) } else { Err(OpenError::Gone) }
}

/// The runs that hold the addresses and have a file in them or beside them.
fn runs(areas: &[Area], addresses: &[u64]) -> Vec<Run> {
    let mut found: Vec<Run> = Vec::new();
    for address in addresses {
        let known = found.iter().any(|run| (run.start..run.end).contains(address));
        if !known && found.len() < MAX_RUNS {
            found.extend(run(areas, *address));
        }
    }
    found
}

fn run(areas: &[Area], address: u64) -> Option<Run> {
    let at = areas.partition_point(|area| area.end <= address);
    areas.get(at).filter(|area| area.start <= address && area.executable)?;
    let joined = |pair: &[Area]| pair[0].end == pair[1].start && pair[0].executable && pair[1].executable;
    let before = areas.get(..=at)?.windows(2).rev().take_while(|pair| joined(pair)).count();
    let after = areas.get(at..)?.windows(2).take_while(|pair| joined(pair)).count();
    let (first, last) = (at - before, at + after);
    let inside = areas.get(first..=last)?;
    let (start, end) = (inside.first()?.start, inside.last()?.end);
    let of_file = |area: &&Area| area.file.is_some();
    if let Some(piece) = inside.iter().find(of_file) {
        // Pieces of two files are no one's text.
        let one = inside.iter().filter(of_file).all(|area| area.file == piece.file);
        let area = (piece.start, piece.end);
        return one.then_some(Run { start, end, piece: Some((piece.start, piece.offset)), area });
    }
    let below = first.checked_sub(1).and_then(|i| areas.get(i)).filter(|area| area.end == start && of_file(area));
    let above = areas.get(last + 1).filter(|area| area.start == end && of_file(area));
    let beside = match (below, above) {
        (Some(below), Some(above)) if below.file != above.file => return None,
        (below, above) => below.or(above)?,
    };
    Some(Run { start, end, piece: None, area: (beside.start, beside.end) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: Option<(u64, u64)> = Some((1, 2));
    const OTHER: Option<(u64, u64)> = Some((1, 3));
    /// Text of 2 pages and a bit at address 0x15c0, offset 0x5c0, as lld lays it out.
    const TEXT: TextSegment = TextSegment { offset: 0x5c0, size: 0x2100, address: 0x15c0 };

    fn area(start: u64, end: u64, executable: bool, offset: u64, file: Option<(u64, u64)>) -> Area {
        Area { start, end, executable, offset, file }
    }

    fn offset(areas: &[Area], address: u64) -> Option<u64> {
        runs(areas, &[address]).first()?.offset_of(address, &[TEXT])
    }

    #[test]
    fn a_text_that_was_moved_as_a_whole_fills_its_place() {
        let whole = [
            area(0x40_0000, 0x40_1000, false, 0, FILE),
            area(0x40_1000, 0x40_4000, true, 0, None),
            area(0x40_4000, 0x40_5000, false, 0x2000, FILE),
        ];
        assert_eq!(offset(&whole, 0x40_2345), Some(0x1345));
        assert_eq!(offset(&whole, 0x40_1000), None, "before the segment");
        assert_eq!(offset(&whole, 0x40_0500), None, "not executable");
        assert_eq!(offset(&whole[..2], 0x40_2345), Some(0x1345));
        assert_eq!(offset(&whole[1..], 0x40_2345), Some(0x1345));
        assert_eq!(offset(&whole[1..2], 0x40_2345), None, "no file beside it");
        let mut larger = whole;
        larger[1].end += 0x1000;
        assert_eq!(offset(&larger, 0x40_2345), None, "code that a program made");
        let mut two = whole;
        two[2].file = OTHER;
        assert_eq!(offset(&two, 0x40_2345), None);
    }

    #[test]
    fn a_text_that_was_moved_in_part_goes_on_from_what_is_left() {
        let part = [
            area(0x40_1000, 0x40_2000, true, 0, FILE),
            area(0x40_2000, 0x40_3000, true, 0, None),
            area(0x40_3000, 0x40_4000, true, 0x2000, FILE),
        ];
        for areas in [&part[..], &part[..2], &part[1..]] {
            assert_eq!(offset(areas, 0x40_2345), Some(0x1345));
        }
        let mut two = part;
        two[0].file = OTHER;
        assert_eq!(offset(&two, 0x40_2345), None);
        let gap = [part[0], area(0x40_3000, 0x40_4000, true, 0, None)];
        assert_eq!(offset(&gap, 0x40_3345), None);
    }

    #[test]
    fn two_segments_of_one_size_decide_nothing() {
        let areas = [area(0x1000, 0x4000, true, 0, None), area(0x4000, 0x5000, false, 0, FILE)];
        let run = runs(&areas, &[0x2000])[0];
        let second = TextSegment { offset: 0x9000, size: 0x3000, address: 0xa000 };
        assert_eq!(run.offset_of(0x2000, &[TEXT]), Some(0x1000));
        assert_eq!(run.offset_of(0x2000, &[TEXT, second]), None);
    }
}
