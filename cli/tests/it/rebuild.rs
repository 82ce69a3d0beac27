//! `rebuild --verify`: the topics make the tables that the services have, and a change that somebody
//! made by hand is found.

use std::time::Duration;

use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use serde_json::{Value, json};
use service_kit::testing::wait_for;
use shared_events::{
    ActionEvent, Envelope, TopicEvent,
    action::{ActionCompleted, Outcome},
    codec,
};

use crate::past::{RULES, Stack, alert, has};

/// What Action Runner says when it is done.
async fn complete(stack: &Stack, action: &Value) {
    let id = |name: &str| action[name].as_str().expect("an id").parse::<uuid::Uuid>();
    let at = chrono::DateTime::parse_from_rfc3339(action["requested_at"].as_str().expect("a time"));
    let event = ActionEvent::from(ActionCompleted {
        action_id: id("action_id").expect("an id").into(),
        incident_id: id("incident_id").expect("an id").into(),
        target: "app".into(),
        at: at.expect("a time").to_utc() + chrono::TimeDelta::seconds(2),
        desired_replicas: 2,
        previous_replicas: Some(1),
        running_replicas: 2,
        result: Outcome::Scaled,
        message: "app-2 healthy in 2 s".into(),
    });
    let headers = Envelope {
        id: event.event_id(),
        event_type: event.event_type().to_owned(),
        source: "/action-runner/test".to_owned(),
        at: event.at(),
        subject: event.subject(),
        dataschema: codec::contract(event.event_type())
            .expect("a schema")
            .dataschema(),
        correlation_id: event.correlation_id(),
        causation_id: None,
        sequence: 1,
        traceparent: None,
        tracestate: None,
    }
    .to_headers();
    let headers = headers
        .iter()
        .fold(OwnedHeaders::new(), |all, (key, value)| {
            all.insert(Header {
                key,
                value: Some(value.as_str()),
            })
        });
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &stack.cli.brokers)
        .set("partitioner", "murmur2_random")
        .create()
        .expect("a producer");
    let topic = format!("{}action", stack.cli.prefix);
    let value = codec::frame(1, &event.encode().expect("it fits"));
    let key = event.key();
    // a repeat, as after a crash
    for _ in 0..2 {
        let record = FutureRecord::to(&topic)
            .key(&key)
            .headers(headers.clone())
            .payload(&value);
        let sent = producer.send(record, Duration::from_secs(20)).await;
        sent.expect("the broker takes it");
    }
}

/// Alerts, a pause, other rules, an action with its outcome, poison.
async fn live_through(stack: &Stack) {
    stack
        .post(json!([alert("HighCPU", "0.84"), alert("DiskFull", "1")]))
        .await;
    let mitigating = |found: &Value| found[0]["status"] == "mitigating";
    let list = ["incident", "ls", "-o", "json"];
    let incidents = stack.until(&list, mitigating).await;
    let incident = incidents[0]["id"].as_str().expect("an id");
    let actions = ["action", "ls", "--incident", incident, "-o", "json"];
    let actions = stack.until(&actions, has(1)).await;
    for arguments in [
        ["pause", "app", "--reason", "maintenance", "--actor", "ana"],
        ["resume", "app", "--reason", "done", "--actor", "ana"],
    ] {
        let ran = stack.cli.run(&arguments).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    complete(stack, &actions[0]).await;
    let other = stack.file(
        "other.yaml",
        &RULES.replacen(
            "  group_by: [service]",
            "  when: double(annotations.value) > 0.5\n  group_by: [service]",
            1,
        ),
    );
    let apply = [
        "rules", "apply", &other, "--reason", "stricter", "--actor", "ana",
    ];
    let ran = stack.cli.run(&apply).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let mut over = alert("HighCPU", "0.2");
    over["status"] = "resolved".into();
    over["endsAt"] = "2026-11-21T03:20:05Z".into();
    stack.post(json!([over, alert("LowCPU", "0.1")])).await;
    let decisions = |found: &Value| {
        let inputs = found.to_string();
        [
            "alert.resolved",
            "action.completed",
            "command.resume",
            "rules.loaded",
        ]
        .iter()
        .all(|input| inputs.contains(input))
    };
    stack
        .until(&["decision", "ls", "-n", "100", "-o", "json"], decisions)
        .await;
}

/// Runs until the service has read what the other said last.
async fn equal(stack: &Stack, service: &str) -> Value {
    wait_for("equal contents", async || {
        let arguments = ["rebuild", service, "--verify", "-o", "json"];
        let ran = stack.cli.run(&arguments).await;
        match ran.code {
            Some(0) => Ok(ran.json()),
            _ => Err(format!("{ran:?}")),
        }
    })
    .await
}

async fn plant(stack: &Stack, database: usize, sql: &'static str) {
    let done = sqlx::query(sql)
        .execute(&stack.databases[database].pool)
        .await
        .expect("a change by hand");
    assert!(done.rows_affected() > 0, "{sql}");
}

async fn differs(stack: &Stack, service: &str, words: &str) {
    let ran = stack.cli.run(&["rebuild", service, "--verify"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.out.contains("DIFFERENT") && ran.out.contains(words),
        "{words}: {}",
        ran.out
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topics_make_what_the_services_have() {
    let stack = Stack::start().await;
    live_through(&stack).await;
    let store = equal(&stack, "incident-store").await;
    assert_eq!(
        (&store["live"], &store["items"]),
        (&store["rebuilt"], &1.into())
    );
    let rules = equal(&stack, "rules").await;
    let items = rules["items"].as_u64().expect("a count");
    assert!(items >= 3, "a correlation, the rules, a target: {rules}");

    plant(
        &stack,
        2,
        "UPDATE incidents SET status = 'failed' WHERE true",
    )
    .await;
    differs(&stack, "incident-store", "/incident/status").await;
    plant(&stack, 2, "DELETE FROM incidents").await;
    differs(&stack, "incident-store", "the service has no such item").await;
    plant(
        &stack,
        1,
        "UPDATE targets SET replicas = replicas + 1 WHERE replicas IS NOT NULL",
    )
    .await;
    differs(&stack, "rules", "/target/replicas").await;
    plant(
        &stack,
        1,
        "UPDATE correlations SET memory = memory || '{\"over\": []}'
         WHERE jsonb_array_length(memory -> 'over') > 0",
    )
    .await;
    differs(&stack, "rules", "correlation ").await;
    let no_verify = stack.cli.run(&["rebuild", "rules"]).await;
    assert_eq!(no_verify.code, Some(2), "{no_verify:?}");
}
