//! Reads the past: decisions from the Rule Engine, events from the topics.

use rules::backtest::{Decision, Event, Message};
use shared_events::{ActionEvent, AlertEvent, Topic, TopicEvent, codec};

use super::Progress;
use crate::{
    args::Servers,
    client::{Client, Server},
    error::{Error, chain},
    kafka,
    topic::record::{self, Opened, Opener},
};

/// Every decision, oldest first.
pub(crate) async fn decisions(
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
