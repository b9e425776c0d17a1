//! `debug=1` of profiles that count: a record a stack, which `go tool pprof` reads too (profile/legacy_profile.go of
//! google/pprof).

use super::{CONTENT_TYPE, frames, in_line, locations};
use crate::encode::EncodeProfile;
use crate::kind::profile::{Label, Profile, ProfileSample};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The format, with the kind's name in its first line.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// The kind.
    pub name: &'static str,
}

impl EncodeProfile for Counts {
    fn content_type(&self) -> &'static str {
        CONTENT_TYPE
    }

    fn encode(&self, profile: &Profile) -> Vec<u8> {
        let count = |sample: &ProfileSample| sample.values.first().copied().unwrap_or(0);
        let mut text = format!("{} profile: total {}\n", self.name, profile.samples.iter().map(count).sum::<i64>());
        // Numbers are left out of what keeps samples apart, as Go has none.
        let mut records: BTreeMap<String, i64> = BTreeMap::new();
        for sample in &profile.samples {
            *records.entry(record(profile, sample)).or_default() += count(sample);
        }
        let mut records: Vec<(String, i64)> = records.into_iter().collect();
        records.sort_by(|(a, first), (b, second)| (Reverse(*first), a).cmp(&(Reverse(*second), b)));
        for (record, count) in records {
            _ = writeln!(text, "{count} @{record}");
        }
        text.into_bytes()
    }
}

/// All of a record behind its count. Readers take one off each address, as of return addresses.
fn record(profile: &Profile, sample: &ProfileSample) -> String {
    let mut text = String::new();
    for location in locations(profile, sample) {
        _ = write!(text, " {:#x}", location.address.saturating_add(1));
    }
    text.push('\n');
    text.push_str(&labels(sample));
    let frames: Vec<(u64, String, String)> = frames(profile, sample)
        .map(|frame| (frame.address, in_line(frame.name), format!("{}:{}", in_line(frame.file), frame.line)))
        .collect();
    let widest = frames.iter().map(|(_, name, _)| name.chars().count()).max().unwrap_or(0);
    for (address, name, place) in frames {
        _ = writeln!(text, "#\t{address:#x}\t{name:widest$}\t{place}");
    }
    text
}

/// Go's line of labels, sorted by name.
fn labels(sample: &ProfileSample) -> String {
    let label = |label: &Label| match label {
        Label::Text(name, value) => Some(format!("{}:{}", quoted(name), quoted(value))),
        Label::Number(..) => None,
    };
    let list: Vec<String> = sample.labels.iter().filter_map(label).collect();
    if list.is_empty() { String::new() } else { format!("# labels: {{{}}}\n", list.join(", ")) }
}

/// As Go's `%q` writes a text.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            letter if u32::from(letter) < 0x20 || letter == '\u{7f}' => {
                _ = write!(quoted, "\\x{:02x}", u32::from(letter));
            }
            letter if letter.is_control() => {
                _ = write!(quoted, "\\u{:04x}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::super::tests::profile;
    use super::*;

    fn encode(profile: &Profile) -> String {
        String::from_utf8(Counts { name: "goroutine" }.encode(profile)).expect("text")
    }

    #[test]
    fn a_record_a_stack_the_most_first() {
        let state = Label::Text("state", "sleeping".into());
        let thread = Label::Text("thread", "a\"b\n".into());
        let of = |tid| [state.clone(), thread.clone(), Label::Number("tid", tid)];
        let profile =
            profile(&[(&["wait", "main"], 1, &[]), (&["read", "_start"], 2, &of(7)), (&["read", "_start"], 1, &of(8))]);
        let wanted = "goroutine profile: total 4\n\
            3 @ 0x1021 0x1031\n\
            # labels: {\"state\":\"sleeping\", \"thread\":\"a\\\"b\\n\"}\n\
            #\t0x1020\tread  \t/src/a:b.c:12\n\
            #\t0x1030\t_start\t/bin/demo:13\n\
            \n\
            1 @ 0x1001 0x1011\n\
            #\t0x1000\twait\t/src/a:b.c:10\n\
            #\t0x1010\tmain\t/src/a:b.c:11\n\
            \n";
        assert_eq!(encode(&profile), wanted);
    }

    #[test]
    fn names_of_targets_stay_in_their_lines() {
        let text = encode(&profile(&[(&["a\n9 @ 0x1", "b\tc\u{1b}[31m"], 1, &[])]));
        for line in text.lines() {
            assert!(line.is_empty() || line.starts_with(['#', 'g', '1']), "{text}");
        }
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
