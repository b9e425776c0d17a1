//! What the rooms count, as metrics: one function a room, called once by the agent.

use super::audit::Audit;
use super::metrics::{Metrics, Reading};
use crate::late::Late;
use crate::record::Recorder;
use crate::symbolize::Symbolizer;
use crate::watch::Watch;
use crate::watch::waits::WaitWatches;
use crate::worker::Worker;

/// What could not be audited.
pub fn audit(metrics: &Metrics, audit: &Audit) {
    let lost = audit.lost_lines();
    let help = "Lines of the audit that found its reader too slow";
    metrics.readings(Box::new(move || vec![Reading::counter("audit_lost_lines", help, lost())]));
}

/// What is asked for.
pub fn watch(metrics: &Metrics, watch: &Watch) {
    let watch = watch.clone();
    metrics.readings(Box::new(move || {
        let counts = watch.counts();
        vec![
            Reading::gauge("watch_requests", "Requests for samples that are open", counts.requests),
            Reading::gauge("watched_processes", "Processes with a rate of their own", counts.processes),
            Reading::counter("watch_refusals", "Rates that the kernel side refused", counts.refused),
        ]
    }));
}

/// What is recorded, and what was not kept.
pub fn recorder(metrics: &Metrics, recorder: &Recorder) {
    let recorder = recorder.clone();
    metrics.readings(Box::new(move || {
        let stats = recorder.stats();
        let gone = vec![
            ("evicted", stats.evicted.saturating_sub(stats.crowded)),
            ("crowded", stats.crowded),
            ("too late", stats.too_late),
            ("queue full", stats.dropped),
        ];
        vec![
            Reading::gauge("recorder_bytes", "Bytes in use by the log and the CPU clocks", stats.bytes),
            Reading::gauge("recorder_budget_bytes", "Bytes that they may use", stats.budget),
            Reading::gauge("recorder_process_table_bytes", "Bytes in use by the process table", stats.process_bytes),
            Reading::gauge("recorder_log_seconds", "Seconds held in the log", stats.blocks),
            Reading::gauge("recorder_held_samples", "Samples held in the log", stats.samples),
            Reading::gauge("recorder_held_stacks", "Stacks held in the log", stats.stacks),
            Reading::gauge("recorder_known_processes", "Processes known", stats.processes),
            Reading::labeled(
                "recorder_gone_samples",
                "Samples that are not held any more, or never were",
                "reason",
                gone,
            ),
            Reading::counter("recorder_dropped_events", "Facts that found the queue full", stats.dropped_events),
            Reading::counter(
                "recorder_refused_processes",
                "Processes that found the table full",
                stats.refused_processes,
            ),
            Reading::counter(
                "recorder_forgotten_paths",
                "Paths of programs of living processes that the table of processes had no room for",
                stats.forgotten_paths,
            ),
            Reading::gauge("recorder_live_threads", "Living threads whose creators are known", stats.live.threads),
            Reading::gauge("recorder_live_bytes", "Bytes that these take", stats.live.bytes),
            Reading::counter(
                "recorder_live_evicted",
                "Threads whose creators made room for others",
                stats.live.evicted,
            ),
            Reading::gauge("recorder_open_waits", "Waits that go on and whose stacks are known", stats.waits.open),
            Reading::gauge("recorder_open_wait_bytes", "Bytes that these take", stats.waits.bytes),
            Reading::gauge("recorder_total_bytes", "Bytes of what is summed of waits", stats.waits.total_bytes),
            Reading::labeled(
                "recorder_waits_lost",
                "Waits that are in no profile, or in one without their stack",
                "reason",
                vec![
                    ("no room while it goes on", stats.waits.refused),
                    ("one end was not seen", stats.waits.unmatched),
                    ("no room for its stack in the sums", stats.waits.folded),
                ],
            ),
        ]
    }));
}

/// Whose waits are watched.
pub fn waits(metrics: &Metrics, watches: &WaitWatches) {
    let watches = watches.clone();
    metrics.readings(Box::new(move || {
        let counts = watches.counts();
        vec![
            Reading::gauge("watched_waits", "Processes whose waits are watched, the host being one", counts.watched),
            Reading::counter(
                "refused_wait_watches",
                "Times that the kernel side refused to watch waits",
                counts.refused,
            ),
        ]
    }));
}

/// Stacks that wait for tables.
pub fn late(metrics: &Metrics, late: &Late) {
    let late = late.clone();
    metrics.readings(Box::new(move || {
        let counts = late.counts();
        let ends = vec![("walked", counts.walked), ("given up", counts.given_up), ("refused", counts.refused)];
        vec![
            Reading::labeled(
                "late_stacks",
                "Stacks that were copied to be walked later, by what came of them",
                "end",
                ends,
            ),
            Reading::gauge("late_stacks_held", "Stacks that wait for an unwind table", counts.held),
        ]
    }));
}

/// The cache of names.
pub fn symbolizer(metrics: &Metrics, symbolizer: &Symbolizer) {
    let symbolizer = symbolizer.clone();
    metrics.readings(Box::new(move || {
        let stats = symbolizer.stats();
        let evicted = "Addresses whose names were dropped because the budget was full";
        vec![
            Reading::gauge("name_cache_addresses", "Addresses whose names are kept", stats.entries as u64),
            Reading::gauge("name_cache_bytes", "Bytes of names that are kept", stats.bytes as u64),
            Reading::counter("name_cache_evicted_addresses", evicted, stats.evicted),
        ]
    }));
}

/// The symbol workers.
pub fn worker(metrics: &Metrics, worker: &Worker) {
    let worker = worker.clone();
    metrics.readings(Box::new(move || {
        let counts = worker.counts();
        let deaths = vec![
            ("not started", counts.unstarted),
            ("died", counts.died),
            ("deadline", counts.timed_out),
            ("bad reply", counts.hostile),
        ];
        let refusals = vec![("denied file", counts.denied), ("too many", counts.busy)];
        vec![
            Reading::counter("worker_requests", "Questions to symbol workers", counts.requests),
            Reading::counter("worker_processes", "Symbol workers started", counts.spawned),
            Reading::labeled(
                "worker_deaths",
                "Symbol workers that ended over a question, or before one",
                "reason",
                deaths,
            ),
            Reading::labeled("worker_refusals", "Questions that were not asked", "reason", refusals),
        ]
    }));
}
