//! CPU time of processes by the scheduler's own account, once a second, so that a window can say what was expected.

use super::window::Span;
use crate::event::{MonoTime, ProcessId};
use std::collections::{HashMap, VecDeque};

/// Points kept of one process: an hour.
const POINTS: usize = 3_600;
/// Processes of which points are kept.
const PROCESSES: usize = 8_192;

/// CPU clocks.
#[derive(Default)]
pub(super) struct Clocks {
    points: HashMap<ProcessId, VecDeque<(MonoTime, u64)>>,
}

impl Clocks {
    pub(super) fn add(&mut self, process: ProcessId, time: MonoTime, cpu_ns: u64) {
        if self.points.len() >= PROCESSES && !self.points.contains_key(&process) {
            return;
        }
        let points = self.points.entry(process).or_default();
        if points.back().is_some_and(|last| last.0 >= time) {
            return;
        }
        if points.len() >= POINTS {
            points.pop_front();
        }
        points.push_back((time, cpu_ns));
    }

    pub(super) fn retain(&mut self, keep: impl Fn(ProcessId) -> bool) {
        self.points.retain(|process, _| keep(*process));
    }

    /// CPU time of a process within a span, where points on both sides are known (or the last one ends its life).
    pub(super) fn within(&self, process: ProcessId, span: Span) -> Option<u64> {
        let points = self.points.get(&process)?;
        Some(at(points, span.to)?.saturating_sub(at(points, span.from)?))
    }
}

/// The clock's value at a time, between two points by a straight line; behind the last point its value.
fn at(points: &VecDeque<(MonoTime, u64)>, time: MonoTime) -> Option<u64> {
    let next = points.partition_point(|point| point.0 <= time);
    let before = points.get(next.checked_sub(1)?)?;
    let Some(after) = points.get(next) else { return Some(before.1) };
    let (length, part) = (after.0.0 - before.0.0, time.0 - before.0.0);
    let grown = u128::from(after.1.saturating_sub(before.1)) * u128::from(part) / u128::from(length.max(1));
    Some(before.1 + u64::try_from(grown).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Pid;

    #[test]
    fn a_window_between_points_is_interpolated() {
        let (mut clocks, process) = (Clocks::default(), ProcessId { pid: Pid(1), start: 1 });
        clocks.add(process, MonoTime(1_000), 0);
        clocks.add(process, MonoTime(2_000), 500);
        clocks.add(process, MonoTime(3_000), 1_500);
        let within = |from, to| clocks.within(process, Span { from: MonoTime(from), to: MonoTime(to) });
        assert_eq!(within(1_500, 2_500), Some(750));
        assert_eq!(within(1_000, 9_000), Some(1_500));
        assert_eq!(within(500, 2_000), None);
    }
}
