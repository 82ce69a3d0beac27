//! Numbers for Prometheus. Names are `eventpulse_<what>_<unit>`; each carries the label `service`.
//!
//! Counters get `_total` and units get their suffix when they are written: register a counter of
//! refused records as `eventpulse_records_refused`.
//!
//! ```
//! use prometheus_client::metrics::counter::Counter;
//!
//! let metrics = service_kit::Metrics::new("example");
//! let refused = Counter::<u64>::default();
//! metrics.with(|registry| {
//!     registry.register("eventpulse_records_refused", "Records refused", refused.clone());
//! });
//! refused.inc();
//! assert!(metrics.text().contains("eventpulse_records_refused_total{service=\"example\"} 1"));
//! ```

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge, info::Info},
    registry::Registry,
};

use crate::process::Process;

/// `Content-Type` of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Where metrics are registered and read. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Mutex<Registry>>);

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Part {
    part: &'static str,
}

impl Metrics {
    /// Metrics of `service`, with those of the build and of the process registered.
    #[must_use]
    pub fn new(service: &'static str) -> Self {
        let labels = [("service".into(), service.into())];
        let mut registry = Registry::with_labels(labels.into_iter());
        registry.register(
            "eventpulse_build",
            "What is running",
            Info::new(vec![
                ("version", crate::VERSION),
                ("revision", crate::revision()),
            ]),
        );
        registry.register_collector(Box::new(Process));
        Self(Arc::new(Mutex::new(registry)))
    }

    /// Registers or removes metrics.
    pub fn with<T>(&self, change: impl FnOnce(&mut Registry) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Every metric in the OpenMetrics text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        let registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        prometheus_client::encoding::text::encode(&mut text, &registry)
            .expect("writing to a String does not fail");
        text
    }
}

/// Restarts and state of the service's parts.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartMetrics {
    up: Family<Part, Gauge>,
    restarts: Family<Part, prometheus_client::metrics::counter::Counter>,
}

impl PartMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let new = Self::default();
        metrics.with(|registry| {
            registry.register(
                "eventpulse_part_up",
                "1 while a part of the service (relay, consumer, worker) runs",
                new.up.clone(),
            );
            registry.register(
                "eventpulse_part_restarts",
                "Times that a part of the service was begun again after a failure",
                new.restarts.clone(),
            );
        });
        new
    }

    pub(crate) fn up(&self, part: &'static str, up: bool) {
        self.up.get_or_create(&Part { part }).set(i64::from(up));
    }

    pub(crate) fn restarted(&self, part: &'static str) {
        self.restarts.get_or_create(&Part { part }).inc();
    }
}
