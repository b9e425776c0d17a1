//! Tests of `encode/text`: profiles made by hand, and what both pages share.

mod counts;
mod judge;
mod stacks;

use super::columns::align;
use super::quote::quote;
use crate::kind::profile::{Function, Label, Line, Location, Mapping, Profile, ProfileSample, ValueType};
use proptest::prelude::*;

const COUNT: ValueType = ValueType { kind: "goroutine", unit: "count" };

pub(super) fn named(name: &str, file: &str) -> Function {
    Function { name: name.to_owned(), system_name: name.to_owned(), file: file.to_owned(), start_line: 1 }
}

pub(super) fn sample(locations: &[usize], count: i64, labels: Vec<Label>) -> ProfileSample {
    ProfileSample { locations: locations.to_vec(), values: vec![count], labels }
}

pub(super) fn text(key: &'static str, value: &str) -> Label {
    Label::Text(key, value.to_owned())
}

/// Location `n` is at `0x1000 + 0x10 * n` of a file, and calls function `n`; the last one has the first inlined in it.
pub(super) fn profile(functions: Vec<Function>, samples: Vec<ProfileSample>) -> Profile {
    let line = |function| Line { function, line: 10 + i64::try_from(function).expect("few"), column: 0 };
    let mut locations: Vec<_> = (0..functions.len())
        .map(|index| Location { mapping: 0, address: 0x1000 + 0x10 * index as u64, lines: vec![line(index)] })
        .collect();
    locations.last_mut().expect("a function").lines.insert(0, line(0));
    Profile {
        sample_types: vec![COUNT],
        period_type: COUNT,
        period: 1,
        time_nanos: 0,
        duration_nanos: 0,
        mappings: vec![Mapping {
            start: 0x1000,
            limit: 0x2000,
            offset: 0x400,
            file: "/usr/bin/made up".to_owned(),
            build_id: String::new(),
        }],
        functions,
        locations,
        samples,
        comments: Vec::new(),
    }
}

/// Names that look like other lines, hold parentheses in all ways, or are long words of the formats.
pub(super) fn hostile() -> impl Strategy<Value = String> {
    let parts = prop::sample::select(vec![
        "(",
        ")",
        "()",
        "((",
        "))",
        "[",
        "]",
        "]:",
        "\n",
        "\r\n",
        "\t",
        "\u{2028}",
        "\u{85}",
        " ",
        ":",
        ":7",
        "/",
        ".",
        "%",
        "%2e",
        "%zz",
        "+0x1",
        ",",
        ", 3 minutes",
        " minutes",
        "created by ",
        "goroutine 1 [running]:",
        "...",
        "é",
        "\0",
        "goroutine running on other thread; stack unavailable",
        "...additional frames elided...",
        "main",
        "operator",
        "[originating from goroutine 7]:",
        "#",
        "---",
        "\"",
        "\\",
        "_",
        "?",
        "{",
        "}",
    ]);
    prop_oneof![prop::collection::vec(parts, 0..8).prop_map(|parts| parts.concat()), any::<String>()]
}

#[test]
fn columns_are_those_of_gos_tabwriter() {
    let rows = |rows: &[&[&str]]| -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(|&cell| cell.to_owned()).collect()).collect()
    };
    // Written by Go's `tabwriter.NewWriter(w, 1, 8, 1, '\t', 0)`.
    assert_eq!(
        align(&rows(&[&["#", "0x1", "a+0x0", "f:1"], &["#", "0x1234567", "abcdefgh+0x0", "f:2"]])),
        "#\t0x1\t\ta+0x0\t\tf:1\n#\t0x1234567\tabcdefgh+0x0\tf:2\n"
    );
    assert_eq!(
        align(&rows(&[&["#", "0x1234567", "a", "f"], &["#", "0x1"], &["#", "0x1", "abcdéfgh", "f"], &["x"]])),
        "#\t0x1234567\ta\tf\n#\t0x1\n#\t0x1\tabcdéfgh\tf\nx\n"
    );
    assert_eq!(align(&[]), "");
}

#[test]
fn quotes_are_gos() {
    // Written by Go's `%q`.
    assert_eq!(
        quote("a\"b\\c'd\n\t\u{7}\0\u{7f}é\u{85}\u{2028}\u{e0001}"),
        r#""a\"b\\c'd\n\t\a\x00\x7fé\u0085\u2028\U000e0001""#
    );
}
