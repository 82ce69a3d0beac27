//! Why: each rule, each part of its condition, and what came of it.

use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use service_kit::{batch::Intake, testing::Database};
use shared_events::AlertEvent;

use crate::{
    http::{Rules, folder},
    story::{Log, alert_id, completed, raised, resolved},
    support::{Engine, RULES},
    timers::requested,
};

/// A service with a condition, and an engine that feeds it.
async fn running() -> Result<(Rules, Engine)> {
    let database = Arc::new(Database::fresh(&[]).await);
    let folder = folder()?;
    let with_condition = RULES.replacen(
        "  incident: open\n",
        "  incident: open\n  when: double(annotations.value) > 0.9\n",
        1,
    );
    std::fs::write(folder.file("rules.yaml"), with_condition)?;
    let rules = Rules::start(&database, &folder).await?;
    Ok((rules, Engine::on(database).await?))
}

fn valued(value: &str, occurrence: i64, seconds: i64) -> AlertEvent {
    match raised("HighCPU", "app", (1, occurrence), seconds) {
        AlertEvent::Raised(mut alert) => {
            alert.annotations.insert("value".into(), value.into());
            alert.into()
        }
        other => other,
    }
}

fn rule<'a>(explanation: &'a Value, name: &str) -> Result<&'a Value> {
    let rules = explanation["rules"].as_array().context("rules")?;
    let found = rules.iter().find(|rule| rule["rule"] == name);
    found.with_context(|| format!("no {name} in {explanation}"))
}

#[tokio::test]
async fn a_refused_alert_is_explained_part_by_part() -> Result<()> {
    let (rules, engine) = running().await?;
    let work = Log::default().alert(valued("0.84", 1, 0));
    let event = work.id;
    engine.handle(Intake::local(vec![work])).await?;
    let alert = alert_id("HighCPU", "app");
    let (status, answer) = rules
        .get(&format!("/api/v1/explain?alert_id={alert}"))
        .await?;
    assert_eq!(status, 200, "{answer}");
    let why = &answer["explained"][0];
    assert_eq!(why["alert"]["annotations"]["value"], "0.84");
    assert_eq!(
        why["position"],
        json!({"topic": "alert", "partition": 0, "offset": 0})
    );
    assert!(
        why["rules_change"]["version"] == why["rules_version"],
        "{why}"
    );
    let high = rule(why, "high-cpu")?;
    assert_eq!(high["matchers"][0]["value"], "HighCPU");
    assert_eq!(high["matchers"][0]["matched"], true);
    let steps = json!([
        {"expression": "annotations.value", "value": "0.84", "error": null},
        {"expression": "double(annotations.value)", "value": 0.84, "error": null},
        {"expression": "double(annotations.value) > 0.9", "value": false, "error": null},
    ]);
    assert_eq!(high["condition"]["steps"], steps);
    assert_eq!(high["answer"]["outcome"], "condition_false");
    assert_eq!(
        high["answer"]["reason"],
        "`when` is false: double(annotations.value) > 0.9 (0.84 > 0.9)"
    );
    let low = rule(why, "low-cpu")?;
    assert_eq!(
        (&low["matched"], &low["answer"]["outcome"]),
        (&json!(false), &json!("no_match"))
    );
    let (status, one) = rules.get(&format!("/api/v1/decisions/{event}")).await?;
    assert_eq!(
        (status, &one["decision_id"]),
        (200, &why["decision_id"]),
        "{one}"
    );
    let (_, narrow) = rules
        .get(&format!("/api/v1/explain?event_id={event}&rule=down"))
        .await?;
    let named = narrow["explained"][0]["rules"]
        .as_array()
        .context("rules")?;
    assert_eq!(named.len(), 1, "{narrow}");
    rules.stop().await
}

#[tokio::test]
async fn an_event_is_found_in_what_the_log_has_summarized_and_in_what_it_has_not() -> Result<()> {
    let (rules, engine) = running().await?;
    let mut log = Log::default();
    let mut events = Vec::new();
    // more than 64 pages, which are summarized together
    for batch in 0..12 {
        let alerts = (0..500).map(|n| raised("Other", &format!("s{batch}-{n}"), (1, 1), 0));
        let works: Vec<_> = alerts.map(|alert| log.alert(alert)).collect();
        events.extend(works.iter().map(|work| work.id));
        engine.handle(Intake::local(works)).await?;
        if batch == 8 {
            let ranges: i32 =
                sqlx::query_scalar("SELECT brin_summarize_new_values('decisions_log_input_id')")
                    .fetch_one(&engine.database.pool)
                    .await?;
            assert!(ranges > 0, "{ranges} ranges");
        }
    }
    for place in [0, 2999, 5999] {
        let event = events[place];
        let (status, one) = rules.get(&format!("/api/v1/decisions/{event}")).await?;
        assert_eq!(
            (status, &one["event_id"]),
            (200, &json!(event.to_string())),
            "{one}"
        );
        let (_, why) = rules
            .get(&format!("/api/v1/explain?event_id={event}"))
            .await?;
        assert_eq!(why["explained"][0]["event_id"], event.to_string(), "{why}");
    }
    let nobody = uuid::Uuid::nil();
    let (status, _) = rules.get(&format!("/api/v1/decisions/{nobody}")).await?;
    assert_eq!(status, 404);
    rules.stop().await
}

#[tokio::test]
async fn a_fired_alert_is_explained_with_what_came_of_it() -> Result<()> {
    let (rules, engine) = running().await?;
    let mut log = Log::default();
    let fire = log.alert(valued("0.95", 1, 0));
    engine.handle(Intake::local(vec![fire])).await?;
    let action = requested(&engine).await?;
    let done = log.action(completed(&action, 20));
    let end = log.alert(resolved("HighCPU", "app", 1, 40));
    engine.handle(Intake::local(vec![done, end])).await?;
    let again = log.alert(valued("0.97", 2, 60));
    engine.handle(Intake::local(vec![again])).await?;
    let incident = engine.incident("service=app").await?;
    let (status, answer) = rules
        .get(&format!("/api/v1/explain?incident_id={incident}"))
        .await?;
    assert_eq!(status, 200, "{answer}");
    let why = &answer["explained"][0];
    assert_eq!(rule(why, "high-cpu")?["answer"]["outcome"], "fired");
    let types: Vec<&Value> = why["emitted_events"]
        .as_array()
        .context("events")?
        .iter()
        .map(|event| &event["type"])
        .collect();
    assert_eq!(
        types,
        ["incident.opened", "action.requested", "incident.updated"]
    );
    assert_eq!(why["incident"]["phase"], "closed");
    let followed: Vec<&Value> = why["followed"]
        .as_array()
        .context("followed")?
        .iter()
        .map(|past| &past["outcomes"][0]["outcome"])
        .collect();
    assert_eq!(followed, ["action_completed", "cleared"]);
    assert_eq!(answer["history"].as_array().map(Vec::len), Some(4));
    // the last firing came when the episode was over and within the cooldown
    let alert = alert_id("HighCPU", "app");
    let (_, answer) = rules
        .get(&format!("/api/v1/explain?alert_id={alert}"))
        .await?;
    let last = rule(&answer["explained"][0], "high-cpu")?;
    assert_eq!(last["action"]["replicas"], 2);
    assert_eq!(last["action"]["max_replicas"], 3);
    assert_eq!(last["action"]["cooldown_until"], "2023-11-14T22:15:20Z");
    rules.stop().await
}

#[tokio::test]
async fn what_never_came_is_answered_with_where_to_look() -> Result<()> {
    let (rules, _engine) = running().await?;
    let nobody = uuid::Uuid::from_u128(7);
    for path in [
        format!("explain?alert_id={nobody}"),
        format!("explain?incident_id={nobody}"),
        format!("decisions/{nobody}"),
    ] {
        let (status, problem) = rules.get(&format!("/api/v1/{path}")).await?;
        assert_eq!(status, 404, "{path}: {problem}");
        assert!(
            problem["look"][0]
                .as_str()
                .context("look")?
                .contains("ingest"),
            "{problem}"
        );
    }
    for bad in ["", "alert_id=7", "alert_id=x&rule=y", "rule=x", "alertid=7"] {
        let (status, problem) = rules.get(&format!("/api/v1/explain?{bad}")).await?;
        assert_eq!(status, 400, "{bad}: {problem}");
    }
    rules.stop().await
}
