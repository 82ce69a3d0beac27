use service_kit::{Error, Trace};
use shared_events::Timestamp;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{ExecRow, StateRow};
use crate::domain::state::{Action, TargetState};

/// Locks the rows of these targets, in the order of their names, and reads them; those that are not
/// there are made first, because a row that does not exist cannot be locked.
pub async fn lock(conn: &mut PgConnection, names: &[String]) -> Result<Vec<TargetState>, Error> {
    sqlx::query!(
        "INSERT INTO targets (name) SELECT name FROM UNNEST($1::text[]) AS wanted (name)
         ORDER BY name ON CONFLICT (name) DO NOTHING",
        names
    )
    .execute(&mut *conn)
    .await
    .map_err(Error::database("making rows of targets"))?;
    let rows = sqlx::query_as!(
        StateRow,
        "SELECT name, epoch, settled, foreign_replicas, pending, last_action, last_request_at,
                doomed, pause_id, paused_at, paused_until, pause_actor, pause_reason,
                pause_changed_at
         FROM targets WHERE name = ANY($1) ORDER BY name FOR UPDATE",
        names
    )
    .fetch_all(conn)
    .await
    .map_err(Error::database("locking targets"))?;
    Ok(rows.into_iter().map(TargetState::from).collect())
}

/// These actions, and the pending ones of these targets. A target's lock covers its actions.
pub async fn actions(
    conn: &mut PgConnection,
    ids: &[Uuid],
    targets: &[String],
) -> Result<Vec<(Action, Trace)>, Error> {
    let rows = sqlx::query_as!(
        ExecRow,
        r#"SELECT action_id, event_id, incident_id, target, kind, direction, desired,
                  requested_previous, rule, reason, requested_at, deadline_at, epoch, previous,
                  status, result, message, running, evidence AS "evidence: Json<Vec<_>>",
                  finished_at, traceparent, tracestate
           FROM action_exec
           WHERE action_id = ANY($1) OR (status = 'pending' AND target = ANY($2))"#,
        ids,
        targets
    )
    .fetch_all(conn)
    .await
    .map_err(Error::database("reading actions"))?;
    Ok(rows.into_iter().map(<(Action, Trace)>::from).collect())
}

/// The database's clock.
pub async fn now(conn: &mut PgConnection) -> Result<Timestamp, Error> {
    sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#)
        .fetch_one(conn)
        .await
        .map_err(Error::database("reading the clock"))
}
