//! Parts of a file's debug information that lie in files of their own: the worker, which cannot open a file, says which ones
//! names need; the agent gives what it finds, or says that there is none. Both lists are bounded, and checked as hostile.

use super::TrustDomain;
use super::api::{Part, PartFit, PartKey, SharedLink};
use super::protocol::{GivenMessage, MAX_WANTED, PACKAGE, PartMessage, SHARED, UNIT};
use std::os::fd::OwnedFd;

/// Bytes of a path.
const MAX_PATH: usize = 4_095;
/// Hex digits of a build ID.
const MAX_BUILD_ID: usize = 128;

/// A file that may be a part, or that there is none.
#[derive(Debug)]
pub struct GivenPart {
    /// Which part.
    pub part: PartKey,
    /// Read-only.
    pub file: Option<OwnedFd>,
}

/// Who opens the parts of one file.
pub trait PartSource {
    /// The one trust domain beside the file's own from which parts may come.
    fn domain(&self) -> Option<TrustDomain>;
    /// What is found of each part that is wanted, several files of one part in order of preference; `None` if no more will be
    /// given. Blocks.
    fn open(&mut self, wanted: &[Part]) -> Option<Vec<GivenPart>>;
    /// What came of the files that were given last, in their order.
    fn judged(&mut self, fits: &[PartFit]);
}

/// As messages.
pub(super) fn given_messages(given: &[GivenPart]) -> Vec<GivenMessage> {
    let message = |given: &GivenPart| {
        let (kind, id) = match given.part {
            PartKey::Shared => (SHARED, 0),
            PartKey::Package => (PACKAGE, 0),
            PartKey::Unit(id) => (UNIT, id),
        };
        GivenMessage { kind, id, file: given.file.is_some() }
    };
    given.iter().map(message).collect()
}

/// Which part a message is about.
pub(super) fn given_key(message: &GivenMessage) -> Option<PartKey> {
    match message.kind {
        SHARED => Some(PartKey::Shared),
        PACKAGE => Some(PartKey::Package),
        UNIT => Some(PartKey::Unit(message.id)),
        _ => None,
    }
}

/// As a message.
pub(super) fn part_message(part: Part) -> PartMessage {
    match part {
        Part::Shared(SharedLink { name, build_id, of_debug_file }) => {
            PartMessage { kind: SHARED, name, build_id, of_debug_file, ..PartMessage::default() }
        }
        Part::Package => PartMessage { kind: PACKAGE, ..PartMessage::default() },
        Part::Unit { id, folder, name } => PartMessage { kind: UNIT, id, folder, name, ..PartMessage::default() },
    }
}

/// What a worker wants, checked. A path that none can be leads nowhere, but the part is still wanted.
pub(super) fn wanted(messages: Vec<PartMessage>) -> Result<Vec<Part>, &'static str> {
    if messages.is_empty() || messages.len() > MAX_WANTED {
        return Err("more or fewer parts are wanted than can be");
    }
    messages.into_iter().map(part).collect()
}

fn part(message: PartMessage) -> Result<Part, &'static str> {
    let PartMessage { kind, id, folder, name, build_id, of_debug_file } = message;
    let (folder, name) = (path(folder), path(name));
    match kind {
        SHARED if build_id.len() <= MAX_BUILD_ID && build_id.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Ok(Part::Shared(SharedLink { name, build_id, of_debug_file }))
        }
        PACKAGE => Ok(Part::Package),
        UNIT => Ok(Part::Unit { id, folder, name }),
        _ => Err("a part is wanted that makes no sense"),
    }
}

fn path(text: String) -> String {
    if text.len() <= MAX_PATH && !text.chars().any(char::is_control) { text } else { String::new() }
}

/// What came of as many files as were given.
pub(super) fn fits(codes: &[u32], given: &[GivenPart]) -> Result<Vec<PartFit>, &'static str> {
    let files = given.iter().filter(|given| given.file.is_some()).count();
    let fits: Option<Vec<PartFit>> = codes.iter().map(|code| PartFit::from_code(*code)).collect();
    fits.filter(|fits| fits.len() == files).ok_or("parts fit in no known way")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str) -> PartMessage {
        PartMessage { kind: UNIT, id: 7, folder: "/build".into(), name: name.into(), ..PartMessage::default() }
    }

    #[test]
    fn what_is_wanted_arrives() {
        let link = SharedLink { name: "../x.debug".into(), build_id: "0aff".into(), of_debug_file: true };
        let unit = Part::Unit { id: u64::MAX, folder: "/build".into(), name: "a/b.dwo".into() };
        let parts = vec![Part::Shared(link), Part::Package, unit];
        assert_eq!(wanted(parts.iter().cloned().map(part_message).collect()), Ok(parts));
    }

    #[test]
    fn what_no_worker_wants_is_refused() {
        assert!(wanted(Vec::new()).is_err());
        assert!(wanted(vec![unit("a.dwo"); MAX_WANTED + 1]).is_err());
        assert!(wanted(vec![PartMessage { kind: 4, ..PartMessage::default() }]).is_err());
        assert!(
            wanted(vec![PartMessage { kind: SHARED, build_id: "../etc".into(), ..PartMessage::default() }]).is_err()
        );
    }

    #[test]
    fn a_path_that_is_none_is_left_out() {
        for name in ["a\nb", "a\0b", &"n".repeat(MAX_PATH + 1)] {
            let nowhere = Part::Unit { id: 7, folder: "/build".into(), name: String::new() };
            assert_eq!(wanted(vec![unit(name)]), Ok(vec![nowhere]), "{name:?}");
        }
    }

    #[test]
    fn each_file_that_was_given_has_an_outcome() {
        let file = || Some(OwnedFd::from(tempfile::tempfile().expect("temporary file")));
        let given =
            [GivenPart { part: PartKey::Package, file: file() }, GivenPart { part: PartKey::Shared, file: None }];
        assert_eq!(fits(&[PartFit::Used as u32], &given), Ok(vec![PartFit::Used]));
        for codes in [&[][..], &[1, 1], &[9]] {
            assert!(fits(codes, &given).is_err(), "{codes:?}");
        }
    }
}
