use serde::Serialize;
use serde_json::Value;
use service_kit::{Error, Trace};
use shared_events::{
    ActionId, Timestamp,
    action::{ALL_TARGETS, Evidence},
};
use sqlx::{PgPool, types::Json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{ExecRow, StateRow};
use crate::domain::state::{Action, Pause, Status, TargetState};

/// Everything that working on a target needs to know, as committed.
#[derive(Clone, Debug)]
pub struct Situation {
    /// The database's clock.
    pub now: Timestamp,
    pub target: TargetState,
    /// Pause of every target.
    pub all_paused: Option<Pause>,
    pub action: Option<Action>,
    /// That the action belongs to.
    pub trace: Trace,
    pub kept: Kept,
}

/// What was kept of earlier observations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    pub template: Option<Value>,
    pub template_hash: Option<String>,
    pub template_of: Option<String>,
}

impl Situation {
    /// The pause that holds now.
    #[must_use]
    pub fn paused(&self) -> Option<&Pause> {
        let pauses = [&self.target.pause, &self.all_paused];
        pauses
            .into_iter()
            .flatten()
            .find(|pause| pause.holds(self.now))
    }
}

/// Reads a target with its pending action, without locks.
pub async fn situation(pool: &PgPool, target: &str) -> Result<Situation, Error> {
    let mut snapshot = pool
        .acquire()
        .await
        .map_err(Error::database("waiting for a connection"))?;
    let names = [target.to_owned(), ALL_TARGETS.to_owned()];
    let rows = sqlx::query_as!(
        StateRow,
        "SELECT name, epoch, settled, foreign_replicas, pending, last_action, last_request_at,
                doomed, pause_id, paused_at, paused_until, pause_actor, pause_reason,
                pause_changed_at
         FROM targets WHERE name = ANY($1)",
        &names
    )
    .fetch_all(&mut *snapshot)
    .await
    .map_err(Error::database("reading a target"))?;
    let mut known = TargetState {
        name: target.to_owned(),
        ..TargetState::default()
    };
    let mut all_paused = None;
    for state in rows.into_iter().map(TargetState::from) {
        if state.name == ALL_TARGETS {
            all_paused = state.pause;
        } else {
            known = state;
        }
    }
    // The action is read by the id that the row named: an end that commits in between shows as an
    // action that is not pending any more.
    let ids: Vec<Uuid> = known.pending.iter().map(|id| id.uuid()).collect();
    let actions = super::actions(&mut snapshot, &ids, &[]).await?;
    let kept = sqlx::query_as!(
        Kept,
        "SELECT template, template_hash, template_of FROM targets WHERE name = $1",
        target
    )
    .fetch_optional(&mut *snapshot)
    .await
    .map_err(Error::database("reading a template"))?;
    let (action, trace) = actions.into_iter().next().unzip();
    Ok(Situation {
        now: super::now(&mut snapshot).await?,
        target: known,
        all_paused,
        action,
        trace: trace.unwrap_or_default(),
        kept: kept.unwrap_or_default(),
    })
}

/// Epoch of a target; 0 when nothing ever happened to it.
pub async fn epoch(pool: &PgPool, target: &str) -> Result<i64, Error> {
    let epoch = sqlx::query_scalar!("SELECT epoch FROM targets WHERE name = $1", target)
        .fetch_optional(pool)
        .await
        .map_err(Error::database("reading an epoch"))?;
    Ok(epoch.unwrap_or(0))
}

/// An id that no other process has.
pub async fn instance(pool: &PgPool) -> Result<Uuid, Error> {
    sqlx::query_scalar!(r#"SELECT gen_random_uuid() AS "id!""#)
        .fetch_one(pool)
        .await
        .map_err(Error::database("drawing an instance id"))
}

/// Pending actions of targets that are not among `declared`.
pub async fn undeclared(
    pool: &PgPool,
    declared: &[String],
) -> Result<Vec<(String, ActionId)>, Error> {
    let rows = sqlx::query!(
        "SELECT target, action_id FROM action_exec
         WHERE status = 'pending' AND NOT target = ANY($1)",
        declared
    )
    .fetch_all(pool)
    .await
    .map_err(Error::database("reading actions of undeclared targets"))?;
    Ok(rows
        .into_iter()
        .map(|row| (row.target, ActionId(row.action_id)))
        .collect())
}

/// How an action ended, or why it was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ActionReason {
    /// Pending: `requested`. Completed: `scaled`, `nothing_to_do`, `drift`. Failed: `unhealthy`,
    /// `docker`, `deadline`, `superseded`, `unknown_target`, `out_of_bounds`
    #[schema(example = "scaled")]
    pub code: String,
    pub message: String,
}

/// One action, as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ActionRow {
    pub action_id: Uuid,
    pub incident_id: Uuid,
    pub target: String,
    /// `scale_docker` or `ensure_replicas`
    #[schema(example = "scale_docker")]
    pub kind: String,
    /// `up`: at least, `down`: at most, `exact`
    #[schema(example = "up")]
    pub direction: String,
    pub desired_replicas: i32,
    /// Running containers before the first step
    pub previous_replicas: Option<i32>,
    /// Running containers at the end
    pub running_replicas: Option<i32>,
    /// `requested`, `completed` or `failed`
    #[schema(example = "completed")]
    pub status: String,
    pub reason: ActionReason,
    /// Rule that asked
    pub rule: String,
    #[schema(value_type = String, format = DateTime)]
    pub requested_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub deadline_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// What was seen of replicas before they were removed
    #[schema(value_type = Vec<Object>)]
    pub evidence: Vec<Evidence>,
    pub trace_id: Option<String>,
}

impl From<(Action, Trace)> for ActionRow {
    fn from((action, trace): (Action, Trace)) -> Self {
        let previous_replicas = action.previous_replicas();
        let end = match action.status {
            Status::Pending => {
                let why = action.request.reason.clone();
                (
                    "requested",
                    "requested".to_owned(),
                    why,
                    None,
                    None,
                    Vec::new(),
                )
            }
            Status::Completed {
                at,
                outcome,
                running,
                message,
            } => {
                let (code, running) = (outcome.to_string(), Some(running));
                ("completed", code, message, running, Some(at), Vec::new())
            }
            Status::Failed {
                at,
                reason,
                running,
                message,
                evidence,
            } => (
                "failed",
                reason.to_string(),
                message,
                running,
                Some(at),
                evidence,
            ),
        };
        let (status, code, message, running, finished_at, evidence) = end;
        let request = action.request;
        Self {
            action_id: request.action_id.uuid(),
            incident_id: request.incident_id.uuid(),
            target: request.target,
            kind: request.kind.to_string(),
            direction: request.ask.direction().to_string(),
            desired_replicas: request.desired,
            previous_replicas,
            running_replicas: running.map(super::stored),
            status: status.to_owned(),
            reason: ActionReason { code, message },
            rule: request.rule,
            requested_at: request.at,
            deadline_at: request.deadline_at,
            finished_at,
            evidence,
            trace_id: trace
                .traceparent
                .and_then(|parent| parent.split('-').nth(1).map(str::to_owned)),
        }
    }
}

/// Which actions.
#[derive(Clone, Debug, Default)]
pub struct ActionFilter {
    pub target: Option<String>,
    pub status: Option<String>,
    pub incident_id: Option<Uuid>,
}

/// The last action of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub requested_at: Timestamp,
    pub action_id: Uuid,
}

/// Actions, newest request first, after `place`.
pub async fn list_actions(
    pool: &PgPool,
    filter: &ActionFilter,
    place: Option<Place>,
    limit: i64,
) -> Result<Vec<ActionRow>, Error> {
    let rows = sqlx::query_as!(
        ExecRow,
        r#"SELECT action_id, event_id, incident_id, target, kind, direction, desired,
                  requested_previous, rule, reason, requested_at, deadline_at, epoch, previous,
                  status, result, message, running, evidence AS "evidence: Json<Vec<_>>",
                  finished_at, traceparent, tracestate
           FROM action_exec
           WHERE ($1::text IS NULL OR target = $1)
             AND ($2::text IS NULL OR status = $2)
             AND ($3::uuid IS NULL OR incident_id = $3)
             AND ($4::timestamptz IS NULL OR (requested_at, action_id) < ($4, $5::uuid))
           ORDER BY requested_at DESC, action_id DESC
           LIMIT $6"#,
        filter.target,
        filter.status,
        filter.incident_id,
        place.map(|place| place.requested_at),
        place.map(|place| place.action_id),
        limit
    )
    .fetch_all(pool)
    .await
    .map_err(Error::database("listing actions"))?;
    let rows = rows.into_iter().map(<(Action, Trace)>::from);
    Ok(rows.map(ActionRow::from).collect())
}

/// One action.
pub async fn action(pool: &PgPool, id: Uuid) -> Result<Option<ActionRow>, Error> {
    let mut connection = pool
        .acquire()
        .await
        .map_err(Error::database("waiting for a connection"))?;
    let found = super::actions(&mut connection, &[id], &[]).await?;
    Ok(found.into_iter().next().map(ActionRow::from))
}

/// What the API shows of a target, beyond `targets.yaml`.
#[derive(Clone, Debug)]
pub struct TargetRow {
    pub name: String,
    pub settled: Option<i32>,
    pub pending: Option<Uuid>,
    pub pending_desired: Option<i32>,
    pub pause_id: Option<Uuid>,
    pub paused_at: Option<Timestamp>,
    pub paused_until: Option<Timestamp>,
    pub pause_actor: Option<String>,
    pub pause_reason: Option<String>,
    pub template_hash: Option<String>,
    pub template_of: Option<String>,
    pub observed: Option<Value>,
    pub observed_at: Option<Timestamp>,
}

/// Every row, the one that stands for all included, with the pauses that hold now.
pub async fn list_targets(pool: &PgPool) -> Result<Vec<TargetRow>, Error> {
    sqlx::query_as!(
        TargetRow,
        r#"SELECT name, settled, pending, exec.desired AS "pending_desired?",
                  CASE WHEN holds THEN pause_id END AS pause_id, paused_at, paused_until,
                  pause_actor, pause_reason, template_hash, template_of, observed, observed_at
           FROM targets
           CROSS JOIN LATERAL (SELECT paused_until IS NULL OR paused_until > clock_timestamp())
                AS pause (holds)
           LEFT JOIN action_exec AS exec ON exec.action_id = targets.pending
           ORDER BY name"#
    )
    .fetch_all(pool)
    .await
    .map_err(Error::database("listing targets"))
}
