//! Waiting for a condition with a deadline; there is no other waiting in the tests.

use std::time::{Duration, Instant};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks until `condition` gives a value; panics with `what` after `limit`.
pub fn until<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "waited {limit:?} in vain for: {what}");
        std::thread::park_timeout(PAUSE);
    }
}

/// Looks until `condition` holds.
pub fn until_true(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    until(what, limit, || condition().then_some(()));
}

/// Lets `time` of a measured window go by: for windows whose length is the matter, not for hoping that something is ready.
pub fn window(time: Duration) {
    let end = Instant::now() + time;
    until_true("a clock that goes on", time + Duration::from_mins(1), || Instant::now() >= end);
}
