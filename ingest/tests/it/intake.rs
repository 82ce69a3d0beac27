//! What becomes of bodies that are accepted.

use anyhow::{Context, Result};
use futures::future::join_all;
use serde_json::{Value, json};
use service_kit::testing::{self, Database, TestTopics, wait_for};
use shared_events::{AlertEvent, TopicEvent};

use crate::support::{Ingest, body, config, count, firing, resolved, said, told, with_kit};

const FIRING_025: &str = include_str!("../fixtures/am-0.25-firing.json");
const MIXED_025: &str = include_str!("../fixtures/am-0.25-mixed.json");
const MIXED_034: &str = include_str!("../fixtures/am-0.34-mixed.json");

#[tokio::test]
async fn real_bodies_of_alertmanager_become_alerts_and_events() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let ingest = Ingest::start(config(&database)).await?;
    for body in [FIRING_025, MIXED_025, MIXED_034] {
        ingest.deliver(body).await;
    }
    assert_eq!(count(&database.pool, "alerts").await?, 3);
    let warning = ingest
        .only("/api/v1/alerts?matcher=severity=warning")
        .await?;
    assert_eq!(warning["status"], "resolved");
    assert_eq!(warning["resolve_reason"], "notified");
    assert_eq!(warning["occurrences"], 1);
    assert_eq!(warning["starts_at"], "2026-11-21T04:33:58.123Z");
    let critical = ingest
        .only("/api/v1/alerts?matcher=severity=critical")
        .await?;
    assert_eq!(
        (&critical["status"], &critical["occurrences"]),
        (&json!("firing"), &json!(3))
    );
    assert_eq!(critical["labels"]["zone"], "zürich");
    assert_eq!(
        told(&database.pool).await?,
        [
            "raised 1",
            "raised 1",
            "resolved notified",
            "raised 2",
            "raised 3",
            "raised 1"
        ]
    );
    assert_eq!(
        ingest
            .metric("eventpulse_alerts_truncated_total{service=\"ingest\",source=\"am\"}")
            .await?,
        3.0
    );
    ingest.stop().await
}

#[tokio::test]
async fn an_event_says_all_that_the_contract_promises() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let ingest = Ingest::start(config(&database)).await?;
    ingest.accept(&[firing("HighCPU", "10:00:00")]).await;
    let alert = ingest.only("/api/v1/alerts").await?;
    let said = said(&database.pool).await?;
    let AlertEvent::Raised(raised) = &said[0].event else {
        panic!("no raised: {said:?}");
    };
    let receipt = raised.receipt_id.context("no receipt")?;
    assert_eq!(alert["alert_id"], json!(raised.alert_id));
    assert_eq!(alert["episode_id"], json!(raised.episode_id));
    assert_eq!(alert["receipt_id"], json!(receipt));
    assert_eq!(
        alert["at"]
            .as_str()
            .context("at")?
            .parse::<shared_events::Timestamp>()?,
        raised.at
    );
    assert_eq!(raised.source, "am");
    assert_eq!(
        raised.generator_url.as_deref(),
        Some("http://prometheus:9090/graph")
    );
    let envelope = &said[0].envelope;
    assert_eq!(said[0].key, b"app", "the label service");
    assert_eq!(envelope.id, said[0].event.event_id());
    assert_eq!(envelope.causation_id, Some(receipt));
    assert_eq!(envelope.correlation_id, raised.alert_id.uuid());
    assert_eq!(envelope.sequence, 1);
    assert!(
        envelope.source.starts_with("/ingest/"),
        "{}",
        envelope.source
    );
    assert!(envelope.traceparent.is_some());
    ingest.stop().await
}

#[tokio::test]
async fn the_same_body_ten_times_at_once_is_one_episode() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let ingest = Ingest::start(config(&database)).await?;
    let body = body(&[firing("HighCPU", "10:00:00")]);
    join_all((0..10).map(|_| ingest.deliver(&body))).await;
    let alert = ingest.only("/api/v1/alerts").await?;
    assert_eq!(
        (&alert["episode"], &alert["occurrences"]),
        (&json!(1), &json!(10))
    );
    // Bodies that were stored together share an event; the last one has counted all of them.
    let told = told(&database.pool).await?;
    let counts: Vec<u32> = told
        .iter()
        .map(|event| {
            let count = event.strip_prefix("raised ");
            count.context("raised")?.parse().context("a count")
        })
        .collect::<Result<_>>()?;
    assert!(counts.is_sorted_by(|one, next| one < next), "{told:?}");
    assert_eq!(counts.last(), Some(&10));
    let sequences: Vec<i64> = said(&database.pool)
        .await?
        .iter()
        .map(|s| s.envelope.sequence)
        .collect();
    let gapless: Vec<i64> = (1..).take(told.len()).collect();
    assert_eq!(sequences, gapless);
    ingest.stop().await
}

/// Both peers send everything, in opposite orders and at once: nothing deadlocks, nothing is lost.
#[tokio::test]
async fn highly_available_alertmanagers_do_not_double_episodes() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let (one, two) = tokio::try_join!(
        Ingest::start(config(&database)),
        Ingest::start(config(&database))
    )?;
    let mut alerts: Vec<Value> = (0..50)
        .map(|n| firing(&format!("A{n}"), "10:00:00"))
        .collect();
    let first = body(&alerts);
    alerts.reverse();
    let mut second = body(&alerts);
    second["externalURL"] = json!("http://alertmanager-2:9093");
    let posts = (0..20).map(|n| match n % 2 {
        0 => one.deliver(&first),
        _ => two.deliver(&second),
    });
    join_all(posts).await;
    let rows = sqlx::query!("SELECT episode, occurrences FROM alerts")
        .fetch_all(&database.pool)
        .await?;
    assert_eq!(rows.len(), 50);
    assert!(
        rows.iter()
            .all(|row| row.episode == 1 && row.occurrences == 20),
        "{rows:?}"
    );
    one.stop().await?;
    two.stop().await
}

#[tokio::test]
async fn notifications_of_one_series_in_one_body_share_an_event() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let ingest = Ingest::start(config(&database)).await?;
    let same = firing("HighCPU", "10:00:00");
    ingest.accept(&[same.clone(), same.clone(), same]).await;
    assert_eq!(told(&database.pool).await?, ["raised 3"]);
    ingest.stop().await
}

#[tokio::test]
async fn resolved_before_firing_is_an_episode_that_is_over() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let ingest = Ingest::start(config(&database)).await?;
    ingest
        .accept(&[resolved("HighCPU", "10:00:00", "10:05:00")])
        .await;
    assert!(
        ingest.items("/api/v1/alerts").await?.is_empty(),
        "it never fired"
    );
    assert!(told(&database.pool).await?.is_empty());
    ingest.accept(&[firing("HighCPU", "10:00:00")]).await;
    let alert = ingest.only("/api/v1/alerts").await?;
    assert_eq!(
        (&alert["status"], &alert["ends_at"]),
        (&json!("resolved"), &json!("2026-11-21T10:05:00Z"))
    );
    let said = said(&database.pool).await?;
    assert_eq!(
        told(&database.pool).await?,
        ["raised 1", "resolved notified"]
    );
    assert!(matches!(&said[0].event, AlertEvent::Raised(born) if born.ends_at.is_some()));
    ingest.stop().await
}

#[tokio::test]
async fn a_replay_after_resolved_changes_nothing_and_a_later_start_is_a_new_episode() -> Result<()>
{
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let ingest = Ingest::start(config(&database)).await?;
    ingest.accept(&[firing("HighCPU", "10:00:00")]).await;
    ingest
        .accept(&[resolved("HighCPU", "10:00:00", "10:05:00")])
        .await;
    let before = ingest.only("/api/v1/alerts").await?;
    ingest.accept(&[firing("HighCPU", "10:00:00")]).await;
    assert_eq!(ingest.only("/api/v1/alerts").await?, before);
    ingest.accept(&[firing("HighCPU", "10:06:00")]).await;
    let after = ingest.only("/api/v1/alerts").await?;
    assert_eq!(
        (&after["episode"], &after["status"]),
        (&json!(2), &json!("firing"))
    );
    assert_eq!(
        told(&database.pool).await?,
        ["raised 1", "resolved notified", "raised 1"]
    );
    let replayed = "eventpulse_notifications_total{service=\"ingest\",outcome=\"replayed\"}";
    assert_eq!(ingest.metric(replayed).await?, 1.0);
    ingest.stop().await
}

#[tokio::test]
async fn five_thousand_alerts_in_one_body() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let ingest = Ingest::start(config(&database)).await?;
    let alerts: Vec<Value> = (0..5000)
        .map(|n| firing(&format!("A{n}"), "10:00:00"))
        .collect();
    ingest.accept(&alerts).await;
    assert_eq!(
        count(&database.pool, "alerts WHERE status = 'firing'").await?,
        5000
    );
    assert_eq!(count(&database.pool, "outbox_events").await?, 5000);
    assert_eq!(ingest.only("/api/v1/receipts").await?["alerts"], 5000);
    ingest.stop().await
}

#[tokio::test]
async fn state_outlives_the_process() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let ingest = Ingest::start(config(&database)).await?;
    ingest.accept(&[firing("HighCPU", "10:00:00")]).await;
    ingest.stop().await?;
    let ingest = Ingest::start(config(&database)).await?;
    ingest.accept(&[firing("HighCPU", "10:00:00")]).await;
    ingest
        .accept(&[resolved("HighCPU", "10:00:00", "10:05:00")])
        .await;
    assert_eq!(
        told(&database.pool).await?,
        ["raised 1", "raised 2", "resolved notified"]
    );
    ingest.stop().await
}

#[tokio::test]
async fn with_kafka_and_registry_the_outbox_drains() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let topics = TestTopics::fresh().await;
    let kit = testing::kit_args(&database, &topics.prefix);
    let ingest = Ingest::start(with_kit(kit)).await?;
    ingest
        .accept(&[firing("HighCPU", "10:00:00"), firing("LowCPU", "10:00:00")])
        .await;
    ingest
        .accept(&[resolved("HighCPU", "10:00:00", "10:05:00")])
        .await;
    wait_for("every event to be acknowledged", async || {
        let (waiting, sent) = (
            count(&database.pool, "outbox_events")
                .await
                .map_err(|error| error.to_string())?,
            count(&database.pool, "outbox_sent")
                .await
                .map_err(|error| error.to_string())?,
        );
        if (waiting, sent) == (0, 3) {
            Ok(())
        } else {
            Err(format!("{waiting} wait, {sent} sent"))
        }
    })
    .await;
    ingest.stop().await
}
