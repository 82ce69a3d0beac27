//! Why a rule fired, or not.

use std::collections::HashMap;

use axum::{
    Json,
    extract::{Query as Pairs, State},
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use service_kit::Problem;
use shared_events::{AlertId, Labels};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Api, Page,
    query::{Query, cursor_of},
};
use crate::{
    domain::explain::why_not,
    store::{
        decisions::StoredOutcome,
        read::{self, Logged},
    },
};

/// What was decided about one input, under one correlation key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Decision {
    /// The id of the event, unless that was decided under several correlation keys
    decision_id: Uuid,
    /// `ce_id` of the event, or the id of a timer, command or rule change
    event_id: Uuid,
    /// `alert.raised`, `action.failed`, `timer.verify`, `command.pause` and the like
    input: String,
    alert_id: Option<Uuid>,
    episode_id: Option<Uuid>,
    incident_id: Option<Uuid>,
    correlation_key: String,
    /// Gapless per correlation key, from 1
    seq: i64,
    at: DateTime<Utc>,
    /// Hash of the rule set that it was decided under
    rules_version: String,
    /// What was read: the incident, actions under way, targets
    state: serde_json::Value,
    outcomes: Vec<RuleOutcome>,
    /// Ids of the events that follow from it
    emitted: Vec<Uuid>,
    /// The input itself, when it is on no topic
    detail: Option<serde_json::Value>,
    /// Where the input was read; missing when it is on no topic
    position: Option<Place>,
}

/// A place in a topic.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Place {
    /// Without prefix
    topic: String,
    partition: i32,
    offset: i64,
}

pub(super) fn place(
    topic: Option<String>,
    partition: Option<i32>,
    offset: Option<i64>,
) -> Option<Place> {
    Some(Place {
        topic: topic?,
        partition: partition?,
        offset: offset?,
    })
}

/// The answer of one rule, or of the engine.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RuleOutcome {
    /// Missing when the engine itself answers
    rule: Option<String>,
    /// SHA-256 of what the rule said
    version: Option<String>,
    /// A code of docs/OPERATING.md: `fired`, `condition_false`, `no_match` and the like
    outcome: String,
    /// Cause, state and next step, for people
    reason: String,
    /// Values that were looked at
    inputs: serde_json::Value,
    /// Ids of the events that follow from this answer
    emitted: Vec<Uuid>,
    /// Of a rule in state `shadow`: none of it happened, `inputs.would_emit` has what would have
    shadow: bool,
}

impl From<StoredOutcome> for RuleOutcome {
    fn from(stored: StoredOutcome) -> Self {
        Self {
            rule: stored.rule,
            version: stored.version,
            outcome: stored.outcome,
            reason: stored.reason,
            inputs: stored.inputs,
            emitted: stored.emitted,
            shadow: stored.shadow,
        }
    }
}

/// Lists decisions, newest first. For an alert the answers of the rules that did not mean it are
/// worked out with the rules of that time.
#[utoipa::path(get, path = "/api/v1/decisions", tag = "decisions", params(
    ("alert_id" = Option<Uuid>, Query, description = "about this series"),
    ("incident_id" = Option<Uuid>, Query, description = "about this incident"),
    ("correlation_key" = Option<String>, Query, description = "under this key"),
    ("rule" = Option<String>, Query, description = "the answers of this rule only; without another filter, decisions that it answered"),
    ("silent" = Option<bool>, Query, description = "false: without the answers of rules that did not mean the alert, as the log has it; else true"),
    ("limit" = Option<u16>, Query, description = "1 to 500, else 50", minimum = 1, maximum = 500),
    ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
), responses(
    (status = 200, description = "a page; it may be short and still have a next one", body = Page<Decision>),
    (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(api): State<Api>,
    Pairs(pairs): Pairs<Vec<(String, String)>>,
) -> Result<Json<Page<Decision>>, Problem> {
    let query = Query::read(pairs)?;
    let page = read::decisions(api.kit.pool(), &query.filter, query.limit).await?;
    let labels = if query.silent {
        let alerts: Vec<Uuid> = page.rows.iter().filter_map(|row| row.alert_id).collect();
        read::labels(api.kit.pool(), &alerts).await?
    } else {
        HashMap::new()
    };
    let mut items = Vec::with_capacity(page.rows.len());
    for row in page.rows {
        items.push(decision(&api, row, &labels, query.filter.rule.as_deref()).await?);
    }
    Ok(Json(Page {
        items,
        next_cursor: page.next.map(cursor_of),
    }))
}

pub(super) async fn decision(
    api: &Api,
    row: Logged,
    labels: &HashMap<AlertId, Labels>,
    rule: Option<&str>,
) -> Result<Decision, Problem> {
    let decision_id = row.decision_id.unwrap_or(row.input_id);
    let labels = row.alert_id.and_then(|id| labels.get(&AlertId(id)));
    let mut outcomes: Vec<RuleOutcome> = row.outcomes.0.into_iter().map(Into::into).collect();
    if let Some(labels) = labels {
        let rules = &api.kit.service().rules;
        let set = rules.of(api.kit.pool(), &row.rules_hash).await?;
        let silent = why_not(&set, labels).into_iter();
        outcomes.extend(silent.map(|verdict| StoredOutcome::from(verdict).into()));
    }
    if let Some(rule) = rule {
        outcomes.retain(|outcome| outcome.rule.as_deref() == Some(rule));
    }
    Ok(Decision {
        decision_id,
        event_id: row.input_id,
        input: row.input,
        alert_id: row.alert_id,
        episode_id: row.episode_id,
        incident_id: row.incident_id,
        correlation_key: row.key,
        seq: row.seq,
        at: row.at,
        rules_version: row.rules_hash,
        state: row.read,
        outcomes,
        emitted: row.emitted.0,
        detail: row.detail,
        position: place(row.topic, row.partition, row.kafka_offset),
    })
}
