//! The metrics: what HTTP counts itself, and what the other rooms count, which is read when somebody asks for it.
//! Labels are closed enums; names end in the unit.

use profiler_ebpf::reasons::Reason;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Codes of the reasons why a stack ends, and of what is lost before the recorder.
const STACK_ENDS: Range<u32> = Reason::Complete as u32..Reason::RingFull as u32;
const SAMPLE_LOSSES: Range<u32> = Reason::RingFull as u32..Reason::RecorderFull as u32;
const WAIT_LOSSES: Range<u32> = Reason::WaitLost as u32..Reason::WaitNotFollowed as u32 + 1;

/// Labels of a request. Routes are those of the router, never what was typed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// The route.
    pub route: String,
    /// The status of the answer.
    pub status: u16,
}

/// Reads what another room counts; may block.
pub type Read<T> = Box<dyn Fn() -> T + Send + Sync>;

/// Counts by reason. Cheap to add to, from any thread.
#[derive(Debug)]
pub struct ReasonCounts([AtomicU64; Reason::ALL.len()]);

impl Default for ReasonCounts {
    fn default() -> Self {
        ReasonCounts([const { AtomicU64::new(0) }; Reason::ALL.len()])
    }
}

impl ReasonCounts {
    /// Adds to the count of a reason.
    pub fn add(&self, reason: Reason, count: u64) {
        let counts = Reason::ALL.iter().zip(&self.0);
        if let Some((_, counter)) = counts.into_iter().find(|(known, _)| **known == reason) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// The counts of all reasons with these codes, zeros too: a series that begins with its first loss hides it.
    fn read(&self, codes: Range<u32>) -> Vec<(Reason, u64)> {
        let counts = Reason::ALL.iter().zip(&self.0).map(|(reason, count)| (*reason, count.load(Ordering::Relaxed)));
        counts.filter(|(reason, _)| codes.contains(&(*reason as u32))).collect()
    }
}

/// All metrics of the agent.
pub struct Metrics {
    registry: Mutex<Registry>,
    /// Requests answered.
    pub requests: Family<RequestLabels, Counter>,
    /// Requests being answered.
    pub requests_in_flight: Gauge,
    /// Samples decoded, by how their user stack ended.
    pub samples: Arc<ReasonCounts>,
    /// Records and ticks lost anywhere between the timer and the recorder, by reason.
    pub losses: Arc<ReasonCounts>,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl Metrics {
    /// The metrics that have no room of their own; other rooms add theirs.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("pprofd");
        let requests = Family::default();
        registry.register("http_requests", "HTTP requests answered, by route and status", requests.clone());
        let requests_in_flight = Gauge::default();
        let help = "HTTP requests for profiles and lists that are being answered";
        registry.register("http_in_flight_requests", help, requests_in_flight.clone());
        let (samples, losses) = (Arc::<ReasonCounts>::default(), Arc::<ReasonCounts>::default());
        let metrics = Metrics {
            registry: Mutex::new(registry),
            requests,
            requests_in_flight,
            samples: samples.clone(),
            losses: losses.clone(),
        };
        metrics.by_reason(
            "samples",
            "Samples by how their user stack ended",
            Box::new(move || samples.read(STACK_ENDS)),
        );
        metrics.by_reason(
            "losses",
            "Records and ticks that were lost, by reason",
            Box::new(move || [losses.read(SAMPLE_LOSSES), losses.read(WAIT_LOSSES)].concat()),
        );
        metrics
    }

    /// Adds what another room counts. It is read once each time that somebody asks for the metrics.
    pub fn readings(&self, read: Read<Vec<Reading>>) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register_collector(Box::new(Readings(read)));
    }

    /// Adds counters by reason, such as losses or files without a table.
    pub fn by_reason(&self, name: &'static str, help: &'static str, read: Read<Vec<(Reason, u64)>>) {
        let named = move || read().into_iter().map(|(reason, count)| (reason.name(), count)).collect();
        self.readings(Box::new(move || vec![Reading::labeled(name, help, "reason", named())]));
    }

    /// All metrics in the text format of OpenMetrics. Blocking.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

/// A metric that was read.
#[derive(Clone, Debug)]
pub struct Reading {
    name: &'static str,
    help: &'static str,
    value: Value,
}

#[derive(Clone, Debug)]
enum Value {
    Counter(u64),
    Gauge(u64),
    Labeled(&'static str, Vec<(&'static str, u64)>),
}

impl Reading {
    /// A counter; its name is without `_total`.
    pub fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Reading { name, help, value: Value::Counter(value) }
    }

    /// A number that goes up and down.
    pub fn gauge(name: &'static str, help: &'static str, value: u64) -> Self {
        Reading { name, help, value: Value::Gauge(value) }
    }

    /// Counters by a label whose values are few and fixed.
    pub fn labeled(
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: Vec<(&'static str, u64)>,
    ) -> Self {
        Reading { name, help, value: Value::Labeled(label, values) }
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kind = if matches!(self.value, Value::Gauge(_)) { MetricType::Gauge } else { MetricType::Counter };
        let mut metric = encoder.encode_descriptor(self.name, self.help, None, kind)?;
        match &self.value {
            Value::Counter(value) => ConstCounter::new(*value).encode(metric),
            Value::Gauge(value) => ConstGauge::new(*value).encode(metric),
            Value::Labeled(label, values) => values.iter().try_for_each(|(text, value)| {
                ConstCounter::new(*value).encode(metric.encode_family(&[(*label, *text)])?)
            }),
        }
    }
}

struct Readings(Read<Vec<Reading>>);

impl fmt::Debug for Readings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("readings of a room")
    }
}

impl Collector for Readings {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        (self.0)().iter().try_for_each(|reading| reading.encode(&mut encoder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_rooms_count_is_read_when_asked_for() {
        let metrics = Metrics::new();
        metrics.readings(Box::new(|| {
            vec![
                Reading::counter("worker_requests", "Questions to workers", 3),
                Reading::gauge("recorder_bytes", "Bytes that the recorder holds", 17),
                Reading::labeled("worker_deaths", "Workers that died", "reason", vec![("died", 2), ("deadline", 0)]),
            ]
        }));
        metrics.losses.add(Reason::RingFull, 5);
        metrics.samples.add(Reason::Complete, 7);
        metrics.samples.add(Reason::Complete, 1);
        let labels = RequestLabels { route: "/healthz".to_owned(), status: 200 };
        metrics.requests.get_or_create(&labels).inc();
        let text = metrics.text().expect("writing to a string");
        for line in [
            "pprofd_worker_requests_total 3",
            "pprofd_recorder_bytes 17",
            "pprofd_worker_deaths_total{reason=\"died\"} 2",
            "pprofd_losses_total{reason=\"ring full\"} 5",
            "pprofd_samples_total{reason=\"complete\"} 8",
            "pprofd_http_requests_total{route=\"/healthz\",status=\"200\"} 1",
        ] {
            assert!(text.lines().any(|got| got == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
