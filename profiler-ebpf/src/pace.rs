//! How many ticks of a periodic timer an interrupt stands for.

/// The grid of times at which the kernel's timer is due. The kernel keeps it when an interrupt comes late (`hrtimer_forward`
/// adds whole periods to the time that was due), so lateness is never carried from tick to tick.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grid {
    /// When the last tick was due, CLOCK_MONOTONIC ns, by the most punctual interrupts so far; 0 before the first.
    pub at: u64,
    /// Period of that tick, ns.
    pub period: u64,
}

impl Grid {
    /// Ticks that the interrupt at `now` stands for: at least 1, more if others were due since the last one. A new
    /// `period` (not 0) begins a new grid.
    #[inline(always)]
    pub fn tick(&mut self, now: u64, period: u64) -> u64 {
        if self.period != period || self.at == 0 || now < self.at {
            *self = Grid { at: now, period };
            return 1;
        }
        let ticks = (now - self.at) / period;
        if ticks == 0 {
            // More punctual than the one that the grid was laid by.
            self.at = now;
            return 1;
        }
        self.at += ticks * period;
        ticks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: u64 = 1_000_000;

    fn ticks(grid: &mut Grid, times: &[u64]) -> Vec<u64> {
        times.iter().map(|now| grid.tick(*now, PERIOD)).collect()
    }

    #[test]
    fn a_late_interrupt_is_one_tick_and_so_is_the_punctual_one_behind_it() {
        let mut grid = Grid::default();
        assert_eq!(ticks(&mut grid, &[1_000_000, 2_600_000, 3_000_000, 4_999_000, 5_000_000]), [1; 5]);
    }

    #[test]
    fn an_interrupt_that_slept_over_others_stands_for_them() {
        let mut grid = Grid::default();
        assert_eq!(ticks(&mut grid, &[1_000_100, 4_200_000, 5_000_000, 7_000_050, 8_000_000]), [1, 3, 1, 2, 1]);
    }

    #[test]
    fn a_new_period_begins_anew() {
        let mut grid = Grid::default();
        assert_eq!(grid.tick(5_000_000, PERIOD), 1);
        assert_eq!(grid.tick(9_000_000, 2 * PERIOD), 1);
        assert_eq!(grid.tick(13_000_000, 2 * PERIOD), 2);
    }

    #[test]
    fn over_any_delays_the_sum_of_ticks_is_the_time_that_went_by() {
        // Delays of a simple generator: mostly some µs, at times up to four periods.
        let (mut grid, mut seed, mut due, mut sum) = (Grid::default(), 7_u64, PERIOD, 0);
        let (mut first, mut last) = (0, 0);
        for i in 0..100_000_u64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let delay = if seed >> 58 == 0 { (seed >> 20) % (4 * PERIOD) } else { (seed >> 40) % 20_000 };
            let now = due + delay;
            let got = grid.tick(now, PERIOD);
            if i == 0 {
                first = now;
            } else {
                sum += got;
            }
            last = now;
            // As hrtimer_forward: the first time due behind now.
            due += (delay / PERIOD + 1) * PERIOD;
        }
        let truth = (last - first) / PERIOD;
        assert!(sum.abs_diff(truth) <= 2, "{sum} ticks counted, {truth} periods went by");
    }
}
