//! Whole topics, record by record, as consumers take them apart.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::StreamExt;
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
    error::KafkaError,
    message::{Headers, OwnedMessage},
};
use serde_json::Value;
use shared_events::{
    Envelope,
    codec::{self, Writer},
};

use crate::{
    args::Servers,
    client::{Client, Server},
    error::{Error, chain},
    kafka::{self, failed},
};

/// A record of an event, before its datum is decoded.
pub(crate) struct Opened {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Vec<u8>,
    pub(crate) envelope: Envelope,
    pub(crate) writer: Writer,
    /// Avro datum without framing.
    pub(crate) datum: Vec<u8>,
}

/// Opens records, and remembers what the registry said.
pub(crate) struct Opener<'a> {
    client: &'a Client,
    writers: HashMap<u32, Option<Writer>>,
}

impl<'a> Opener<'a> {
    pub(crate) fn new(client: &'a Client) -> Self {
        Self {
            client,
            writers: HashMap::new(),
        }
    }

    /// What a record is made of, or why it is no event.
    pub(crate) async fn open(&mut self, record: &OwnedMessage) -> Result<Opened, String> {
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
        Ok(Opened {
            partition: record.partition(),
            offset: record.offset(),
            key: record.key().unwrap_or_default().to_vec(),
            datum: datum.to_vec(),
            envelope,
            writer,
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

/// Hands every record of `topic` to `take`: of each partition those before the offset of `ends`, or
/// before its present end. Partitions that `ends` does not name are not read.
pub(crate) async fn read(
    servers: &Servers,
    topic: &kafka::Topic,
    ends: Option<&BTreeMap<i32, i64>>,
    mut take: impl AsyncFnMut(OwnedMessage),
) -> Result<(), Error> {
    let wrap = |source| failed(servers, "reading", source);
    let consumer: StreamConsumer = kafka::config(servers).create().map_err(wrap)?;
    let end = |partition: &i32, high: i64| match ends {
        None => high,
        Some(ends) => ends.get(partition).copied().unwrap_or_default(),
    };
    let mut open = BTreeSet::new();
    let mut partitions = TopicPartitionList::new();
    for (partition, (low, high)) in &topic.partitions {
        if end(partition, *high).min(*high) > *low {
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
            Some(Ok(record)) => {
                let (partition, offset) = (record.partition(), record.offset());
                let end = end(&partition, i64::MAX);
                if offset < end {
                    take(record.detach()).await;
                }
                if offset + 1 >= end {
                    open.remove(&partition);
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(source)) => return Err(wrap(source)),
            None => break,
        }
    }
    Ok(())
}
