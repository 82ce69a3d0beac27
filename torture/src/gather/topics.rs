//! The topics of a run, from their beginning.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::{BorrowedMessage, Headers},
};
use serde_json::Value;
use uuid::Uuid;

use super::avro::{Readers, Registry, schema_id};
use crate::checker::evidence::{Fact, IncidentFact, Labels, Record, Requested};

const PATIENCE: Duration = Duration::from_secs(20);
/// Header of records that the run itself has spoiled.
pub const POISON: &str = "x-torture-poison";

/// Where to read.
#[derive(Clone, Debug)]
pub struct Reading {
    pub brokers: String,
    pub prefix: String,
    pub registry: String,
}

struct Bytes {
    record: Record,
    value: Vec<u8>,
}

/// Every record of every topic with the prefix, sorted.
pub async fn read_topics(reading: &Reading) -> Result<Vec<Record>> {
    let (brokers, prefix) = (reading.brokers.clone(), reading.prefix.clone());
    let mut all = tokio::task::spawn_blocking(move || read(&brokers, &prefix)).await??;
    let mut registry = Registry::new(&reading.registry);
    let ids: HashSet<u32> = all
        .iter()
        .filter(|bytes| !bytes.record.injected)
        .filter_map(|bytes| schema_id(&bytes.value))
        .collect();
    for id in ids {
        registry.learn(id).await?;
    }
    let mut records = tokio::task::spawn_blocking(move || -> Result<Vec<Record>> {
        let readers = registry.readers()?;
        let mut known = HashMap::new();
        for bytes in &mut all {
            understand(&readers, &mut known, bytes);
        }
        Ok(all.into_iter().map(|bytes| bytes.record).collect())
    })
    .await??;
    records
        .sort_by(|a, b| (&a.topic, a.partition, a.offset).cmp(&(&b.topic, b.partition, b.offset)));
    Ok(records)
}

fn read(brokers: &str, prefix: &str) -> Result<Vec<Bytes>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "eventpulse-torture-reader")
        .set("enable.auto.commit", "false")
        .create()?;
    let metadata = consumer.fetch_metadata(None, PATIENCE)?;
    let (mut assignment, mut left) = (TopicPartitionList::new(), 0);
    for topic in metadata.topics() {
        if !topic.name().starts_with(prefix) {
            continue;
        }
        for partition in topic.partitions() {
            let (low, high) = consumer.fetch_watermarks(topic.name(), partition.id(), PATIENCE)?;
            if high > low {
                left += high - low;
                assignment.add_partition_offset(topic.name(), partition.id(), Offset::Beginning)?;
            }
        }
    }
    consumer.assign(&assignment)?;
    let mut strings = HashSet::new();
    let mut records = Vec::new();
    while left > 0 {
        let message = consumer
            .poll(PATIENCE)
            .with_context(|| format!("{left} records do not come"))??;
        left -= 1;
        records.push(copy(&message, prefix, &mut strings));
    }
    Ok(records)
}

fn copy(message: &BorrowedMessage<'_>, prefix: &str, strings: &mut HashSet<Arc<str>>) -> Bytes {
    let headers: HashMap<&str, &str> = message
        .headers()
        .map(|headers| {
            headers
                .iter()
                .filter_map(|h| Some((h.key, std::str::from_utf8(h.value?).ok()?)))
                .collect()
        })
        .unwrap_or_default();
    let mut shared = |text: &str| match strings.get(text) {
        Some(known) => Arc::clone(known),
        None => {
            let new: Arc<str> = text.into();
            strings.insert(Arc::clone(&new));
            new
        }
    };
    let header = |name: &str| headers.get(name).copied();
    let topic = message.topic().trim_start_matches(prefix);
    let died = topic.contains(".dlq.").then(|| {
        let number = |name: &str| header(name).and_then(|text| text.parse::<i64>().ok());
        (
            header("ep.dlq.topic").unwrap_or_default().to_owned(),
            number("ep.dlq.partition")
                .and_then(|n| i32::try_from(n).ok())
                .unwrap_or(-1),
            number("ep.dlq.offset").unwrap_or(-1),
        )
    });
    let key = String::from_utf8_lossy(message.key().unwrap_or_default());
    Bytes {
        record: Record {
            topic: shared(topic),
            partition: message.partition(),
            offset: message.offset(),
            key: shared(&key),
            id: header("ce_id").and_then(|id| Uuid::parse_str(id).ok()),
            kind: shared(header("ce_type").unwrap_or_default()),
            source: shared(header("ce_source").unwrap_or_default()),
            sequence: header("ce_sequence").and_then(|n| n.parse().ok()),
            injected: headers.contains_key(POISON),
            died,
            fact: Fact::Other,
        },
        value: message.payload().unwrap_or_default().to_vec(),
    }
}

fn understand(readers: &Readers<'_>, known: &mut HashMap<String, Arc<Labels>>, bytes: &mut Bytes) {
    let record = &bytes.record;
    if record.injected || record.died.is_some() {
        return;
    }
    let fact = readers
        .read(&bytes.value)
        .and_then(|value| fact(&record.kind, &value, known));
    bytes.record.fact = fact.unwrap_or_else(|why| Fact::Unreadable(format!("{why:#}")));
    bytes.value = Vec::new();
}

fn id(value: &Value, name: &str) -> Result<Uuid> {
    let text = value[name].as_str().with_context(|| format!("no {name}"))?;
    Ok(Uuid::parse_str(text)?)
}

fn number(value: &Value, name: &str) -> Result<i64> {
    value[name].as_i64().with_context(|| format!("no {name}"))
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

fn fact(kind: &str, value: &Value, known: &mut HashMap<String, Arc<Labels>>) -> Result<Fact> {
    Ok(match kind {
        "alert.raised" => {
            let alert = id(value, "alert_id")?;
            let labels = known.entry(text(value, "alert_id"));
            let labels = labels.or_insert_with(|| {
                serde_json::from_value(value["labels"].clone())
                    .map(Arc::new)
                    .unwrap_or_default()
            });
            Fact::Raised {
                alert,
                episode: id(value, "episode_id")?,
                occurrence: number(value, "occurrence")?,
                labels: Arc::clone(labels),
                starts_at: value["starts_at"].as_i64(),
            }
        }
        "alert.resolved" => Fact::Over {
            episode: id(value, "episode_id")?,
        },
        "incident.opened" | "incident.updated" | "incident.resolved" | "incident.failed" => {
            Fact::Incident(Box::new(incident(value)?))
        }
        "action.requested" => Fact::Requested(Box::new(Requested {
            action: id(value, "action_id")?,
            incident: id(value, "incident_id")?,
            target: text(value, "target"),
            at: number(value, "at")?,
            kind: text(value, "kind"),
            desired: number(value, "desired_replicas")?,
            direction: text(value, "direction"),
            rule: text(value, "rule"),
            deadline: number(value, "deadline_at")?,
            by_person: value["actor"].is_string(),
        })),
        "action.completed" | "action.failed" => Fact::Ended {
            action: id(value, "action_id")?,
            target: text(value, "target"),
            at: number(value, "at")?,
            completed: kind == "action.completed",
            running: value["running_replicas"].as_i64(),
            reason: text(value, "reason"),
        },
        _ => Fact::Other,
    })
}

fn incident(value: &Value) -> Result<IncidentFact> {
    let alerts = value["alerts"].as_array().context("no alerts")?;
    let alerts = alerts.iter().map(|alert| {
        Ok((
            id(alert, "episode_id")?,
            alert["holds"] == true,
            alert["status"] == "firing",
        ))
    });
    Ok(IncidentFact {
        incident: id(value, "incident_id")?,
        revision: number(value, "revision")?,
        at: number(value, "at")?,
        reason: text(value, "reason_code"),
        alerts: alerts.collect::<Result<_>>()?,
    })
}

/// Where a service says that it will go on: topic with prefix, partition, next offset.
pub(super) type Next = (String, i32, i64);

/// How many records `next` lags behind the ends of the topics.
pub fn lag(brokers: &str, next: &[(String, i32, i64)]) -> Result<i64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "eventpulse-torture-reader")
        .create()?;
    let mut lag = 0;
    for (topic, partition, next) in next {
        let (_, high) = consumer.fetch_watermarks(topic, *partition, PATIENCE)?;
        lag += (high - next).max(0);
    }
    Ok(lag)
}
