//! Writing a batch: one statement per table.

use service_kit::Error;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{ActionRow, IncidentRow};
use crate::domain::Entry;

/// Binds a vector of each named field of `rows` to the field's name.
macro_rules! columns {
    ($rows:ident: $($field:ident),+ $(,)?) => {
        $(let $field: Vec<_> = $rows.iter().map(|row| row.$field.clone()).collect();)+
    };
}

/// Writes the rows of incidents that [`lock`](super::load::lock) has locked, and of those that had
/// none: `fresh`.
pub(crate) async fn incidents(
    conn: &mut PgConnection,
    rows: &[IncidentRow],
    fresh: &[Uuid],
) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    columns!(rows: incident_id, version, status, needs_attention, status_stamp, status_at,
        reason_code, reason_message, opened_at, mitigating_at, resolved_at, failed_at, opened_stamp,
        correlation_key, service, rule, rule_version, generator_url, runbook_url, trace_id, labels,
        severity, severity_stamp, title, title_stamp, alerts, alerts_stamp, next_step, next_due_at,
        next_stamp, actions);
    let written = sqlx::query!(
        r#"
        INSERT INTO incidents (
            incident_id, version, status, needs_attention, status_stamp, status_at, reason_code,
            reason_message, opened_at, mitigating_at, resolved_at, failed_at, opened_stamp,
            correlation_key, service, rule, rule_version, generator_url, runbook_url, trace_id,
            labels, severity, severity_stamp, title, title_stamp, alerts, alerts_stamp,
            next_step, next_due_at, next_stamp, actions
        )
        SELECT * FROM UNNEST(
            $1::uuid[], $2::bigint[], $3::text[], $4::boolean[], $5::bigint[], $6::timestamptz[],
            $7::text[], $8::text[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[],
            $12::timestamptz[], $13::bigint[], $14::text[], $15::text[], $16::text[], $17::text[],
            $18::text[], $19::text[], $20::text[], $21::jsonb[], $22::text[], $23::bigint[],
            $24::text[], $25::bigint[], $26::jsonb[], $27::bigint[], $28::text[],
            $29::timestamptz[], $30::bigint[], $31::int[]
        ) AS new (
            incident_id, version, status, needs_attention, status_stamp, status_at, reason_code,
            reason_message, opened_at, mitigating_at, resolved_at, failed_at, opened_stamp,
            correlation_key, service, rule, rule_version, generator_url, runbook_url, trace_id,
            labels, severity, severity_stamp, title, title_stamp, alerts, alerts_stamp,
            next_step, next_due_at, next_stamp, actions
        )
        -- one order for every instance: concurrent batches wait for each other, never deadlock
        ORDER BY incident_id
        ON CONFLICT (incident_id) DO UPDATE SET
            version = excluded.version, status = excluded.status,
            needs_attention = excluded.needs_attention, status_stamp = excluded.status_stamp,
            status_at = excluded.status_at, reason_code = excluded.reason_code,
            reason_message = excluded.reason_message, opened_at = excluded.opened_at,
            mitigating_at = excluded.mitigating_at, resolved_at = excluded.resolved_at,
            failed_at = excluded.failed_at, opened_stamp = excluded.opened_stamp,
            correlation_key = excluded.correlation_key, service = excluded.service,
            rule = excluded.rule, rule_version = excluded.rule_version,
            generator_url = excluded.generator_url, runbook_url = excluded.runbook_url,
            trace_id = excluded.trace_id, labels = excluded.labels,
            severity = excluded.severity, severity_stamp = excluded.severity_stamp,
            title = excluded.title, title_stamp = excluded.title_stamp,
            alerts = excluded.alerts, alerts_stamp = excluded.alerts_stamp,
            next_step = excluded.next_step, next_due_at = excluded.next_due_at,
            next_stamp = excluded.next_stamp, actions = excluded.actions
        -- folded as if it had no row, and has one: left alone, and missed in the count
        WHERE incidents.incident_id <> ALL($32)
        "#,
        &incident_id,
        &version,
        &status as _,
        &needs_attention,
        &status_stamp as _,
        &status_at as _,
        &reason_code as _,
        &reason_message as _,
        &opened_at as _,
        &mitigating_at as _,
        &resolved_at as _,
        &failed_at as _,
        &opened_stamp as _,
        &correlation_key as _,
        &service as _,
        &rule as _,
        &rule_version as _,
        &generator_url as _,
        &runbook_url as _,
        &trace_id as _,
        &labels as _,
        &severity as _,
        &severity_stamp as _,
        &title as _,
        &title_stamp as _,
        &alerts as _,
        &alerts_stamp as _,
        &next_step as _,
        &next_due_at as _,
        &next_stamp as _,
        &actions,
        fresh
    )
    .execute(conn)
    .await
    .map_err(Error::database("saving incidents"))?;
    Error::unless_all("saving incidents", rows.len(), written.rows_affected())
}

/// Inserts or rewrites the rows of actions, whose incidents are locked.
pub(crate) async fn actions(conn: &mut PgConnection, rows: &[ActionRow]) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    columns!(rows: action_id, incident_id, status, requested_by, requested_at, requested_target,
        kind, direction, desired_replicas, previous_replicas, rule, deadline_at, verify_within_ms,
        compensates, actor, request_reason, finished_by, finished_at, finished_target, failed,
        outcome_code, outcome_message, outcome_desired, outcome_previous, running_replicas,
        evidence);
    sqlx::query!(
        r#"
        INSERT INTO actions (
            action_id, incident_id, status, requested_by, requested_at, requested_target, kind,
            direction, desired_replicas, previous_replicas, rule, deadline_at, verify_within_ms,
            compensates, actor, request_reason, finished_by, finished_at, finished_target, failed,
            outcome_code, outcome_message, outcome_desired, outcome_previous, running_replicas,
            evidence
        )
        SELECT * FROM UNNEST(
            $1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::timestamptz[], $6::text[],
            $7::text[], $8::text[], $9::int[], $10::int[], $11::text[], $12::timestamptz[],
            $13::bigint[], $14::uuid[], $15::text[], $16::text[], $17::uuid[],
            $18::timestamptz[], $19::text[], $20::boolean[], $21::text[], $22::text[],
            $23::int[], $24::int[], $25::int[], $26::jsonb[]
        )
        ON CONFLICT (action_id) DO UPDATE SET
            status = excluded.status, requested_by = excluded.requested_by,
            requested_at = excluded.requested_at, requested_target = excluded.requested_target,
            kind = excluded.kind, direction = excluded.direction,
            desired_replicas = excluded.desired_replicas,
            previous_replicas = excluded.previous_replicas, rule = excluded.rule,
            deadline_at = excluded.deadline_at, verify_within_ms = excluded.verify_within_ms,
            compensates = excluded.compensates, actor = excluded.actor,
            request_reason = excluded.request_reason, finished_by = excluded.finished_by,
            finished_at = excluded.finished_at, finished_target = excluded.finished_target,
            failed = excluded.failed, outcome_code = excluded.outcome_code,
            outcome_message = excluded.outcome_message,
            outcome_desired = excluded.outcome_desired,
            outcome_previous = excluded.outcome_previous,
            running_replicas = excluded.running_replicas, evidence = excluded.evidence
        "#,
        &action_id,
        &incident_id,
        &status,
        &requested_by as _,
        &requested_at as _,
        &requested_target as _,
        &kind as _,
        &direction as _,
        &desired_replicas as _,
        &previous_replicas as _,
        &rule as _,
        &deadline_at as _,
        &verify_within_ms as _,
        &compensates as _,
        &actor as _,
        &request_reason as _,
        &finished_by as _,
        &finished_at as _,
        &finished_target as _,
        &failed as _,
        &outcome_code as _,
        &outcome_message as _,
        &outcome_desired as _,
        &outcome_previous as _,
        &running_replicas as _,
        &evidence as _
    )
    .execute(conn)
    .await
    .map_err(Error::database("saving actions"))?;
    Ok(())
}

/// Appends facts to the stories of their incidents; `visible` says of each whether its incident is
/// more than a stub, so that the stream may show it.
pub(crate) async fn entries(
    conn: &mut PgConnection,
    entries: &[Entry],
    visible: &[bool],
) -> Result<(), Error> {
    if entries.is_empty() {
        return Ok(());
    }
    let event_id: Vec<Uuid> = entries.iter().map(|entry| entry.event_id.uuid()).collect();
    let incident_id: Vec<Uuid> = entries
        .iter()
        .map(|entry| entry.incident_id.uuid())
        .collect();
    columns!(entries: event_type, at, place, actor, summary, data, causation_id, trace_id);
    sqlx::query!(
        r#"
        INSERT INTO incident_events (
            event_id, incident_id, type, at, place, actor, summary, data, causation_id, trace_id, xid
        )
        SELECT event_id, incident_id, type, at, place, actor, summary, data, causation_id, trace_id,
               CASE WHEN visible THEN pg_current_xact_id() END
        FROM UNNEST(
            $1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::bigint[], $6::text[],
            $7::text[], $8::jsonb[], $9::uuid[], $10::text[], $11::boolean[]
        ) WITH ORDINALITY AS new (
            event_id, incident_id, type, at, place, actor, summary, data, causation_id, trace_id,
            visible, position
        )
        ORDER BY position
        "#,
        &event_id,
        &incident_id,
        &event_type,
        &at,
        &place,
        &actor,
        &summary,
        &data,
        &causation_id as _,
        &trace_id as _,
        visible
    )
    .execute(conn)
    .await
    .map_err(Error::database("appending to the stories of incidents"))?;
    Ok(())
}

/// Lets the stream show what was known of these incidents while they were stubs.
pub(crate) async fn reveal(conn: &mut PgConnection, ids: &[Uuid]) -> Result<(), Error> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE incident_events SET xid = pg_current_xact_id()
         WHERE incident_id = ANY($1) AND xid IS NULL",
        ids
    )
    .execute(conn)
    .await
    .map_err(Error::database("revealing facts of former stubs"))?;
    Ok(())
}
