//! `eventpulse why` follows an alert through the four services, however far it came.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{TimeDelta, Utc};
use eventpulse_tests::{
    App, Cli, Stack,
    stack::{Setup, post},
    webhook::{Alert, body},
};
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use service_kit::testing::wait_for;

/// Fired, and how that ended; in cooldown; of no rule; refused by Ingest; a dead letter; and still in
/// Ingest's outbox.
#[tokio::test]
async fn every_alert_is_explained() -> Result<()> {
    let app = App::start("true").await?;
    let mut stack = Stack::start(&Setup {
        project: app.project.clone(),
        cooldown: "1h",
        ..Setup::default()
    })
    .await?;
    let cli = Cli::of(&stack)?;
    fired(&stack, &cli, &app).await?;
    in_cooldown(&stack, &cli, &app).await?;
    unmatched_and_refused(&stack, &cli).await?;
    dead(&stack, &cli).await?;
    in_the_outbox(&mut stack, &cli).await
}

async fn fired(stack: &Stack, cli: &Cli, app: &App) -> Result<()> {
    // the file's rules count at once; as a change of topic `rule` they come back a little later
    wait_for("the file's rules to come back", async || {
        let versions = cli.json(&["rules", "versions"]).await?;
        ensure!(versions[0]["position"].is_object(), "{versions:#}");
        Ok(())
    })
    .await;
    stack
        .accept(&[Alert::firing("HighCPU", "app", Utc::now())])
        .await?;
    wait_for("two containers", async || app.running(2).await).await;
    let told = [
        "alert HighCPU of app",
        "Accepted from demo",
        "Ingest has published everything",
        "The Rule Engine has read all of topic alert",
        "alert.raised (alert/",
        "(change 1 by file, rule/0 offset 0)",
        "): fired: ",
        "alertname=\"HighCPU\": alertname is \"HighCPU\"",
        "bounds 1 to 3",
        "emitted: incident.opened",
        "action.requested",
        "-> 2 replicas",
        "completed",
        "is mitigating",
    ];
    cli.says(&["why", "HighCPU"], &told).await;
    let incident = stack.until(1, "mitigating").await;
    let id = incident[0]["id"].as_str().context("an id")?;
    // the same from the other end
    cli.says(&["why", &id[..8]], &["): fired: ", "is mitigating"])
        .await;
    let one = cli
        .says(&["why", id, "--rule", "low-cpu"], &["low-cpu"])
        .await;
    ensure!(
        !one.contains("high-cpu ("),
        "only one rule was asked:\n{one}"
    );
    Ok(())
}

async fn in_cooldown(stack: &Stack, cli: &Cli, app: &App) -> Result<()> {
    let over = Alert::firing("HighCPU", "app", Utc::now() - TimeDelta::seconds(5));
    stack.accept(&[over.resolved(Utc::now())]).await?;
    stack.until(1, "resolved").await;
    stack
        .accept(&[Alert::firing("LowCPU", "app", Utc::now())])
        .await?;
    wait_for("one container", async || app.running(1).await).await;
    let attached = ["joined the latest incident", "-> 1 replicas", "completed"];
    cli.says(&["why", "LowCPU"], &attached).await;

    stack
        .accept(&[Alert::firing("HighCPU", "app", Utc::now())])
        .await?;
    stack
        .incidents_are(2, |incidents| incidents[0]["status"] == "open")
        .await;
    let told = ["episode 2", "): cooldown: ", "cooldown until ", "is open"];
    cli.says(&["why", "HighCPU"], &told).await;
    ensure!(
        app.running(1).await.is_ok(),
        "a cooldown lets nothing happen"
    );
    Ok(())
}

async fn unmatched_and_refused(stack: &Stack, cli: &Cli) -> Result<()> {
    let mut both = body(&[
        Alert::firing("DiskFull", "disk", Utc::now()),
        Alert::firing("Nameless", "disk", Utc::now()),
    ]);
    both["alerts"][1]["labels"] = serde_json::json!({});
    both["alerts"][1]["annotations"] = serde_json::json!({"summary": "has no labels"});
    ensure!(post(&stack.ingest, &both).await?.is_success());
    let told = [
        "high-cpu wants alertname=\"HighCPU\", but alertname is \"DiskFull\"",
        "No rule means this alert",
        "1 other alerts of the same body were refused",
    ];
    cli.says(&["why", "DiskFull"], &told).await;
    let told = ["Ingest refused it", "(no_labels)", "No rule ever saw it"];
    cli.says(&["why", "has no labels"], &told).await;
    let unknown = cli.run(&["why", "nobody-knows-this"]).await?;
    ensure!(unknown.code == Some(1), "{unknown:?}");
    Ok(())
}

async fn dead(stack: &Stack, cli: &Cli) -> Result<()> {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &stack.topics.brokers)
        .create()?;
    let topic = format!("{}alert", stack.topics.prefix);
    let headers = OwnedHeaders::new().insert(Header {
        key: "ce_type",
        value: Some("alert.raised"),
    });
    let record = FutureRecord::to(&topic)
        .key("poisoned-service")
        .headers(headers)
        .payload("no Avro at all");
    let sent = producer.send(record, Duration::from_secs(20)).await;
    sent.map_err(|(error, _)| error)?;
    let told = ["set it aside as a dead letter", "No rule ever saw it"];
    cli.says(&["why", "poisoned-service"], &told).await;
    Ok(())
}

/// Kafka is out of Ingest's reach, and of nobody else's.
async fn in_the_outbox(stack: &mut Stack, cli: &Cli) -> Result<()> {
    let brokers = stack.topics.brokers.clone();
    ensure!(stack.ingest.stop().await? == Some(0));
    let nowhere = [("EVENTPULSE_KAFKA_BROKERS", "127.0.0.1:9".to_owned())];
    stack.ingest.restart(&nowhere)?;
    stack.ingest.ready().await;
    stack
        .accept(&[
            Alert::firing("Down", "dark", Utc::now()),
            Alert::firing("DiskFull", "disk", Utc::now()).resolved(Utc::now()),
        ])
        .await?;
    let told = [
        "events wait in Ingest's outbox",
        "It is still in Ingest's outbox",
    ];
    cli.says(&["why", "Down"], &told).await;
    // killed: it would wait for Kafka
    stack.ingest.kill()?;
    stack
        .ingest
        .restart(&[("EVENTPULSE_KAFKA_BROKERS", brokers)])?;
    stack.ingest.ready().await;
    cli.says(&["why", "Down"], &["): fired: ", "is open"]).await;
    // with a service away nothing is made up
    stack.rules.kill()?;
    let away = cli.run(&["why", "Down"]).await?;
    ensure!(away.code == Some(2), "{away:?}");
    Ok(())
}
