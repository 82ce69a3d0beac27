//! Limits on the database: kept over restarts, counted by two instances together, closed by a person.

use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use service_kit::{Work, batch::Intake, testing::Database};

use crate::{
    http::{Rules, folder},
    story::{Log, alert_id, completed, raised},
    support::{Engine, RULES},
    timers::requested,
};

fn limited() -> String {
    let limits = "version: 1\nlimits: {actions_per_hour: 2, actions_per_hour_per_target: 5}\n";
    RULES.replacen("version: 1\n", limits, 1)
}

#[tokio::test]
async fn a_limit_is_shown_survives_a_restart_and_is_closed_by_a_person() -> Result<()> {
    let database = Arc::new(Database::fresh(&[]).await);
    let folder = folder()?;
    std::fs::write(folder.file("rules.yaml"), limited())?;
    let rules = Rules::start(&database, &folder).await?;
    let one = Engine::on(Arc::clone(&database)).await?;
    let two = Engine::on(Arc::clone(&database)).await?;
    let mut log = Log::default();
    let fire = |log: &mut Log, service: &str, seconds| -> Vec<Work<rules::service::Input>> {
        vec![log.alert(raised("HighCPU", service, (1, seconds), seconds))]
    };
    one.handle(Intake::local(fire(&mut log, "app", 1))).await?;
    two.handle(Intake::local(fire(&mut log, "shop", 2))).await?;
    let action = requested(&one).await?;
    let done = log.action(completed(&action, 10));
    one.handle(Intake::local(vec![done])).await?;
    let after = fire(&mut log, "shop", 300);
    two.handle(Intake::local(after)).await?;
    rules.stop().await?;
    let rules = Rules::start(&database, &folder).await?;

    // whichever of the two is busy: one more on any target is too many
    let busy = if action.target == "app" {
        "app"
    } else {
        "shop"
    };
    let low = log.alert(raised("LowCPU", busy, (1, 1), 301));
    one.handle(Intake::local(vec![low])).await?;
    let alert = alert_id("LowCPU", busy);
    let (_, why) = rules
        .get(&format!("/api/v1/explain?alert_id={alert}&rule=low-cpu"))
        .await?;
    let answer = &why["explained"][0]["rules"][0]["answer"];
    assert_eq!(answer["outcome"], "limit_reached", "{why}");
    let reason = answer["reason"].as_str().context("a reason")?;
    assert!(
        reason.contains("; 2 actions on all targets within an hour, and 2 are allowed"),
        "{reason}"
    );
    let limits = rules.items("/api/v1/limits").await?;
    let shown: Vec<(&Value, &Value)> = limits.iter().map(|l| (&l["target"], &l["limit"])).collect();
    let expected = [
        (json!("*"), json!(2)),
        (json!("app"), json!(5)),
        (json!("shop"), json!(5)),
    ];
    assert_eq!(
        shown,
        expected.iter().map(|(a, b)| (a, b)).collect::<Vec<_>>()
    );
    assert!(limits[0]["open"]["reason"].is_string(), "{limits:?}");
    assert!(limits[1]["open"].is_null(), "{limits:?}");

    let words = json!({"actor": "ana", "reason": "looked"});
    let app = json!({"actor": "ana", "reason": "looked", "target": "app"});
    let (status, _) = rules.post("/api/v1/limits/close", &app).await?;
    assert_eq!(status, 404);
    let (status, closed) = rules.post("/api/v1/limits/close", &words).await?;
    assert_eq!(status, 200, "{closed}");
    assert!(rules.items("/api/v1/limits").await?[0]["open"].is_null());
    let waits = one
        .rows("SELECT kind FROM timers WHERE kind = 'recheck'")
        .await?;
    assert_eq!(waits.len(), 1, "what waited is decided again");
    rules.stop().await
}
