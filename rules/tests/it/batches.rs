//! However events are cut into batches, and however often they come, the decisions are the same.

use std::collections::HashSet;

use anyhow::{Result, ensure};
use rules::{domain::Verb, service::Input};
use serde_json::Value;
use service_kit::{Work, batch::Intake};
use sqlx::AssertSqlSafe;

use crate::{
    story::{Log, at, busy, raised},
    support::{Engine, RULES},
};

async fn fold_in(size: usize, works: &[Work<Input>]) -> Result<Engine> {
    let engine = Engine::fresh().await?;
    for part in works.chunks(size) {
        let handled = engine.handle(Intake::local(part.to_vec())).await?;
        ensure!(handled.rejected.is_empty(), "{:?}", handled.rejected);
    }
    Ok(engine)
}

#[tokio::test]
async fn the_same_events_cut_differently_give_the_same_decisions_and_events() -> Result<()> {
    let works = busy(&mut Log::default());
    let whole = fold_in(usize::MAX, &works).await?.everything().await?;
    assert!(
        whole.iter().take(5).all(|table| !table.is_empty()),
        "{whole:?}"
    );
    for size in [1, 7] {
        let parts = fold_in(size, &works).await?.everything().await?;
        assert_eq!(whole, parts, "cut into {size}");
    }
    Ok(())
}

#[tokio::test]
async fn what_comes_again_does_nothing() -> Result<()> {
    let works = busy(&mut Log::default());
    let engine = fold_in(5, &works).await?;
    let before = engine.everything().await?;
    let handled = engine.handle(Intake::local(works.clone())).await?;
    assert_eq!(handled.duplicates, works.len());
    assert_eq!(before, engine.everything().await?);
    Ok(())
}

#[tokio::test]
async fn what_comes_again_after_the_inbox_was_pruned_does_nothing() -> Result<()> {
    let works = busy(&mut Log::default());
    let engine = fold_in(5, &works).await?;
    let before = engine.everything().await?;
    sqlx::query("DELETE FROM inbox_events")
        .execute(&engine.database.pool)
        .await?;
    let handled = engine.handle(Intake::local(works.clone())).await?;
    assert_eq!(handled.duplicates, 0, "the inbox does not know them");
    assert_eq!(before, engine.everything().await?);
    Ok(())
}

/// A dead letter that a person asked for again comes after later events of its key, and counts.
#[tokio::test]
async fn a_redriven_event_is_decided_although_later_ones_were() -> Result<()> {
    let mut log = Log::default();
    let late = log.alert(raised("Down", "app", (1, 1), 0));
    let next = log.alert(raised("HighCPU", "app", (1, 1), 5));
    let engine = Engine::fresh().await?;
    engine.handle(Intake::local(vec![next])).await?;
    let mut again = Intake::local(vec![late.clone()]);
    again.redriven = HashSet::from([late.id.uuid()]);
    engine.handle(again).await?;
    assert_eq!(
        engine.codes().await?,
        ["rules_loaded", "fired", "already_open"]
    );
    Ok(())
}

#[tokio::test]
async fn sequences_have_no_gap_and_ids_follow_them() -> Result<()> {
    let engine = fold_in(9, &busy(&mut Log::default())).await?;
    let rows = engine
        .rows(
            "SELECT correlation_key, count(*) AS rows, max(seq) AS last,
                    bool_and(ordered) AS ordered
             FROM (SELECT *, row_number() OVER (PARTITION BY correlation_key ORDER BY id) = seq
                             AS ordered
                   FROM decisions_log) AS numbered GROUP BY correlation_key",
        )
        .await?;
    for row in &rows {
        assert_eq!(row["rows"], row["last"], "{row}");
        assert_eq!(row["ordered"], true, "{row}");
    }
    let keys = engine
        .rows("SELECT key FROM correlations WHERE decisions > 0")
        .await?;
    assert_eq!(keys.len(), rows.len());
    Ok(())
}

#[tokio::test]
async fn without_active_rules_nothing_is_decided_and_nothing_is_lost() -> Result<()> {
    let engine = Engine::fresh().await?;
    let clear = "UPDATE active_rules SET hash = NULL, activation = 0";
    sqlx::query(AssertSqlSafe(clear))
        .execute(&engine.database.pool)
        .await?;
    let work = Log::default().alert(raised("Down", "app", (1, 1), 0));
    let error = engine.handle(Intake::local(vec![work.clone()])).await;
    assert_eq!(
        error.expect_err("no rules").class(),
        service_kit::Class::Retry
    );
    assert!(engine.activate(RULES, 0).await?);
    let handled = engine.handle(Intake::local(vec![work])).await?;
    assert_eq!(handled.folded, 1);
    Ok(())
}

/// The rules, but those of `Down` have another key.
fn down_elsewhere() -> String {
    RULES.replace(
        "'alertname=\"Down\"'], group_by: [service]",
        "'alertname=\"Down\"'], group_by: [service, severity]",
    )
}

async fn open_keys(engine: &Engine) -> Result<Vec<Value>> {
    let query = "SELECT key FROM correlations WHERE phase = 'open'";
    let rows = engine.rows(query).await?;
    Ok(rows.iter().map(|row| row["key"].clone()).collect())
}

/// The rules changed while an alert fired: it stays in its incident, and its end closes that.
#[tokio::test]
async fn an_alert_that_fires_while_the_rules_change_stays_where_it_is() -> Result<()> {
    let mut log = Log::default();
    let engine = Engine::fresh().await?;
    let first = log.alert(raised("Down", "app", (1, 1), 0));
    engine.handle(Intake::local(vec![first])).await?;
    let elsewhere = down_elsewhere();
    assert!(engine.activate(&elsewhere, 1).await?);
    assert!(!engine.activate(&elsewhere, 1).await?, "another came first");
    let again = log.alert(raised("Down", "app", (1, 2), 10));
    let end = log.alert(crate::story::resolved("Down", "app", 1, 20));
    engine.handle(Intake::local(vec![again, end])).await?;
    let rows = engine
        .rows("SELECT key, phase FROM correlations WHERE phase IS NOT NULL")
        .await?;
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (&rows[0]["key"], &rows[0]["phase"]),
        (&"service=app".into(), &"closed".into())
    );
    assert_eq!(engine.count("strays").await?, 0);
    let anew = log.alert(raised("Down", "app", (2, 1), 30));
    engine.handle(Intake::local(vec![anew])).await?;
    let keys = open_keys(&engine).await?;
    assert_eq!(keys[0], "service=app,severity=warning");
    Ok(())
}

/// The same of an incident that a person had closed: its alert fires on and opens no other.
#[tokio::test]
async fn an_alert_of_a_closed_incident_belongs_to_it_when_the_rules_change() -> Result<()> {
    let mut log = Log::default();
    let engine = Engine::fresh().await?;
    let first = log.alert(raised("Down", "app", (1, 1), 0));
    engine.handle(Intake::local(vec![first])).await?;
    let incident_id = engine.incident("service=app").await?;
    engine.command(at(1), Verb::Close { incident_id }).await?;
    let elsewhere = down_elsewhere();
    assert!(engine.activate(&elsewhere, 1).await?);
    let again = log.alert(raised("Down", "app", (1, 2), 10));
    engine.handle(Intake::local(vec![again])).await?;
    let open = "correlations WHERE phase = 'open'";
    assert_eq!(engine.count(open).await?, 0);
    assert_eq!(engine.count("correlations WHERE lingers").await?, 1);
    let end = log.alert(crate::story::resolved("Down", "app", 1, 20));
    engine.handle(Intake::local(vec![end])).await?;
    assert_eq!(engine.count("strays").await?, 0);
    assert_eq!(engine.count("correlations WHERE lingers").await?, 0);
    let anew = log.alert(raised("Down", "app", (2, 1), 30));
    engine.handle(Intake::local(vec![anew])).await?;
    let keys = open_keys(&engine).await?;
    assert_eq!(keys[0], "service=app,severity=warning");
    Ok(())
}

/// Another rule that means the same alert under a key of its own is not kept from it.
#[tokio::test]
async fn a_rule_with_another_key_sees_an_alert_of_a_closed_incident() -> Result<()> {
    let mut log = Log::default();
    let engine = Engine::fresh().await?;
    let wide = "- {name: wide, matchers: ['alertname=\"Down\"'], group_by: [service, severity], \
                incident: open, when: 'occurrence > 2'}\n";
    assert!(engine.activate(&format!("{RULES}{wide}"), 1).await?);
    let first = log.alert(raised("Down", "app", (1, 1), 0));
    engine.handle(Intake::local(vec![first])).await?;
    let incident_id = engine.incident("service=app").await?;
    engine.command(at(1), Verb::Close { incident_id }).await?;
    let changed = format!("{RULES}{wide}").replace("cooldown: 2m", "cooldown: 3m");
    assert!(engine.activate(&changed, 2).await?);
    let again = log.alert(raised("Down", "app", (1, 3), 10));
    engine.handle(Intake::local(vec![again])).await?;
    let keys = open_keys(&engine).await?;
    assert_eq!(keys.len(), 1, "{keys:?}");
    assert_eq!(keys[0], "service=app,severity=warning");
    Ok(())
}

/// What an attached alert said last is forgotten at its end, wherever later rules see it.
#[tokio::test]
async fn an_alert_that_holds_nothing_is_heard_to_end_when_the_rules_change() -> Result<()> {
    let mut log = Log::default();
    let engine = Engine::fresh().await?;
    let pause = Verb::Pause {
        target: "*".to_owned(),
        until: None,
    };
    engine.command(at(0), pause).await?;
    let works = vec![
        log.alert(raised("Down", "app", (1, 1), 1)),
        log.alert(raised("LowCPU", "app", (1, 1), 2)),
        log.alert(crate::story::resolved("Down", "app", 1, 3)),
    ];
    engine.handle(Intake::local(works)).await?;
    let said = "correlations WHERE phase = 'closed' AND memory -> 'evidence' <> '{}'";
    assert_eq!(engine.count(said).await?, 1);
    let elsewhere = RULES.replace(
        "'alertname=\"LowCPU\"']\n  group_by: [service]",
        "'alertname=\"LowCPU\"']\n  group_by: [service, severity]",
    );
    assert!(engine.activate(&elsewhere, 1).await?);
    let end = log.alert(crate::story::resolved("LowCPU", "app", 1, 20));
    engine.handle(Intake::local(vec![end])).await?;
    assert_eq!(engine.count(said).await?, 0);
    assert_eq!(engine.count("strays").await?, 0);
    Ok(())
}
