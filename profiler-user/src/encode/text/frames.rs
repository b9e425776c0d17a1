//! The frames of a sample as the text formats list them: leaf first, inlined calls as frames of their own.

use crate::kind::profile::{Function, Line, Location, Mapping, Profile, ProfileSample};

/// File of a frame of which nothing is known; Go and its readers know it from cgo.
pub(super) const UNKNOWN_FILE: &str = "??";

/// One call.
#[derive(Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) address: u64,
    pub(super) function: &'a Function,
    line: i64,
    mapping: Option<&'a Mapping>,
}

impl<'a> Frame<'a> {
    /// Source file and line; without a source file the mapped file, at line 0.
    pub(super) fn place(&self) -> (&'a str, i64) {
        let mapped = self.mapping.map_or("", |mapping| mapping.file.as_str());
        match (self.function.file.as_str(), mapped) {
            ("", "") => (UNKNOWN_FILE, 0),
            ("", mapped) => (mapped, 0),
            (source, _) => (source, self.line.max(0)),
        }
    }

    /// Where the address is in the mapped file.
    pub(super) fn file_offset(&self) -> u64 {
        self.mapping
            .map_or(self.address, |mapping| self.address.wrapping_sub(mapping.start).wrapping_add(mapping.offset))
    }
}

/// The locations of a sample, leaf first.
pub(super) fn locations<'a>(profile: &'a Profile, indexes: &'a [usize]) -> impl Iterator<Item = &'a Location> {
    indexes.iter().filter_map(|index| profile.locations.get(*index))
}

/// The frames of a sample, leaf first.
pub(super) fn frames<'a>(profile: &'a Profile, sample: &'a ProfileSample) -> impl Iterator<Item = Frame<'a>> {
    locations(profile, &sample.locations).flat_map(|location| frames_at(profile, location))
}

/// The frames of a location, the innermost inlined call first.
pub(super) fn frames_at<'a>(profile: &'a Profile, location: &'a Location) -> impl Iterator<Item = Frame<'a>> {
    location.lines.iter().filter_map(|line| frame(profile, location, line))
}

fn frame<'a>(profile: &'a Profile, location: &Location, line: &Line) -> Option<Frame<'a>> {
    Some(Frame {
        address: location.address,
        function: profile.functions.get(line.function)?,
        line: line.line,
        mapping: profile.mappings.get(location.mapping),
    })
}
