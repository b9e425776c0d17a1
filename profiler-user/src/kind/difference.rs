//! The difference of two profiles of one kind, as Go answers `seconds` of a named profile: what is more, or less, in the second.
//! Pure.

use super::profile::{Label, Line, Location, Profile, ProfileSample};
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// What `after` has more than `before`, of the time between them. Stacks of which there are as many are left out.
pub fn difference(before: &Profile, mut after: Profile) -> Profile {
    let mappings = Merged::of(&mut after.mappings, &before.mappings, Clone::clone);
    let functions = Merged::of(&mut after.functions, &before.functions, Clone::clone);
    let line = |line: &Line| Line { function: functions.at(line.function), ..*line };
    let locations = Merged::of(&mut after.locations, &before.locations, |location| Location {
        mapping: mappings.at(location.mapping),
        address: location.address,
        lines: location.lines.iter().map(line).collect(),
    });
    let mut sums: BTreeMap<(Vec<usize>, Vec<Label>), Vec<i64>> = BTreeMap::new();
    let mut add = |locations: Vec<usize>, labels: &[Label], values: &[i64], sign: i64| {
        let sum = sums.entry((locations, labels.to_vec())).or_insert_with(|| vec![0; values.len()]);
        for (sum, value) in sum.iter_mut().zip(values) {
            *sum = sum.saturating_add(value.saturating_mul(sign));
        }
    };
    for sample in &after.samples {
        add(sample.locations.clone(), &sample.labels, &sample.values, 1);
    }
    for sample in &before.samples {
        let there = sample.locations.iter().map(|location| locations.at(*location)).collect();
        add(there, &sample.labels, &sample.values, -1);
    }
    sums.retain(|_, values| values.iter().any(|value| *value != 0));
    let sample = |((locations, labels), values)| ProfileSample { locations, values, labels };
    after.samples = sums.into_iter().map(sample).collect();
    after.duration_nanos = after.time_nanos.saturating_sub(before.time_nanos);
    let seconds = after.duration_nanos as f64 / 1e9;
    after.comments.insert(0, format!("pprofd: the difference to {seconds:.3} s before: counts may be negative."));
    after
}

/// Where the entries of one table lie in another one.
struct Merged(Vec<usize>);

impl Merged {
    /// Adds to a table what it lacks of another one, each entry as it is to lie there.
    fn of<T: Clone + Eq + Hash>(to: &mut Vec<T>, from: &[T], translated: impl Fn(&T) -> T) -> Merged {
        let mut known: HashMap<T, usize> = to.iter().cloned().zip(0..).collect();
        let place = |entry: &T| {
            let entry = translated(entry);
            *known.entry(entry).or_insert_with_key(|entry| {
                to.push(entry.clone());
                to.len() - 1
            })
        };
        Merged(from.iter().map(place).collect())
    }

    /// The place of an entry. Profiles keep their indexes in range.
    fn at(&self, index: usize) -> usize {
        self.0.get(index).copied().unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::profile::{Function, Mapping};
    use crate::kind::threads::{PERIOD_TYPE, SAMPLE_TYPES};

    /// A profile of stacks of one frame each: function and count.
    fn profile(time_nanos: i64, stacks: &[(&str, i64)]) -> Profile {
        let mapping = Mapping { start: 0, limit: 100, offset: 0, file: "program".into(), build_id: String::new() };
        let function = |(name, _): &(&str, i64)| Function {
            name: (*name).to_owned(),
            system_name: String::new(),
            file: String::new(),
            start_line: 0,
        };
        let location = |(at, (name, _)): (usize, &(&str, i64))| Location {
            mapping: 0,
            address: u64::from(name.as_bytes()[0]),
            lines: vec![Line { function: at, line: 1, column: 0 }],
        };
        let sample = |(at, (_, count)): (usize, &(&str, i64))| ProfileSample {
            locations: vec![at],
            values: vec![*count],
            labels: vec![],
        };
        Profile {
            sample_types: SAMPLE_TYPES.to_vec(),
            period_type: PERIOD_TYPE,
            period: 1,
            time_nanos,
            duration_nanos: 0,
            mappings: vec![mapping],
            functions: stacks.iter().map(function).collect(),
            locations: stacks.iter().enumerate().map(location).collect(),
            samples: stacks.iter().enumerate().map(sample).collect(),
            comments: vec![],
        }
    }

    #[test]
    fn more_less_and_equal_ones() {
        let before = profile(1_000, &[("a", 5), ("b", 2), ("c", 1)]);
        let after = profile(3_000, &[("c", 4), ("a", 5)]);
        let found = difference(&before, after);
        let name = |sample: &ProfileSample| {
            let location = &found.locations[sample.locations[0]];
            found.functions[location.lines[0].function].name.clone()
        };
        let mut rows: Vec<(String, i64)> = found.samples.iter().map(|s| (name(s), s.values[0])).collect();
        rows.sort();
        assert_eq!(rows, [("b".to_owned(), -2), ("c".to_owned(), 3)]);
        assert_eq!((found.time_nanos, found.duration_nanos, found.mappings.len()), (3_000, 2_000, 1));
    }

    #[test]
    fn of_itself_nothing_is_left() {
        let one = profile(1, &[("a", 5), ("b", 2)]);
        assert!(difference(&one, one.clone()).samples.is_empty());
    }
}
