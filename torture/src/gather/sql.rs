//! The four databases, in plain SQL.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use anyhow::Result;
use chrono::{DateTime, Utc};
use eventpulse_tests::stack::Databases;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::checker::evidence::{
    AlertRow, DecisionRow, IncidentRow, Ingest, Kit, RulesRows, Runner, Seen, Store,
};

/// What the databases hold.
#[derive(Debug, Default)]
pub struct Rows {
    pub ingest: Ingest,
    pub rules: RulesRows,
    pub runner: Runner,
    pub store: Store,
    pub kits: BTreeMap<String, Kit>,
}

/// The databases of the services, by their names.
#[must_use]
pub fn all(databases: &Databases) -> [(&'static str, &PgPool); 4] {
    [
        ("ingest", &databases.ingest.pool),
        ("rules", &databases.rules.pool),
        ("action-runner", &databases.runner.pool),
        ("incident-store", &databases.store.pool),
    ]
}

/// Reads everything. Services that forget what they handled have kept it for `kept` at least.
pub async fn rows(databases: &Databases, prefix: &str, kept: Option<Duration>) -> Result<Rows> {
    let mut kits = BTreeMap::new();
    for (name, pool) in all(databases) {
        kits.insert(name.to_owned(), kit(pool, prefix, kept).await?);
    }
    Ok(Rows {
        ingest: ingest(&databases.ingest.pool).await?,
        rules: rules(&databases.rules.pool).await?,
        runner: runner(&databases.runner.pool).await?,
        store: store(&databases.store.pool).await?,
        kits,
    })
}

/// Events that wait in any outbox, and timers and actions that will still do something: the system
/// is not at rest while there are some. In words.
pub async fn waiting(databases: &Databases) -> Result<Option<String>> {
    for (name, pool) in all(databases) {
        let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox_events")
            .fetch_one(pool)
            .await?;
        if waiting > 0 {
            return Ok(Some(format!("{waiting} wait in the outbox of {name}")));
        }
    }
    let due: i64 = sqlx::query_scalar("SELECT count(*) FROM timers WHERE kind <> 'recheck'")
        .fetch_one(&databases.rules.pool)
        .await?;
    if due > 0 {
        return Ok(Some(format!("{due} timers of rules are to come")));
    }
    let pending: i64 =
        sqlx::query_scalar("SELECT count(*) FROM action_exec WHERE status = 'pending'")
            .fetch_one(&databases.runner.pool)
            .await?;
    Ok((pending > 0).then(|| format!("{pending} actions are under way")))
}

/// Where each consumer goes on.
pub async fn next(databases: &Databases) -> Result<Vec<(String, i32, i64)>> {
    let mut all = Vec::new();
    for (_, pool) in all_consumers(databases) {
        let rows: Vec<super::topics::Next> =
            sqlx::query_as("SELECT topic, partition, next_offset FROM consumer_offsets")
                .fetch_all(pool)
                .await?;
        all.extend(rows);
    }
    Ok(all)
}

fn all_consumers(databases: &Databases) -> impl Iterator<Item = (&'static str, &PgPool)> {
    all(databases).into_iter().skip(1)
}

/// A row of `inbox_events` as it is read here, and whether it is too young to be forgotten.
type Handled = (Uuid, String, i32, i64, String, bool);

async fn kit(pool: &PgPool, prefix: &str, kept: Option<Duration>) -> Result<Kit> {
    let inbox: Vec<Handled> = sqlx::query_as(
        "SELECT event_id, topic, partition, kafka_offset, status,
                received_at > clock_timestamp() - make_interval(secs => $1)
         FROM inbox_events",
    )
    .bind(kept.unwrap_or_default().as_secs_f64())
    .fetch_all(pool)
    .await?;
    let mut kit = Kit {
        outbox: sqlx::query_as("SELECT event_id, event_type FROM outbox_events ORDER BY id")
            .fetch_all(pool)
            .await?,
        sent: sqlx::query_as("SELECT event_id, topic FROM outbox_sent")
            .fetch_all(pool)
            .await?,
        whole_from: kept.map(|_| BTreeMap::new()),
        ..Kit::default()
    };
    for (id, topic, partition, offset, status, young) in inbox {
        if let Some(from) = kit.whole_from.as_mut().filter(|_| young) {
            let topic = topic.trim_start_matches(prefix).to_owned();
            let from = from.entry((topic, partition)).or_insert(offset);
            *from = offset.min(*from);
        }
        let rows = match status.as_str() {
            "done" => &mut kit.done,
            _ => &mut kit.dead,
        };
        let seen = Seen {
            topic,
            partition,
            offset,
        };
        rows.insert(id, seen);
    }
    let next: Vec<(String, i32, i64)> =
        sqlx::query_as("SELECT topic, partition, next_offset FROM consumer_offsets")
            .fetch_all(pool)
            .await?;
    for (topic, partition, offset) in next {
        let topic = topic.trim_start_matches(prefix).to_owned();
        kit.next.insert((topic, partition), offset);
    }
    Ok(kit)
}

async fn ingest(pool: &PgPool) -> Result<Ingest> {
    let rows: Vec<(Uuid, Value, String, Option<Uuid>)> =
        sqlx::query_as("SELECT alert_id, labels, status, episode_id FROM alerts")
            .fetch_all(pool)
            .await?;
    let mut alerts = HashMap::new();
    for (id, labels, status, episode) in rows {
        let row = AlertRow {
            labels: serde_json::from_value(labels)?,
            firing: status == "firing",
            episode,
        };
        alerts.insert(id, row);
    }
    let raw: Vec<Vec<u8>> = sqlx::query_scalar("SELECT raw FROM alert_rejects")
        .fetch_all(pool)
        .await?;
    let rejects = raw
        .iter()
        .map(|raw| String::from_utf8_lossy(raw).into_owned());
    Ok(Ingest {
        alerts,
        rejects: rejects.collect(),
    })
}

/// A row of `decisions_log` as it is read here.
type Decision = (
    String,
    i64,
    Uuid,
    String,
    Option<Uuid>,
    Vec<String>,
    Vec<String>,
    Vec<String>,
);

async fn rules(pool: &PgPool) -> Result<RulesRows> {
    let rows: Vec<Decision> = sqlx::query_as(
        "SELECT correlation_key, seq, input_id, input, episode_id,
                ARRAY(SELECT coalesce(o ->> 'rule', '') FROM jsonb_array_elements(outcomes) o),
                ARRAY(SELECT o ->> 'outcome' FROM jsonb_array_elements(outcomes) o),
                ARRAY(SELECT jsonb_array_elements_text(emitted))
         FROM decisions_log ORDER BY id",
    )
    .fetch_all(pool)
    .await?;
    let mut decisions = Vec::with_capacity(rows.len());
    for (key, seq, input, kind, episode, rules, outcomes, emitted) in rows {
        let emitted = emitted.iter().map(|id| Uuid::parse_str(id));
        decisions.push(DecisionRow {
            key,
            seq,
            input,
            kind,
            episode,
            outcomes: rules.into_iter().zip(outcomes).collect(),
            emitted: emitted.collect::<Result<_, _>>()?,
        });
    }
    let targets: Vec<(String, Option<Value>, Value)> =
        sqlx::query_as("SELECT name, pending, waiting FROM targets")
            .fetch_all(pool)
            .await?;
    let mut found = RulesRows {
        decisions,
        timers: sqlx::query_as("SELECT correlation_key, kind FROM timers")
            .fetch_all(pool)
            .await?,
        ..RulesRows::default()
    };
    for (name, pending, waiting) in targets {
        let pending = pending.and_then(|p| Uuid::parse_str(p["action_id"].as_str()?).ok());
        if let Some(action) = pending {
            found.busy.insert(name, action);
        }
        found
            .waiting
            .extend(serde_json::from_value::<BTreeSet<String>>(waiting)?);
    }
    Ok(found)
}

async fn runner(pool: &PgPool) -> Result<Runner> {
    let rows: Vec<(Uuid, Uuid, String)> =
        sqlx::query_as("SELECT action_id, event_id, status FROM action_exec")
            .fetch_all(pool)
            .await?;
    let actions = rows
        .into_iter()
        .map(|(id, event, status)| (id, (event, status)));
    Ok(Runner {
        actions: actions.collect(),
    })
}

/// A row of `incidents` as it is read here.
type Incident = (
    Uuid,
    Option<String>,
    Option<DateTime<Utc>>,
    Option<DateTime<Utc>>,
    Option<DateTime<Utc>>,
    Option<Value>,
);

async fn store(pool: &PgPool) -> Result<Store> {
    let rows: Vec<Incident> = sqlx::query_as(
        "SELECT incident_id, status, opened_at, resolved_at, failed_at, alerts FROM incidents",
    )
    .fetch_all(pool)
    .await?;
    let mut incidents = HashMap::new();
    for (id, status, opened_at, resolved_at, failed_at, alerts) in rows {
        let micros = |at: Option<DateTime<Utc>>| at.map(|at| at.timestamp_micros());
        let alerts = alerts.as_ref().and_then(Value::as_array);
        let alerts = alerts.into_iter().flatten().filter_map(|alert| {
            let episode = Uuid::parse_str(alert["episode_id"].as_str()?).ok()?;
            Some((episode, alert["status"] == "firing"))
        });
        let row = IncidentRow {
            status: opened_at.and(status),
            opened_at: micros(opened_at),
            resolved_at: micros(resolved_at),
            failed_at: micros(failed_at),
            alerts: alerts.collect(),
        };
        incidents.insert(id, row);
    }
    let story: Vec<(Uuid, Uuid)> =
        sqlx::query_as("SELECT event_id, incident_id FROM incident_events")
            .fetch_all(pool)
            .await?;
    let actions: Vec<(Uuid, Uuid, String)> =
        sqlx::query_as("SELECT action_id, incident_id, status FROM actions")
            .fetch_all(pool)
            .await?;
    let actions = actions
        .into_iter()
        .map(|(id, incident, status)| (id, (incident, status)));
    Ok(Store {
        incidents,
        story: story.into_iter().collect(),
        actions: actions.collect(),
    })
}
