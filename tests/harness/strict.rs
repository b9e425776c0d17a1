//! The rules that strict readers of pprof's format hold a profile to (Parca, Pyroscope, pprof itself).

use super::Profile;
use super::message;
use std::collections::BTreeSet;

/// Where the kernel's addresses begin.
const KERNEL_HALF: u64 = 1 << 63;

/// Every broken rule as a sentence; empty if the profile is one that all readers take.
pub fn broken_rules(profile: &Profile) -> Vec<String> {
    let message = &profile.message;
    let mut broken = Vec::new();
    if message.string_table.first().is_none_or(|first| !first.is_empty()) {
        broken.push("string 0 is not empty".to_owned());
    }
    dense("location", message.location.iter().map(|location| location.id), &mut broken);
    dense("function", message.function.iter().map(|function| function.id), &mut broken);
    dense("mapping", message.mapping.iter().map(|mapping| mapping.id), &mut broken);
    strings(message, &mut broken);
    for location in &message.location {
        place(message, location, &mut broken);
    }
    for mapping in &message.mapping {
        mapping_rules(profile, mapping, &mut broken);
    }
    samples(message, &mut broken);
    for (kind, _) in profile.sample_types() {
        if kind.contains('-') {
            broken.push(format!("the sample type {kind} has a hyphen"));
        }
    }
    broken
}

/// Panics with the broken rules, if there are any.
pub fn assert_strict(profile: &Profile) {
    let broken = broken_rules(profile);
    assert!(
        broken.is_empty(),
        "{} rules broken, the first ones:\n{}",
        broken.len(),
        broken[..broken.len().min(20)].join("\n")
    );
}

fn dense(what: &str, ids: impl Iterator<Item = u64>, broken: &mut Vec<String>) {
    if let Some((at, id)) = (1..).zip(ids).find(|(at, id)| at != id) {
        broken.push(format!("{what} {at} in order has the id {id}"));
    }
}

fn strings(message: &message::Profile, broken: &mut Vec<String>) {
    let types = message.sample_type.iter().chain(&message.period_type).flat_map(|column| [column.kind, column.unit]);
    let labels =
        message.sample.iter().flat_map(|sample| &sample.label).flat_map(|label| [label.key, label.text, label.unit]);
    let functions =
        message.function.iter().flat_map(|function| [function.name, function.system_name, function.filename]);
    let mappings = message.mapping.iter().flat_map(|mapping| [mapping.filename, mapping.build_id]);
    let comments = message.comment.iter().copied().chain([message.default_sample_type]);
    for index in types.chain(labels).chain(functions).chain(mappings).chain(comments) {
        if !usize::try_from(index).is_ok_and(|index| index < message.string_table.len()) {
            broken.push(format!("string {index} is out of range"));
        }
    }
}

fn place(message: &message::Profile, location: &message::Location, broken: &mut Vec<String>) {
    let index = location.mapping_id.checked_sub(1).and_then(|index| usize::try_from(index).ok());
    let Some(mapping) = index.and_then(|index| message.mapping.get(index)) else {
        return broken.push(format!("location {} names no mapping", location.id));
    };
    if location.address != 0 && !(mapping.start..mapping.limit).contains(&location.address) {
        broken.push(format!("location {}: {:#x} lies outside of its mapping", location.id, location.address));
    }
    if location.line.is_empty() {
        broken.push(format!("location {} has no line", location.id));
    }
    for line in &location.line {
        if line.function_id == 0 || line.function_id > message.function.len() as u64 {
            broken.push(format!("location {}: function {} is out of range", location.id, line.function_id));
        }
    }
}

fn mapping_rules(profile: &Profile, mapping: &message::Mapping, broken: &mut Vec<String>) {
    let name = profile.text(mapping.filename);
    if name == "[vsyscall]" {
        broken.push("a mapping is called [vsyscall]".to_owned());
    }
    if mapping.start >= KERNEL_HALF && !name.starts_with('[') {
        broken.push(format!("mapping {name} begins at {:#x}", mapping.start));
    }
    let flags = [mapping.has_functions, mapping.has_filenames, mapping.has_line_numbers, mapping.has_inline_frames];
    if flags != [true; 4] {
        broken.push(format!("mapping {name} lacks has_ flags: {flags:?}"));
    }
}

fn samples(message: &message::Profile, broken: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for sample in &message.sample {
        if sample.value.len() != message.sample_type.len() {
            broken.push(format!("a sample has {} values for {} types", sample.value.len(), message.sample_type.len()));
        }
        if sample.value.iter().any(|value| *value < 0) {
            broken.push("a value is negative".to_owned());
        }
        if sample.location_id.iter().any(|id| *id == 0 || *id > message.location.len() as u64) {
            broken.push("a sample names a location that is not there".to_owned());
        }
        let mut labels: Vec<_> =
            sample.label.iter().map(|label| (label.key, label.text, label.number, label.unit)).collect();
        labels.sort_unstable();
        if !seen.insert((sample.location_id.clone(), labels)) {
            broken.push("two samples have equal stack and labels".to_owned());
        }
    }
}
