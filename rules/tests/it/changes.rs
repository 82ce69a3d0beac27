//! Rules as code: changes go through topic `rule` and are in force for every instance from there on.

use std::sync::Arc;

use anyhow::{Context, Result};
use rules::{RulesSource, files::content_hash};
use serde_json::{Value, json};
use service_kit::{
    batch::Intake,
    testing::{Database, TestTopics, kit_args, wait_for},
};
use shared_events::AlertEvent;

use crate::{
    http::{Folder, Rules, folder},
    story::{Log, alert_id, raised},
    support::{Engine, RULES},
};

const WHO: &str = "actor=ana&reason=less%20noise";

async fn start(topics: &TestTopics, database: &Database, folder: &Folder) -> Result<Rules> {
    let kit = kit_args(database, &topics.prefix);
    let rules = Rules::with(kit, folder, RulesSource::Topic).await?;
    rules.until_ready().await;
    Ok(rules)
}

/// Waits until the change of this number is in force.
async fn in_force(rules: &Rules, number: i64) {
    wait_for("a change to be in force", async || {
        match rules.get("/api/v1/rules").await {
            Ok((200, seen)) if seen["change"] == number => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

fn valued(service: &str, occurrence: i64) -> AlertEvent {
    match raised("HighCPU", service, (1, occurrence), 10 * occurrence) {
        AlertEvent::Raised(mut alert) => {
            alert.annotations.insert("value".into(), "0.84".into());
            alert.into()
        }
        other => other,
    }
}

fn strict() -> String {
    let when = "  incident: open\n  when: double(annotations.value) > 0.9\n";
    RULES.replacen("  incident: open\n", when, 1)
}

async fn answer(rules: &Rules, service: &str) -> Result<(Value, Value)> {
    let alert = alert_id("HighCPU", service);
    let path = format!("/api/v1/explain?alert_id={alert}&rule=high-cpu");
    let (status, why) = rules.get(&path).await?;
    anyhow::ensure!(status == 200, "{why}");
    let why = &why["explained"][0];
    let outcome = why["rules"][0]["answer"]["outcome"].clone();
    Ok((outcome, why["rules_change"].clone()))
}

#[tokio::test]
async fn rules_change_at_a_known_point_of_the_log_and_back() -> Result<()> {
    let topics = TestTopics::fresh().await;
    let database = Arc::new(Database::fresh(&[]).await);
    let folder = folder()?;
    let rules = start(&topics, &database, &folder).await?;
    let other = start(&topics, &database, &folder).await?;
    in_force(&rules, 1).await;
    let engine = Engine::on(Arc::clone(&database)).await?;
    let mut log = Log::default();
    let fire = log.alert(valued("app", 1));
    engine.handle(Intake::local(vec![fire])).await?;
    assert_eq!(answer(&rules, "app").await?.0, "fired");
    let kept = engine.states().await?[1].clone();

    let first = content_hash(RULES);
    let (status, applied) = rules.put(WHO, Some(&first), &strict()).await?;
    assert_eq!(
        (status, &applied["applied"]),
        (200, &json!(true)),
        "{applied}"
    );
    assert_eq!(applied["previous"], first);
    assert_eq!(applied["position"]["offset"], 1);
    assert_eq!(applied["summary"]["changed"], json!(["high-cpu"]));
    assert_eq!(engine.states().await?[1], kept, "cooldowns stay");
    in_force(&other, 2).await;

    let fire = log.alert(valued("shop", 1));
    engine.handle(Intake::local(vec![fire])).await?;
    let (outcome, change) = answer(&other, "shop").await?;
    assert_eq!(outcome, "condition_false");
    assert_eq!(
        (&change["number"], &change["actor"]),
        (&json!(2), &json!("ana"))
    );
    assert_eq!(change["position"]["offset"], 1);

    let back = json!({"hash": first[..8], "actor": "ben", "reason": "too quiet"});
    let (status, applied) = other.post("/api/v1/rules/rollback", &back).await?;
    assert_eq!(
        (status, &applied["hash"]),
        (200, &json!(first)),
        "{applied}"
    );
    let again = log.alert(valued("shop", 2));
    engine.handle(Intake::local(vec![again])).await?;
    let (outcome, change) = answer(&rules, "shop").await?;
    assert_eq!((outcome, &change["number"]), (json!("fired"), &json!(3)));

    let versions = rules.items("/api/v1/rules/versions").await?;
    let told: Vec<(&Value, &Value, &Value)> = versions
        .iter()
        .map(|version| (&version["number"], &version["actor"], &version["active"]))
        .collect();
    let expected = [(3, "ben", true), (2, "ana", false), (1, "file", false)]
        .map(|(number, actor, active)| (json!(number), json!(actor), json!(active)));
    let expected: Vec<_> = expected.iter().map(|(a, b, c)| (a, b, c)).collect();
    assert_eq!(told, expected);
    let path = format!("/api/v1/rules/versions/{}", content_hash(&strict()));
    assert_eq!(rules.get(&path).await?, (200, Value::String(strict())));
    other.stop().await?;
    rules.stop().await?;

    // a database that is lost: the topic has the rules, whatever the file says
    std::fs::write(folder.file("rules.yaml"), strict())?;
    let database = Arc::new(Database::fresh(&[]).await);
    let rules = start(&topics, &database, &folder).await?;
    in_force(&rules, 3).await;
    let (_, seen) = rules.get("/api/v1/rules").await?;
    assert_eq!(
        (&seen["hash"], &seen["file_differs"]),
        (&json!(first), &json!(true))
    );
    assert_eq!(rules.items("/api/v1/rules/versions").await?.len(), 3);
    rules.stop().await
}

#[tokio::test]
async fn what_does_not_fit_changes_nothing() -> Result<()> {
    let topics = TestTopics::fresh().await;
    let database = Arc::new(Database::fresh(&[]).await);
    let folder = folder()?;
    let rules = start(&topics, &database, &folder).await?;
    in_force(&rules, 1).await;
    let (_, before) = rules.get("/api/v1/rules").await?;
    let hash = before["hash"].as_str().context("a hash")?.to_owned();
    let (status, _) = rules.put(WHO, None, &strict()).await?;
    assert_eq!(status, 428);
    let (status, problem) = rules.put(WHO, Some(&"0".repeat(64)), &strict()).await?;
    assert_eq!((status, &problem["hash"]), (412, &json!(hash)), "{problem}");
    let (status, _) = rules.put("actor=ana", Some(&hash), &strict()).await?;
    assert_eq!(status, 400);
    let broken = RULES.replacen("matchers:", "match:", 1);
    let (status, problem) = rules.put(WHO, Some(&hash), &broken).await?;
    assert_eq!(status, 422, "{problem}");
    let place = (&problem["line"], &problem["column"], &problem["hint"]);
    assert_eq!(place, (&json!(4), &json!(3), &json!("matchers")));
    let (status, dry) = rules.put("dry_run=true", None, &strict()).await?;
    assert_eq!(
        (status, &dry["dry_run"], &dry["applied"]),
        (200, &json!(true), &json!(false))
    );
    let (status, same) = rules.put(WHO, Some(&hash), RULES).await?;
    assert_eq!((status, &same["unchanged"]), (200, &json!(true)), "{same}");

    // the file is left alone, and that is said
    std::fs::write(folder.file("rules.yaml"), strict())?;
    let (status, loaded) = rules.post("/-/reload", &json!({})).await?;
    assert_eq!(
        (status, &loaded["unchanged"]),
        (200, &json!(true)),
        "{loaded}"
    );
    let ignored = loaded["ignored"].as_str().context("ignored")?;
    assert!(ignored.contains("eventpulse rules apply"), "{ignored}");
    let (_, after) = rules.get("/api/v1/rules").await?;
    assert_eq!(
        (&after["hash"], &after["file_differs"]),
        (&json!(hash), &json!(true))
    );
    assert_eq!(rules.items("/api/v1/rules/versions").await?.len(), 1);
    // bounds still come from the file
    let bounds = crate::support::TARGETS.replace("max_replicas: 3", "max_replicas: 2");
    std::fs::write(folder.file("targets.yaml"), bounds)?;
    let (_, loaded) = rules.post("/-/reload", &json!({})).await?;
    assert_eq!(loaded["unchanged"], false, "{loaded}");
    assert_eq!(rules.get("/api/v1/rules").await?.1["hash"], json!(hash));
    rules.stop().await
}

#[tokio::test]
async fn rules_of_a_file_are_changed_in_the_file() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let folder = folder()?;
    let rules = Rules::start(&database, &folder).await?;
    let hash = content_hash(RULES);
    let (status, problem) = rules.put(WHO, Some(&hash), &strict()).await?;
    assert_eq!(status, 409, "{problem}");
    let (_, seen) = rules.get("/api/v1/rules").await?;
    assert_eq!(
        (&seen["source"], &seen["hash"]),
        (&json!("file"), &json!(hash))
    );
    let (status, rule) = rules.get("/api/v1/rules/down").await?;
    assert_eq!((status, &rule["incident"]), (200, &json!("open")));
    assert_eq!(rules.get("/api/v1/rules/none").await?.0, 404);
    rules.stop().await
}
