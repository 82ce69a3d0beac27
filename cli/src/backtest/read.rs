//! Reads the past: decisions from the Rule Engine, events from the topics.

use std::collections::{BTreeSet, HashMap};

use futures::StreamExt;
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
    error::KafkaError,
    message::{Headers, OwnedMessage},
};
use rules::backtest::{Decision, Event, Message};
use serde_json::Value;
use shared_events::{
    ActionEvent, AlertEvent, Envelope, Topic, TopicEvent,
    codec::{self, Writer},
};

use super::Progress;
use crate::{
    args::Servers,
    client::{Client, Server},
    error::{Error, chain},
    kafka::{self, failed},
};

/// Every decision, oldest first.
pub(super) async fn decisions(
    client: &Client,
    progress: &mut Progress,
) -> Result<Vec<Decision>, Error> {
    let mut decisions: Vec<Decision> = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = vec![("limit", "500".to_owned())];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let mut page = client
            .get(Server::Rules, "/api/v1/decisions", &query)
            .await?;
        for item in page["items"].as_array_mut().into_iter().flatten() {
            let decision: Result<Decision, _> = serde_json::from_value(item.take());
            let decision = decision.map_err(|error| Error::Usage(format!(
                "this build cannot read a decision of the Rule Engine ({error}): is it of another version?"
            )))?;
            decisions.push(decision.stored());
        }
        progress.say(&format!("reading decisions: {}", decisions.len()));
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            decisions.reverse();
            return Ok(decisions);
        }
    }
}

/// Every event of `alert` and `action` that is kept.
pub(super) async fn messages(
    servers: &Servers,
    client: &Client,
    progress: &mut Progress,
) -> Result<Vec<Message>, Error> {
    let topics = kafka::topics(servers).await?;
    let mut reader = Reader {
        client,
        writers: HashMap::new(),
        messages: Vec::new(),
        unreadable: 0,
    };
    for family in [Topic::Alert, Topic::Action] {
        let name = format!("{}{}", servers.topic_prefix, family.name());
        let Some(topic) = topics.iter().find(|topic| topic.name == name) else {
            return Err(Error::NoTopic {
                topic: name,
                brokers: servers.brokers.clone(),
            });
        };
        reader.read(servers, topic, family, progress).await?;
    }
    if reader.unreadable > 0 {
        eprintln!(
            "eventpulse: {} records cannot be read and are left out, as the Rule Engine did: see the dead letters",
            reader.unreadable
        );
    }
    Ok(reader.messages)
}

struct Reader<'a> {
    client: &'a Client,
    writers: HashMap<u32, Option<Writer>>,
    messages: Vec<Message>,
    unreadable: usize,
}

impl Reader<'_> {
    async fn read(
        &mut self,
        servers: &Servers,
        topic: &kafka::Topic,
        family: Topic,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        let wrap = |source| failed(servers, "reading", source);
        let consumer: StreamConsumer = kafka::config(servers).create().map_err(wrap)?;
        let mut open = BTreeSet::new();
        let mut partitions = TopicPartitionList::new();
        for (partition, (low, high)) in &topic.partitions {
            if high > low {
                open.insert(*partition);
                let from = Offset::Offset(*low);
                partitions
                    .add_partition_offset(&topic.name, *partition, from)
                    .map_err(wrap)?;
            }
        }
        consumer.assign(&partitions).map_err(wrap)?;
        let mut stream = consumer.stream();
        while !open.is_empty() {
            match stream.next().await {
                Some(Ok(record)) => self.keep(family, &record.detach()).await,
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    open.remove(&partition);
                }
                Some(Err(source)) => return Err(wrap(source)),
                None => break,
            }
            progress.say(&format!("reading {}: {}", topic.name, self.messages.len()));
        }
        Ok(())
    }

    async fn keep(&mut self, family: Topic, record: &OwnedMessage) {
        match self.event(family, record).await {
            Ok(Some(event)) => self.messages.push(Message {
                partition: record.partition(),
                offset: record.offset(),
                event,
            }),
            // a type that this build does not know: the Rule Engine skips it too
            Ok(None) => {}
            Err(_) => self.unreadable += 1,
        }
    }

    async fn event(
        &mut self,
        family: Topic,
        record: &OwnedMessage,
    ) -> Result<Option<Event>, String> {
        let headers: Vec<(String, Vec<u8>)> = record
            .headers()
            .into_iter()
            .flat_map(Headers::iter)
            .map(|header| {
                let value = header.value.unwrap_or_default().to_vec();
                (header.key.to_owned(), value)
            })
            .collect();
        let envelope = Envelope::from_headers(&headers).map_err(|error| chain(&error))?;
        let value = record.payload().unwrap_or_default();
        let (id, datum) = codec::unframe(value).map_err(|error| chain(&error))?;
        let writer = match codec::writer(&envelope.dataschema) {
            Some(writer) => writer,
            None => self.fetched(id).await.ok_or("an unknown schema")?,
        };
        let kind = envelope.event_type.as_str();
        let wrong = |error: codec::Error| chain(&error);
        Ok(match family {
            Topic::Alert => AlertEvent::decode(kind, &writer, datum)
                .map_err(wrong)?
                .map(Event::from),
            Topic::Action => ActionEvent::decode(kind, &writer, datum)
                .map_err(wrong)?
                .map(Event::from),
            _ => None,
        })
    }

    async fn fetched(&mut self, id: u32) -> Option<Writer> {
        if !self.writers.contains_key(&id) {
            let path = format!("/schemas/ids/{id}");
            let answer = self.client.get(Server::Registry, &path, &[]).await;
            let text = answer.unwrap_or(Value::Null);
            let text = text["schema"].as_str().unwrap_or_default();
            self.writers.insert(id, Writer::parse(text).ok());
        }
        self.writers.get(&id).cloned().flatten()
    }
}
