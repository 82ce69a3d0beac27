//! What happens because time passes.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use service_kit::testing::{Database, wait_for};

use crate::support::{Ingest, config, count, firing, resolved, told};

#[tokio::test]
async fn an_alert_that_nobody_speaks_of_is_resolved_as_silent_and_reopens() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let mut config = config(&database);
    config.stale_after = Duration::from_millis(900);
    let ingest = Ingest::start(config).await?;
    ingest.accept(&[firing("HighCPU", "10:00:00")]).await;
    let silent = wait_for("the episode to end", async || {
        let alert = ingest
            .only("/api/v1/alerts")
            .await
            .map_err(|error| error.to_string())?;
        if alert["status"] == "resolved" {
            Ok(alert)
        } else {
            Err(alert.to_string())
        }
    })
    .await;
    assert_eq!(
        (&silent["resolve_reason"], &silent["ends_at"]),
        (&json!("silent"), &json!(null))
    );
    ingest.accept(&[firing("HighCPU", "10:00:00")]).await;
    let again = ingest.only("/api/v1/alerts").await?;
    assert_eq!(again["reopens"], silent["episode_id"]);
    assert_eq!(
        told(&database.pool).await?[..3],
        ["raised 1", "resolved silent", "raised 1"]
    );
    ingest.stop().await
}

#[tokio::test]
async fn a_replay_that_goes_on_reopens() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let mut config = config(&database);
    config.reopen_after = Duration::from_millis(700);
    let ingest = Ingest::start(config).await?;
    ingest.accept(&[firing("HighCPU", "10:00:00")]).await;
    ingest
        .accept(&[resolved("HighCPU", "10:00:00", "10:05:00")])
        .await;
    let closed = ingest.only("/api/v1/alerts").await?;
    let open = wait_for("the episode to reopen", async || {
        ingest.accept(&[firing("HighCPU", "10:00:00")]).await;
        let alert = ingest
            .only("/api/v1/alerts")
            .await
            .map_err(|error| error.to_string())?;
        if alert["status"] == "firing" {
            Ok(alert)
        } else {
            Err(alert.to_string())
        }
    })
    .await;
    assert_eq!(
        (&open["reopens"], &open["episode"]),
        (&closed["episode_id"], &json!(2))
    );
    assert_eq!(
        told(&database.pool).await?,
        ["raised 1", "resolved notified", "raised 1"]
    );
    ingest.stop().await
}

#[tokio::test]
async fn bodies_and_rejects_are_pruned_and_alerts_stay() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let mut config = config(&database);
    config.receipt_retention = Duration::from_millis(300);
    let ingest = Ingest::start(config).await?;
    ingest
        .accept(&[firing("HighCPU", "10:00:00"), json!(7)])
        .await;
    wait_for("body and reject to be gone", async || {
        let receipts = count(&database.pool, "receipts")
            .await
            .map_err(|error| error.to_string())?;
        let rejects = count(&database.pool, "alert_rejects")
            .await
            .map_err(|error| error.to_string())?;
        if receipts + rejects == 0 {
            Ok(())
        } else {
            Err(format!("{receipts} and {rejects}"))
        }
    })
    .await;
    assert_eq!(count(&database.pool, "alerts").await?, 1);
    ingest.stop().await
}

#[tokio::test]
async fn bodies_that_are_young_are_kept() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let mut config = config(&database);
    config.receipt_retention = Duration::from_secs(3600);
    sqlx::raw_sql(
        "INSERT INTO receipts SELECT gen_random_uuid(), 'am', '127.0.0.1', NULL,
             clock_timestamp() - n * interval '40 minutes', 0, 0, 2, 'x', 'x'
         FROM generate_series(0, 1200) AS n",
    )
    .execute(&database.pool)
    .await?;
    let ingest = Ingest::start(config).await?;
    wait_for("the old ones to be gone", async || {
        match count(&database.pool, "receipts").await {
            Ok(2) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    ingest.stop().await
}
