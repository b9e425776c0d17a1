//! What a profile says of files whose debug information lies for a part in other files that could not be used.

use crate::event::{FileNumber, Frame};
use crate::record::window::Row;
use crate::symbolize::sources::{Files, MissingParts};
use std::collections::BTreeSet;

/// Files that are spoken of; of further ones only how many there are.
const MAX_FILES: usize = 8;

/// Some sentences a file, for files that the samples are in.
pub(super) fn sentences(rows: &[Row], files: &dyn Files) -> Vec<String> {
    let words = rows.iter().flat_map(|row| row.stack.iter());
    let met: BTreeSet<FileNumber> = words
        .filter_map(|word| match word.frame() {
            Some(Frame::Native { file, .. }) => Some(file),
            _ => None,
        })
        .collect();
    let missing = met.into_iter().filter_map(|file| {
        let path = files.info(file).map(|info| info.path).unwrap_or_default();
        Some(of_file(&path, &files.missing_parts(file)?))
    });
    let mut missing: Vec<String> = missing.collect();
    if let Some(more) = missing.len().checked_sub(MAX_FILES).filter(|more| *more > 0) {
        missing.truncate(MAX_FILES);
        missing.push(format!("Parts of the debug information of {more} more files are missing."));
    }
    missing
}

fn of_file(path: &str, missing: &MissingParts) -> String {
    let mut parts = Vec::new();
    if let Some((unit, why)) = &missing.unit {
        let count = missing.units;
        parts.push(format!("{count} split units, of which {path}.dwp holds none (the first is {unit}: {why})"));
    }
    if missing.more {
        parts.push("split units that were not looked for, because there are too many or it took too long".to_owned());
    }
    if let Some((shared, why)) = &missing.shared {
        parts.push(format!("what it shares with other files ({shared}: {why})"));
    }
    if missing.refused {
        parts.push("all that lies in other files, because workers failed over it".to_owned());
    }
    format!("Of {path} inlined calls and some names are missing: {}.", parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbolize::fakes::{FakeFiles, LACKING, PROGRAM, native, row};

    #[test]
    fn a_file_is_spoken_of_once() {
        let rows = [row(&[native(PROGRAM, 0x1410), native(LACKING, 0x10)]), row(&[native(LACKING, 0x20)])];
        let wanted = "Of /opt/lacking inlined calls and some names are missing: 2 split units, of which /opt/lacking.dwp holds \
                      none (the first is /build/demo.dwo: not found).";
        assert_eq!(sentences(&rows, &FakeFiles::default()), [wanted]);
        assert_eq!(sentences(&rows[..0], &FakeFiles::default()), Vec::<String>::new());
    }

    #[test]
    fn each_kind_of_part_is_named() {
        let shared = Some(("/usr/lib/debug/.dwz/x".to_owned(), "build ID differs"));
        let missing = MissingParts { shared, more: true, refused: true, ..MissingParts::default() };
        let text = of_file("/bin/x", &missing);
        for part in ["/usr/lib/debug/.dwz/x: build ID differs", "not looked for", "workers failed"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
