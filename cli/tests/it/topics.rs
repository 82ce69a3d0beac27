//! `topic ls` and `topic tail` on a real Kafka and registry.

use std::{io::BufRead, time::Duration};

use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use serde_json::json;
use service_kit::{
    testing::{TestTopics, wait_for},
    topics::{Wanted, ensure},
};
use shared_events::{
    Envelope, IncidentEvent, IncidentId, Timestamp, TopicEvent, codec,
    incident::{IncidentOpened, IncidentResolved, ReasonCode},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::command::Cli;

/// Topics `incident` and its dead letters, and a producer.
struct Stage {
    topics: TestTopics,
    producer: FutureProducer,
    cli: Cli,
}

impl Stage {
    async fn fresh() -> Self {
        let topics = TestTopics::fresh().await;
        let cluster = topics.cluster("incident-store");
        let wanted = [
            Wanted::events(&cluster, "incident", 3, -1),
            Wanted::dead_letters(&cluster, "incident", 1, -1),
        ];
        ensure(&cluster, &wanted, &CancellationToken::new()).await;
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &topics.brokers)
            .create()
            .expect("a producer");
        let cli = Cli {
            brokers: topics.brokers.clone(),
            prefix: topics.prefix.clone(),
            ..Cli::default()
        };
        Self {
            topics,
            producer,
            cli,
        }
    }

    async fn send(&self, topic: &str, key: &str, headers: &[(&str, &str)], value: &[u8]) {
        let name = format!("{}{topic}", self.topics.prefix);
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header {
                    key,
                    value: Some(*value),
                })
            });
        let record = FutureRecord::to(&name)
            .key(key)
            .headers(headers)
            .payload(value);
        let sent = self.producer.send(record, Duration::from_secs(20)).await;
        sent.expect("the broker takes it");
    }

    /// An event as the relay writes it, but for the registry's id of its schema.
    async fn say(&self, event: impl Into<IncidentEvent>) {
        let event = event.into();
        let contract = codec::contract(event.event_type()).expect("a schema");
        let envelope = Envelope {
            id: event.event_id(),
            event_type: event.event_type().to_owned(),
            source: "/rules/test".to_owned(),
            at: event.at(),
            subject: event.subject(),
            dataschema: contract.dataschema(),
            correlation_id: event.correlation_id(),
            causation_id: None,
            sequence: 1,
            traceparent: None,
            tracestate: None,
        };
        let headers = envelope.to_headers();
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let value = codec::frame(4_000_000, &event.encode().expect("it fits"));
        self.send("incident", &event.key(), &headers, &value).await;
    }
}

fn id(n: u128) -> IncidentId {
    IncidentId(Uuid::from_u128(n))
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(1_795_230_872 + seconds, 0).expect("in range")
}

fn opened(n: u128) -> IncidentOpened {
    IncidentOpened {
        incident_id: id(n),
        revision: 1,
        at: at(0),
        correlation_key: "service=app".into(),
        service: Some("app".into()),
        severity: None,
        title: format!("CPU of app is high ({n})"),
        rule: None,
        rule_version: None,
        generator_url: None,
        runbook_url: None,
        labels: [("service".to_owned(), "app".to_owned())].into(),
        alerts: vec![],
    }
}

fn resolved(n: u128) -> IncidentResolved {
    IncidentResolved {
        incident_id: id(n),
        revision: 2,
        at: at(9),
        correlation_key: "service=app".into(),
        reason_code: ReasonCode::AlertsCleared,
        reason_message: "cleared".into(),
        actor: None,
        alerts: vec![],
    }
}

#[tokio::test]
async fn events_are_decoded_without_a_registry() {
    let stage = Stage::fresh().await;
    for n in 1..=3 {
        stage.say(opened(n)).await;
        stage.say(resolved(n)).await;
    }
    let tail = async |arguments: &[&str]| {
        let arguments = [&["topic", "tail", "incident"], arguments].concat();
        stage.cli.run(&arguments).await.lines()
    };
    assert_eq!(tail(&[]).await.len(), 6);
    assert_eq!(tail(&["--from-beginning"]).await.len(), 6);
    assert_eq!(tail(&["--from-beginning", "-n", "2"]).await.len(), 2);
    let last = tail(&["-n", "1"]).await.remove(0);
    assert_eq!(last["type"], "incident.resolved");
    assert_eq!(last["key"], id(3).to_string());
    assert_eq!(last["value"]["at"], "2026-11-21T03:14:41.000000Z");
    assert_eq!(last["value"]["reason_code"], "alerts_cleared");
    assert_eq!(last["headers"]["ce_source"], "/rules/test");
    assert!(last["offset"].is_i64() && last["timestamp"].is_string());
    let own = tail(&["--key", &id(2).to_string(), "--type", "incident.opened"]).await;
    assert_eq!(own.len(), 1);
    assert_eq!(own[0]["value"]["title"], "CPU of app is high (2)");
    assert_eq!(own[0]["value"]["labels"], json!({"service": "app"}));
}

#[tokio::test]
async fn dead_letters_are_shown_as_they_are() {
    let stage = Stage::fresh().await;
    let headers = [
        ("ce_type", "incident.opened"),
        ("ep.dlq.error", "not in Confluent wire format"),
    ];
    let topic = "incident.dlq.incident-store";
    stage.send(topic, "k", &headers, &[0xff, 0x00, 0x10]).await;
    let letter = stage
        .cli
        .run(&["topic", "tail", topic])
        .await
        .lines()
        .remove(0);
    assert_eq!(letter["value_hex"], "ff0010");
    assert_eq!(
        letter["headers"]["ep.dlq.error"],
        "not in Confluent wire format"
    );
    let why = letter["undecodable"].as_str().expect("a reason");
    assert!(why.contains("first byte"), "{why}");

    let found = stage.cli.run(&["topic", "ls", "-o", "json"]).await.json();
    let of = |name: &str| {
        let name = format!("{}{name}", stage.topics.prefix);
        let found = found.as_array().into_iter().flatten();
        found
            .clone()
            .find(|topic| topic["topic"] == name)
            .cloned()
            .expect("listed")
    };
    assert_eq!(of(topic)["kind"], "dead letters");
    assert_eq!(of(topic)["messages"], 1);
    assert_eq!(of("incident")["partitions"], 3);
}

/// What another build wrote, with a schema that this one does not have.
#[tokio::test]
async fn the_registry_knows_the_rest() {
    let mut stage = Stage::fresh().await;
    stage.cli.registry = registry();
    let schema = r#"{"type":"record","name":"Later","namespace":"eventpulse.test","fields":[
        {"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}},
        {"name":"count","type":["null","int"]}]}"#;
    let answer: serde_json::Value = reqwest::Client::new()
        .post(format!(
            "{}/subjects/eventpulse.test.Later/versions",
            stage.cli.registry
        ))
        .json(&json!({ "schema": schema }))
        .send()
        .await
        .expect("the registry answers")
        .json()
        .await
        .expect("JSON");
    let schema_id = answer["id"].as_u64().and_then(|id| u32::try_from(id).ok());
    // at: zigzag of 1_000_000 microseconds; count: second branch, zigzag of 3
    let datum = [0x80, 0x89, 0x7a, 0x02, 0x06];
    let value = codec::frame(schema_id.expect("an id"), &datum);
    stage
        .send("incident", "k", &[("ce_type", "later.event")], &value)
        .await;
    let event = stage
        .cli
        .run(&["topic", "tail", "incident"])
        .await
        .lines()
        .remove(0);
    let expected = json!({"at": "1970-01-01T00:00:01.000000Z", "count": 3});
    assert_eq!(event["value"], expected);
}

#[tokio::test]
async fn follow_shows_what_is_new_and_stops_at_its_count() {
    let stage = Stage::fresh().await;
    stage.say(opened(1)).await;
    let arguments = ["topic", "tail", "incident", "--follow", "-n", "1"];
    let mut child = stage.cli.command(&arguments).spawn().expect("it starts");
    let out = child.stdout.take().expect("piped");
    let line = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        let mut out = std::io::BufReader::new(out);
        out.read_line(&mut line).map(|_| line)
    });
    // said again until it listens
    let mut n = 1;
    wait_for("a line", async || {
        n += 1;
        stage.say(opened(n)).await;
        line.is_finished().then_some(())
    })
    .await;
    let line = line.await.expect("no panic").expect("it reads");
    let event: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_ne!(
        event["key"],
        id(1).to_string(),
        "what was there before is not new"
    );
    assert!(child.wait().expect("it ends").success());
}

#[tokio::test]
async fn a_topic_that_is_not_there() {
    let stage = Stage::fresh().await;
    let ran = stage.cli.run(&["topic", "tail", "alret"]).await;
    assert_eq!(ran.code, Some(3));
    assert!(ran.err.contains("topic ls"), "{}", ran.err);
    let ran = Cli::default().run(&["topic", "ls"]).await;
    assert_eq!(ran.code, Some(5), "{ran:?}");
}

#[expect(clippy::disallowed_methods, reason = "tests have no settings struct")]
pub(crate) fn registry() -> String {
    std::env::var("EVENTPULSE_TEST_REGISTRY").expect("EVENTPULSE_TEST_REGISTRY: run `make test`")
}

/// A letter of the store's: an event of ours that it refused.
async fn bury(stage: &Stage, id: &str) {
    let headers = [
        ("ce_id", id),
        ("ce_type", "incident.opened"),
        ("ep.dlq.topic", "incident"),
        ("ep.dlq.partition", "2"),
        ("ep.dlq.offset", "7"),
        ("ep.dlq.consumer", "incident-store"),
        ("ep.dlq.stage", "decode"),
        ("ep.dlq.error", "2 bytes follow the datum"),
    ];
    stage
        .send(
            "incident.dlq.incident-store",
            "key",
            &headers,
            b"\0\0\0\0\x01x",
        )
        .await;
}

async fn asked(stage: &Stage, arguments: &[&str]) -> serde_json::Value {
    let ran = stage.cli.run(&[&["-o", "json"], arguments].concat()).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.json()
}

#[tokio::test]
async fn a_dead_letter_is_listed_shown_and_given_to_its_consumer_again() {
    let stage = Stage::fresh().await;
    let (one, other) = (
        "a1b2c3d4-0000-5000-8000-000000000001",
        "a1b2ffff-0000-5000-8000-000000000002",
    );
    bury(&stage, one).await;
    bury(&stage, one).await;
    bury(&stage, other).await;

    let listed = asked(&stage, &["dlq", "ls"]).await;
    assert_eq!(listed.as_array().map(Vec::len), Some(3));
    assert_eq!(listed[0]["error"], "2 bytes follow the datum");
    assert_eq!(listed[0]["from"], "incident/2/7");
    let none = asked(&stage, &["dlq", "ls", "--consumer", "rules"]).await;
    assert_eq!(none.as_array().map(Vec::len), Some(0));
    let shown = asked(&stage, &["dlq", "show", "a1b2c3"]).await;
    assert_eq!(shown["headers"]["ce_id"], one);
    assert_eq!(shown["value_hex"], "000000000178");

    let because = ["--actor", "ann", "--reason", "mended"];
    let dry = ["dlq", "redrive", "a1b2c3", "--dry-run"];
    let dry = asked(&stage, &[&dry[..], &because].concat()).await;
    assert_eq!(dry[0]["done"], "would be redriven");
    let tail = ["topic", "tail", "incident", "--from-beginning"];
    assert_eq!(stage.cli.run(&tail).await.out, "");

    let all = ["dlq", "redrive", "--all"];
    let done = asked(&stage, &[&all[..], &because].concat()).await;
    assert_eq!(done.as_array().map(Vec::len), Some(2), "each event once");
    let records = stage.cli.run(&tail).await.out;
    let record: serde_json::Value = records
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON line"))
        .find(|record: &serde_json::Value| record["headers"]["ce_id"] == one)
        .expect("it is on its topic again");
    assert_eq!(record["headers"]["ep.redrive.consumer"], "incident-store");
    assert_eq!(record["headers"]["ep.redrive.actor"], "ann");
    assert_eq!(record["headers"]["ep.redrive.reason"], "mended");
    assert_eq!(record["headers"]["ep.dlq.error"], serde_json::Value::Null);
    assert_eq!(record["key"], "key");

    let missing = stage.cli.run(&["dlq", "show", "ffffff"]).await;
    assert_eq!(missing.code, Some(3), "{}", missing.err);
}
