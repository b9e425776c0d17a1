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
use std::sync::{Mutex, PoisonError};

/// Labels of a request. Routes are those of the router, never what was typed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// The route.
    pub route: String,
    /// The status of the answer.
    pub status: u16,
}

/// How a reader of a number is kept.
pub type Read<T> = Box<dyn Fn() -> T + Send + Sync>;

/// All metrics of the agent.
pub struct Metrics {
    registry: Mutex<Registry>,
    /// Requests answered.
    pub requests: Family<RequestLabels, Counter>,
    /// Requests being answered.
    pub requests_in_flight: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl Metrics {
    /// The metrics of HTTP; other rooms add theirs.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("pprofd");
        let requests = Family::default();
        registry.register("http_requests", "HTTP requests answered, by route and status", requests.clone());
        let requests_in_flight = Gauge::default();
        let help = "HTTP requests for profiles and lists that are being answered";
        registry.register("http_in_flight_requests", help, requests_in_flight.clone());
        Metrics { registry: Mutex::new(registry), requests, requests_in_flight }
    }

    /// Adds a counter that another room keeps; the name is without `_total`.
    pub fn counter(&self, name: &'static str, help: &'static str, read: Read<u64>) {
        self.collect(ReadOne { name, help, kind: MetricType::Counter, read });
    }

    /// Adds a number that goes up and down.
    pub fn gauge(&self, name: &'static str, help: &'static str, read: Read<u64>) {
        self.collect(ReadOne { name, help, kind: MetricType::Gauge, read });
    }

    /// Adds counters by reason (label `reason`), such as losses or samples by the way in which their stack ended.
    pub fn by_reason(&self, name: &'static str, help: &'static str, read: Read<Vec<(Reason, u64)>>) {
        let named = move || read().into_iter().map(|(reason, count)| (reason.name(), count)).collect();
        self.by_label(name, help, "reason", Box::new(named));
    }

    /// Adds counters by a label whose values are few and fixed.
    pub fn by_label(
        &self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        read: Read<Vec<(&'static str, u64)>>,
    ) {
        self.collect(ReadLabeled { name, help, label, read });
    }

    fn collect(&self, collector: impl Collector) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register_collector(Box::new(collector));
    }

    /// All metrics in the text format of OpenMetrics.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

struct ReadOne {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    read: Read<u64>,
}

impl fmt::Debug for ReadOne {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Collector for ReadOne {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let value = (self.read)();
        let metric = encoder.encode_descriptor(self.name, self.help, None, self.kind)?;
        match self.kind {
            MetricType::Counter => ConstCounter::new(value).encode(metric),
            _ => ConstGauge::new(value).encode(metric),
        }
    }
}

struct ReadLabeled {
    name: &'static str,
    help: &'static str,
    label: &'static str,
    read: Read<Vec<(&'static str, u64)>>,
}

impl fmt::Debug for ReadLabeled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Collector for ReadLabeled {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(self.name, self.help, None, MetricType::Counter)?;
        for (value, count) in (self.read)() {
            ConstCounter::new(count).encode(metric.encode_family(&[(self.label, value)])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_rooms_count_is_read_when_asked_for() {
        let metrics = Metrics::new();
        metrics.counter("worker_deaths", "Workers that died", Box::new(|| 3));
        metrics.gauge("recorder_bytes", "Bytes that the recorder holds", Box::new(|| 17));
        let losses = || vec![(Reason::RingFull, 5), (Reason::TimerLate, 1)];
        metrics.by_reason("losses", "Losses by reason", Box::new(losses));
        let labels = RequestLabels { route: "/healthz".to_owned(), status: 200 };
        metrics.requests.get_or_create(&labels).inc();
        let text = metrics.text().expect("writing to a string");
        for line in [
            "pprofd_worker_deaths_total 3",
            "pprofd_recorder_bytes 17",
            "pprofd_losses_total{reason=\"ring full\"} 5",
            "pprofd_losses_total{reason=\"timer late\"} 1",
            "pprofd_http_requests_total{route=\"/healthz\",status=\"200\"} 1",
        ] {
            assert!(text.lines().any(|got| got == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
