//! Giving a dead event to its consumer again.

use std::time::Duration;

use rdkafka::{
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use serde_json::{Value, json};

use super::letter::{Letter, letters, one};
use crate::{
    args::{Redrive, Servers},
    error::Error,
    kafka::{self, failed},
    output::{As, Column, Output},
};

/// Names the only consumer that may handle the event again.
const CONSUMER: &str = "ep.redrive.consumer";
const ACTOR: &str = "ep.redrive.actor";
const REASON: &str = "ep.redrive.reason";
/// How long the broker may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// `dlq redrive`: writes the original records to their topics again, for the consumer alone that
/// refused them. What the consumer has handled meanwhile it knows by the event's id.
pub(crate) async fn redrive(
    servers: &Servers,
    output: Output,
    args: &Redrive,
) -> Result<(), Error> {
    let found = letters(servers, args.consumer.as_deref()).await?;
    let mut meant: Vec<Letter> = Vec::new();
    if args.all {
        meant.extend(newest(found));
    } else {
        for id in &args.ids {
            meant.push(one(found.clone(), id)?);
        }
    }
    for letter in &meant {
        whole(letter)?;
    }
    if !args.dry_run {
        let producer: FutureProducer = kafka::config(servers)
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .create()
            .map_err(|source| failed(servers, "creating a producer", source))?;
        for letter in &meant {
            send(servers, &producer, letter, args).await?;
        }
    }
    tell(output, args, &meant)
}

/// The last letter of each event and consumer.
fn newest(found: Vec<Letter>) -> impl Iterator<Item = Letter> {
    let last = found.into_iter().map(|letter| {
        let who = (letter.event_id(), letter.consumer(), letter.origin_text());
        (who, letter)
    });
    let by_event: std::collections::BTreeMap<_, _> = last
        .map(|((id, consumer, from), letter)| {
            let key = (id.clone().unwrap_or(from), consumer);
            (key, letter)
        })
        .collect();
    by_event.into_values()
}

/// A record that was too large for a letter is not in it.
fn whole(letter: &Letter) -> Result<(), Error> {
    let has = letter.origin().is_some() && letter.consumer().is_some() && !letter.value.is_empty();
    if has {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "the letter {}/{}/{} has only the place of its record, {}: copy it from there",
        letter.place.0,
        letter.place.1,
        letter.place.2,
        letter.origin_text()
    )))
}

async fn send(
    servers: &Servers,
    producer: &FutureProducer,
    letter: &Letter,
    args: &Redrive,
) -> Result<(), Error> {
    let (topic, ..) = letter.origin().expect("`whole` was asked before");
    let topic = format!("{}{topic}", servers.topic_prefix);
    let added = [
        (CONSUMER, letter.consumer().unwrap_or_default()),
        (ACTOR, args.because.actor().to_owned()),
        (REASON, args.because.reason.clone()),
    ];
    let kept = letter
        .headers
        .iter()
        .filter(|(name, _)| !name.starts_with("ep.dlq.") && !name.starts_with("ep.redrive."));
    let mut headers = OwnedHeaders::new();
    for (key, value) in kept {
        headers = headers.insert(Header {
            key,
            value: Some(value),
        });
    }
    for (key, value) in &added {
        headers = headers.insert(Header {
            key,
            value: Some(value),
        });
    }
    let record = FutureRecord::to(&topic)
        .key(letter.original_key())
        .headers(headers)
        .payload(&letter.value);
    let sent = producer.send(record, PATIENCE).await;
    sent.map(drop)
        .map_err(|(source, _)| failed(servers, "redriving", source))
}

fn tell(output: Output, args: &Redrive, meant: &[Letter]) -> Result<(), Error> {
    let done = if args.dry_run {
        "would be redriven"
    } else {
        "redriven"
    };
    let items: Vec<Value> = meant
        .iter()
        .map(|letter| {
            let mut item = letter.summary();
            item["done"] = json!(done);
            item
        })
        .collect();
    let columns = [
        Column("EVENT", "/event_id", As::Text),
        Column("TYPE", "/type", As::Text),
        Column("CONSUMER", "/consumer", As::Text),
        Column("FROM", "/from", As::Text),
        Column("DONE", "/done", As::Text),
    ];
    output.list(&items, &columns, "no dead letters")
}
