//! A table as lines of a screen. Pure.

use super::usage::Process;
use crate::command::functions::Functions;
use crate::command::printable::{fit, padded};

/// Lines before the rows.
pub(super) const HEAD: usize = 3;

/// What is shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Table {
    /// What it is about.
    pub(super) subject: String,
    /// Who was asked.
    pub(super) place: String,
    /// Length of the window.
    pub(super) seconds: f64,
    pub(super) rows: Rows,
    /// Why it is not newer.
    pub(super) note: Option<String>,
}

/// Its rows.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Rows {
    /// With their users.
    Processes(Vec<(String, Process)>),
    Functions(Functions),
}

/// The table in so many columns and lines: two lines about it, the heading, and rows as far as there is room.
pub(super) fn lines(table: &Table, columns: usize, most: usize) -> Vec<String> {
    let mut lines = vec![about(table), second(table)];
    match &table.rows {
        Rows::Processes(processes) => {
            let heading =
                format!("{:>7} {:8} {:>7} {:>8} {:>9} {:15} ", "PID", "USER", "CPU", "SAMPLES", "COMPLETE", "NAME");
            lines.push(format!("{heading}FUNCTION"));
            lines.extend(processes.iter().map(|(user, process)| process_row(user, process, table.seconds)));
        }
        Rows::Functions(functions) => {
            lines.push(format!("{:>8} {:>8} {:>8} {:>8}  FUNCTION", "CPU", "SELF", "TOTAL", "SAMPLES"));
            lines.extend(functions.rows.iter().map(|row| {
                let part = |value: u64| percent(value, functions.total);
                format!(
                    "{:>8} {:>8} {:>8} {:>8}  {}",
                    share(row.usage.own, table.seconds),
                    part(row.usage.own),
                    part(row.usage.cumulative),
                    row.usage.samples,
                    row.name
                )
            }));
        }
    }
    lines.iter().take(most).map(|line| fit(line, columns)).collect()
}

fn about(table: &Table) -> String {
    let (ns, samples, what) = match &table.rows {
        Rows::Processes(processes) => {
            let sum = |part: fn(&Process) -> u64| processes.iter().map(|(_, process)| part(process)).sum::<u64>();
            let complete = percent(sum(|process| process.complete), sum(|process| process.samples));
            let what = format!("{} processes, {complete} of their stacks complete", processes.len());
            (sum(|process| process.ns), sum(|process| process.samples), what)
        }
        Rows::Functions(functions) => {
            (functions.total, functions.samples, format!("{} functions", functions.rows.len()))
        }
    };
    format!(
        "{}: {} of a CPU in the last {:.1} s; {samples} samples, {what}",
        table.subject,
        share(ns, table.seconds),
        table.seconds
    )
}

fn second(table: &Table) -> String {
    table.note.clone().unwrap_or_else(|| format!("by {}", table.place))
}

fn process_row(user: &str, process: &Process, seconds: f64) -> String {
    format!(
        "{:>7} {} {:>7} {:>8} {:>9} {} {}",
        process.pid,
        padded(user, 8),
        share(process.ns, seconds),
        process.samples,
        percent(process.complete, process.samples),
        padded(&process.comm, 15),
        process.function
    )
}

/// CPU time as a share of one CPU's.
fn share(ns: u64, seconds: f64) -> String {
    if seconds > 0.0 { format!("{:.1}%", ns as f64 / 1e7 / seconds) } else { "-".to_owned() }
}

fn percent(part: u64, whole: u64) -> String {
    if whole > 0 { format!("{:.1}%", part as f64 * 100.0 / whole as f64) } else { "-".to_owned() }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
