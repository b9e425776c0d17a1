//! Rows of waits: equal ones as one, and what they are more than before. Pure.

use crate::record::window::Row;
use std::collections::HashMap;

/// Values by row: events and ns.
#[derive(Clone, Debug, Default)]
pub(super) struct Before(HashMap<u64, (u64, u64)>, std::hash::RandomState);

fn key(state: &std::hash::RandomState, row: &Row) -> u64 {
    use std::hash::BuildHasher;
    state.hash_one((row.image, row.thread, row.comm, &row.stack, row.status as u32, row.source))
}

impl Before {
    /// Rows as they are now.
    pub(super) fn of(rows: &[Row]) -> Before {
        let state = std::hash::RandomState::new();
        let mut sums: HashMap<u64, (u64, u64)> = HashMap::new();
        for row in rows {
            let sum = sums.entry(key(&state, row)).or_default();
            *sum = (sum.0 + row.events, sum.1 + row.value);
        }
        Before(sums, state)
    }

    /// What rows are more than then.
    pub(super) fn taken_from(&self, mut rows: Vec<Row>) -> Vec<Row> {
        for row in &mut rows {
            let (events, value) = self.0.get(&key(&self.1, row)).copied().unwrap_or_default();
            row.events = row.events.saturating_sub(events);
            row.value = row.value.saturating_sub(value);
        }
        rows.retain(|row| row.events > 0 || row.value > 0);
        rows
    }
}

/// Sums rows that differ in nothing that is shown.
pub(super) fn merged(rows: Vec<Row>) -> Vec<Row> {
    let state = std::hash::RandomState::new();
    let mut places: HashMap<u64, usize> = HashMap::new();
    let mut merged: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        let place = *places.entry(key(&state, &row)).or_insert(merged.len());
        match merged.get_mut(place) {
            Some(known) => {
                known.count += row.count;
                known.events = known.events.saturating_add(row.events);
                known.value = known.value.saturating_add(row.value);
            }
            None => merged.push(row),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbolize::fakes::{row, usual_stack};

    fn of(events: u64, value: u64, depth: usize) -> Row {
        Row { value, events, ..row(&usual_stack()[..depth]) }
    }

    #[test]
    fn differences_of_rows() {
        let before = Before::of(&merged(vec![of(1, 10, 2), of(2, 20, 2), of(5, 50, 3)]));
        let after = merged(vec![of(3, 30, 2), of(6, 70, 3), of(1, 1, 4), of(4, 5, 2)]);
        let more: Vec<_> =
            before.taken_from(after).into_iter().map(|row| (row.stack.len(), row.events, row.value)).collect();
        assert_eq!(more, [(2, 4, 5), (3, 1, 20), (4, 1, 1)]);
    }
}
