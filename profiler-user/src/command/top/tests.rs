//! Tests of `top`: from a profile with labels to lines.

use super::*;
use crate::command::functions;
use crate::command::top::usage;
use crate::encode::pprof::message::{Function, Label, Line, Location, Profile, Sample, ValueType};

/// Samples of 10 ms: function, count, labels.
fn profile(samples: &[(&str, i64, &[(&str, &str)])]) -> Profile {
    let mut profile = Profile {
        sample_type: vec![ValueType::default(); 2],
        string_table: vec![String::new()],
        duration_nanos: 2_000_000_000,
        ..Profile::default()
    };
    for (id, (name, count, labels)) in (1..).zip(samples) {
        let mut text = |text: &str| {
            profile.string_table.push(text.to_owned());
            i64::try_from(profile.string_table.len() - 1).expect("few")
        };
        let name = text(name);
        let label = labels.iter().map(|(key, value)| Label { key: text(key), str: text(value), ..Label::default() });
        let label = label.collect();
        profile.function.push(Function { id, name, ..Function::default() });
        let line = vec![Line { function_id: id, ..Line::default() }];
        profile.location.push(Location { id, line, ..Location::default() });
        profile.sample.push(Sample { location_id: vec![id], value: vec![*count, count * 10_000_000], label });
    }
    profile
}

fn table(rows: Rows) -> Table {
    Table { subject: "all processes".to_owned(), place: "/run/s".to_owned(), seconds: 2.0, rows, note: None }
}

#[test]
fn processes_are_summed_and_shown() {
    let profile = profile(&[
        ("run", 30, &[("pid", "71"), ("comm", "web"), ("thread", "a")]),
        ("wait", 20, &[("pid", "71"), ("comm", "web"), ("thread", "b"), ("reason", "no table")]),
        ("spin", 150, &[("pid", "9"), ("comm", "bad\x1b[2J\nname")]),
        ("nobody's", 1, &[("pid", "x")]),
    ]);
    let processes = usage::processes(&profile);
    let rows = processes.into_iter().map(|process| ("root".to_owned(), process)).collect();
    let lines = lines(&table(Rows::Processes(rows)), 80, 24);
    assert_eq!(
        lines,
        [
            "all processes: 100.0% of a CPU in the last 2.0 s; 200 samples, 2 processes, 90.…",
            "by /run/s",
            "    PID USER         CPU  SAMPLES  COMPLETE NAME            FUNCTION",
            "      9 root       75.0%      150    100.0% bad\u{fffd}[2J\u{fffd}name    spin",
            "     71 root       25.0%       50     60.0% web             run",
        ]
    );
}

#[test]
fn functions_are_shown_as_far_as_there_is_room() {
    let profile = profile(&[("a::long_name<T>", 30, &[]), ("b", 10, &[]), ("c", 10, &[])]);
    let table = Table { note: Some("not newer: gone".to_owned()), ..table(Rows::Functions(functions::of(&profile))) };
    let lines = lines(&table, 48, HEAD + 2);
    assert_eq!(
        lines[1..],
        [
            "not newer: gone",
            "     CPU     SELF    TOTAL  SAMPLES  FUNCTION",
            "   15.0%    60.0%    60.0%       30  a::long_na…",
            "    5.0%    20.0%    20.0%       10  b",
        ]
    );
}

#[test]
fn nothing_used_is_no_division_by_zero() {
    let empty = Table { seconds: 0.0, ..table(Rows::Processes(Vec::new())) };
    assert!(lines(&empty, 80, 24)[0].starts_with("all processes: - of a CPU in the last 0.0 s; 0 samples"));
}
