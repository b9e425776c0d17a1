//! Clocks: the kernel stamps records with CLOCK_MONOTONIC; callers want the time since the epoch.

use crate::event::MonoTime;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// CLOCK_MONOTONIC now.
pub fn mono_now() -> MonoTime {
    MonoTime(u64::try_from(nanoseconds(clock_gettime(ClockId::Monotonic))).unwrap_or(0))
}

/// ns since the epoch now.
pub fn wall_now() -> i64 {
    nanoseconds(clock_gettime(ClockId::Realtime))
}

/// ns after boot, the time that a host sleeps included, of a moment that is past: as processes' starts are told.
pub fn since_boot(time: MonoTime) -> u64 {
    let ago = mono_now().0.saturating_sub(time.0);
    u64::try_from(nanoseconds(clock_gettime(ClockId::Boottime))).unwrap_or(0).saturating_sub(ago)
}

/// Both clocks at one moment (the middle of a short interval).
pub fn now() -> (MonoTime, i64) {
    let before = mono_now();
    let wall = wall_now();
    let after = mono_now();
    (MonoTime(before.0 + after.0.saturating_sub(before.0) / 2), wall)
}

/// ns since the epoch of a moment, by the wall clock as it is set now.
pub fn wall_of(time: MonoTime) -> i64 {
    let (mono, wall) = now();
    wall_at(time, mono, wall)
}

/// ns since the epoch of `time`, when `mono` and `wall` are one moment.
pub fn wall_at(time: MonoTime, mono: MonoTime, wall: i64) -> i64 {
    let ahead = i128::from(time.0) - i128::from(mono.0) + i128::from(wall);
    i64::try_from(ahead).unwrap_or(if ahead < 0 { i64::MIN } else { i64::MAX })
}

fn nanoseconds(time: Timespec) -> i64 {
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_keeps_its_distance_to_now() {
        assert_eq!(wall_at(MonoTime(900), MonoTime(1_000), 5_000), 4_900);
        assert_eq!(wall_at(MonoTime(1_100), MonoTime(1_000), 5_000), 5_100);
        assert_eq!(wall_at(MonoTime(u64::MAX), MonoTime(0), 5_000), i64::MAX);
    }

    #[test]
    fn a_moment_since_boot_keeps_its_distance_to_now() {
        let boot = u64::try_from(nanoseconds(clock_gettime(ClockId::Boottime))).expect("after boot");
        let now = mono_now();
        assert!(since_boot(now).abs_diff(boot) < 1_000_000_000);
        assert!(since_boot(MonoTime(now.0 - 1_000_000)) < since_boot(now));
    }

    #[test]
    fn the_wall_clock_is_the_standard_library_s() {
        let std = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos();
        let ours = wall_of(mono_now());
        assert!(std.abs_diff(u128::try_from(ours).expect("after 1970")) < 1_000_000_000, "{ours} against {std}");
    }
}
