//! Reads the past: decisions from the Rule Engine, events from the topics.

use rules::backtest::{Decision, Event, Message};
use serde::Deserialize;
use shared_events::{ActionEvent, AlertEvent, Topic, TopicEvent, codec};
use tokio::{
    sync::oneshot,
    task::{JoinHandle, spawn_blocking},
};

use super::Progress;
use crate::{
    args::Servers,
    client::{Client, Server},
    error::{Error, chain},
    kafka,
    topic::record::{self, Opened, Opener},
};

/// The most that the Rule Engine gives at once.
const PAGE: usize = 500;

/// A page, of which only the end is looked at.
#[derive(Deserialize)]
struct Cursor {
    next_cursor: Option<String>,
}

/// A page, all of it.
#[derive(Deserialize)]
struct Page {
    items: Vec<Decision>,
}

/// Every decision, oldest first. The Rule Engine makes the next page while one is taken apart;
/// `newest` is told when the first is there.
pub(crate) async fn decisions(
    client: &Client,
    progress: &Progress,
    mut newest: Option<oneshot::Sender<()>>,
) -> Result<Vec<Decision>, Error> {
    let mut decisions: Vec<Decision> = Vec::new();
    let mut opening: Option<Opening> = None;
    let mut cursor: Option<String> = None;
    loop {
        let mut query = vec![("limit", PAGE.to_string()), ("silent", "false".to_owned())];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let page = client
            .bytes(Server::Rules, "/api/v1/decisions", &query)
            .await?;
        if let Some(newest) = newest.take() {
            // fails only when nobody waits any more
            let _ = newest.send(());
        }
        let end: Cursor = serde_json::from_slice(&page).map_err(strange)?;
        cursor = end.next_cursor;
        if let Some(before) = opening.replace(spawn_blocking(move || open(&page))) {
            decisions.extend(opened(before).await?);
        }
        progress.say(&format!("reading decisions: {}", decisions.len()));
        if cursor.is_none() {
            break;
        }
    }
    if let Some(last) = opening {
        decisions.extend(opened(last).await?);
    }
    decisions.reverse();
    Ok(decisions)
}

type Opening = JoinHandle<Result<Vec<Decision>, Error>>;

async fn opened(opening: Opening) -> Result<Vec<Decision>, Error> {
    let end = opening.await;
    end.map_err(|error| Error::Failed(chain(&error)))?
}

fn open(page: &[u8]) -> Result<Vec<Decision>, Error> {
    let page: Page = serde_json::from_slice(page).map_err(strange)?;
    Ok(page.items)
}

fn strange(error: serde_json::Error) -> Error {
    Error::Failed(format!(
        "this build cannot read a decision of the Rule Engine ({error}): is it of another version?"
    ))
}

/// Every event of `alert` and `action` that is kept.
pub(super) async fn messages(
    servers: &Servers,
    client: &Client,
    progress: &Progress,
) -> Result<Vec<Message>, Error> {
    let topics = kafka::topics(servers).await?;
    let mut opener = Opener::new(client);
    let (mut messages, mut unreadable) = (Vec::new(), 0);
    for family in [Topic::Alert, Topic::Action] {
        let name = format!("{}{}", servers.topic_prefix, family.name());
        let Some(topic) = topics.iter().find(|topic| topic.name == name) else {
            return Err(Error::NoTopic {
                topic: name,
                brokers: servers.brokers.clone(),
            });
        };
        record::read(servers, topic, None, async |record| {
            let opened = opener.open(&record).await;
            match opened.and_then(|opened| message(family, &opened)) {
                Ok(message) => messages.extend(message),
                Err(_) => unreadable += 1,
            }
            progress.say(&format!("reading {name}: {}", messages.len()));
        })
        .await?;
    }
    if unreadable > 0 {
        eprintln!(
            "eventpulse: {unreadable} records cannot be read and are left out, as the Rule Engine did: see the dead letters"
        );
    }
    Ok(messages)
}

/// None: a type that this build does not know, which the Rule Engine skips too.
fn message(family: Topic, opened: &Opened) -> Result<Option<Message>, String> {
    let kind = opened.envelope.event_type.as_str();
    let wrong = |error: codec::Error| chain(&error);
    let (writer, datum) = (&opened.writer, opened.datum.as_slice());
    let event = match family {
        Topic::Alert => AlertEvent::decode(kind, writer, datum)
            .map_err(wrong)?
            .map(Event::from),
        Topic::Action => ActionEvent::decode(kind, writer, datum)
            .map_err(wrong)?
            .map(Event::from),
        _ => None,
    };
    Ok(event.map(|event| Message {
        partition: opened.partition,
        offset: opened.offset,
        event,
    }))
}
