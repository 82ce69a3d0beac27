//! Timers: rows that are due once, however many instances look.

use std::collections::HashSet;

use service_kit::{Error, Trace};
use shared_events::{ActionId, EventId, IncidentId, Timestamp};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::domain::{Timer, TimerKind};

/// Timers that are due at `now`, the longest due first; of timeouts only those that were set by
/// `silent_since`, if that is said.
pub(crate) async fn due(
    executor: impl PgExecutor<'_>,
    now: Timestamp,
    silent_since: Option<Timestamp>,
    limit: i64,
) -> Result<Vec<(Timer, Trace)>, Error> {
    let rows = sqlx::query!(
        "SELECT timer_id, correlation_key, kind, entity, due_at, traceparent, tracestate FROM timers
         WHERE due_at <= $1 AND (kind <> 'timeout' OR $2::timestamptz IS NULL OR set_at <= $2)
         ORDER BY due_at, timer_id LIMIT $3",
        now,
        silent_since,
        limit
    )
    .fetch_all(executor)
    .await
    .map_err(Error::database("reading due timers"))?;
    let timers = rows.into_iter().filter_map(|row| {
        let timer = Timer {
            id: EventId(row.timer_id),
            key: row.correlation_key,
            kind: kind(&row.kind, row.entity)?,
            due: row.due_at,
        };
        let trace = Trace {
            traceparent: row.traceparent,
            tracestate: row.tracestate,
        };
        Some((timer, trace))
    });
    Ok(timers.collect())
}

/// How many are due at `now`, and since when the first.
pub(crate) async fn overdue(
    executor: impl PgExecutor<'_>,
    now: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    sqlx::query_scalar!("SELECT min(due_at) FROM timers WHERE due_at <= $1", now)
        .fetch_one(executor)
        .await
        .map_err(Error::database("reading the age of due timers"))
}

/// Takes due timers, for good if the transaction commits; gives those that nobody took before.
pub(crate) async fn take(conn: &mut PgConnection, timers: &[Uuid]) -> Result<HashSet<Uuid>, Error> {
    if timers.is_empty() {
        return Ok(HashSet::new());
    }
    let taken = sqlx::query_scalar!(
        "DELETE FROM timers WHERE timer_id = ANY($1) RETURNING timer_id",
        timers
    )
    .fetch_all(conn)
    .await
    .map_err(Error::database("taking due timers"))?;
    Ok(taken.into_iter().collect())
}

/// Sets and takes back timers.
pub(crate) async fn change(
    conn: &mut PgConnection,
    armed: &[&(Timer, Trace)],
    disarmed: &[Uuid],
) -> Result<(), Error> {
    if !disarmed.is_empty() {
        sqlx::query!("DELETE FROM timers WHERE timer_id = ANY($1)", disarmed)
            .execute(&mut *conn)
            .await
            .map_err(Error::database("taking timers back"))?;
    }
    if armed.is_empty() {
        return Ok(());
    }
    let timers = || armed.iter().map(|(timer, _)| timer);
    let ids: Vec<Uuid> = timers().map(|timer| timer.id.uuid()).collect();
    let keys: Vec<&str> = timers().map(|timer| timer.key.as_str()).collect();
    let (kinds, entities): (Vec<&str>, Vec<Option<Uuid>>) =
        timers().map(|timer| parts(timer.kind)).unzip();
    let dues: Vec<Timestamp> = timers().map(|timer| timer.due).collect();
    let traces = || armed.iter().map(|(_, trace)| trace);
    let parents: Vec<Option<&str>> = traces().map(|t| t.traceparent.as_deref()).collect();
    let states: Vec<Option<&str>> = traces().map(|t| t.tracestate.as_deref()).collect();
    sqlx::query!(
        "INSERT INTO timers (timer_id, correlation_key, kind, entity, due_at, traceparent, tracestate)
         SELECT timer_id, correlation_key, kind, entity, due_at, traceparent, tracestate
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::timestamptz[], $6::text[],
                     $7::text[])
              AS new (timer_id, correlation_key, kind, entity, due_at, traceparent, tracestate)
         ON CONFLICT (timer_id) DO UPDATE SET due_at = excluded.due_at",
        &ids,
        &keys as &[&str],
        &kinds as &[&str],
        &entities as &[Option<Uuid>],
        &dues,
        &parents as &[Option<&str>],
        &states as &[Option<&str>],
    )
    .execute(conn)
    .await
    .map_err(Error::database("setting timers"))?;
    Ok(())
}

fn parts(kind: TimerKind) -> (&'static str, Option<Uuid>) {
    match kind {
        TimerKind::Timeout { action_id } => ("timeout", Some(action_id.uuid())),
        TimerKind::Recheck => ("recheck", None),
        TimerKind::Verify { incident_id } => ("verify", Some(incident_id.uuid())),
        TimerKind::Settle { incident_id } => ("settle", Some(incident_id.uuid())),
    }
}

fn kind(kind: &str, entity: Option<Uuid>) -> Option<TimerKind> {
    let action = entity.map(ActionId);
    let incident = entity.map(IncidentId);
    match kind {
        "timeout" => action.map(|action_id| TimerKind::Timeout { action_id }),
        "recheck" => Some(TimerKind::Recheck),
        "verify" => incident.map(|incident_id| TimerKind::Verify { incident_id }),
        "settle" => incident.map(|incident_id| TimerKind::Settle { incident_id }),
        _ => None,
    }
}
