//! What the kernel side and the tables count, as metrics.

use crate::kernel::{Attached, Counters};
use crate::tables::Tables;
use crate::telemetry::metrics::{Metrics, Reading};
use profiler_ebpf::abi::counters::Counter;
use profiler_ebpf::reasons::Reason;
use std::sync::Arc;

/// What the BPF programs did and what they cost.
pub(super) fn kernel(metrics: &Metrics, counters: &Arc<Counters>, attached: &Arc<Attached>) {
    let (counters, attached) = (Arc::clone(counters), Arc::clone(attached));
    metrics.readings(Box::new(move || {
        let values = counters.read();
        let count = |counter: Counter| values.get(counter.index()).copied().unwrap_or(0);
        let mut readings: Vec<Reading> = Counter::ALL
            .iter()
            .map(|counter| Reading::counter(counter.name(), counter.help(), count(*counter)))
            .collect();
        let cost = attached.costs().iter().map(|c| c.run_time_ns).sum();
        let refused = values.get(Reason::FileTableFull as usize).copied().unwrap_or(0);
        let help = "Meetings of files that found the kernel's table of files full";
        readings.push(Reading::counter("kernel_files_refused", help, refused));
        let help = "Time that our BPF programs ran (0 unless kernel.bpf_stats_enabled is 1)";
        readings.push(Reading::counter("bpf_run_time_nanoseconds", help, cost));
        readings
    }));
}

/// Files that the kernel knows, and those that it had to forget.
pub(super) fn files(metrics: &Metrics, tables: &Tables) {
    let tables = tables.clone();
    metrics.readings(Box::new(move || {
        let files = tables.files();
        let evictions = tables.evictions().into_iter().map(|(why, count)| (why.name(), count)).collect();
        let help =
            "Files that the kernel was made to forget, by reason; one that is met again is announced and built anew";
        vec![
            Reading::labeled("table_evictions", help, "reason", evictions),
            Reading::gauge("files_held", "Files in the kernel's table", files.held),
            Reading::gauge("files_waiting", "Files that wait to be opened, or for their unwind table", files.waiting),
            Reading::gauge("file_records", "Files that are remembered", files.known),
            Reading::gauge("file_record_bytes", "Bytes that these records take", files.bytes),
            Reading::counter("file_records_forgotten", "Records that were dropped for room", files.forgotten),
        ]
    }));
}

/// Unwind tables and debug files.
pub(super) fn tables(metrics: &Metrics, tables: &Tables) {
    let refusing = tables.clone();
    let help = "Files that got no unwind table, by reason";
    metrics.by_reason("table_refusals", help, Box::new(move || refusing.refusals()));
    let tables = tables.clone();
    metrics.readings(Box::new(move || {
        let counts = tables.counts();
        let debug_files = tables.debug_files().into_iter().map(|(outcome, count)| (outcome.name(), count)).collect();
        let debug_help = "Searches for debug files, by what came of them";
        let parts = tables.debug_parts().into_iter().map(|(outcome, count)| (outcome.name(), count)).collect();
        let parts_help = "Split units and other parts of debug information in files of their own, by what came of them";
        vec![
            Reading::labeled("debug_files", debug_help, "outcome", debug_files),
            Reading::labeled("debug_parts", parts_help, "outcome", parts),
            Reading::gauge("table_bytes", "Bytes of kernel memory for unwind rows", counts.bytes),
            Reading::gauge("table_files", "Files with an unwind table", counts.tables),
            Reading::gauge("table_frame_pointer_files", "Files without unwind information", counts.frame_pointer_files),
            Reading::gauge("table_rows", "Unwind rows", counts.rows),
            Reading::gauge("table_rules", "Unwind rules that differ", counts.rules),
            Reading::counter("table_refused_rules", "Unwind rules that found no slot", counts.refused_rules),
            Reading::counter("table_waits", "Times that memory of evicted tables was waited for", counts.waits),
            Reading::counter("table_moves", "Tables that were moved to lie together", counts.moves),
        ]
    }));
}
