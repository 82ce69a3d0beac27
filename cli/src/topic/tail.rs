//! Events of a topic, one JSON object a line.

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

use super::decode::{Decoder, hex};
use crate::{
    args::{Servers, TailArgs},
    client::Client,
    error::Error,
    kafka::{self, Topic, failed},
    output::line,
};

/// How many a bare `tail` shows.
const LAST: usize = 10;
/// A value that asks for more memory than this is not a datum of its schema.
const MAX_ALLOCATION: usize = 4 * 1024 * 1024;

/// `topic tail`: the last `-n`; with --from-beginning the first; with --follow the next.
pub(crate) async fn tail(servers: &Servers, client: &Client, args: &TailArgs) -> Result<(), Error> {
    apache_avro::util::max_allocation_bytes(MAX_ALLOCATION);
    let topic = find(servers, &args.topic).await?;
    let consumer: StreamConsumer = kafka::config(servers)
        .create()
        .map_err(|source| failed(servers, "creating a client", source))?;
    assign(&consumer, &topic, args).map_err(|source| failed(servers, "reading", source))?;
    let mut printer = Printer {
        decoder: Decoder::new(client),
        args,
        left: args.count.unwrap_or(usize::MAX),
        topic: topic.name.clone(),
    };
    let mut open: BTreeSet<i32> = topic.partitions.keys().copied().collect();
    let keep = (!args.follow && !args.from_beginning).then(|| args.count.unwrap_or(LAST));
    let mut kept: Vec<OwnedMessage> = Vec::new();
    let mut stream = consumer.stream();
    while printer.left > 0 && (args.follow || !open.is_empty()) {
        match stream.next().await {
            Some(Ok(message)) if !printer.wants(&message.detach()) => {}
            Some(Ok(message)) if keep.is_some() => kept.push(message.detach()),
            Some(Ok(message)) => printer.print(&message.detach()).await?,
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(source)) => return Err(failed(servers, "reading", source)),
            None => break,
        }
    }
    if let Some(keep) = keep {
        kept.sort_by_key(|message| (millis(message), message.partition(), message.offset()));
        for message in &kept[kept.len().saturating_sub(keep)..] {
            printer.print(message).await?;
        }
    }
    Ok(())
}

/// The topic by its name with or without the prefix.
async fn find(servers: &Servers, name: &str) -> Result<Topic, Error> {
    let prefixed = format!("{}{name}", servers.topic_prefix);
    let topics = kafka::topics(servers).await?;
    let found = |wanted: &str| topics.iter().find(|topic| topic.name == wanted).cloned();
    found(&prefixed)
        .or_else(|| found(name))
        .ok_or(Error::NoTopic {
            topic: prefixed,
            brokers: servers.brokers.clone(),
        })
}

/// Begins each partition where the wanted messages can be: with a filter the last ones that meet it
/// may be anywhere.
fn assign(consumer: &StreamConsumer, topic: &Topic, args: &TailArgs) -> Result<(), KafkaError> {
    let filtered = args.key.is_some() || args.event_type.is_some();
    let wanted = i64::try_from(args.count.unwrap_or(LAST)).unwrap_or(i64::MAX);
    let mut partitions = TopicPartitionList::new();
    for (partition, (low, high)) in &topic.partitions {
        let start = if args.from_beginning || (filtered && !args.follow) {
            *low
        } else if args.follow {
            *high
        } else {
            high.saturating_sub(wanted).max(*low)
        };
        partitions.add_partition_offset(&topic.name, *partition, Offset::Offset(start))?;
    }
    consumer.assign(&partitions)
}

struct Printer<'a> {
    decoder: Decoder<'a>,
    args: &'a TailArgs,
    /// How many may still be printed.
    left: usize,
    topic: String,
}

impl Printer<'_> {
    fn wants(&self, message: &OwnedMessage) -> bool {
        let key = self.args.key.as_ref();
        let wanted = self.args.event_type.as_ref();
        key.is_none_or(|key| message.key() == Some(key.as_bytes()))
            && wanted.is_none_or(|wanted| header(message, "ce_type").as_ref() == Some(wanted))
    }

    async fn print(&mut self, message: &OwnedMessage) -> Result<(), Error> {
        let mut out = Map::new();
        out.insert("topic".to_owned(), self.topic.as_str().into());
        out.insert("partition".to_owned(), message.partition().into());
        out.insert("offset".to_owned(), message.offset().into());
        let at = millis(message).and_then(DateTime::from_timestamp_millis);
        let at = at.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true));
        out.insert("timestamp".to_owned(), json!(at));
        out.insert("key".to_owned(), message.key().map_or(Value::Null, text));
        let event_type = header(message, "ce_type");
        out.insert("type".to_owned(), json!(event_type));
        out.insert("headers".to_owned(), headers(message));
        let bytes = message.payload().unwrap_or_default();
        let dataschema = header(message, "ce_dataschema");
        match self.decoder.decode(bytes, dataschema.as_deref()).await {
            Ok(value) => {
                out.insert("value".to_owned(), value);
            }
            Err(reason) => {
                out.insert("value".to_owned(), Value::Null);
                out.insert("undecodable".to_owned(), reason.into());
                out.insert("value_hex".to_owned(), hex(bytes).into());
            }
        }
        line(&Value::Object(out).to_string())?;
        self.left = self.left.saturating_sub(1);
        Ok(())
    }
}

fn millis(message: &OwnedMessage) -> Option<i64> {
    message.timestamp().to_millis()
}

fn header(message: &OwnedMessage, name: &str) -> Option<String> {
    let found = message
        .headers()?
        .iter()
        .find(|header| header.key == name)?;
    String::from_utf8(found.value?.to_vec()).ok()
}

fn headers(message: &OwnedMessage) -> Value {
    let mut out = Map::new();
    for header in message.headers().into_iter().flat_map(Headers::iter) {
        let value = header.value.map_or(Value::Null, text);
        out.insert(header.key.to_owned(), value);
    }
    Value::Object(out)
}

/// Text as it is; other bytes as `0x` and digits.
fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => format!("0x{}", hex(bytes)).into(),
    }
}
