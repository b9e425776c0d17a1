//! What the kernel side and the tables count, as metrics.

use crate::kernel::{Attached, Counters};
use crate::tables::Tables;
use crate::telemetry::metrics::{Metrics, Reading};
use std::sync::Arc;

/// Counter of samples put into the ring (`COUNT_SAMPLES`).
const SAMPLES: usize = 108;

/// What the BPF programs did and what they cost.
pub(super) fn kernel(metrics: &Metrics, counters: &Arc<Counters>, attached: Attached) {
    let counters = Arc::clone(counters);
    metrics.readings(Box::new(move || {
        let values = counters.read();
        let count = |index: usize| values.get(index).copied().unwrap_or(0);
        let cost = attached.costs().iter().map(|c| c.run_time_ns).sum();
        let help = "Time that our BPF programs ran (0 unless kernel.bpf_stats_enabled is 1)";
        vec![
            Reading::counter("kernel_samples", "Samples put into the ring", count(SAMPLES)),
            Reading::counter("bpf_run_time_nanoseconds", help, cost),
        ]
    }));
}

/// Unwind tables.
pub(super) fn tables(metrics: &Metrics, tables: &Tables) {
    let tables = tables.clone();
    metrics.readings(Box::new(move || {
        let counts = tables.counts();
        vec![
            Reading::gauge("table_bytes", "Bytes of kernel memory for unwind rows", counts.bytes),
            Reading::gauge("table_files", "Files with an unwind table", counts.tables),
            Reading::gauge("table_frame_pointer_files", "Files without unwind information", counts.frame_pointer_files),
            Reading::gauge("table_rows", "Unwind rows", counts.rows),
            Reading::gauge("table_rules", "Unwind rules that differ", counts.rules),
            Reading::counter("table_refused_rules", "Unwind rules that found no slot", counts.refused_rules),
        ]
    }));
}
