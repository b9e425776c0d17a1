//! Tests of `functions`: against what Go's own tool says of the same profile.

use super::*;
use crate::encode::pprof::message::{Function, Line, Location, ValueType};
use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use prost::Message;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// A profile whose stacks are these, leaf first; each list is a location with its inlined calls.
fn profile(stacks: &[(&[&[&str]], i64)]) -> Profile {
    // pprof shortens a name that is the symbol's own; these are demangled already, as ours are.
    let mut strings: Vec<String> =
        ["", "samples", "count", "cpu", "nanoseconds", "_mangled"].map(str::to_owned).to_vec();
    let (mut functions, mut locations, mut samples) = (Vec::new(), Vec::new(), Vec::new());
    for (stack, count) in stacks {
        let mut location_id = Vec::new();
        for lines in *stack {
            let mut line = Vec::new();
            for name in *lines {
                strings.push((*name).to_owned());
                let name = i64::try_from(strings.len() - 1).expect("few");
                let id = functions.len() as u64 + 1;
                functions.push(Function { id, name, system_name: 5, ..Function::default() });
                line.push(Line { function_id: id, ..Line::default() });
            }
            let id = locations.len() as u64 + 1;
            locations.push(Location { id, address: id * 16, line, ..Location::default() });
            location_id.push(id);
        }
        samples.push(Sample { location_id, value: vec![*count, count * 10_000_019], ..Sample::default() });
    }
    let column = |kind| ValueType { r#type: kind, unit: kind + 1 };
    Profile {
        sample_type: vec![column(1), column(3)],
        period_type: Some(column(3)),
        period: 10_000_019,
        sample: samples,
        location: locations,
        function: functions,
        string_table: strings,
        ..Profile::default()
    }
}

fn usage(functions: &Functions, name: &str) -> (u64, u64, u64) {
    let row = functions.rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("no {name}"));
    (row.usage.samples, row.usage.own / 10_000_019, row.usage.cumulative / 10_000_019)
}

#[test]
fn own_and_cumulative() {
    let recursive: &[&[&str]] = &[&["leaf"], &["walk"], &["walk", "walk"], &["main"]];
    let inlined: &[&[&str]] = &[&["inner", "outer"], &["main"]];
    let functions = of(&profile(&[(recursive, 3), (inlined, 5), (&[&["main"]], 1)]));
    assert_eq!((functions.samples, functions.total), (9, 9 * 10_000_019));
    assert_eq!(usage(&functions, "leaf"), (3, 3, 3));
    assert_eq!(usage(&functions, "walk"), (0, 0, 3));
    assert_eq!(usage(&functions, "inner"), (5, 5, 5));
    assert_eq!(usage(&functions, "outer"), (0, 0, 5));
    assert_eq!(usage(&functions, "main"), (1, 1, 9));
    assert_eq!(functions.rows[0].name, "inner");
}

#[test]
fn a_profile_that_lies_is_no_harm() {
    let mut bad = profile(&[(&[&["a"]], 3)]);
    bad.sample[0].location_id = vec![77, 1];
    bad.sample[0].value = vec![-1];
    bad.sample[0].label = vec![Label { key: 99, str: -4, ..Label::default() }];
    bad.function[0].name = i64::MIN;
    bad.location[0].line.push(Line { function_id: 12, ..Line::default() });
    let functions = of(&bad);
    assert_eq!((functions.samples, functions.total), (0, 0));
    assert_eq!(Tables::new(&bad).label(&bad.sample[0], "pid"), None);
}

/// What `go tool pprof -top` says: value in ns of each function, own and cumulative. The tool belongs to the project's tests
/// (`xtask setup`).
fn go_says(profile: &Profile, folder: &Path) -> BTreeMap<String, (u64, u64)> {
    let file = folder.join("profile.pb.gz");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&profile.encode_to_vec()).expect("packed");
    std::fs::write(&file, encoder.finish().expect("packed")).expect("written");
    let mut command = Command::new("go");
    command.args(["tool", "pprof", "-top", "-unit=ns", "-nodecount=0", "-nodefraction=0", "-edgefraction=0"]);
    let output = command.arg(&file).env("PPROF_TMPDIR", folder).output().expect("go is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let rows = text.lines().skip_while(|line| !line.trim_start().starts_with("flat")).skip(1);
    let value = |word: &str| word.trim_end_matches("ns").parse().unwrap_or_else(|_| panic!("{word} in\n{text}"));
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = words[5..].join(" ");
        let name = name.trim_end_matches(" (inline)").trim_end_matches(" (partial-inline)");
        (name.to_owned(), (value(words[0]), value(words[3])))
    };
    rows.map(row).collect()
}

fn we_say(profile: &Profile) -> BTreeMap<String, (u64, u64)> {
    of(profile).rows.into_iter().map(|row| (row.name, (row.usage.own, row.usage.cumulative))).collect()
}

/// Stacks of up to six locations of up to three lines, of few names, so that functions recur.
fn stacks() -> impl Strategy<Value = Vec<(Vec<Vec<String>>, i64)>> {
    let name = prop::sample::select(vec!["main", "walk", "leaf", "f(int, char)", "a::b<c d>"]).prop_map(str::to_owned);
    let location = prop::collection::vec(name, 1..4);
    prop::collection::vec((prop::collection::vec(location, 1..7), 1_i64..1000), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]
    #[test]
    fn go_tool_pprof_says_the_same_numbers(stacks in stacks()) {
        let stacks: Vec<(Vec<Vec<&str>>, i64)> = stacks
            .iter()
            .map(|(stack, count)| (stack.iter().map(|l| l.iter().map(String::as_str).collect()).collect(), *count))
            .collect();
        let stacks: Vec<(Vec<&[&str]>, i64)> =
            stacks.iter().map(|(stack, count)| (stack.iter().map(Vec::as_slice).collect(), *count)).collect();
        let stacks: Vec<(&[&[&str]], i64)> = stacks.iter().map(|(stack, count)| (stack.as_slice(), *count)).collect();
        let profile = profile(&stacks);
        let folder = tempfile::tempdir().expect("a folder");
        prop_assert_eq!(we_say(&profile), go_says(&profile, folder.path()));
    }
}
