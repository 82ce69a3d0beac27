//! Tables `targets` and `action_exec`. What belongs to a batch takes the connection of its
//! transaction; one statement per table, whatever the size of the batch.

mod lease;
mod load;
mod presence;
mod read;
mod save;

use service_kit::Trace;
use shared_events::{
    ActionId, EventId, IncidentId, Timestamp,
    action::{ActionKind, Direction, Evidence, FailureReason, Outcome},
};
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::{
    plan::Ask,
    state::{Action, Pause, Request, Status, TargetState},
};

pub use lease::{Holder, Lease};
pub use load::{actions, lock, now};
pub use presence::show;
pub use read::{
    ActionFilter, ActionRow, Kept, Place, Situation, TargetRow, action, epoch, instance,
    list_actions, list_targets, situation, undeclared,
};
pub use save::{keep_observed, keep_template, save_actions, save_targets};

/// A row of `targets`, as far as deciding needs it.
pub(crate) struct StateRow {
    name: String,
    epoch: i64,
    settled: Option<i32>,
    foreign_replicas: Option<i32>,
    pending: Option<Uuid>,
    last_action: Option<Uuid>,
    last_request_at: Option<Timestamp>,
    doomed: Vec<String>,
    pause_id: Option<Uuid>,
    paused_at: Option<Timestamp>,
    paused_until: Option<Timestamp>,
    pause_actor: Option<String>,
    pause_reason: Option<String>,
    pause_changed_at: Option<Timestamp>,
}

impl From<StateRow> for TargetState {
    fn from(row: StateRow) -> Self {
        let pause = row.pause_id.zip(row.paused_at).map(|(pause_id, at)| Pause {
            pause_id,
            at,
            until: row.paused_until,
            actor: row.pause_actor.unwrap_or_default(),
            reason: row.pause_reason.unwrap_or_default(),
        });
        Self {
            name: row.name,
            epoch: row.epoch,
            settled: row.settled.map(count),
            foreign: row.foreign_replicas.map(count),
            pending: row.pending.map(ActionId),
            last_request_at: row.last_request_at,
            last_action: row.last_action.map(ActionId),
            doomed: row.doomed.into_iter().collect(),
            pause,
            pause_changed_at: row.pause_changed_at,
        }
    }
}

/// A row of `action_exec`.
pub(crate) struct ExecRow {
    action_id: Uuid,
    event_id: Uuid,
    incident_id: Uuid,
    target: String,
    kind: String,
    direction: String,
    desired: i32,
    requested_previous: Option<i32>,
    rule: String,
    reason: String,
    requested_at: Timestamp,
    deadline_at: Timestamp,
    epoch: i64,
    previous: Option<i32>,
    status: String,
    result: Option<String>,
    message: Option<String>,
    running: Option<i32>,
    evidence: Json<Vec<Evidence>>,
    finished_at: Option<Timestamp>,
    traceparent: Option<String>,
    tracestate: Option<String>,
}

impl From<ExecRow> for (Action, Trace) {
    fn from(row: ExecRow) -> Self {
        let result = row.result.unwrap_or_default();
        let message = row.message.unwrap_or_default();
        let at = row.finished_at.unwrap_or(row.requested_at);
        let status = match row.status.as_str() {
            "completed" => Status::Completed {
                at,
                outcome: Outcome::from(result.as_str()),
                running: row.running.map_or(0, count),
                message,
            },
            "failed" => Status::Failed {
                at,
                reason: FailureReason::from(result.as_str()),
                running: row.running.map(count),
                message,
                evidence: row.evidence.0,
            },
            // The column's check leaves only this one.
            _ => Status::Pending,
        };
        let action = Action {
            request: Request {
                event_id: EventId(row.event_id),
                action_id: ActionId(row.action_id),
                incident_id: IncidentId(row.incident_id),
                target: row.target,
                kind: ActionKind::from(row.kind.as_str()),
                ask: Ask::of(&Direction::from(row.direction.as_str())).unwrap_or(Ask::Exact),
                desired: row.desired,
                previous: row.requested_previous,
                at: row.requested_at,
                deadline_at: row.deadline_at,
                rule: row.rule,
                reason: row.reason,
            },
            epoch: row.epoch,
            previous: row.previous.map(count),
            status,
        };
        let trace = Trace {
            traceparent: row.traceparent,
            tracestate: row.tracestate,
        };
        (action, trace)
    }
}

/// Counts are stored as `integer` and never negative.
fn count(stored: i32) -> u32 {
    u32::try_from(stored).unwrap_or(0)
}

fn stored(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
