//! Reading dead letters.

use std::collections::BTreeSet;

use chrono::{DateTime, SecondsFormat};
use futures::StreamExt;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
    error::KafkaError,
    message::{Headers, OwnedMessage},
};
use serde_json::{Map, Value, json};
use service_kit::dlq;

use crate::{
    args::Servers,
    error::Error,
    kafka::{self, failed},
};

/// A dead letter.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    /// Where it lies: topic with prefix, partition, offset.
    pub(super) place: (String, i32, i64),
    pub(super) millis: Option<i64>,
    pub(super) key: Vec<u8>,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) value: Vec<u8>,
}

impl Letter {
    fn from(message: &OwnedMessage) -> Self {
        let headers = message.headers().into_iter().flat_map(Headers::iter);
        Self {
            place: (
                message.topic().to_owned(),
                message.partition(),
                message.offset(),
            ),
            millis: message.timestamp().to_millis(),
            key: message.key().unwrap_or_default().to_vec(),
            headers: headers
                .map(|header| {
                    let value = header.value.unwrap_or_default().to_vec();
                    (header.key.to_owned(), value)
                })
                .collect(),
            value: message.payload().unwrap_or_default().to_vec(),
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(found, _)| found == name)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    /// Key of the record that died: its letter has another one if it was too long.
    pub(super) fn original_key(&self) -> &[u8] {
        let mut headers = self.headers.iter();
        let kept = headers.find(|(name, _)| name == dlq::KEY);
        kept.map_or(&self.key, |(_, key)| key)
    }

    /// `ce_id`; a record without one has none.
    pub(super) fn event_id(&self) -> Option<String> {
        self.header("ce_id")
    }

    pub(super) fn consumer(&self) -> Option<String> {
        self.header("ep.dlq.consumer")
    }

    /// Topic without prefix, partition and offset that it was read from when it died.
    pub(super) fn origin(&self) -> Option<(String, i32, i64)> {
        Some((
            self.header("ep.dlq.topic")?,
            self.header("ep.dlq.partition")?.parse().ok()?,
            self.header("ep.dlq.offset")?.parse().ok()?,
        ))
    }

    pub(super) fn origin_text(&self) -> String {
        self.origin().map_or_else(
            || "unknown".to_owned(),
            |(topic, partition, offset)| format!("{topic}/{partition}/{offset}"),
        )
    }

    pub(super) fn summary(&self) -> Value {
        let died = self.millis.and_then(DateTime::from_timestamp_millis);
        json!({
            "event_id": self.event_id(),
            "type": self.header("ce_type"),
            "consumer": self.consumer(),
            "stage": self.header("ep.dlq.stage"),
            "error": self.header("ep.dlq.error"),
            "from": self.origin_text(),
            "letter": format!("{}/{}/{}", self.place.0, self.place.1, self.place.2),
            "died_at": died.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true)),
        })
    }

    pub(super) fn headers_json(&self) -> Value {
        let headers = self.headers.iter().map(|(name, value)| {
            let text = String::from_utf8_lossy(value).into_owned();
            (name.clone(), Value::from(text))
        });
        Value::Object(headers.collect::<Map<_, _>>())
    }

    /// Whether a person means it: its event's id or the beginning of it, or the place it came from.
    fn is(&self, id: &str) -> bool {
        let event = self.event_id().unwrap_or_default();
        event == id || (id.len() >= 6 && event.starts_with(id)) || self.origin_text() == id
    }
}

/// Every dead letter, oldest first; of one consumer if it is named.
pub(super) async fn letters(
    servers: &Servers,
    consumer: Option<&str>,
) -> Result<Vec<Letter>, Error> {
    let mut found = Vec::new();
    for topic in kafka::topics(servers).await? {
        let name = topic
            .name
            .strip_prefix(&servers.topic_prefix)
            .unwrap_or(&topic.name);
        let Some((_, of)) = name.split_once(".dlq.") else {
            continue;
        };
        if consumer.is_none_or(|wanted| wanted == of) {
            found.extend(read(servers, &topic).await?);
        }
    }
    found.sort_by(|one, other| (one.millis, &one.place).cmp(&(other.millis, &other.place)));
    Ok(found)
}

async fn read(servers: &Servers, topic: &kafka::Topic) -> Result<Vec<Letter>, Error> {
    let consumer: StreamConsumer = kafka::config(servers)
        .create()
        .map_err(|source| failed(servers, "creating a client", source))?;
    let reading = |source| failed(servers, "reading dead letters", source);
    let mut partitions = TopicPartitionList::new();
    for (partition, (low, _)) in &topic.partitions {
        partitions
            .add_partition_offset(&topic.name, *partition, Offset::Offset(*low))
            .map_err(reading)?;
    }
    consumer.assign(&partitions).map_err(reading)?;
    let mut open: BTreeSet<i32> = topic.partitions.keys().copied().collect();
    let mut stream = consumer.stream();
    let mut found = Vec::new();
    while !open.is_empty() {
        match stream.next().await {
            Some(Ok(message)) => found.push(Letter::from(&message.detach())),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(source)) => return Err(reading(source)),
            None => break,
        }
    }
    Ok(found)
}

/// The one letter that `id` means; the newest, if its event died more than once.
pub(super) fn one(found: Vec<Letter>, id: &str) -> Result<Letter, Error> {
    let meant: Vec<Letter> = found.into_iter().filter(|letter| letter.is(id)).collect();
    let events: BTreeSet<_> = meant
        .iter()
        .map(|letter| (letter.event_id(), letter.consumer()))
        .collect();
    if events.len() > 1 {
        return Err(Error::Usage(format!(
            "{id} means {} dead letters: say more of the id, or the place FROM that `eventpulse dlq ls` shows",
            events.len()
        )));
    }
    let newest = meant.into_iter().next_back();
    newest.ok_or_else(|| Error::NoLetter { id: id.to_owned() })
}
