//! How this process speaks to Kafka: names and client settings.
//!
//! Every setting that deviates from librdkafka's default stands here with its reason.

use rdkafka::{ClientConfig, ClientContext, consumer::ConsumerContext, error::KafkaError};
use tokio::sync::oneshot;

use crate::Error;

/// A cluster and this service's names in it.
#[derive(Clone, Debug)]
pub struct Cluster {
    brokers: String,
    prefix: String,
    service: &'static str,
    settings: Vec<(String, String)>,
}

/// One record may have this many bytes, headers included: a little below the brokers' default of
/// `message.max.bytes`.
pub const RECORD_LIMIT: usize = 1_000_000;

/// Asks a client what it answers only by blocking, for as long as the broker is away. On a thread of its
/// own: a runtime that ends waits for those that it lent.
///
/// # Errors
/// `asking` panicked, or there can be no further thread.
pub(crate) async fn ask<T: Send + 'static>(
    task: &'static str,
    asking: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let (tell, told) = oneshot::channel();
    let spawned = std::thread::Builder::new().spawn(move || drop(tell.send(asking())));
    if let Err(error) = spawned {
        return Err(Error::kafka(task)(KafkaError::ClientCreation(
            error.to_string(),
        )));
    }
    told.await.map_err(|_| Error::Panic { task: task.into() })
}

impl Cluster {
    /// `brokers`: `host:port` pairs with commas; `prefix`: put before every topic and group.
    pub fn new(
        brokers: impl Into<String>,
        prefix: impl Into<String>,
        service: &'static str,
    ) -> Self {
        Self {
            brokers: brokers.into(),
            prefix: prefix.into(),
            service,
            settings: Vec::new(),
        }
    }

    /// Sets a property of librdkafka on every client, over what the kit chooses.
    #[must_use]
    pub fn with(mut self, property: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((property.into(), value.into()));
        self
    }

    /// The service that these clients belong to.
    #[must_use]
    pub fn service(&self) -> &'static str {
        self.service
    }

    /// Name of a topic as the broker knows it.
    #[must_use]
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Name of a topic without prefix; `None`: it is not one of this cluster's prefix.
    #[must_use]
    pub fn unprefixed<'a>(&self, topic: &'a str) -> Option<&'a str> {
        topic.strip_prefix(self.prefix.as_str())
    }

    /// The consumer group of this service.
    #[must_use]
    pub fn group(&self) -> String {
        format!("{}{}", self.prefix, self.service)
    }

    /// Topic of the records that this service could not handle, without prefix.
    #[must_use]
    pub fn dead_letter_topic(&self, topic: &str) -> String {
        format!("{topic}.dlq.{}", self.service)
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set(
                "client.id",
                format!("{}-{}", self.service, std::process::id()),
            )
            .set("socket.keepalive.enable", "true")
            // after an outage the broker is back for us within a second, not within ten
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("allow.auto.create.topics", "false");
        config
    }

    fn finished(&self, mut config: ClientConfig) -> ClientConfig {
        for (property, value) in &self.settings {
            config.set(property, value);
        }
        config
    }

    /// For creating topics and reading metadata.
    #[must_use]
    pub fn admin(&self) -> ClientConfig {
        self.finished(self.client())
    }

    /// For reading watermarks, outside of any group.
    #[must_use]
    pub fn probe(&self) -> ClientConfig {
        self.finished(self.client())
    }

    /// For the relay: idempotent, at once, Java's partitioner.
    #[must_use]
    pub fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            // implies acks=all and ordered retries
            .set("enable.idempotence", "true")
            // the default, consistent_random, is CRC32: another partition than Java's clients choose
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "0")
            .set("batch.size", RECORD_LIMIT.to_string())
            .set("message.max.bytes", RECORD_LIMIT.to_string())
            .set("compression.type", "lz4")
            .set("delivery.timeout.ms", "60000")
            .set("request.timeout.ms", "10000")
            .set("queue.buffering.max.messages", "10000")
            .set("queue.buffering.max.kbytes", "32768")
            .set("topic.metadata.refresh.interval.ms", "30000");
        self.finished(config)
    }

    /// For the consumer: at least once, offsets stored after the commit of their effect.
    #[must_use]
    pub fn consumer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("group.id", self.group())
            .set("enable.auto.commit", "true")
            .set("auto.commit.interval.ms", "1000")
            .set("enable.auto.offset.store", "false")
            // the default, largest, loses records whenever an offset is unknown
            .set("auto.offset.reset", "earliest")
            .set("partition.assignment.strategy", "range")
            .set("isolation.level", "read_committed")
            .set("check.crcs", "true")
            // a killed instance holds its partitions for this long
            .set("session.timeout.ms", "10000")
            .set("heartbeat.interval.ms", "2000")
            .set("max.poll.interval.ms", "300000")
            // an empty fetch is answered after this; a record at once. Bounds the delay of a resume.
            .set("fetch.wait.max.ms", "50")
            .set("fetch.error.backoff.ms", "100")
            // per partition; the defaults hold 100,000 records and 64 MiB
            .set("queued.min.messages", "1000")
            .set("queued.max.messages.kbytes", "16384")
            // the default waits a second whenever the queue was full
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.message.max.bytes", "1048576")
            // how soon a topic that did not exist yet is found
            .set("topic.metadata.refresh.interval.ms", "5000");
        self.finished(config)
    }
}

/// Sends librdkafka's own words to the log, without its statistics.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl ConsumerContext for Quiet {}

impl ClientContext for Quiet {
    fn stats_raw(&self, _statistics: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "kafka client");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_the_prefix_and_lose_it() {
        let cluster = Cluster::new("b:1", "t1.", "svc");
        assert_eq!(cluster.topic("a"), "t1.a");
        assert_eq!(cluster.unprefixed("t1.a"), Some("a"));
        assert_eq!(cluster.unprefixed("a"), None);
        assert_eq!(cluster.group(), "t1.svc");
        assert_eq!(cluster.dead_letter_topic("a"), "a.dlq.svc");
    }

    /// librdkafka's own defaults lose records (`largest`) and disagree with Java (CRC32).
    #[test]
    fn the_dangerous_defaults_are_overridden() {
        let cluster = Cluster::new("b:1", "", "svc");
        let consumer = cluster.consumer();
        assert_eq!(consumer.get("auto.offset.reset"), Some("earliest"));
        assert_eq!(consumer.get("enable.auto.offset.store"), Some("false"));
        let producer = cluster.producer();
        assert_eq!(producer.get("partitioner"), Some("murmur2_random"));
        assert_eq!(producer.get("enable.idempotence"), Some("true"));
        for config in [producer, consumer, cluster.admin(), cluster.probe()] {
            config
                .create_native_config()
                .expect("librdkafka knows every setting");
        }
    }
}
