//! What is asked about: an alert, an incident, a reject, a dead letter.

use futures::StreamExt;
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
    error::KafkaError,
    message::Headers,
};
use serde_json::{Value, json};

use crate::{
    args::Servers,
    client::{Client, Server, segment},
    error::{Error, chain},
    kafka,
};

/// Alerts, rejects and dead letters that are looked through for a word.
const LOOKED_AT: usize = 1_000;
/// Stories that are told at once.
const TOLD: usize = 5;

/// One thing to tell the story of.
pub(super) enum Subject {
    /// As Ingest has it.
    Alert(Value),
    /// An alert that Ingest refused.
    Reject(Value),
    /// A record that the Rule Engine could not handle.
    Letter(Value),
    /// As Incident Store has it.
    Incident(Value),
    /// An alert that only the Rule Engine knows.
    Unknown(String),
}

impl Subject {
    pub(super) fn title(&self) -> String {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        match self {
            Self::Alert(alert) => format!(
                "alert {} of {} ({})",
                text(&alert["name"]),
                text(&alert["service"]),
                text(&alert["alert_id"])
            ),
            Self::Reject(reject) => format!("an alert refused at {}", text(&reject["at"])),
            Self::Letter(letter) => format!(
                "a dead letter of {} at {}",
                text(&letter["topic"]),
                text(&letter["at"])
            ),
            Self::Incident(incident) => format!(
                "incident {} {}",
                text(&incident["id"]),
                text(&incident["title"])
            ),
            Self::Unknown(id) => format!("alert {id}"),
        }
    }
}

/// What was found, and which services did not answer.
#[derive(Default)]
pub(super) struct Found {
    pub(super) subjects: Vec<Subject>,
    pub(super) away: Vec<&'static str>,
    pub(super) away_words: Vec<String>,
}

impl Found {
    /// The answer, if the service gave one.
    fn heard(&mut self, server: &'static str, answer: Result<Value, Error>) -> Option<Value> {
        match answer {
            Ok(answer) => Some(answer),
            Err(error @ (Error::Unreachable { .. } | Error::Kafka { .. })) => {
                self.away.push(server);
                self.away_words.push(chain(&error));
                None
            }
            Err(_) => None,
        }
    }
}

pub(super) async fn find(servers: &Servers, client: &Client, what: &str) -> Found {
    let mut found = Found::default();
    if uuid::Uuid::try_parse(what).is_ok() {
        let path = format!("/api/v1/alerts/{}", segment(what));
        let alert = client.get(Server::Ingest, &path, &[]).await;
        if let Some(alert) = found.heard("ingest", alert) {
            found.subjects.push(Subject::Alert(alert));
            return found;
        }
    }
    if what.len() >= 6 && what.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
        let path = format!("/api/v1/incidents/{}", segment(what));
        let incident = client.get(Server::IncidentStore, &path, &[]).await;
        if let Some(incident) = found.heard("incident-store", incident) {
            found.subjects.push(Subject::Incident(incident));
            return found;
        }
    }
    if uuid::Uuid::try_parse(what).is_ok() {
        let query = [("alert_id", what.to_owned()), ("limit", "1".to_owned())];
        let known = client.get(Server::Rules, "/api/v1/decisions", &query).await;
        let known = found.heard("rules", known);
        if known.is_some_and(|page| page["items"].as_array().is_some_and(|all| !all.is_empty())) {
            found.subjects.push(Subject::Unknown(what.to_owned()));
        }
        return found;
    }
    by_word(servers, client, what, &mut found).await;
    found
}

async fn by_word(servers: &Servers, client: &Client, word: &str, found: &mut Found) {
    let limit = [("limit", "500".to_owned())];
    let matches = |item: &Value| {
        item.to_string()
            .to_lowercase()
            .contains(&word.to_lowercase())
    };
    let alerts = client.get(Server::Ingest, "/api/v1/alerts", &limit).await;
    let alerts = found.heard("ingest", alerts).unwrap_or_default();
    let rejects = client.get(Server::Ingest, "/api/v1/rejects", &limit).await;
    let rejects = rejects.unwrap_or_default();
    for alert in alerts["items"].as_array().into_iter().flatten() {
        if matches(&json!([alert["labels"], alert["name"]])) {
            found.subjects.push(Subject::Alert(alert.clone()));
        }
    }
    for reject in rejects["items"].as_array().into_iter().flatten() {
        if matches(reject) {
            found.subjects.push(Subject::Reject(reject.clone()));
        }
    }
    match letters(servers).await {
        Ok(letters) => {
            let letters = letters.into_iter().filter(|letter| matches(letter));
            found.subjects.extend(letters.map(Subject::Letter));
        }
        Err(error) => {
            found.heard("Kafka", Err(error));
        }
    }
    found.subjects.truncate(TOLD);
}

/// Dead letters of the Rule Engine's alerts: the last ones, as text that can be looked through.
pub(super) async fn letters(servers: &Servers) -> Result<Vec<Value>, Error> {
    let name = format!("{}alert.dlq.rules", servers.topic_prefix);
    let topics = kafka::topics(servers).await?;
    let Some(topic) = topics.into_iter().find(|topic| topic.name == name) else {
        return Ok(Vec::new());
    };
    let wrap = |source| kafka::failed(servers, "reading dead letters", source);
    let consumer: StreamConsumer = kafka::config(servers).create().map_err(wrap)?;
    let mut partitions = TopicPartitionList::new();
    let mut open = 0;
    for (partition, (low, high)) in &topic.partitions {
        if high > low {
            let most = i64::try_from(LOOKED_AT).unwrap_or(i64::MAX);
            let from = high.saturating_sub(most).max(*low);
            partitions
                .add_partition_offset(&name, *partition, Offset::Offset(from))
                .map_err(wrap)?;
            open += 1;
        }
    }
    consumer.assign(&partitions).map_err(wrap)?;
    let mut letters = Vec::new();
    let mut stream = consumer.stream();
    while open > 0 {
        match stream.next().await {
            Some(Ok(message)) => letters.push(letter(&message)),
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(source)) => return Err(wrap(source)),
            None => break,
        }
    }
    Ok(letters)
}

fn letter(message: &rdkafka::message::BorrowedMessage<'_>) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: serde_json::Map<String, Value> = message
        .headers()
        .into_iter()
        .flat_map(Headers::iter)
        .map(|header| {
            let value = header.value.map(text);
            (header.key.to_owned(), json!(value))
        })
        .collect();
    let at = message.timestamp().to_millis();
    let at = at.and_then(chrono::DateTime::from_timestamp_millis);
    json!({
        "topic": message.topic(), "partition": message.partition(), "offset": message.offset(),
        "at": at, "key": message.key().map(text), "headers": headers,
        // a label inside a damaged value is still readable
        "text": message.payload().map(text),
    })
}
