//! Table `actions`, there and back.

use serde::Serialize;
use serde_json::Value;
use service_kit::Error;
use shared_events::{ActionId, EventId, Timestamp};
use uuid::Uuid;

use super::incident_row::{json, read};
use crate::domain::{
    Action, Reason,
    action::{Outcome, Request},
};

/// One row; the columns are documented in the migration.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ActionRow {
    pub action_id: Uuid,
    pub incident_id: Uuid,
    pub status: String,
    pub requested_by: Option<Uuid>,
    pub requested_at: Option<Timestamp>,
    pub requested_target: Option<String>,
    pub kind: Option<String>,
    pub direction: Option<String>,
    pub desired_replicas: Option<i32>,
    pub previous_replicas: Option<i32>,
    pub rule: Option<String>,
    pub deadline_at: Option<Timestamp>,
    pub verify_within_ms: Option<i64>,
    pub compensates: Option<Uuid>,
    pub actor: Option<String>,
    pub request_reason: Option<String>,
    pub finished_by: Option<Uuid>,
    pub finished_at: Option<Timestamp>,
    pub finished_target: Option<String>,
    pub failed: Option<bool>,
    pub outcome_code: Option<String>,
    pub outcome_message: Option<String>,
    pub outcome_desired: Option<i32>,
    pub outcome_previous: Option<i32>,
    pub running_replicas: Option<i32>,
    pub evidence: Option<Value>,
}

impl ActionRow {
    pub(crate) fn of(incident_id: Uuid, action: &Action) -> Self {
        let mut row = Self {
            action_id: action.id.uuid(),
            incident_id,
            status: action.progress().as_str().to_owned(),
            ..Self::default()
        };
        if let Some(request) = &action.request {
            row.requested(request);
        }
        if let Some(outcome) = &action.outcome {
            row.finished(outcome);
        }
        row
    }

    fn requested(&mut self, request: &Request) {
        self.requested_by = Some(request.event_id.uuid());
        self.requested_at = Some(request.at);
        self.requested_target = Some(request.target.clone());
        self.kind = Some(request.kind.clone());
        self.direction = Some(request.direction.clone());
        self.desired_replicas = Some(request.desired);
        self.previous_replicas = request.previous;
        self.rule = Some(request.rule.clone());
        self.deadline_at = Some(request.deadline_at);
        self.verify_within_ms = request.verify_within_ms;
        self.compensates = request.compensates.map(ActionId::uuid);
        self.actor.clone_from(&request.actor);
        self.request_reason = Some(request.reason.clone());
    }

    fn finished(&mut self, outcome: &Outcome) {
        self.finished_by = Some(outcome.event_id.uuid());
        self.finished_at = Some(outcome.at);
        self.finished_target = Some(outcome.target.clone());
        self.failed = Some(outcome.failed);
        self.outcome_code = Some(outcome.reason.code.clone());
        self.outcome_message = Some(outcome.reason.message.clone());
        self.outcome_desired = Some(outcome.desired);
        self.outcome_previous = outcome.previous;
        self.running_replicas = outcome.running;
        self.evidence = (!outcome.evidence.is_empty()).then(|| json(&outcome.evidence));
    }

    /// The action of this row.
    ///
    /// # Errors
    /// When the JSON column holds something else than this service writes.
    pub(crate) fn action(self) -> Result<Action, Error> {
        let request = match (self.requested_by, self.requested_at, self.deadline_at) {
            (Some(event_id), Some(at), Some(deadline_at)) => Some(Request {
                event_id: EventId(event_id),
                at,
                target: self.requested_target.unwrap_or_default(),
                kind: self.kind.unwrap_or_default(),
                direction: self.direction.unwrap_or_default(),
                desired: self.desired_replicas.unwrap_or_default(),
                previous: self.previous_replicas,
                rule: self.rule.unwrap_or_default(),
                deadline_at,
                verify_within_ms: self.verify_within_ms,
                compensates: self.compensates.map(ActionId),
                actor: self.actor,
                reason: self.request_reason.unwrap_or_default(),
            }),
            _ => None,
        };
        let outcome = match (self.finished_by, self.finished_at) {
            (Some(event_id), Some(at)) => Some(Outcome {
                event_id: EventId(event_id),
                at,
                target: self.finished_target.unwrap_or_default(),
                failed: self.failed.unwrap_or_default(),
                reason: Reason::new(
                    self.outcome_code.unwrap_or_default(),
                    self.outcome_message.unwrap_or_default(),
                ),
                desired: self.outcome_desired.unwrap_or_default(),
                previous: self.outcome_previous,
                running: self.running_replicas,
                evidence: read(self.action_id, "evidence", self.evidence)?,
            }),
            _ => None,
        };
        Ok(Action {
            id: ActionId(self.action_id),
            request,
            outcome,
        })
    }
}
