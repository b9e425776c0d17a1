//! Processes that live some milliseconds: as many samples as `perf record` keeps of them, with whole stacks and names.

use std::collections::BTreeSet;
use std::time::Duration;
use tests::harness::profile::Sample;
use tests::harness::tools::Perf;
use tests::harness::{Agent, Profile, Target, programs, wait};

const HZ: u32 = 997;
/// Length of a round; the children come in the seconds between its ends.
const SECONDS: u32 = 9;
const ROUNDS: usize = 3;

/// What a round came to.
struct Round {
    /// Our samples of the children by those that perf kept.
    kept: f64,
    /// Of ours with a user stack: those whose outermost frame is the program's first.
    rooted: f64,
    /// Of ours with a user stack: those whose leaf has a name.
    named: f64,
}

fn median(rounds: &[Round], of: impl Fn(&Round) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The program's own first function, or the dynamic loader's, whose name Debian strips.
fn is_rooted(sample: &Sample) -> bool {
    let root = sample.stack.first().map_or("", String::as_str);
    root == "_start" || sample.files.first().is_some_and(|file| file.contains("ld-linux"))
}

fn has_user_stack(sample: &Sample) -> bool {
    sample.files.iter().any(|file| file.starts_with('/'))
}

/// `file+0x...` is what a frame without a name is called; of the loader and the C library Debian keeps the exported names only.
fn is_named(sample: &Sample) -> bool {
    let own = |file: &&String| file.contains("churn");
    let leaf = sample.stack.iter().zip(&sample.files).rev().find(|(_, file)| own(file));
    leaf.is_none_or(|(name, _)| !name.contains("+0x"))
}

fn round(rate: u32) -> Round {
    let folder = tempfile::tempdir().unwrap();
    let churn = programs::c("churn.c", &[]);
    let agent = Agent::start(&[]);
    std::thread::scope(|scope| {
        let request = scope.spawn(|| agent.host(SECONDS, HZ));
        wait::until_true("the host's window to be open", Duration::from_secs(5), || {
            agent.metric("pprofd_http_in_flight_requests").is_some_and(|open| open >= 1.0)
        });
        let perf = Perf::start_host(HZ, SECONDS, folder.path());
        // Both are at work before the first child and after the last.
        wait::window(Duration::from_secs(2));
        let driver = Target::start_piped(&churn, &[&rate.to_string(), "5", "5"]);
        let parent = driver.pid().to_string();
        drop(driver.output());
        let profile: Profile = request.join().unwrap();
        let is_child = |comm: &str, pid: &str| comm.starts_with("churn") && pid != parent;
        let ours = profile.only(|sample| is_child(sample.label("comm"), sample.label("pid")));
        let mut theirs = perf.processes();
        theirs.retain(|(comm, pid)| is_child(comm, pid));
        assert!(theirs.len() > 200, "perf kept {} samples of children", theirs.len());
        let seen: BTreeSet<&str> = ours.samples.iter().map(|sample| sample.label("pid")).collect();
        let by_perf: BTreeSet<&str> = theirs.iter().map(|(_, pid)| pid.as_str()).collect();
        assert!(seen.len() * 10 >= by_perf.len() * 9, "{} children were seen, {} by perf", seen.len(), by_perf.len());
        let user = ours.only(has_user_stack);
        let share = |of: &dyn Fn(&Sample) -> bool| user.count_of(of) as f64 / user.count().max(1) as f64;
        Round { kept: ours.count() as f64 / theirs.len() as f64, rooted: share(&is_rooted), named: share(&is_named) }
    })
}

fn judge(rate: u32) {
    let rounds: Vec<Round> = (0..ROUNDS).map(|_| round(rate)).collect();
    let (kept, rooted, named) =
        (median(&rounds, |r| r.kept), median(&rounds, |r| r.rooted), median(&rounds, |r| r.named));
    assert!(
        kept >= 0.9 && rooted >= 0.9 && named >= 0.95,
        "{rate} a second: kept {kept:.3}, rooted {rooted:.3}, named {named:.3}"
    );
}

#[test]
fn a_hundred_a_second_are_sampled_as_perf_samples_them() {
    judge(100);
}

#[test]
fn two_hundred_a_second_are_sampled_as_perf_samples_them() {
    judge(200);
}
