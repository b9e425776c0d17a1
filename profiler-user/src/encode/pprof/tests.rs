//! Tests of `encode/pprof`.

use super::check::{check_strict, decode};
use super::*;
use crate::kind::cpu::{PERIOD_TYPE, SAMPLE_TYPES};
use crate::kind::profile::{Line, Location, Mapping, ProfileSample};
use crate::symbolize::builder::{Input, Labels, build};
use crate::symbolize::fakes::{BUILD_ID, mappings, row, symbolizer, usual_stack};
use crate::symbolize::layout::Addresses;
use std::process::Command;

fn profile(labels: Labels) -> Profile {
    let (symbolizer, _) = symbolizer();
    let real = mappings();
    let addresses = if labels == Labels::Threads { Addresses::Real(&real) } else { Addresses::Synthetic };
    let rows = [row(&usual_stack()), row(&usual_stack()), row(&usual_stack()[1..])];
    let built = build(&symbolizer, &Input { rows: &rows, more: &[], labels, addresses, main: None, kernel: true });
    Profile {
        sample_types: SAMPLE_TYPES.to_vec(),
        period_type: PERIOD_TYPE,
        period: 10_000_000,
        time_nanos: 1_790_000_000_000_000_000,
        duration_nanos: 2_000_000_000,
        mappings: built.mappings,
        functions: built.functions,
        locations: built.locations,
        samples: built.samples,
        comments: vec!["A comment.".to_owned(), "Another one.".to_owned()],
    }
}

#[test]
fn strict_readers_accept_what_is_written() {
    for labels in [Labels::Threads, Labels::Processes] {
        let message = decode(&Pprof.encode(&profile(labels))).expect("decodes");
        assert_eq!(check_strict(&message), Vec::<String>::new());
        let text = |index: i64| message.string_table[usize::try_from(index).expect("an index")].as_str();
        let columns: Vec<_> =
            message.sample_type.iter().map(|column| (text(column.r#type), text(column.unit))).collect();
        assert_eq!(columns, [("samples", "count"), ("cpu", "nanoseconds")]);
        assert_eq!(message.sample.iter().map(|sample| sample.value[1]).sum::<i64>(), 30_000_000);
        assert_eq!(
            message.comment.iter().map(|index| text(*index)).collect::<Vec<_>>(),
            ["A comment.", "Another one."]
        );
        assert_eq!((message.default_sample_type, message.drop_frames, message.keep_frames), (0, 0, 0));
    }
}

#[test]
fn the_check_finds_each_fault() {
    let good = to_message(&profile(Labels::Threads));
    let check = |what: &str, spoil: &dyn Fn(&mut message::Profile)| {
        let mut bad = good.clone();
        spoil(&mut bad);
        assert!(!check_strict(&bad).is_empty(), "{what} passes");
    };
    check("ids with a hole", &|profile| profile.location[1].id = 77);
    check("an address outside", &|profile| profile.location[0].address = 1);
    check("no mapping", &|profile| profile.location[0].mapping_id = 0);
    check("a value too few", &|profile| _ = profile.sample[0].value.pop());
    check("a negative value", &|profile| profile.sample[0].value[0] = -1);
    check("equal samples", &|profile| profile.sample.push(profile.sample[0].clone()));
    check("a string out of range", &|profile| profile.function[0].name = 9_999);
    check("string 0", &|profile| profile.string_table[0] = "x".to_owned());
    check("flags", &|profile| profile.mapping[0].has_inline_frames = false);
    check("overlap", &|profile| profile.mapping[1].memory_start = profile.mapping[0].memory_start);
    check("a line without function", &|profile| profile.location[0].line[0].function_id = 0);
}

#[test]
fn nul_bytes_do_not_reach_the_table() {
    let mut profile = profile(Labels::Threads);
    profile.functions[0].name = "a\0b".to_owned();
    let message = to_message(&profile);
    assert_eq!(check_strict(&message), Vec::<String>::new());
    assert!(message.string_table.iter().any(|text| text == "a\u{fffd}b"));
}

#[test]
fn an_empty_profile_is_valid() {
    let empty =
        Profile { mappings: vec![], functions: vec![], locations: vec![], samples: vec![], ..profile(Labels::Threads) };
    let message = decode(&Pprof.encode(&empty)).expect("decodes");
    assert_eq!(check_strict(&message), Vec::<String>::new());
}

/// Go's own reader prints what we meant. The tool belongs to the project's tests (`xtask setup`).
#[test]
fn go_tool_pprof_reads_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("profile.pb.gz");
    std::fs::write(&file, Pprof.encode(&profile(Labels::Threads))).expect("written");
    let run = |arguments: &[&str]| {
        let mut command = Command::new("go");
        command.args(["tool", "pprof"]).args(arguments).arg(&file).env("PPROF_TMPDIR", folder.path());
        let output = command.output().expect("go is installed");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        text
    };
    let raw = run(&["-raw"]);
    assert!(raw.contains("PeriodType: cpu nanoseconds\nPeriod: 10000000\n"), "{raw}");
    assert!(raw.contains("samples/count cpu/nanoseconds\n"), "{raw}");
    let mapping = format!("1: 0x555555555000/0x55555555a000/0x1000 /usr/bin/demo {BUILD_ID} [FN][FL][LN][IN]");
    assert!(raw.contains(&mapping), "{raw}");
    for symbolize in ["none", "local", "remote"] {
        let top = run(&["-top", &format!("-symbolize={symbolize}")]);
        assert!(top.contains("File: demo\n") && top.contains(&format!("Build ID: {BUILD_ID}")), "{top}");
        assert!(top.contains("Vec<int>::push(int)") && top.contains("work(std::vector<int>&)"), "{top}");
        assert!(!top.contains("unexpected") && !top.contains("negative"), "{top}");
    }
}

#[test]
fn a_profile_decodes_to_itself() {
    let profile = profile(Labels::Processes);
    let message = decode(&Pprof.encode(&profile)).expect("decodes");
    let text = |index: i64| message.string_table[usize::try_from(index).expect("an index")].clone();
    let index = |id: u64| usize::try_from(id).expect("small") - 1;
    let mappings = message.mapping.iter().map(|m| Mapping {
        start: m.memory_start,
        limit: m.memory_limit,
        offset: m.file_offset,
        file: text(m.filename),
        build_id: text(m.build_id),
    });
    assert_eq!(mappings.collect::<Vec<_>>(), profile.mappings);
    let line = |l: &message::Line| Line { function: index(l.function_id), line: l.line, column: l.column };
    let locations = message.location.iter().map(|l| Location {
        mapping: index(l.mapping_id),
        address: l.address,
        lines: l.line.iter().map(line).collect(),
    });
    assert_eq!(locations.collect::<Vec<_>>(), profile.locations);
    let key = |sample: &ProfileSample| (sample.locations.clone(), sample.values.clone());
    let samples = message.sample.iter().map(|s| (s.location_id.iter().map(|id| index(*id)).collect(), s.value.clone()));
    assert_eq!(samples.collect::<Vec<_>>(), profile.samples.iter().map(key).collect::<Vec<_>>());
}
