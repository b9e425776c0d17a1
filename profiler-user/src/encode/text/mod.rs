//! Go's texts of profiles: `debug=1` and `debug=2`.

mod counts;
mod stacks;

pub use counts::Counts;
pub use stacks::Stacks;

use crate::kind::profile::{Label, Location, Profile, ProfileSample};

/// Media type of all of them.
const CONTENT_TYPE: &str = "text/plain; charset=utf-8";

/// A frame as text shows it.
struct Frame<'a> {
    /// Lookup address: of a call, the byte before its return address.
    address: u64,
    name: &'a str,
    /// The source file, or the program's if that is not known.
    file: &'a str,
    /// 0: not known.
    line: i64,
}

/// The frames of a sample, the leaf first, each inlined call before the function that holds it.
fn frames<'a>(profile: &'a Profile, sample: &'a ProfileSample) -> impl Iterator<Item = Frame<'a>> {
    locations(profile, sample).flat_map(move |location| {
        let mapping = profile.mappings.get(location.mapping).map_or("", |mapping| mapping.file.as_str());
        location.lines.iter().filter_map(move |line| {
            let function = profile.functions.get(line.function)?;
            let file = if function.file.is_empty() { mapping } else { &function.file };
            Some(Frame { address: location.address, name: &function.name, file, line: line.line })
        })
    })
}

fn locations<'a>(profile: &'a Profile, sample: &'a ProfileSample) -> impl Iterator<Item = &'a Location> {
    sample.locations.iter().filter_map(|location| profile.locations.get(*location))
}

/// A label that is text.
fn text<'a>(sample: &'a ProfileSample, key: &str) -> Option<&'a str> {
    sample.labels.iter().find_map(|label| match label {
        Label::Text(name, value) if *name == key => Some(value.as_str()),
        _ => None,
    })
}

/// A label that is a number.
fn number(sample: &ProfileSample, key: &str) -> Option<i64> {
    sample.labels.iter().find_map(|label| match label {
        Label::Number(name, value) if *name == key => Some(*value),
        _ => None,
    })
}

/// A text of a target within one line.
fn in_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;
    use crate::kind::profile::{Function, Line, Mapping};
    use crate::kind::threads::{PERIOD_TYPE, SAMPLE_TYPES};

    /// A profile of threads: for each its stack (leaf first) and labels; names may be anything.
    pub(super) fn profile(threads: &[(&[&str], i64, &[Label])]) -> Profile {
        let (mut functions, mut locations, mut samples) = (vec![], vec![], vec![]);
        for (stack, count, labels) in threads {
            let mut of_sample = vec![];
            for name in *stack {
                let known = functions.iter().position(|function: &Function| function.name == *name);
                let at = known.unwrap_or(functions.len());
                if known.is_none() {
                    let file = if name.starts_with('_') { "" } else { "/src/a:b.c" };
                    let (name, system_name, file) = ((*name).to_owned(), String::new(), file.to_owned());
                    functions.push(Function { name, system_name, file, start_line: 1 });
                    let line = Line { function: at, line: i64::try_from(at).expect("few") + 10, column: 0 };
                    locations.push(Location { mapping: 0, address: 0x1000 + at as u64 * 16, lines: vec![line] });
                }
                of_sample.push(at);
            }
            samples.push(ProfileSample { locations: of_sample, values: vec![*count], labels: labels.to_vec() });
        }
        let mapping =
            Mapping { start: 0x1000, limit: 0x9000, offset: 0, file: "/bin/demo".into(), build_id: String::new() };
        Profile {
            sample_types: SAMPLE_TYPES.to_vec(),
            period_type: PERIOD_TYPE,
            period: 1,
            time_nanos: 1,
            duration_nanos: 0,
            mappings: vec![mapping],
            functions,
            locations,
            samples,
            comments: vec![],
        }
    }
}
