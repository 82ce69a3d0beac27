//! The topics as any client reads them: records with their headers, from the beginning.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::Headers,
};

use crate::Stack;

const PATIENCE: Duration = Duration::from_secs(20);

/// A record of a topic.
#[derive(Clone, Debug)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub key: String,
    pub headers: BTreeMap<String, String>,
}

impl Record {
    /// The value of a header that every record has.
    pub fn header(&self, name: &str) -> Result<&str> {
        let value = self.headers.get(name).map(String::as_str);
        value.with_context(|| format!("no header {name} in {self:?}"))
    }
}

impl Stack {
    /// Every record of `topic` (without prefix) that is there now, by partition and offset.
    pub async fn records(&self, topic: &str) -> Result<Vec<Record>> {
        let (brokers, topic) = (
            self.topics.brokers.clone(),
            format!("{}{topic}", self.topics.prefix),
        );
        tokio::task::spawn_blocking(move || read(&brokers, &topic)).await?
    }

    /// At rest: what is on the topics was sent in the order of its key, nothing is missing, and each
    /// action has one end.
    pub async fn once_each(&self) -> Result<()> {
        let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for topic in ["alert", "incident", "action"] {
            let records = self.records(topic).await?;
            gapless(topic, &records)?;
            for record in &records {
                let (kind, id) = (record.header("ce_type")?, record.header("ce_id")?);
                ids.entry(kind.to_owned())
                    .or_default()
                    .insert(id.to_owned());
            }
        }
        let count = |kind: &str| ids.get(kind).map_or(0, BTreeSet::len);
        let ends = count("action.completed") + count("action.failed");
        ensure!(
            ends == count("action.requested"),
            "{ends} ends of {} actions",
            count("action.requested")
        );
        Ok(())
    }
}

/// First occurrences count up by one from 1, for each key and source.
fn gapless(topic: &str, records: &[Record]) -> Result<()> {
    let mut seen = BTreeSet::new();
    let mut last: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for record in records {
        if !seen.insert(record.header("ce_id")?) {
            continue;
        }
        let number: u64 = record.header("ce_sequence")?.parse()?;
        let before = last
            .entry((&record.key, record.header("ce_source")?))
            .or_default();
        ensure!(
            number == *before + 1,
            "{topic}: {number} follows {before}: {record:?}"
        );
        *before = number;
    }
    Ok(())
}

fn read(brokers: &str, topic: &str) -> Result<Vec<Record>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "eventpulse-tests-log")
        .set("enable.auto.commit", "false")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    let found = metadata.topics().first().context("metadata")?;
    let (mut assignment, mut left) = (TopicPartitionList::new(), 0);
    for partition in found.partitions() {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), PATIENCE)?;
        left += high - low;
        assignment.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    let mut records = Vec::new();
    while left > 0 {
        let message = consumer
            .poll(PATIENCE)
            .with_context(|| format!("{left} records of {topic} do not come"))??;
        left -= 1;
        let headers = message
            .headers()
            .map(|headers| headers.iter().map(text).collect());
        records.push(Record {
            partition: message.partition(),
            offset: message.offset(),
            key: String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned(),
            headers: headers.unwrap_or_default(),
        });
    }
    records.sort_by_key(|record| (record.partition, record.offset));
    Ok(records)
}

fn text(header: rdkafka::message::Header<'_, &[u8]>) -> (String, String) {
    let value = String::from_utf8_lossy(header.value.unwrap_or_default()).into_owned();
    (header.key.to_owned(), value)
}
