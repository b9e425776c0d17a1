//! The rules that strict readers of pprof hold a profile to, as a check for tests: a list of what is wrong with a
//! decoded profile. Sources: google/pprof's `CheckValid`, Parca's validator, Pyroscope's normalization.

pub use super::decode::decode;

use super::message::{Function, Label, Location, Mapping, Profile, Sample};
use std::collections::HashSet;

/// Everything that is wrong with a profile; empty if a strict reader accepts it.
pub fn check_strict(profile: &Profile) -> Vec<String> {
    let mut checker = Checker { profile, faults: Vec::new() };
    checker.strings();
    checker.ids("mapping", profile.mapping.iter().map(|m| m.id));
    checker.ids("location", profile.location.iter().map(|l| l.id));
    checker.ids("function", profile.function.iter().map(|f| f.id));
    checker.mappings();
    profile.function.iter().for_each(|function| checker.function(function));
    profile.location.iter().for_each(|location| checker.location(location));
    checker.samples();
    checker.faults
}

struct Checker<'a> {
    profile: &'a Profile,
    faults: Vec<String>,
}

impl Checker<'_> {
    fn expect(&mut self, holds: bool, fault: impl FnOnce() -> String) {
        if !holds {
            self.faults.push(fault());
        }
    }

    /// The text of an index; an index out of range is a fault.
    fn text(&mut self, index: i64, what: &str) -> String {
        let text = usize::try_from(index).ok().and_then(|index| self.profile.string_table.get(index)).cloned();
        self.expect(text.is_some(), || format!("{what}: no string {index}"));
        text.unwrap_or_default()
    }

    fn strings(&mut self) {
        let profile = self.profile;
        self.expect(profile.string_table.first().is_some_and(String::is_empty), || "string 0 is not empty".into());
        let distinct: HashSet<&String> = profile.string_table.iter().collect();
        self.expect(distinct.len() == profile.string_table.len(), || "a string is there twice".into());
        self.expect(!profile.string_table.iter().any(|text| text.contains('\0')), || "a string holds a NUL".into());
        self.expect(!profile.sample_type.is_empty(), || "no sample type".into());
        for value in profile.sample_type.iter().chain(&profile.period_type) {
            let kind = self.text(value.r#type, "type");
            self.expect(!kind.is_empty() && !kind.contains('-'), || format!("type name {kind:?}"));
            self.text(value.unit, "unit");
        }
        for comment in &profile.comment {
            self.text(*comment, "comment");
        }
        self.expect(profile.period_type.is_some() && profile.period > 0, || "no period".into());
        self.expect(profile.time_nanos > 0, || "no time".into());
    }

    fn ids(&mut self, what: &str, ids: impl Iterator<Item = u64>) {
        for (wanted, id) in (1_u64..).zip(ids) {
            self.expect(wanted == id, || format!("{what} {wanted} has id {id}"));
        }
    }

    fn mappings(&mut self) {
        let mut ranges = Vec::new();
        for mapping in &self.profile.mapping {
            self.mapping(mapping);
            ranges.push((mapping.memory_start, mapping.memory_limit, mapping.id));
        }
        ranges.sort_unstable();
        for pair in ranges.windows(2) {
            if let [(_, limit, left), (start, _, right)] = pair {
                self.expect(limit <= start, || format!("mappings {left} and {right} overlap"));
            }
        }
    }

    fn mapping(&mut self, mapping: &Mapping) {
        let id = mapping.id;
        let file = self.text(mapping.filename, "file name");
        let build_id = self.text(mapping.build_id, "build id");
        self.expect(build_id.bytes().all(|b| b.is_ascii_hexdigit()), || format!("mapping {id}: build id {build_id}"));
        self.expect(mapping.memory_start < mapping.memory_limit, || format!("mapping {id}: empty range"));
        self.expect(file != "[vsyscall]", || format!("mapping {id} is the vsyscall page"));
        let kernel = file.starts_with('[');
        self.expect(mapping.memory_start < 1 << 63 || kernel, || format!("mapping {id} ({file}) lies in the kernel"));
        let flags = [mapping.has_functions, mapping.has_filenames, mapping.has_line_numbers, mapping.has_inline_frames];
        self.expect(flags == [true; 4], || format!("mapping {id}: flags {flags:?}"));
    }

    fn function(&mut self, function: &Function) {
        let name = self.text(function.name, "function name");
        self.expect(!name.is_empty(), || format!("function {} has no name", function.id));
        self.text(function.system_name, "system name");
        self.text(function.filename, "source file");
        self.expect(function.start_line >= 0, || format!("function {name} starts at {}", function.start_line));
    }

    fn location(&mut self, location: &Location) {
        let (id, profile) = (location.id, self.profile);
        match by_id(&profile.mapping, location.mapping_id) {
            Some(mapping) => {
                let inside = (mapping.memory_start..mapping.memory_limit).contains(&location.address);
                self.expect(inside, || format!("location {id}: {:#x} is outside of its mapping", location.address));
            }
            None => self.faults.push(format!("location {id}: no mapping {}", location.mapping_id)),
        }
        self.expect(!location.line.is_empty(), || format!("location {id} has no line"));
        for line in &location.line {
            let known = by_id(&profile.function, line.function_id).is_some();
            self.expect(known && line.line >= 0 && line.column >= 0, || format!("location {id}: line {line:?}"));
        }
    }

    fn samples(&mut self) {
        let mut seen = HashSet::new();
        for sample in &self.profile.sample {
            self.sample(sample);
            let labels: Vec<_> = sample.label.iter().map(|l| (l.key, l.str, l.num, l.num_unit)).collect();
            let stack = &sample.location_id;
            self.expect(seen.insert((stack, labels)), || format!("a sample is there twice: {stack:?}"));
        }
    }

    fn sample(&mut self, sample: &Sample) {
        let profile = self.profile;
        self.expect(sample.value.len() == profile.sample_type.len(), || format!("values {:?}", sample.value));
        self.expect(sample.value.iter().all(|v| *v >= 0), || format!("negative value in {:?}", sample.value));
        self.expect(sample.value.iter().any(|v| *v > 0), || "a sample without a value".into());
        self.expect(!sample.location_id.is_empty(), || "a sample without a stack".into());
        for id in &sample.location_id {
            self.expect(by_id(&profile.location, *id).is_some(), || format!("no location {id}"));
        }
        let mut keys = HashSet::new();
        for Label { key, str, num, num_unit } in &sample.label {
            let name = self.text(*key, "label");
            self.expect(!name.is_empty() && keys.insert(*key), || format!("label {name:?} is empty or there twice"));
            self.text(*str, "label's text");
            self.text(*num_unit, "label's unit");
            self.expect(*str == 0 || *num == 0, || format!("label {name} has a text and a number"));
        }
    }
}

fn by_id<T>(table: &[T], id: u64) -> Option<&T> {
    table.get(usize::try_from(id.checked_sub(1)?).ok()?)
}
