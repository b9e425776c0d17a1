//! What the rooms count, as metrics: one function a room, called once by the agent.

use super::metrics::Metrics;
use crate::symbolize::Symbolizer;
use crate::watch::Watch;
use crate::worker::Worker;

/// What is asked for.
pub fn watch(metrics: &Metrics, watch: &Watch) {
    let read = |field: fn(crate::watch::WatchCounts) -> u64| {
        let watch = watch.clone();
        Box::new(move || field(watch.counts()))
    };
    metrics.gauge("watch_requests", "Requests for samples that are open", read(|counts| counts.requests));
    metrics.gauge("watched_processes", "Processes with a rate of their own", read(|counts| counts.processes));
    metrics.counter("watch_refusals", "Rates that the kernel side refused", read(|counts| counts.refused));
}

/// The cache of names.
pub fn symbolizer(metrics: &Metrics, symbolizer: &Symbolizer) {
    let read = |field: fn(crate::symbolize::CacheStats) -> u64| {
        let symbolizer = symbolizer.clone();
        Box::new(move || field(symbolizer.stats()))
    };
    metrics.gauge("name_cache_addresses", "Addresses whose names are kept", read(|stats| stats.entries as u64));
    metrics.gauge("name_cache_bytes", "Bytes of names that are kept", read(|stats| stats.bytes as u64));
    let help = "Addresses whose names were dropped because the budget was full";
    metrics.counter("name_cache_evicted_addresses", help, read(|stats| stats.evicted));
}

/// The symbol workers.
pub fn worker(metrics: &Metrics, worker: &Worker) {
    let read = |field: fn(crate::worker::WorkerCounts) -> u64| {
        let worker = worker.clone();
        Box::new(move || field(worker.counts()))
    };
    metrics.counter("worker_requests", "Questions to symbol workers", read(|counts| counts.requests));
    metrics.counter("worker_processes", "Symbol workers started", read(|counts| counts.spawned));
    let deaths = worker.clone();
    let deaths = move || {
        let counts = deaths.counts();
        vec![("died", counts.died), ("deadline", counts.timed_out), ("bad reply", counts.hostile)]
    };
    metrics.by_label("worker_deaths", "Symbol workers that ended over a question", "reason", Box::new(deaths));
    let refusals = worker.clone();
    let refusals = move || {
        let counts = refusals.counts();
        vec![("denied file", counts.denied), ("too many", counts.busy)]
    };
    metrics.by_label("worker_refusals", "Questions that were not asked", "reason", Box::new(refusals));
}
