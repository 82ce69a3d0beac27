//! From the topics to the API.

use std::time::Duration;

use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use serde_json::Value;
use service_kit::{
    testing::{TestTopics, kit_args, wait_for},
    topics::{Wanted, ensure},
};
use shared_events::{ActionEvent, Envelope, IncidentEvent, TopicEvent, codec};
use tokio_util::sync::CancellationToken;

use crate::{
    api::Running,
    facts::{completed, opened, requested, resolved},
    stage::Stage,
};

struct Broker {
    topics: TestTopics,
    producer: FutureProducer,
}

impl Broker {
    async fn fresh() -> Self {
        let topics = TestTopics::fresh().await;
        let rules = topics.cluster("rules");
        let wanted = ["incident", "action"].map(|topic| Wanted::events(&rules, topic, 3, -1));
        ensure(&rules, &wanted, &CancellationToken::new()).await;
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &topics.brokers)
            .create()
            .expect("a producer");
        Self { topics, producer }
    }

    async fn say<E: TopicEvent>(&self, event: &E, value: Option<&[u8]>) {
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
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header {
                    key,
                    value: Some(value.as_str()),
                })
            });
        let framed = codec::frame(1, &event.encode().expect("it fits"));
        let topic = format!("{}{}", self.topics.prefix, E::TOPIC.name());
        let key = event.key();
        let record = FutureRecord::to(&topic)
            .key(&key)
            .headers(headers)
            .payload(value.unwrap_or(&framed));
        let sent = self.producer.send(record, Duration::from_secs(20)).await;
        sent.expect("the broker takes it");
    }
}

#[tokio::test]
async fn from_the_topics_to_the_api() {
    let (stage, broker) = (Stage::<false>::fresh().await, Broker::fresh().await);
    let incident = |event: IncidentEvent| event;
    // the outcome before the request before the opening; each twice; and one that is no Avro
    for _ in 0..2 {
        broker
            .say(&ActionEvent::from(completed(1, 0, 3)), None)
            .await;
        broker
            .say(&ActionEvent::from(requested(1, 0, 0)), None)
            .await;
        broker.say(&incident(opened(1, 0).into()), None).await;
    }
    broker
        .say(&incident(opened(2, 0).into()), Some(b"not Avro"))
        .await;
    broker.say(&incident(resolved(1, 2, 9).into()), None).await;

    let kit = kit_args(&stage.database, &broker.topics.prefix);
    let api = Running::with(kit).await;
    let found = wait_for("the resolved incident", async || {
        let found: Value = api.value("/api/v1/incidents/000001").await;
        if found["version"] == 4 {
            Ok(found)
        } else {
            Err(found)
        }
    })
    .await;
    assert_eq!(
        (&found["status"], &found["actions"]),
        (&"resolved".into(), &1.into())
    );
    wait_for("the dead letter", async || {
        let dead: Vec<(String, String)> =
            sqlx::query_as("SELECT topic, error FROM inbox_events WHERE status = 'dead'")
                .fetch_all(&stage.handler.pool)
                .await
                .map_err(|error| error.to_string())?;
        match dead.as_slice() {
            [(topic, error)] if topic == "incident" => Ok(error.clone()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    api.stop().await;
    api.service
        .await
        .expect("no panic")
        .expect("an orderly stop");

    // a store that is filled from the topics alone is the same
    let rebuilt = Stage::<false>::fresh().await;
    let again = Running::with(kit_args(&rebuilt.database, &broker.topics.prefix)).await;
    let live = stage.hash().await;
    wait_for("the same content", async || {
        let hash = rebuilt.hash().await;
        if hash == live { Ok(()) } else { Err(hash) }
    })
    .await;
    again.stop().await;
}
