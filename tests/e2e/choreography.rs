//! Repeats, order, outages of one part: each thing happens once, and nothing is lost.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use chrono::{TimeDelta, Utc};
use eventpulse_tests::{
    App, Stack,
    stack::{Setup, post},
    webhook::{Alert, body},
};
use futures::future::try_join_all;
use service_kit::testing::wait_for;

async fn count(stack: &Stack, query: &'static str) -> Result<i64> {
    Ok(sqlx::query_scalar(query)
        .fetch_one(&stack.databases.ingest.pool)
        .await?)
}

/// As Alertmanager does: a 503 is sent again.
async fn send_until_accepted(stack: &Stack, body: &serde_json::Value) -> Result<()> {
    for _ in 0..20 {
        match post(&stack.ingest, body).await? {
            reqwest::StatusCode::SERVICE_UNAVAILABLE => {}
            status => {
                ensure!(status == reqwest::StatusCode::OK, "{status}");
                return Ok(());
            }
        }
    }
    anyhow::bail!("twenty times 503")
}

/// The same body ten times at once: one episode, one incident, one action. A new firing after
/// `resolved`: a second episode, at once a second incident, and past the cooldown a second action.
#[tokio::test]
async fn repeats_do_nothing_and_a_new_firing_begins_anew() -> Result<()> {
    let app = App::start("true").await?;
    let stack = Stack::start(&Setup {
        project: app.project.clone(),
        cooldown: "8s",
        ..Setup::default()
    })
    .await?;
    let began = Utc::now() - TimeDelta::seconds(60);
    let high = Alert::firing("HighCPU", "app", began);
    let same = body(std::slice::from_ref(&high));
    try_join_all((0..10).map(|_| send_until_accepted(&stack, &same))).await?;
    let first = stack.until(1, "mitigating").await;
    wait_for("two containers", async || app.running(2).await).await;
    assert_eq!(count(&stack, "SELECT count(*) FROM alerts").await?, 1);
    assert_eq!(first[0]["actions"], 1);

    // scaled down by hand of the rule, so that the second firing has something to do
    stack
        .accept(&[high.resolved(Utc::now() - TimeDelta::seconds(2))])
        .await?;
    stack.until(1, "resolved").await;
    stack
        .accept(&[Alert::firing("LowCPU", "app", Utc::now())])
        .await?;
    wait_for("one container", async || app.running(1).await).await;

    stack
        .accept(&[Alert::firing("HighCPU", "app", Utc::now())])
        .await?;
    wait_for("a second incident, mitigated in its turn", async || {
        let incidents = stack.incidents().await?;
        ensure!(incidents.len() == 2, "{} incidents", incidents.len());
        ensure!(incidents[0]["status"] == "mitigating", "{:#}", incidents[0]);
        Ok(())
    })
    .await;
    wait_for("two containers", async || app.running(2).await).await;
    Ok(())
}

/// A service is away in the middle: the rest goes on, and it catches up.
#[tokio::test]
async fn a_service_that_was_away_catches_up() -> Result<()> {
    let mut stack = Stack::start(&Setup::default()).await?;
    stack.rules.kill()?;
    stack.store.kill()?;
    let alerts: Vec<Alert> = (0..50)
        .map(|n| Alert::firing("Down", &format!("service-{n}"), Utc::now()))
        .collect();
    stack.accept(&alerts).await?;
    stack.rules.restart(&[])?;
    stack.rules.ready().await;
    stack.store.restart(&[])?;
    stack.store.ready().await;
    stack.until(50, "open").await;
    stack.at_rest().await;
    Ok(())
}

/// With neither Kafka nor registry, even restarted, Ingest answers 200; everything arrives later.
#[tokio::test]
async fn ingest_accepts_without_kafka_and_registry() -> Result<()> {
    let mut stack = Stack::start(&Setup::default()).await?;
    assert_eq!(stack.ingest.stop().await?, Some(0));
    let nowhere = [
        ("EVENTPULSE_KAFKA_BROKERS", "127.0.0.1:9".to_owned()),
        ("EVENTPULSE_REGISTRY_URL", "http://127.0.0.1:9".to_owned()),
    ];
    stack.ingest.restart(&nowhere)?;
    stack.ingest.ready().await;
    for n in 0..5 {
        let service = format!("dark-{n}");
        stack
            .accept(&[Alert::firing("Down", &service, Utc::now())])
            .await?;
    }
    assert_eq!(
        count(&stack, "SELECT count(*) FROM outbox_events").await?,
        5
    );
    stack.ingest.kill()?;
    let back = [
        ("EVENTPULSE_KAFKA_BROKERS", stack.topics.brokers.clone()),
        (
            "EVENTPULSE_REGISTRY_URL",
            std::env::var("EVENTPULSE_TEST_REGISTRY")?,
        ),
    ];
    stack.ingest.restart(&back)?;
    stack.until(5, "open").await;
    stack.at_rest().await;
    Ok(())
}

/// One trace runs from the webhook to the stored incident.
#[tokio::test]
async fn one_trace_from_webhook_to_incident() -> Result<()> {
    let stack = Stack::start(&Setup::default()).await?;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let answer = reqwest::Client::new()
        .post(format!("{}/webhooks/alertmanager", stack.ingest.url))
        .bearer_auth(eventpulse_tests::stack::TOKEN)
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
        .json(&body(&[Alert::firing("Down", "traced", Utc::now())]))
        .send()
        .await?;
    ensure!(answer.status().is_success());
    let incidents = stack.until(1, "open").await;
    let id = incidents[0]["id"].as_str().context("id")?;
    let story = stack
        .store
        .get(&format!("/api/v1/incidents/{id}/timeline"))
        .await?;
    let traces: BTreeSet<&str> = story["items"]
        .as_array()
        .context("items")?
        .iter()
        .filter_map(|entry| entry["trace_id"].as_str())
        .collect();
    assert_eq!(traces, BTreeSet::from([trace]));
    Ok(())
}

/// SIGTERM ends each service with exit code 0.
#[tokio::test]
async fn every_service_stops_when_asked() -> Result<()> {
    let mut stack = Stack::start(&Setup::default()).await?;
    stack
        .accept(&[Alert::firing("Down", "x", Utc::now())])
        .await?;
    let members = [
        &mut stack.ingest,
        &mut stack.rules,
        &mut stack.runner,
        &mut stack.store,
    ];
    for member in members {
        assert_eq!(member.stop().await?, Some(0), "{}", member.last_words());
    }
    Ok(())
}
