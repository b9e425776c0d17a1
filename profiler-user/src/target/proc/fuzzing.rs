//! The door for fuzzing: a text of `/proc`, behind a line that says which.

use super::{cgroup, maps, mountinfo, read, stat, status};
use crate::fuzzing::Look;
use crate::target::cpu::not_ours;

/// Bytes to which tables are cut, as a file's cap cuts them.
const CAP: usize = 4_096;

pub(crate) fn run(input: &[u8], look: Look) {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return };
    let (name, text) = (input.get(..end).unwrap_or_default(), input.get(end + 1..).unwrap_or_default());
    let table = || read::whole_lines(text.get(..CAP).unwrap_or(text).to_vec(), CAP);
    match name {
        b"stat" => show(stat::parse(text), look),
        b"status" => show(status::parse(text), look),
        b"cgroup" => show(cgroup::unified(text), look),
        b"host" => show(not_ours(text), look),
        b"maps" => {
            let areas = maps::parse(&table());
            assert!(areas.iter().all(|area| area.start < area.end));
            show((!areas.is_empty()).then_some(areas), look);
        }
        b"mountinfo" => {
            let mounts = mountinfo::parse(&table());
            show((!mounts.is_empty()).then_some(mounts), look);
        }
        _ => {}
    }
}

fn show<T: std::fmt::Debug>(found: Option<T>, look: Look) {
    if let Some(found) = found {
        look(&found);
    }
}
