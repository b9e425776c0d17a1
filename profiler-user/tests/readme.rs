//! The README says of each profile kind what the agent answers.

use profiler_user::kind::{Answer, KINDS};
use std::collections::BTreeMap;

#[test]
fn the_table_of_profiles_is_the_list_of_kinds() {
    let readme = include_str!("../../README.md");
    let table = readme.split("| profile | answers |").nth(1).expect("the README has a table of profiles");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let mut said = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        for name in cells[0].split_whitespace() {
            said.insert(name.trim_matches('`'), !cells[1].starts_with("501"));
        }
    }
    let answered = |answer| !matches!(answer, Answer::NoTrace | Answer::NoProfile);
    let kinds: BTreeMap<&str, bool> = KINDS.iter().map(|kind| (kind.name, answered(kind.answer))).collect();
    assert_eq!(said, kinds);
}
