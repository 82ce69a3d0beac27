//! What the consumer tells Prometheus.

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

/// A topic, without prefix.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct TopicLabel {
    pub topic: String,
}

/// A partition; the topic without prefix.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct PartitionLabels {
    pub topic: String,
    pub partition: i32,
}

/// A counter per topic.
pub type PerTopic = Family<TopicLabel, Counter>;

/// Clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub lag: Family<PartitionLabels, Gauge>,
    pub records: PerTopic,
    pub skipped: PerTopic,
    pub duplicates: PerTopic,
    pub dead_letters: PerTopic,
    pub stopped: Family<PartitionLabels, Gauge>,
    pub rebalances: Counter,
    pub batch: Histogram,
    pub transaction: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            lag: Family::default(),
            records: Family::default(),
            skipped: Family::default(),
            duplicates: Family::default(),
            dead_letters: Family::default(),
            stopped: Family::default(),
            rebalances: Counter::default(),
            batch: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            // 0.5 ms to 16 s
            transaction: Histogram::new(exponential_buckets(0.0005, 2.0, 16)),
        }
    }
}

impl Metrics {
    /// Adds every metric to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "eventpulse_consumer_lag",
            "Records of an own partition whose effect is not in the database",
            self.lag.clone(),
        );
        registry.register(
            "eventpulse_consumer_records",
            "Records taken in, skipped ones and repeats included",
            self.records.clone(),
        );
        registry.register(
            "eventpulse_consumer_skipped",
            "Records of types that this service does not want",
            self.skipped.clone(),
        );
        registry.register(
            "eventpulse_consumer_duplicates",
            "Records whose event the inbox knew",
            self.duplicates.clone(),
        );
        registry.register(
            "eventpulse_consumer_dead_letters",
            "Records that can never be handled",
            self.dead_letters.clone(),
        );
        registry.register(
            "eventpulse_consumer_stopped",
            "1 for a partition that is not consumed because too much of it is poison",
            self.stopped.clone(),
        );
        registry.register(
            "eventpulse_consumer_rebalances",
            "Times that partitions were assigned or revoked",
            self.rebalances.clone(),
        );
        registry.register(
            "eventpulse_consumer_batch_records",
            "Records of one transaction",
            self.batch.clone(),
        );
        registry.register_with_unit(
            "eventpulse_consumer_batch",
            "Duration of a transaction with its inputs' effects",
            Unit::Seconds,
            self.transaction.clone(),
        );
    }
}
