//! Reads a topic whole.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{Consumer as _, StreamConsumer},
    message::Headers,
};
use service_kit::kafka::Cluster;

/// A record as it lies in a topic.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: HashMap<String, Vec<u8>>,
}

impl Read {
    pub(crate) fn header(&self, name: &str) -> Result<&str> {
        let value = self
            .headers
            .get(name)
            .with_context(|| format!("no {name}"))?;
        Ok(std::str::from_utf8(value)?)
    }

    pub(crate) fn sequence(&self) -> Result<i64> {
        Ok(self.header("ce_sequence")?.parse()?)
    }
}

/// Every record of a topic (without prefix) up to its present end, per partition in order.
pub(crate) async fn read_topic(cluster: &Cluster, topic: &str) -> Result<Vec<Read>> {
    let topic = cluster.topic(topic);
    let consumer: StreamConsumer = cluster
        .probe()
        .set("group.id", format!("{topic}.reader"))
        .set("enable.auto.commit", "false")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(&topic), Duration::from_secs(10))?;
    let mut ends = HashMap::new();
    let mut list = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        let (low, high) =
            consumer.fetch_watermarks(&topic, partition.id(), Duration::from_secs(10))?;
        if high > low {
            ends.insert(partition.id(), high);
            list.add_partition_offset(&topic, partition.id(), Offset::Beginning)?;
        }
    }
    let mut read = Vec::new();
    if ends.is_empty() {
        return Ok(read);
    }
    consumer.assign(&list)?;
    while !ends.is_empty() {
        let message = tokio::time::timeout(Duration::from_secs(20), consumer.recv())
            .await
            .context("reading a topic to its end")??;
        let headers = message.headers().map_or_else(HashMap::new, |headers| {
            headers
                .iter()
                .map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec()))
                .collect()
        });
        if ends.get(&message.partition()) == Some(&(message.offset() + 1)) {
            ends.remove(&message.partition());
        }
        read.push(Read {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().unwrap_or_default().to_vec(),
            value: message.payload().unwrap_or_default().to_vec(),
            headers,
        });
    }
    Ok(read)
}

/// First occurrences per key; fails unless their sequence is 1, 2, 3.. in the order of the topic.
pub(crate) fn first_occurrences(read: &[Read]) -> Result<BTreeMap<Vec<u8>, i64>> {
    let mut last: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for record in read {
        if !seen.insert(record.header("ce_id")?.to_owned()) {
            continue;
        }
        let last = last.entry(record.key.clone()).or_default();
        ensure!(
            record.sequence()? == *last + 1,
            "key {:?}: {} after {last}",
            String::from_utf8_lossy(&record.key),
            record.sequence()?
        );
        *last += 1;
    }
    Ok(last)
}
