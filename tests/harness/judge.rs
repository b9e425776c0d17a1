//! Comparing a profile with the truth: tolerances, and the kernel's own account of CPU time.

use super::Profile;
use std::fs;
use std::time::Instant;

/// How far a share of `n` samples may be from the truth: one point, or four standard errors if that is more.
pub fn tolerance(truth: f64, n: i64) -> f64 {
    let error = (truth * (1.0 - truth) / (n.max(1) as f64)).sqrt();
    (4.0 * error).max(0.01)
}

/// Panics unless each measured share is within [`tolerance`] of the truth. Both are CPU seconds per path.
pub fn assert_shares(paths: &[&str], measured: &[f64], truth: &[f64], n: i64) {
    let sum = |values: &[f64]| values.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let (all_measured, all_truth) = (sum(measured), sum(truth));
    let rows = paths.iter().zip(measured).zip(truth).map(|((path, measured), truth)| {
        let (measured, truth) = (measured / all_measured, truth / all_truth);
        let right = (measured - truth).abs() <= tolerance(truth, n);
        (right, format!("{path:24} {:6.2} % measured, {:6.2} % true", measured * 100.0, truth * 100.0))
    });
    let rows: Vec<(bool, String)> = rows.collect();
    let table = rows.iter().map(|(right, row)| format!("{} {row}", if *right { ' ' } else { '!' }));
    let table = table.collect::<Vec<_>>().join("\n");
    assert!(rows.iter().all(|(right, _)| *right), "shares differ from the program's own clock ({n} samples):\n{table}");
}

/// Panics unless `measured` is within `share` of `truth`, or within `floor`.
pub fn assert_near(what: &str, measured: f64, truth: f64, share: f64, floor: f64) {
    let allowed = (truth * share).max(floor);
    assert!((measured - truth).abs() <= allowed, "{what}: {measured:.3} measured, {truth:.3} true (+- {allowed:.3})");
}

/// CPU seconds of a process so far, by the scheduler's account, all its threads (`/proc/PID/task/*/schedstat`) together.
pub fn cpu_seconds(pid: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads.map(|thread| schedstat(&thread.path().join("schedstat").display().to_string())).sum()
}

fn schedstat(path: &str) -> f64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or_default() / 1e9
}

/// Makes a profile and panics unless its CPU seconds and those of the samples that it says are lost are, within a share, what
/// its target used meanwhile by the scheduler's account. The request takes longer than the window that the profile covers: so much may lie outside of it.
pub fn accounted(pid: u32, share: f64, make: impl FnOnce() -> Profile) -> Profile {
    let (start, before) = (Instant::now(), cpu_seconds(pid));
    let profile = make();
    let used = cpu_seconds(pid) - before;
    let outside = start.elapsed().as_secs_f64() - profile.seconds() + 0.05;
    let (measured, allowed) = (profile.cpu_seconds() + profile.lost_seconds(), (used * share).max(0.05) + outside);
    assert!(
        measured <= used * (1.0 + share) + 0.05 && measured >= used - allowed,
        "{measured:.3} CPU seconds measured, {used:.3} used (- {allowed:.3})\n{}",
        profile.summary()
    );
    profile
}

/// The state letter of a process, from `/proc/PID/stat`.
pub fn state(pid: u32) -> Option<char> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(") ")?.1.chars().next()
}
