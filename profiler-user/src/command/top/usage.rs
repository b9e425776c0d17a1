//! What processes used, from the labels of a profile's samples. Pure.

use crate::command::functions::{Tables, values};
use crate::encode::pprof::message::Profile;
use std::collections::HashMap;

/// What a process used.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) comm: String,
    pub(super) samples: u64,
    /// Samples whose stacks are complete.
    pub(super) complete: u64,
    /// CPU time, ns.
    pub(super) ns: u64,
    /// The function with the most time of its own.
    pub(super) function: String,
}

/// What all used, the busiest first.
pub(super) fn processes(profile: &Profile) -> Vec<Process> {
    let tables = Tables::new(profile);
    let mut processes: HashMap<u32, (Process, HashMap<&str, u64>)> = HashMap::new();
    for sample in &profile.sample {
        let (samples, ns) = values(sample);
        let Some(pid) = tables.label(sample, "pid").and_then(|pid| pid.parse().ok()) else { continue };
        let (process, functions) = processes.entry(pid).or_default();
        process.pid = pid;
        tables.label(sample, "comm").unwrap_or("").clone_into(&mut process.comm);
        process.samples = process.samples.saturating_add(samples);
        process.ns = process.ns.saturating_add(ns);
        // The reason why a stack is not complete, if it is not.
        if tables.label(sample, "reason").is_none() {
            process.complete = process.complete.saturating_add(samples);
        }
        if let Some(leaf) = tables.stack(sample).next() {
            let own = functions.entry(leaf).or_default();
            *own = own.saturating_add(ns);
        }
    }
    let mut list: Vec<Process> = processes
        .into_values()
        .map(|(mut process, functions)| {
            let most = functions.into_iter().max_by_key(|(name, ns)| (*ns, std::cmp::Reverse(*name)));
            process.function = most.map(|(name, _)| name.to_owned()).unwrap_or_default();
            process
        })
        .collect();
    list.sort_by_key(|process| (std::cmp::Reverse(process.ns), process.pid));
    list
}
