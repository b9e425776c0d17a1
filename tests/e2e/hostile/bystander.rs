//! A program that does nobody harm, and what it must have whatever runs beside it.

use std::path::Path;
use std::time::Duration;
use tests::harness::{Agent, Profile, Target, judge, programs};

const HZ: u32 = 499;
/// Beyond the window: the tables that are waited for, the answer itself on a busy host.
const MORE: Duration = Duration::from_secs(6);

/// A copy of `burner.c`, so that nobody knows its file yet.
pub(super) fn start(folder: &Path, name: &str) -> Target {
    let copy = folder.join(name);
    programs::copy_to(&programs::c("burner.c", &[]), &copy);
    Target::start(&copy, &[])
}

/// A profile that is in time and has every name, every stack and all CPU time; gives how long it took beyond its window.
pub(super) fn assert_unharmed(agent: &Agent, bystander: &Target, seconds: u64) -> Duration {
    let path = format!("/pid/{}/debug/pprof/profile?seconds={seconds}&hz={HZ}", bystander.pid());
    let mut took = Duration::ZERO;
    let profile = judge::accounted(bystander.pid(), 0.1, || {
        let answer = agent.get(&path).ok();
        took = answer.took.saturating_sub(Duration::from_secs(seconds));
        Profile::parse(&answer.body)
    });
    assert!(took <= MORE, "{took:?} beyond the window\n{}", agent.log());
    let whole = profile.complete_share(|sample| sample.has_chain(&["burn_leaf", "burn_inner", "burn_outer", "main"]));
    assert!(whole >= 0.95, "{:.1} % are whole\n{}", whole * 100.0, profile.summary());
    took
}
