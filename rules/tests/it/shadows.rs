//! Rules in shadow beside live ones.

use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::json;
use service_kit::{batch::Intake, testing::Database};

use crate::{
    http::{Rules, folder},
    story::{Log, alert_id, raised},
    support::{Engine, RULES},
};

const SHADOW: &str = r#"
- name: scale-when-slow
  state: shadow
  matchers: ['alertname=~"Slow|HighCPU"']
  group_by: [service]
  incident: open
  action: {scale_docker: {replicas: 3, direction: up}, timeout: 60s, cooldown: 2m}
"#;

#[tokio::test]
async fn a_report_compares_them_with_what_live_rules_did() -> Result<()> {
    let database = Arc::new(Database::fresh(&[]).await);
    let folder = folder()?;
    std::fs::write(
        folder.file("rules.yaml"),
        format!("{}{SHADOW}", RULES.trim_end()),
    )?;
    let rules = Rules::start(&database, &folder).await?;
    let engine = Engine::on(database).await?;
    let mut log = Log::default();
    let works = vec![
        log.alert(raised("HighCPU", "app", (1, 1), 0)),
        log.alert(raised("HighCPU", "app", (1, 2), 30)),
        log.alert(raised("Slow", "shop", (1, 1), 31)),
    ];
    engine.handle(Intake::local(works)).await?;
    let asked = engine.rows("SELECT target FROM actions").await?;
    assert_eq!(asked, [json!({"target": "app"})], "the live rule's only");

    let alert = alert_id("Slow", "shop");
    let (_, why) = rules
        .get(&format!(
            "/api/v1/explain?alert_id={alert}&rule=scale-when-slow"
        ))
        .await?;
    let rule = &why["explained"][0]["rules"][0];
    assert_eq!(
        (&rule["state"], &rule["answer"]["shadow"]),
        (&json!("shadow"), &json!(true))
    );
    assert_eq!(rule["answer"]["emitted"], json!([]));
    let told = rule["answer"]["inputs"]["would_emit"]
        .as_array()
        .context("would_emit")?;
    assert_eq!(
        told.last(),
        Some(
            &json!({"type": "action.requested", "target": "shop", "desired_replicas": 3,
                     "previous_replicas": null})
        )
    );

    let (status, report) = rules
        .get("/api/v1/rules/shadow-report?since=2020-01-01T00:00:00Z")
        .await?;
    assert_eq!(status, 200, "{report}");
    assert_eq!(
        report["items"],
        json!([{
            "rule": "scale-when-slow", "inputs": 3, "would_have_fired": 2,
            "outcomes": {"fired": 2, "action_pending": 1},
            "only_shadow": 1, "only_live": 0, "both": 1,
            "live": [
                {"rule": "high-cpu", "outcome": "action_pending", "count": 1},
                {"rule": "high-cpu", "outcome": "fired", "count": 1},
            ],
        }])
    );
    let (_, later) = rules
        .get("/api/v1/rules/shadow-report?since=2100-01-01T00:00:00Z")
        .await?;
    assert_eq!(later["items"], json!([]));
    rules.stop().await
}
