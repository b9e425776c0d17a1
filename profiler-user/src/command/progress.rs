//! Shows on a terminal how far a window is; elsewhere nothing.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;

/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(100);

/// Awaits something that takes about so long, with a bar on standard error meanwhile. Without a length it is open how long.
pub(super) async fn during<T>(what: &str, length: Option<Duration>, work: impl Future<Output = T>) -> T {
    let bar = bar(what, length);
    let began = Instant::now();
    let mut work = std::pin::pin!(work);
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let done = loop {
        tokio::select! {
            biased;
            done = &mut work => break done,
            _ = ticks.tick() => bar.set_position(millis(began.elapsed())),
        }
    };
    bar.finish_and_clear();
    done
}

fn bar(what: &str, length: Option<Duration>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = match length {
        Some(_) => "{msg} [{bar:30}] {elapsed} of {prefix}",
        None => "{msg} {spinner} {elapsed}",
    };
    let bar = ProgressBar::with_draw_target(length.map(millis), ProgressDrawTarget::stderr());
    let bar = bar.with_message(super::printable::clean(what));
    let bar = bar.with_prefix(format!("{} s", length.unwrap_or_default().as_secs()));
    // The templates are ours and well formed.
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
