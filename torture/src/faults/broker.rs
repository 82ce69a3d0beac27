//! What happens to the log: offsets turned back, records published again, poison.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use anyhow::{Context, Result};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    message::{Header, Headers, OwnedHeaders, OwnedMessage},
    producer::{FutureProducer, FutureRecord},
};
use tokio::task::spawn_blocking;

use crate::{arena::Arena, dice::Dice, gather::POISON};

const PATIENCE: Duration = Duration::from_secs(5);
const PARTITIONS: usize = 6;
/// A partition's breaker trips at the sixth poison in a row.
const MOST_POISON: usize = 3;
/// Records that are published again at once.
const MOST_AGAIN: i64 = 1500;

/// Topics and who reads them.
const READERS: [(&str, &[&str]); 3] = [
    ("rules", &["alert", "action", "rule"]),
    ("action-runner", &["action"]),
    ("incident-store", &["incident", "action"]),
];

fn consumer(brokers: &str, group: &str) -> Result<BaseConsumer> {
    Ok(ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .create()?)
}

/// Both instances are stopped, the group's offsets are turned back, and they start again.
pub(super) async fn reset(arena: &Arena, dice: &mut Dice) -> Result<Option<String>> {
    let (service, topics) = dice.pick(&READERS);
    let slots = arena
        .fleet
        .slots
        .iter()
        .filter(|slot| slot.service == service);
    let mut members = Vec::new();
    for slot in slots {
        let Some(member) = slot.try_take() else {
            return Ok(None);
        };
        members.push(member);
    }
    for member in &mut members {
        member.stop().await.map(drop).unwrap_or_default();
    }
    let prefix = &arena.fleet.topics.prefix;
    let (brokers, group) = (arena.places.brokers(), format!("{prefix}{service}"));
    let names: Vec<String> = topics
        .iter()
        .map(|topic| format!("{prefix}{topic}"))
        .collect();
    let share = dice.pick(&[0, 0, 50, 90]);
    let turned = spawn_blocking(move || turn_back(&brokers, &group, &names, share)).await;
    for member in &mut members {
        member.restart(&[])?;
    }
    turned??;
    Ok(Some(format!(
        "offsets of {service} set to {share} % of the log"
    )))
}

fn turn_back(brokers: &str, group: &str, topics: &[String], share: i64) -> Result<()> {
    let consumer = consumer(brokers, group)?;
    let mut offsets = TopicPartitionList::new();
    for topic in topics {
        for partition in 0..i32::try_from(PARTITIONS).unwrap_or(1) {
            if let Ok((_, high)) = consumer.fetch_watermarks(topic, partition, PATIENCE) {
                let offset = Offset::Offset(high * share / 100);
                offsets.add_partition_offset(topic, partition, offset)?;
            }
        }
    }
    // One that was killed shortly before is a member for a while yet.
    let committed = (0..20).find_map(|_| {
        let outcome = consumer.commit(&offsets, CommitMode::Sync);
        if outcome.is_err() {
            std::thread::sleep(Duration::from_millis(500));
        }
        outcome.ok()
    });
    committed.context("the group has members")
}

fn read(brokers: &str, topic: &str, partition: i32, most: i64) -> Result<Vec<OwnedMessage>> {
    let consumer = consumer(brokers, "eventpulse-torture-again")?;
    let (low, high) = consumer.fetch_watermarks(topic, partition, PATIENCE)?;
    let mut assignment = TopicPartitionList::new();
    let begin = low.max(high - most);
    assignment.add_partition_offset(topic, partition, Offset::Offset(begin))?;
    consumer.assign(&assignment)?;
    let mut read = Vec::new();
    while i64::try_from(read.len()).unwrap_or(i64::MAX) < high - begin {
        match consumer.poll(PATIENCE) {
            Some(message) => read.push(message?.detach()),
            None => break,
        }
    }
    Ok(read)
}

fn producer(arena: &Arena) -> Result<FutureProducer> {
    Ok(ClientConfig::new()
        .set("bootstrap.servers", arena.places.brokers())
        .set("enable.idempotence", "true")
        .set("delivery.timeout.ms", "20000")
        .create()?)
}

/// The last records of a partition once more, and now and then the whole topic.
pub(super) async fn republish(arena: &Arena, dice: &mut Dice) -> Result<Option<String>> {
    let name = dice.pick(&["alert", "alert", "incident", "action"]);
    let partition = dice.below(PARTITIONS);
    let (most, partitions) = if dice.below(4) == 0 {
        (i64::MAX, 0..PARTITIONS)
    } else {
        (MOST_AGAIN, partition..partition + 1)
    };
    let producer = producer(arena)?;
    let mut count = 0;
    for partition in partitions.clone() {
        count += again(arena, &producer, (name, partition), most).await?;
    }
    spawn_blocking(move || rdkafka::producer::Producer::flush(&producer, PATIENCE * 4)).await??;
    Ok((count > 0)
        .then(|| format!("{count} records of {name}, partitions {partitions:?}, published again")))
}

async fn again(
    arena: &Arena,
    producer: &FutureProducer,
    (name, partition): (&str, usize),
    most: i64,
) -> Result<usize> {
    let topic = format!("{}{name}", arena.fleet.topics.prefix);
    let partition = i32::try_from(partition).unwrap_or(0);
    let (brokers, of) = (arena.places.brokers(), topic.clone());
    let read = spawn_blocking(move || read(&brokers, &of, partition, most)).await??;
    let mut count = 0;
    for message in &read {
        let headers = message.headers().map(clone_headers).unwrap_or_default();
        if headers.iter().any(|header| header.key == POISON) {
            continue;
        }
        let record = FutureRecord::to(&topic)
            .partition(partition)
            .key(message.key().unwrap_or_default())
            .payload(message.payload().unwrap_or_default())
            .headers(headers);
        let sent = producer.send_result(record).map_err(|(error, _)| error)?;
        count += 1;
        if count % 100 == 0 {
            sent.await?.map_err(|(error, _)| error)?;
        }
    }
    Ok(count)
}

fn clone_headers(headers: &OwnedHeaders) -> OwnedHeaders {
    headers.iter().fold(OwnedHeaders::new(), |all, header| {
        all.insert(Header {
            key: header.key,
            value: header.value,
        })
    })
}

/// One record that cannot be read.
pub(super) async fn poison(
    arena: &Arena,
    poisoned: &Mutex<BTreeMap<(String, i32), usize>>,
    dice: &mut Dice,
) -> Result<Option<String>> {
    let (name, kind) = dice.pick(&[
        ("alert", "alert.raised"),
        ("alert", "alert.resolved"),
        ("incident", "incident.opened"),
        ("action", "action.requested"),
        ("action", "action.completed"),
    ]);
    let partition = i32::try_from(dice.below(PARTITIONS)).unwrap_or(0);
    {
        let mut poisoned = poisoned.lock().expect("no writer panics");
        let count = poisoned.entry((name.to_owned(), partition)).or_default();
        if *count >= MOST_POISON {
            return Ok(None);
        }
        *count += 1;
    }
    let topic = format!("{}{name}", arena.fleet.topics.prefix);
    let (brokers, of) = (arena.places.brokers(), topic.clone());
    let last = spawn_blocking(move || read(&brokers, &of, partition, 1)).await??;
    let (what, headers, value) = spoiled(last.first(), kind, dice);
    let record = FutureRecord::to(&topic)
        .partition(partition)
        .key("poison")
        .payload(&value)
        .headers(headers);
    let sent = producer(arena)?.send(record, PATIENCE).await;
    sent.map_err(|(error, _)| error)?;
    Ok(Some(format!(
        "{what} record of type {kind} in {name} {partition}"
    )))
}

/// Headers as every record has them.
fn envelope(kind: &str, dataschema: &str) -> OwnedHeaders {
    let id = uuid::Uuid::new_v4().to_string();
    [
        ("ce_specversion", "1.0"),
        ("ce_id", &id),
        ("ce_type", kind),
        ("ce_source", "/torture/poison"),
        ("ce_time", "2026-01-01T00:00:00Z"),
        ("ce_subject", "poison"),
        ("ce_dataschema", dataschema),
        ("ce_correlationid", &id),
        ("ce_sequence", "1"),
        (POISON, "yes"),
    ]
    .into_iter()
    .fold(OwnedHeaders::new(), |all, (key, value)| {
        all.insert(Header {
            key,
            value: Some(value),
        })
    })
}

fn spoiled(
    last: Option<&OwnedMessage>,
    kind: &str,
    dice: &mut Dice,
) -> (&'static str, OwnedHeaders, Vec<u8>) {
    let nobodys = "eventpulse.torture.Unknown/0000000000000000";
    match (dice.below(4), last) {
        (0, Some(last)) if last.payload().is_some_and(|value| value.len() > 12) => {
            let header = |name: &str| {
                let found = last.headers()?.iter().find(|header| header.key == name)?;
                Some(String::from_utf8_lossy(found.value?).into_owned())
            };
            let kind = header("ce_type").unwrap_or_else(|| kind.to_owned());
            let value = last.payload().unwrap_or_default();
            let headers = envelope(&kind, &header("ce_dataschema").unwrap_or_default());
            ("truncated", headers, value[..value.len() - 3].to_vec())
        }
        (1, _) => {
            let value = [&[0, 0, 0x7f, 0xff, 0xff][..], b"nobody's schema"].concat();
            ("unknown-schema", envelope(kind, nobodys), value)
        }
        (2, _) => {
            let mark = Header {
                key: POISON,
                value: Some("yes"),
            };
            ("bare", OwnedHeaders::new().insert(mark), b"bare".to_vec())
        }
        _ => {
            let value = b"\xff\xfe not Avro".to_vec();
            ("corrupt", envelope(kind, nobodys), value)
        }
    }
}
