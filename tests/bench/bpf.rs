//! The kernel's own account of BPF programs' run time (`kernel.bpf_stats_enabled`), as bpftool shows it.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::Path;
use tests::harness::tools;

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Run times are counted while this lives.
pub(crate) struct Statistics {
    before: String,
}

impl Statistics {
    /// Switches the count on.
    pub(crate) fn on() -> Result<Statistics> {
        let before = std::fs::read_to_string(SWITCH).context("cannot read bpf_stats_enabled")?;
        std::fs::write(Path::new(SWITCH), "1").context("cannot switch bpf_stats_enabled on (are you root?)")?;
        Ok(Statistics { before })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        drop(std::fs::write(SWITCH, self.before.trim()));
    }
}

/// A program's account.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) nanos: u64,
    pub(crate) runs: u64,
}

/// What several programs used together.
pub(crate) struct Cost {
    pub(crate) nanos: u64,
    pub(crate) runs: u64,
    pub(crate) programs: Vec<Program>,
}

/// All loaded programs by id.
pub(crate) fn run_times() -> Result<BTreeMap<u64, Program>> {
    let list: serde_json::Value = serde_json::from_str(&tools::output("bpftool", &["-j", "prog", "show"]))?;
    let number = |entry: &serde_json::Value, key: &str| entry.get(key).and_then(serde_json::Value::as_u64);
    let program = |entry: &serde_json::Value| {
        let name = entry.get("name").and_then(serde_json::Value::as_str).unwrap_or("").to_owned();
        let (nanos, runs) = (number(entry, "run_time_ns").unwrap_or(0), number(entry, "run_cnt").unwrap_or(0));
        Some((number(entry, "id")?, Program { name, nanos, runs }))
    };
    Ok(list.as_array().into_iter().flatten().filter_map(program).collect())
}

/// What the programs that were not there `before` the agent used between two readings.
pub(crate) fn ours(
    before: &BTreeMap<u64, Program>,
    start: &BTreeMap<u64, Program>,
    end: &BTreeMap<u64, Program>,
) -> Cost {
    let used = |(id, program): (&u64, &Program)| {
        let (nanos, runs) = start.get(id).map_or((0, 0), |start| (start.nanos, start.runs));
        Program { name: program.name.clone(), nanos: program.nanos - nanos, runs: program.runs - runs }
    };
    let programs: Vec<Program> = end.iter().filter(|(id, _)| !before.contains_key(id)).map(used).collect();
    let nanos = programs.iter().map(|program| program.nanos).sum();
    let runs = programs.iter().map(|program| program.runs).sum();
    Cost { nanos, runs, programs: programs.into_iter().filter(|program| program.runs > 0).collect() }
}
