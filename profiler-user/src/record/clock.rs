//! The CPU clock of one process: readings of what the scheduler says it has used, and straight lines between them.

use super::window::Span;
use crate::event::MonoTime;
use std::collections::VecDeque;

/// Readings kept of one process; above it every second one of the older half goes.
const MOST: usize = 8_192;

#[derive(Clone, Copy, Debug)]
struct Reading {
    time: MonoTime,
    cpu_ns: u64,
}

/// Readings in the order of time.
#[derive(Debug, Default)]
pub(super) struct Clock {
    readings: VecDeque<Reading>,
    /// Its birth was seen: before the first reading it had used nothing.
    born: bool,
    /// Its end was seen: after the last reading it uses nothing more.
    ended: bool,
}

impl Clock {
    /// The process was seen to begin. Its first sample may have come before that, and led to a reading.
    pub(super) fn begin(&mut self, time: MonoTime) {
        if self.readings.front().is_none_or(|first| time < first.time) {
            self.born = true;
            self.readings.push_front(Reading { time, cpu_ns: 0 });
        }
    }

    /// A reading. One that is older than the last is of no use any more.
    pub(super) fn add(&mut self, time: MonoTime, cpu_ns: u64) {
        let reading = Reading { time, cpu_ns };
        match self.readings.back() {
            Some(last) if self.ended || time <= last.time || cpu_ns < last.cpu_ns => return,
            _ => {}
        }
        if self.is_idle_since_two(cpu_ns) {
            self.readings.pop_back();
        }
        self.readings.push_back(reading);
        if self.readings.len() > MOST {
            self.thin();
        }
    }

    /// The process has ended.
    pub(super) fn end(&mut self, time: MonoTime, cpu_ns: u64) {
        self.add(time, cpu_ns);
        self.ended = true;
    }

    /// The last two readings say the same as this: then the line needs no point between.
    fn is_idle_since_two(&self, cpu_ns: u64) -> bool {
        let mut last = self.readings.iter().rev().map(|reading| reading.cpu_ns);
        last.next() == Some(cpu_ns) && last.next() == Some(cpu_ns)
    }

    fn thin(&mut self) {
        let half = self.readings.len() / 2;
        let mut index = 0;
        self.readings.retain(|_| {
            index += 1;
            index > half || index % 2 == 1
        });
    }

    /// CPU time used up to then; `None` where no two readings enclose it.
    fn at(&self, time: MonoTime) -> Option<u64> {
        let (first, last) = (self.readings.front()?, self.readings.back()?);
        if time < first.time {
            return self.born.then_some(0);
        }
        if time >= last.time {
            return (time == last.time || self.ended).then_some(last.cpu_ns);
        }
        let next = self.readings.partition_point(|reading| reading.time <= time);
        Some(between(self.readings.get(next.checked_sub(1)?)?, self.readings.get(next)?, time))
    }

    /// CPU time used in a span, if it is known at both of its ends.
    pub(super) fn within(&self, span: Span) -> Option<u64> {
        self.at(span.to)?.checked_sub(self.at(span.from)?)
    }

    /// CPUs used in the `length` ns before `now`, or in the part of it that is known.
    pub(super) fn share(&self, now: MonoTime, length: u64) -> Option<f64> {
        let (first, last) = (self.readings.front()?, self.readings.back()?);
        let to = if self.ended { now } else { now.min(last.time) };
        let from = MonoTime(to.0.saturating_sub(length)).max(if self.born { MonoTime(0) } else { first.time });
        let used = self.within(Span { from, to })?;
        (to > from).then(|| used as f64 / (to.0 - from.0) as f64)
    }

    /// Forgets what no window from `floor` on needs: all readings before the last that is not after it.
    pub(super) fn forget_before(&mut self, floor: MonoTime) {
        while self.readings.get(1).is_some_and(|second| second.time <= floor) {
            self.readings.pop_front();
            self.born = false;
        }
        if self.readings.capacity() > 4 * self.readings.len().max(8) {
            self.readings.shrink_to_fit();
        }
    }

    /// Bytes taken outside of itself.
    pub(super) fn bytes(&self) -> u64 {
        (self.readings.capacity() * size_of::<Reading>()) as u64
    }
}

/// The straight line between two readings.
fn between(before: &Reading, after: &Reading, time: MonoTime) -> u64 {
    let length = u128::from(after.time.0.saturating_sub(before.time.0).max(1));
    let part = u128::from(time.0.saturating_sub(before.time.0));
    let grown = u128::from(after.cpu_ns.saturating_sub(before.cpu_ns)) * part / length;
    before.cpu_ns.saturating_add(u64::try_from(grown).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(readings: &[(u64, u64)]) -> Clock {
        let mut clock = Clock::default();
        for (time, cpu) in readings {
            clock.add(MonoTime(*time), *cpu);
        }
        clock
    }

    fn within(clock: &Clock, from: u64, to: u64) -> Option<u64> {
        clock.within(Span { from: MonoTime(from), to: MonoTime(to) })
    }

    #[test]
    fn the_ends_of_a_window_lie_on_the_line_between_readings() {
        let clock = clock(&[(1_000, 0), (2_000, 500), (3_000, 1_500)]);
        assert_eq!(within(&clock, 1_500, 2_500), Some(750));
        assert_eq!(within(&clock, 1_000, 3_000), Some(1_500));
    }

    #[test]
    fn what_no_readings_enclose_is_not_known() {
        let clock = clock(&[(1_000, 0), (3_000, 1_500)]);
        assert_eq!(within(&clock, 999, 2_000), None);
        assert_eq!(within(&clock, 1_000, 3_001), None);
        assert_eq!(within(&Clock::default(), 0, 1), None);
    }

    #[test]
    fn a_life_that_was_seen_to_begin_and_end_is_known_everywhere() {
        let mut clock = Clock::default();
        clock.begin(MonoTime(1_000));
        clock.end(MonoTime(2_000), 300);
        clock.add(MonoTime(3_000), 900);
        assert_eq!(within(&clock, 0, 10_000), Some(300));
        assert_eq!(within(&clock, 1_500, 10_000), Some(150));
        assert_eq!(within(&clock, 5_000, 10_000), Some(0));
    }

    #[test]
    fn a_reading_that_overtakes_the_news_of_the_birth_does_not_hide_it() {
        let mut clock = clock(&[(1_005, 4)]);
        clock.begin(MonoTime(1_000));
        clock.end(MonoTime(1_010), 8);
        assert_eq!(within(&clock, 0, 2_000), Some(8));
        clock.begin(MonoTime(1_001));
        assert_eq!(within(&clock, 0, 1_005), Some(4), "it begins once");
    }

    #[test]
    fn an_idle_process_costs_two_readings() {
        let mut clock = clock(&[(0, 0), (1, 7)]);
        (2..10_000).for_each(|time| clock.add(MonoTime(time), 7));
        clock.add(MonoTime(10_000), 8);
        assert_eq!(clock.readings.len(), 4);
        assert_eq!((within(&clock, 1, 9_999), within(&clock, 1, 10_000)), (Some(0), Some(1)));
    }

    #[test]
    fn readings_are_bounded_and_thinned_where_they_are_old() {
        let mut clock = Clock::default();
        (0..50_000).for_each(|time| clock.add(MonoTime(time * 1_000), time * 10));
        assert!(clock.readings.len() <= MOST);
        assert_eq!(within(&clock, 0, 49_999_000), Some(499_990));
        assert_eq!(within(&clock, 1_000, 49_998_500), Some(499_975));
    }

    #[test]
    fn forgetting_keeps_every_window_from_the_floor_on() {
        let mut clock = clock(&[(1_000, 0), (2_000, 500), (3_000, 1_500)]);
        clock.forget_before(MonoTime(2_500));
        assert_eq!(clock.readings.len(), 2);
        assert_eq!(within(&clock, 2_500, 3_000), Some(500));
        assert_eq!(within(&clock, 1_500, 3_000), None);
    }

    #[test]
    fn the_share_is_of_the_known_part() {
        let clock = clock(&[(1_000, 0), (3_000, 1_000)]);
        assert_eq!(clock.share(MonoTime(9_000), 60_000), Some(0.5));
        assert_eq!(clock.share(MonoTime(9_000), 1_000), Some(0.5));
        let mut dead = Clock::default();
        dead.begin(MonoTime(1_000));
        dead.end(MonoTime(2_000), 500);
        assert_eq!(dead.share(MonoTime(100_000), 100_000), Some(0.005));
    }
}
