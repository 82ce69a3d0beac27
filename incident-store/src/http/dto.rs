//! What the API shows.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use shared_events::{ActionId, IncidentId};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    domain::{self, incident::Next},
    store::{Stored, story::EntryRow, stream::Streamed},
};

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<T> {
    pub items: Vec<T>,
    /// Parameter `cursor` of the next page; null: this was the last one. A page may hold fewer items
    /// than asked for and still have a next one.
    pub next_cursor: Option<String>,
}

/// An incident.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Incident {
    pub id: Uuid,
    /// Canonical name=value list of the rule's `group_by`.
    pub correlation_key: String,
    pub service: Option<String>,
    /// Highest of the alerts that hold it.
    pub severity: Option<String>,
    pub title: String,
    /// `open | mitigating | resolved | failed`
    pub status: &'static str,
    /// Why it resolved or failed.
    pub reason: Option<Reason>,
    pub opened_at: DateTime<Utc>,
    /// When the first action was asked for.
    pub mitigating_at: Option<DateTime<Utc>>,
    pub resolved_at: Option<DateTime<Utc>>,
    /// Stays when the incident recovers.
    pub failed_at: Option<DateTime<Utc>>,
    pub alerts: Vec<Alert>,
    /// Number of its actions.
    pub actions: usize,
    /// The automation gave up; a person has to look.
    pub needs_attention: bool,
    pub now: Now,
    pub links: Links,
    /// Number of facts it is made of; the `ETag`.
    pub version: i64,
    /// Labels of its first alert: what `matcher` tests.
    pub labels: BTreeMap<String, String>,
    /// Rule that opened it.
    pub rule: Option<String>,
    /// Content hash of that rule.
    pub rule_version: Option<String>,
}

/// A code of OPERATING.md and a sentence for people.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Reason {
    pub code: String,
    pub message: String,
}

/// An alert of an incident.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Alert {
    pub alert_id: Uuid,
    pub episode_id: Uuid,
    /// Label `alertname`.
    pub name: String,
    /// `firing | resolved`
    pub status: String,
    /// Whether it keeps the incident open.
    pub holds: bool,
}

/// What is the case now, and what comes next.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Now {
    /// Of the target that was last acted on.
    pub replicas: Option<Replicas>,
    /// Names of the alerts that keep the incident open.
    pub holding_alerts: Vec<String>,
    /// In words.
    pub next_step: Option<String>,
    pub next_due_at: Option<DateTime<Utc>>,
}

/// Replicas of a target.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Replicas {
    pub target: String,
    pub running: Option<i32>,
    pub desired: Option<i32>,
}

/// Where to look further.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Links {
    /// The expression that fired.
    pub graph: Option<String>,
    pub runbook: Option<String>,
    /// The trace of the alert that opened it.
    pub trace: Option<String>,
}

/// A line of an incident's story.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Entry {
    pub event_id: Uuid,
    pub incident_id: Uuid,
    /// `incident.* | action.*`
    #[serde(rename = "type")]
    pub event_type: String,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// When it was stored here.
    pub recorded_at: DateTime<Utc>,
    /// A person, a rule, or a service.
    pub actor: String,
    /// A sentence for people.
    pub summary: String,
    /// The whole event.
    #[schema(value_type = Object)]
    pub data: Value,
    /// The event that it answers.
    pub causation_id: Option<Uuid>,
    /// W3C trace that it belongs to.
    pub trace_id: Option<String>,
}

/// An action of an incident.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Action {
    pub action_id: Uuid,
    pub incident_id: Uuid,
    pub target: String,
    /// `scale_docker | ensure_replicas`; null while only the outcome is known.
    pub kind: Option<String>,
    /// `up`: at least, `down`: at most, `exact`
    pub direction: Option<String>,
    pub desired_replicas: Option<i32>,
    pub previous_replicas: Option<i32>,
    /// Seen at the end.
    pub running_replicas: Option<i32>,
    /// `requested | completed | failed`
    pub status: &'static str,
    /// How it ended; while it is pending, why it was asked for under code `requested`.
    pub reason: Option<Reason>,
    pub requested_at: Option<DateTime<Utc>>,
    pub deadline_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    /// Rule that asked for it.
    pub rule: Option<String>,
    /// Person who asked for it.
    pub actor: Option<String>,
    /// The action that this one undoes.
    pub compensates: Option<Uuid>,
    /// What was seen of replicas that never got ready.
    #[schema(value_type = Vec<Object>)]
    pub evidence: Value,
}

impl Incident {
    /// What is shown of an incident; `None` for a stub. `traces` is a link with `{trace_id}` in it.
    pub(super) fn of(stored: Stored, traces: Option<&str>) -> Option<Self> {
        let Stored { incident, version } = stored;
        let status = incident.status()?;
        let (now, needs_attention) = (incident.now(), incident.needs_attention());
        let (reason, mitigating_at) = (incident.reason().map(Reason::of), incident.mitigating_at());
        let opening = incident.opened?.value;
        let trace = traces
            .zip(opening.trace_id)
            .map(|(link, id)| link.replace("{trace_id}", &id));
        let alerts = incident.alerts.into_iter().flat_map(|said| said.value);
        Some(Self {
            id: incident.id.uuid(),
            correlation_key: opening.correlation_key,
            service: opening.service,
            severity: incident.severity.and_then(|said| said.value),
            title: incident.title.map(|said| said.value).unwrap_or_default(),
            status: status.as_str(),
            reason,
            opened_at: opening.at,
            mitigating_at,
            resolved_at: incident.resolved_at,
            failed_at: incident.failed_at,
            alerts: alerts.map(Alert::of).collect(),
            actions: incident.actions.len(),
            needs_attention,
            now: Now::of(now),
            links: Links {
                graph: opening.generator_url.filter(|link| is_web(link)),
                runbook: opening.runbook_url.filter(|link| is_web(link)),
                trace,
            },
            version,
            labels: opening.labels,
            rule: opening.rule,
            rule_version: opening.rule_version,
        })
    }
}

/// Links come from annotations that anybody wrote: a browser must not get another scheme.
fn is_web(link: &str) -> bool {
    link.starts_with("http://") || link.starts_with("https://")
}

impl Reason {
    fn of(reason: &domain::Reason) -> Self {
        Self {
            code: reason.code.clone(),
            message: reason.message.clone(),
        }
    }
}

impl Alert {
    fn of(alert: shared_events::incident::IncidentAlert) -> Self {
        Self {
            alert_id: alert.alert_id.uuid(),
            episode_id: alert.episode_id.uuid(),
            name: alert.name,
            status: alert.status.to_string(),
            holds: alert.holds,
        }
    }
}

impl Now {
    fn of(now: domain::view::Now) -> Self {
        let (next_step, next_due_at) = match now.next {
            Some(Next { step, due_at }) => (Some(step), due_at),
            None => (None, None),
        };
        Self {
            replicas: now.replicas.map(|replicas| Replicas {
                target: replicas.target,
                running: replicas.running,
                desired: replicas.desired,
            }),
            holding_alerts: now.holding_alerts,
            next_step,
            next_due_at,
        }
    }
}

impl From<EntryRow> for Entry {
    fn from(row: EntryRow) -> Self {
        Self {
            event_id: row.event_id,
            incident_id: row.incident_id,
            event_type: row.event_type,
            at: row.at,
            recorded_at: row.recorded_at,
            actor: row.actor,
            summary: row.summary,
            data: row.data,
            causation_id: row.causation_id,
            trace_id: row.trace_id,
        }
    }
}

impl From<Streamed> for Entry {
    fn from(streamed: Streamed) -> Self {
        streamed.entry.into()
    }
}

impl Action {
    pub(super) fn of(incident_id: IncidentId, action: domain::Action) -> Self {
        let target = action.target().to_owned();
        let (status, desired) = (action.progress().as_str(), action.desired());
        let previous = action.previous();
        let (request, outcome) = (action.request, action.outcome);
        let asked = request.as_ref().map(|request| Reason {
            code: "requested".to_owned(),
            message: request.reason.clone(),
        });
        let told = outcome.as_ref().map(|outcome| Reason::of(&outcome.reason));
        Self {
            action_id: action.id.uuid(),
            incident_id: incident_id.uuid(),
            target,
            kind: request.as_ref().map(|request| request.kind.clone()),
            direction: request.as_ref().map(|request| request.direction.clone()),
            desired_replicas: desired,
            previous_replicas: previous,
            running_replicas: outcome.as_ref().and_then(|outcome| outcome.running),
            status,
            reason: told.or(asked),
            requested_at: request.as_ref().map(|request| request.at),
            deadline_at: request.as_ref().map(|request| request.deadline_at),
            finished_at: outcome.as_ref().map(|outcome| outcome.at),
            rule: request.as_ref().map(|request| request.rule.clone()),
            actor: request.as_ref().and_then(|request| request.actor.clone()),
            compensates: request
                .as_ref()
                .and_then(|request| request.compensates)
                .map(ActionId::uuid),
            evidence: outcome.map_or_else(
                || Value::Array(Vec::new()),
                |outcome| serde_json::to_value(outcome.evidence).unwrap_or_default(),
            ),
        }
    }
}
