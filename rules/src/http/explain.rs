//! Why: one decision with everything that went into it, and what came of it.

use std::collections::HashMap;

use axum::{
    Json,
    extract::{Path, Query as Pairs, State},
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use service_kit::Problem;
use shared_events::{AlertId, Labels};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Api,
    decisions::{Decision, Place, RuleOutcome, decision, place},
    explained::{RuleExplained, explained},
    query::uuid,
};
use crate::{
    domain::Phase,
    store::{
        explain::{self, About, Change},
        read::{self, Filter, Logged},
    },
};

/// Decisions of a history.
const HISTORY: i64 = 50;

/// A decision, explained.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Explanation {
    #[serde(flatten)]
    decision: Decision,
    /// The change that made the rules of this decision the active ones
    rules_change: Option<RulesChange>,
    /// What the alert said; missing when the input is no alert
    alert: Option<AlertSeen>,
    emitted_events: Vec<Emitted>,
    /// Every rule, in the order of evaluation, whether it meant the alert or not
    rules: Vec<RuleExplained>,
    /// The incident now
    incident: Option<IncidentNow>,
    /// What happened in the incident afterwards, oldest first
    followed: Vec<Past>,
}

/// Which rules were in force, since when, and by whom.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RulesChange {
    number: Option<i64>,
    /// SHA-256 of the rules file
    hash: Option<String>,
    /// Hash of the rule set
    version: Option<String>,
    at: DateTime<Utc>,
    actor: Option<String>,
    reason: Option<String>,
    /// Where the change is in topic `rule`; missing when it came from a file
    position: Option<Place>,
}

/// What an alert said.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AlertSeen {
    labels: Labels,
    annotations: Labels,
    occurrence: Option<i64>,
}

/// An event that followed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Emitted {
    event_id: Uuid,
    /// Missing for decisions of older builds
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// Where an incident is in its life.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct IncidentNow {
    incident_id: Uuid,
    /// `open`, `failed` or `closed`
    phase: &'static str,
}

/// A decision in a few words.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Past {
    decision_id: Uuid,
    event_id: Uuid,
    input: String,
    at: DateTime<Utc>,
    correlation_key: String,
    outcomes: Vec<RuleOutcome>,
}

/// The answer to "why".
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Explained {
    /// Newest first: of an event its decisions, of an alert those of its last firing, of an
    /// incident those of the first firing of each of its alerts
    explained: Vec<Explanation>,
    /// Decisions about the same alert or incident, newest first
    history: Vec<Past>,
}

/// Explains one decision. The id of an event that was decided under one key is the id of its decision.
#[utoipa::path(get, path = "/api/v1/decisions/{id}", tag = "decisions",
    params(("id" = Uuid, Path, description = "a decision, or the event that it is about")),
    responses(
        (status = 200, description = "the decision, explained", body = Explanation),
        (status = 404, description = "no such decision; `look` says where to look", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn show(
    State(api): State<Api>,
    Path(id): Path<Uuid>,
) -> Result<Json<Explanation>, Problem> {
    let pool = api.kit.pool();
    let found = explain::decision(pool, id).await?;
    let rows = read::rows(pool, found.as_slice()).await?;
    let all = explanations(&api, rows, None).await?;
    let first = all.into_iter().next();
    first
        .map(Json)
        .ok_or_else(|| never_seen(&format!("no decision {id}")))
}

/// Explains why an alert, an event or an incident had the consequences that it had, or none.
#[utoipa::path(get, path = "/api/v1/explain", tag = "decisions", params(
    ("alert_id" = Option<Uuid>, Query, description = "this series"),
    ("event_id" = Option<Uuid>, Query, description = "this event"),
    ("incident_id" = Option<Uuid>, Query, description = "this incident"),
    ("rule" = Option<String>, Query, description = "only this rule"),
), responses(
    (status = 200, description = "why", body = Explained),
    (status = 404, description = "never seen; `look` says where to look", body = Problem, content_type = "application/problem+json"),
    (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn why(
    State(api): State<Api>,
    Pairs(pairs): Pairs<Vec<(String, String)>>,
) -> Result<Json<Explained>, Problem> {
    let (about, rule) = question(pairs)?;
    let pool = api.kit.pool();
    let ids = explain::answering(pool, about).await?;
    let rows = read::rows(pool, &ids).await?;
    let Some(first) = rows.first() else {
        return Err(never_seen(&unknown(about)));
    };
    let filter = match about {
        About::Alert(_) | About::Event(_) if first.alert_id.is_some() => Filter {
            alert_id: first.alert_id,
            ..Filter::default()
        },
        About::Incident(id) => Filter {
            incident_id: Some(id),
            ..Filter::default()
        },
        About::Alert(_) | About::Event(_) => Filter {
            key: Some(first.key.clone()),
            ..Filter::default()
        },
    };
    let history = read::decisions(pool, &filter, HISTORY).await?.rows;
    let explained = explanations(&api, rows, rule.as_deref()).await?;
    if let Some(rule) = &rule
        && explained.iter().all(|one| one.rules.is_empty())
    {
        let detail = format!("there was no rule {rule:?} when that was decided");
        return Err(Problem::not_found(detail));
    }
    Ok(Json(Explained {
        explained,
        history: history.into_iter().map(past).collect(),
    }))
}

fn question(pairs: Vec<(String, String)>) -> Result<(About, Option<String>), Problem> {
    let (mut about, mut rule) = (Vec::new(), None);
    for (name, value) in pairs {
        match name.as_str() {
            "alert_id" => about.push(About::Alert(uuid(&name, &value)?)),
            "event_id" => about.push(About::Event(uuid(&name, &value)?)),
            "incident_id" => about.push(About::Incident(uuid(&name, &value)?)),
            "rule" => rule = Some(value),
            _ => {
                let known = "alert_id, event_id, incident_id, rule";
                let detail = format!("there is no parameter {name:?}; known are {known}");
                return Err(Problem::bad_request(detail));
            }
        }
    }
    match about.as_slice() {
        [one] => Ok((*one, rule)),
        _ => Err(Problem::bad_request(
            "give one of alert_id, event_id and incident_id",
        )),
    }
}

fn unknown(about: About) -> String {
    match about {
        About::Alert(id) => format!("the engine never decided about alert {id}"),
        About::Event(id) => format!("the engine never decided about event {id}"),
        About::Incident(id) => format!("the engine never opened incident {id}"),
    }
}

/// What did not come here is somewhere on its way, or was never accepted.
fn never_seen(what: &str) -> Problem {
    let look = [
        "ingest: GET /api/v1/alerts says whether the alert was accepted; its rejects say why not (`GET /api/v1/rejects`)",
        "ingest: GET /metrics, eventpulse_outbox_depth: it may wait to be sent (`eventpulse doctor`)",
        "rules: GET /metrics, eventpulse_consumer_lag: it may wait in topic `alert` (`eventpulse topic ls`)",
        "topic alert.dlq.rules: it may be a dead letter (`eventpulse dlq ls`)",
        "rules: EVENTPULSE_DECISION_RETENTION: older decisions are forgotten",
    ];
    Problem::not_found(what).with("look", look.map(String::from).to_vec())
}

async fn explanations(
    api: &Api,
    rows: Vec<Logged>,
    rule: Option<&str>,
) -> Result<Vec<Explanation>, Problem> {
    let alerts: Vec<Uuid> = rows.iter().filter_map(|row| row.alert_id).collect();
    let labels = read::labels(api.kit.pool(), &alerts).await?;
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        all.push(explanation(api, row, &labels, rule).await?);
    }
    Ok(all)
}

async fn explanation(
    api: &Api,
    row: Logged,
    labels: &HashMap<AlertId, Labels>,
    rule: Option<&str>,
) -> Result<Explanation, Problem> {
    let pool = api.kit.pool();
    let change = explain::change_before(pool, row.id).await?;
    let (incident, followed) = match row.incident_id {
        Some(id) => {
            let ids = explain::followed(pool, id, row.id).await?;
            let mut rows = read::rows(pool, &ids).await?;
            rows.reverse();
            (Some(now(api, id).await?), rows)
        }
        None => (None, Vec::new()),
    };
    let known = row.alert_id.and_then(|id| labels.get(&AlertId(id)));
    let rules = match known {
        Some(labels) => {
            let set = api.kit.service().rules.of(pool, &row.rules_hash).await?;
            explained(&set, &row, labels, rule)?
        }
        None => Vec::new(),
    };
    Ok(Explanation {
        rules_change: change.map(changed),
        alert: known.map(|labels| AlertSeen {
            labels: labels.clone(),
            annotations: row.annotations.clone().unwrap_or_default().0,
            occurrence: row.occurrence,
        }),
        emitted_events: emitted(&row),
        rules,
        incident,
        followed: followed.into_iter().map(past).collect(),
        decision: decision(api, row, labels, rule).await?,
    })
}

async fn now(api: &Api, incident_id: Uuid) -> Result<IncidentNow, Problem> {
    let phase = explain::phase(api.kit.pool(), incident_id).await?;
    Ok(IncidentNow {
        incident_id,
        phase: match phase {
            Some(Phase::Open) => "open",
            Some(Phase::Failed) => "failed",
            // one that a later incident of its key replaced is closed
            Some(Phase::Closed) | None => "closed",
        },
    })
}

fn changed(change: Change) -> RulesChange {
    let position = place(change.topic, change.partition, change.kafka_offset);
    let (version, by) = match change.detail {
        Some(detail) => (Some(detail.0.hash), detail.0.change),
        None => (None, None),
    };
    let by = by.as_ref();
    RulesChange {
        number: by.map(|by| by.number),
        hash: by.map(|by| by.hash.clone()),
        version,
        at: change.at,
        actor: by.map(|by| by.actor.clone()),
        reason: by.map(|by| by.reason.clone()),
        position,
    }
}

fn emitted(row: &Logged) -> Vec<Emitted> {
    let types = row.emitted_types.as_ref();
    let kind = |at: usize| types.and_then(|types| types.0.get(at).cloned());
    row.emitted
        .0
        .iter()
        .enumerate()
        .map(|(at, id)| Emitted {
            event_id: *id,
            kind: kind(at),
        })
        .collect()
}

fn past(row: Logged) -> Past {
    Past {
        decision_id: row.decision_id.unwrap_or(row.input_id),
        event_id: row.input_id,
        input: row.input,
        at: row.at,
        correlation_key: row.key,
        outcomes: row.outcomes.0.into_iter().map(Into::into).collect(),
    }
}
