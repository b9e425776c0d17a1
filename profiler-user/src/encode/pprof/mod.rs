//! pprof's `profile.proto`, gzipped at the fastest level as Go does. Ids are 1..n in order, and all mappings say that
//! their names are complete, so that no client names our frames anew from a file that happens to have the same path.

#[doc(hidden)]
pub mod check;
pub mod decode;
pub mod message;
mod strings;

use super::EncodeProfile;
use crate::kind::profile::{self, Label, Profile};
use flate2::{Compression, write::GzEncoder};
use prost::Message;
use std::io::Write;
use strings::Strings;

/// The format.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pprof;

impl EncodeProfile for Pprof {
    fn content_type(&self) -> &'static str {
        "application/octet-stream"
    }

    fn encode(&self, profile: &Profile) -> Vec<u8> {
        gzip(&to_message(profile).encode_to_vec())
    }
}

/// The message of a profile.
pub fn to_message(profile: &Profile) -> message::Profile {
    let mut strings = Strings::new();
    let sample_type = profile.sample_types.iter().map(|value| value_type(&mut strings, value)).collect();
    let period_type = Some(value_type(&mut strings, &profile.period_type));
    let mapping = ids(&profile.mappings).map(|(id, mapping)| self::mapping(&mut strings, id, mapping)).collect();
    let function = ids(&profile.functions).map(|(id, function)| self::function(&mut strings, id, function)).collect();
    let sample = profile.samples.iter().map(|sample| self::sample(&mut strings, sample)).collect();
    let comment = profile.comments.iter().map(|comment| strings.intern(comment)).collect();
    message::Profile {
        sample_type,
        sample,
        mapping,
        location: ids(&profile.locations).map(|(id, location)| self::location(id, location)).collect(),
        function,
        time_nanos: profile.time_nanos,
        duration_nanos: profile.duration_nanos,
        period_type,
        period: profile.period,
        comment,
        string_table: strings.into_table(),
        ..message::Profile::default()
    }
}

/// Ids 1, 2, ... of a table.
fn ids<T>(table: &[T]) -> impl Iterator<Item = (u64, &T)> {
    (1..).zip(table)
}

fn id(index: usize) -> u64 {
    index as u64 + 1
}

fn value_type(strings: &mut Strings, value: &profile::ValueType) -> message::ValueType {
    message::ValueType { r#type: strings.intern(value.kind), unit: strings.intern(value.unit) }
}

fn mapping(strings: &mut Strings, id: u64, mapping: &profile::Mapping) -> message::Mapping {
    message::Mapping {
        id,
        memory_start: mapping.start,
        memory_limit: mapping.limit,
        file_offset: mapping.offset,
        filename: strings.intern(&mapping.file),
        build_id: strings.intern(&mapping.build_id),
        has_functions: true,
        has_filenames: true,
        has_line_numbers: true,
        has_inline_frames: true,
    }
}

fn function(strings: &mut Strings, id: u64, function: &profile::Function) -> message::Function {
    message::Function {
        id,
        name: strings.intern(&function.name),
        system_name: strings.intern(&function.system_name),
        filename: strings.intern(&function.file),
        start_line: function.start_line,
    }
}

fn location(id: u64, location: &profile::Location) -> message::Location {
    let line = location.lines.iter().map(|line| message::Line {
        function_id: self::id(line.function),
        line: line.line,
        column: line.column,
    });
    message::Location {
        id,
        mapping_id: self::id(location.mapping),
        address: location.address,
        line: line.collect(),
        is_folded: false,
    }
}

fn sample(strings: &mut Strings, sample: &profile::ProfileSample) -> message::Sample {
    let label = sample.labels.iter().map(|label| match label {
        Label::Text(key, text) => {
            message::Label { key: strings.intern(key), str: strings.intern(text), ..message::Label::default() }
        }
        Label::Number(key, number) => {
            message::Label { key: strings.intern(key), num: *number, ..message::Label::default() }
        }
    });
    message::Sample {
        label: label.collect(),
        location_id: sample.locations.iter().map(|index| id(*index)).collect(),
        value: sample.values.clone(),
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    match encoder.write_all(bytes).and_then(|()| encoder.finish()) {
        Ok(zipped) => zipped,
        // Writing into memory does not fail; readers take the plain message too.
        Err(_) => bytes.to_vec(),
    }
}

#[cfg(test)]
mod tests;
