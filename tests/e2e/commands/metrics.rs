//! The names of the metrics: who watches an agent has written them into queries and alerts.

use std::collections::BTreeSet;
use tests::harness::Agent;

/// Values of labels that depend on the host or on what was asked.
fn without_values(line: &str) -> Option<String> {
    if line.starts_with('#') {
        return Some(line.to_owned());
    }
    let (series, _) = line.rsplit_once(' ')?;
    let name = series.split_once('{').map_or(series, |(name, _)| name);
    // Routes and statuses are those that were asked for.
    Some(if name == "pprofd_http_requests_total" { format!("{name}{{route,status}}") } else { series.to_owned() })
}

#[test]
fn a_metric_that_is_renamed_is_seen() {
    let agent = Agent::start(&[]);
    agent.get("/healthz").ok();
    let text = agent.get("/metrics").ok().text();
    let mut seen = BTreeSet::new();
    let lines: Vec<String> = text.lines().filter_map(without_values).filter(|line| seen.insert(line.clone())).collect();
    insta::assert_snapshot!(lines.join("\n"));
}
