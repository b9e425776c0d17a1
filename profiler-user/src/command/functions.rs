//! The functions of a profile with what each used itself and with all that it called: the numbers of `go tool pprof -top`.
//! Pure. Profiles come from any agent, so no index in one is trusted.

use crate::encode::pprof::message::{Label, Profile, Sample};
use std::collections::{HashMap, HashSet};

/// What a function used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Samples in it.
    pub samples: u64,
    /// Its own value.
    pub own: u64,
    /// Its own and that of all that it called.
    pub cumulative: u64,
}

/// A function's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// What it used.
    pub usage: Usage,
}

/// The functions of a profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Functions {
    /// Samples of all.
    pub samples: u64,
    /// Value of all.
    pub total: u64,
    /// Those with the most of their own first.
    pub rows: Vec<Row>,
}

/// Answers of a profile's tables by id and index.
pub struct Tables<'a> {
    profile: &'a Profile,
    /// Names of a location, innermost first.
    locations: HashMap<u64, Vec<&'a str>>,
}

impl<'a> Tables<'a> {
    /// The tables of a profile.
    pub fn new(profile: &'a Profile) -> Self {
        let text = |index: i64| text(profile, index);
        let functions: HashMap<u64, &str> =
            profile.function.iter().map(|function| (function.id, text(function.name))).collect();
        let name = |id: u64| functions.get(&id).copied().unwrap_or("?");
        let names = profile.location.iter().map(|location| {
            let lines = location.line.iter().map(|line| name(line.function_id));
            (location.id, lines.collect())
        });
        Tables { profile, locations: names.collect() }
    }

    /// Names of a sample's frames, the leaf first, inlined calls too.
    pub fn stack(&self, sample: &Sample) -> impl Iterator<Item = &'a str> {
        let frames = |id: &u64| self.locations.get(id).map_or(&[][..], Vec::as_slice);
        sample.location_id.iter().flat_map(frames).copied()
    }

    /// The text of a sample's label.
    pub fn label(&self, sample: &Sample, key: &str) -> Option<&'a str> {
        let named = |label: &&Label| text(self.profile, label.key) == key;
        sample.label.iter().find(named).map(|label| text(self.profile, label.str))
    }
}

/// A text of a profile's table.
pub fn text(profile: &Profile, index: i64) -> &str {
    usize::try_from(index).ok().and_then(|index| profile.string_table.get(index)).map_or("", String::as_str)
}

/// Samples of a stack, and its value: the first and the last column, as pprof shows them.
pub fn values(sample: &Sample) -> (u64, u64) {
    let column = |value: Option<&i64>| value.and_then(|value| u64::try_from(*value).ok()).unwrap_or(0);
    (column(sample.value.first()), column(sample.value.last()))
}

/// The functions of a profile.
pub fn of(profile: &Profile) -> Functions {
    let tables = Tables::new(profile);
    let mut usages: HashMap<&str, Usage> = HashMap::new();
    let mut functions = Functions::default();
    for sample in &profile.sample {
        let (samples, value) = values(sample);
        functions.samples = functions.samples.saturating_add(samples);
        functions.total = functions.total.saturating_add(value);
        let mut met = HashSet::new();
        for (depth, name) in tables.stack(sample).enumerate() {
            let usage = usages.entry(name).or_default();
            if depth == 0 {
                usage.samples = usage.samples.saturating_add(samples);
                usage.own = usage.own.saturating_add(value);
            }
            // A function that calls itself has its time once.
            if met.insert(name) {
                usage.cumulative = usage.cumulative.saturating_add(value);
            }
        }
    }
    functions.rows = usages.into_iter().map(|(name, usage)| Row { name: name.to_owned(), usage }).collect();
    let order = |row: &Row| (std::cmp::Reverse((row.usage.own, row.usage.cumulative)), row.name.clone());
    functions.rows.sort_by_cached_key(order);
    functions
}

#[cfg(test)]
#[path = "functions_tests.rs"]
mod tests;
