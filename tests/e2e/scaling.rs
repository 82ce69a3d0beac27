//! From alert to replicas and back: the loop that EventPulse is for.

use anyhow::{Context, Result, ensure};
use chrono::{TimeDelta, Utc};
use eventpulse_tests::{App, Stack, stack::Setup, webhook::Alert};
use serde_json::Value;
use service_kit::testing::wait_for;

fn setup(app: &App) -> Setup {
    Setup {
        project: app.project.clone(),
        ..Setup::default()
    }
}

async fn until_running(app: &App, wanted: usize) {
    wait_for(&format!("{wanted} running containers"), async || {
        app.running(wanted).await
    })
    .await;
}

async fn incident(stack: &Stack, path: &str) -> Result<Value> {
    let incidents = stack.incidents().await?;
    let id = incidents[0]["id"].as_str().context("id")?;
    stack
        .store
        .get(&format!("/api/v1/incidents/{id}{path}"))
        .await
}

/// 003-86, 003-88: load -> alert -> 2 replicas -> mitigating -> resolved -> low load -> 1.
#[tokio::test]
async fn an_alert_scales_up_and_resolves_and_low_load_scales_down() -> Result<()> {
    let app = App::start("true").await?;
    let stack = Stack::start(&setup(&app)).await?;
    let began = Utc::now() - TimeDelta::seconds(30);
    let high = Alert::firing("HighCPU", "app", began);

    stack.accept(std::slice::from_ref(&high)).await?;
    until_running(&app, 2).await;
    let mitigating = stack.until(1, "mitigating").await;
    assert!(mitigating[0]["mitigating_at"].is_string());
    wait_for("the action to complete", async || {
        let actions = incident(&stack, "/actions").await?;
        let action = actions["items"][0].clone();
        ensure!(action["status"] == "completed", "{action}");
        ensure!(
            action["desired_replicas"] == 2 && action["target"] == "app",
            "{action}"
        );
        Ok(action)
    })
    .await;

    stack.accept(&[high.resolved(Utc::now())]).await?;
    let resolved = stack.until(1, "resolved").await;
    assert_eq!(resolved[0]["reason"]["code"], "alerts_cleared");
    assert_eq!(resolved[0]["service"], "app");

    let low = Alert::firing("LowCPU", "app", Utc::now());
    stack.accept(&[low]).await?;
    until_running(&app, 1).await;
    wait_for("the scale-down to join the incident", async || {
        let actions = incident(&stack, "/actions").await?;
        let items = actions["items"].as_array().context("items")?.clone();
        ensure!(items.len() == 2, "{items:#?}");
        ensure!(
            items.iter().all(|action| action["status"] == "completed"),
            "{items:#?}"
        );
        Ok(())
    })
    .await;
    let story = incident(&stack, "/timeline").await?;
    let types: Vec<&str> = story["items"]
        .as_array()
        .context("items")?
        .iter()
        .filter_map(|entry| entry["type"].as_str())
        .collect();
    for wanted in [
        "incident.opened",
        "action.requested",
        "action.completed",
        "incident.resolved",
    ] {
        ensure!(types.contains(&wanted), "{wanted} is not in {types:?}");
    }
    Ok(())
}

/// 003-87: failure -> compensation to 1, failed; and recovered when the alert clears.
#[tokio::test]
async fn a_replica_that_never_gets_healthy_is_undone() -> Result<()> {
    let app = App::start("test -e /healthy").await?;
    let stack = Stack::start(&Setup {
        timeout: "4s",
        verify_within: "2s",
        ..setup(&app)
    })
    .await?;
    let high = Alert::firing("HighCPU", "app", Utc::now());
    stack.accept(std::slice::from_ref(&high)).await?;
    let failed = stack.until(1, "failed").await;
    assert_eq!(failed[0]["needs_attention"], true);
    until_running(&app, 1).await;
    let actions = incident(&stack, "/actions").await?;
    let actions = actions["items"].as_array().context("items")?;
    let of_kind = |kind: &str| {
        actions
            .iter()
            .filter(|action| action["kind"] == kind)
            .count()
    };
    assert_eq!(of_kind("scale_docker"), 1, "{actions:#?}");
    assert_eq!(of_kind("ensure_replicas"), 1, "{actions:#?}");
    let scale = actions
        .iter()
        .find(|action| action["kind"] == "scale_docker");
    assert_eq!(scale.context("scale")?["status"], "failed");

    stack.accept(&[high.resolved(Utc::now())]).await?;
    let resolved = stack.until(1, "resolved").await;
    assert_eq!(resolved[0]["reason"]["code"], "recovered_after_failure");
    Ok(())
}

/// What a person removes comes back; what a person adds stays.
#[tokio::test]
async fn a_removed_replica_is_replaced() -> Result<()> {
    let app = App::start("true").await?;
    let stack = Stack::start(&setup(&app)).await?;
    stack
        .accept(&[Alert::firing("HighCPU", "app", Utc::now())])
        .await?;
    until_running(&app, 2).await;
    stack.until(1, "mitigating").await;
    let managed = app.containers().await?;
    let managed = managed
        .iter()
        .find(|seen| seen.managed)
        .context("a replica")?;
    app.remove(&managed.id).await?;
    wait_for("another replica in its place", async || {
        let seen = app.running(2).await?;
        ensure!(
            seen.iter().all(|container| container.id != managed.id),
            "{seen:?}"
        );
        Ok(())
    })
    .await;
    Ok(())
}

/// A pause holds the action back and not the incident; resuming lets it through.
#[tokio::test]
async fn a_pause_holds_the_action_and_not_the_incident() -> Result<()> {
    let app = App::start("true").await?;
    let stack = Stack::start(&setup(&app)).await?;
    let words = serde_json::json!({"actor": "ann", "reason": "deploy"});
    stack
        .rules
        .post("/api/v1/targets/app/pause", &words)
        .await?;
    stack
        .accept(&[Alert::firing("HighCPU", "app", Utc::now())])
        .await?;
    stack.until(1, "open").await;
    wait_for("a decision that says paused", async || {
        let decisions = stack.rules.get("/api/v1/decisions").await?;
        ensure!(decisions.to_string().contains("\"paused\""), "{decisions}");
        Ok(())
    })
    .await;
    assert_eq!(app.containers().await?.len(), 1);
    stack
        .rules
        .post("/api/v1/targets/app/resume", &words)
        .await?;
    until_running(&app, 2).await;
    Ok(())
}
