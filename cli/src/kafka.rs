//! Looking at a cluster without taking part in it: no group, no commits.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};

use crate::{args::Servers, error::Error};

/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A topic and what is in it.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    /// As the broker knows it, with prefix.
    pub(crate) name: String,
    /// First and next offset of each partition.
    pub(crate) partitions: BTreeMap<i32, (i64, i64)>,
}

impl Topic {
    /// Messages that are kept.
    pub(crate) fn messages(&self) -> i64 {
        self.partitions.values().map(|(low, high)| high - low).sum()
    }
}

/// Settings of a client that only looks.
pub(crate) fn config(servers: &Servers) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &servers.brokers)
        .set("client.id", "eventpulse-cli")
        // required by the client library, never used: nothing is subscribed or committed
        .set(
            "group.id",
            format!("{}eventpulse-cli", servers.topic_prefix),
        )
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "earliest")
        .set("allow.auto.create.topics", "false")
        .set("fetch.wait.max.ms", "100")
        // broker errors come back as results; on standard error they would tear tables
        .set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg);
    config
}

/// Wraps a failure of the client library.
pub(crate) fn failed(servers: &Servers, doing: &str, source: KafkaError) -> Error {
    Error::Kafka {
        brokers: servers.brokers.clone(),
        doing: doing.to_owned(),
        source: Box::new(source),
    }
}

/// Every topic of our prefix (all, where there is none) but Kafka's own, by name.
pub(crate) async fn topics(servers: &Servers) -> Result<Vec<Topic>, Error> {
    let servers = servers.clone();
    let asked = tokio::task::spawn_blocking(move || read(&servers)).await;
    asked.expect("reading metadata does not panic")
}

fn read(servers: &Servers) -> Result<Vec<Topic>, Error> {
    let consumer: BaseConsumer = config(servers)
        .create()
        .map_err(|source| failed(servers, "creating a client", source))?;
    let metadata = consumer
        .fetch_metadata(None, PATIENCE)
        .map_err(|source| failed(servers, "reading metadata", source))?;
    let mut topics = Vec::new();
    for topic in metadata.topics() {
        let ours = topic.name().starts_with(&servers.topic_prefix);
        if !ours || topic.name().starts_with("__") || topic.error().is_some() {
            continue;
        }
        let mut partitions = BTreeMap::new();
        for partition in topic.partitions() {
            let offsets = consumer
                .fetch_watermarks(topic.name(), partition.id(), PATIENCE)
                .map_err(|source| failed(servers, "reading watermarks", source))?;
            partitions.insert(partition.id(), offsets);
        }
        topics.push(Topic {
            name: topic.name().to_owned(),
            partitions,
        });
    }
    topics.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(topics)
}
