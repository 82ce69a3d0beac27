//! What the relay tells Prometheus.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// Labels of published events.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Published {
    pub topic: String,
    pub event_type: String,
}

/// Clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub depth: Gauge,
    pub oldest_age: Gauge<f64, AtomicU64>,
    pub parked: Gauge,
    pub shards: Gauge,
    pub published: Family<Published, Counter>,
    pub failures: Counter,
    pub send: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            depth: Gauge::default(),
            oldest_age: Gauge::default(),
            parked: Gauge::default(),
            shards: Gauge::default(),
            published: Family::default(),
            failures: Counter::default(),
            // 0.5 ms to 16 s
            send: Histogram::new(exponential_buckets(0.0005, 2.0, 16)),
        }
    }
}

impl Metrics {
    /// Adds every metric to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "eventpulse_outbox_depth",
            "Events that wait in the outbox",
            self.depth.clone(),
        );
        registry.register_with_unit(
            "eventpulse_outbox_oldest_age",
            "Age of the oldest event in the outbox",
            Unit::Seconds,
            self.oldest_age.clone(),
        );
        registry.register(
            "eventpulse_outbox_parked",
            "Events that the broker refused for their own fault; each holds up its key",
            self.parked.clone(),
        );
        registry.register(
            "eventpulse_outbox_shards",
            "Shards of the outbox that this instance sends",
            self.shards.clone(),
        );
        registry.register(
            "eventpulse_outbox_published",
            "Events that the broker acknowledged",
            self.published.clone(),
        );
        registry.register(
            "eventpulse_outbox_send_failures",
            "Sendings that were not acknowledged; each is sent again or parked",
            self.failures.clone(),
        );
        registry.register_with_unit(
            "eventpulse_relay_send",
            "From handing an event to the client to the broker's acknowledgement",
            Unit::Seconds,
            self.send.clone(),
        );
    }
}
