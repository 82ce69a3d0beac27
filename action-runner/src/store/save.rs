use serde_json::Value;
use service_kit::{Error, Trace};
use shared_events::Timestamp;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::stored;
use crate::domain::state::{Action, Status, TargetState};

/// Writes what was decided of targets. Lease, template and observation are not touched.
pub async fn save_targets(conn: &mut PgConnection, targets: &[TargetState]) -> Result<(), Error> {
    let column = |pick: fn(&TargetState) -> Option<Timestamp>| -> Vec<Option<Timestamp>> {
        targets.iter().map(pick).collect()
    };
    let words = |pick: fn(&TargetState) -> Option<String>| -> Vec<Option<String>> {
        targets.iter().map(pick).collect()
    };
    let names: Vec<String> = targets.iter().map(|t| t.name.clone()).collect();
    let epochs: Vec<i64> = targets.iter().map(|t| t.epoch).collect();
    let settled: Vec<Option<i32>> = targets.iter().map(|t| t.settled.map(stored)).collect();
    let foreign: Vec<Option<i32>> = targets.iter().map(|t| t.foreign.map(stored)).collect();
    let pending: Vec<Option<Uuid>> = targets.iter().map(|t| t.pending.map(Uuid::from)).collect();
    let last: Vec<Option<Uuid>> = targets
        .iter()
        .map(|t| t.last_action.map(Uuid::from))
        .collect();
    // An array of arrays must be rectangular: each set travels as one JSON text.
    let doomed: Vec<Value> = targets
        .iter()
        .map(|t| Value::from_iter(t.doomed.iter().cloned()))
        .collect();
    let pauses: Vec<Option<Uuid>> = targets
        .iter()
        .map(|t| t.pause.as_ref().map(|pause| pause.pause_id))
        .collect();
    sqlx::query!(
        r#"
        UPDATE targets SET
            epoch = new.epoch, settled = new.settled, foreign_replicas = new.foreign_replicas,
            pending = new.pending, last_action = new.last_action,
            last_request_at = new.last_request_at,
            doomed = ARRAY(SELECT jsonb_array_elements_text(new.doomed)),
            pause_id = new.pause_id, paused_at = new.paused_at, paused_until = new.paused_until,
            pause_actor = new.pause_actor, pause_reason = new.pause_reason,
            pause_changed_at = new.pause_changed_at
        FROM UNNEST($1::text[], $2::bigint[], $3::int[], $4::int[], $5::uuid[], $6::uuid[],
                    $7::timestamptz[], $8::jsonb[], $9::uuid[], $10::timestamptz[],
                    $11::timestamptz[], $12::text[], $13::text[], $14::timestamptz[])
             AS new (name, epoch, settled, foreign_replicas, pending, last_action,
                     last_request_at, doomed, pause_id, paused_at, paused_until, pause_actor,
                     pause_reason, pause_changed_at)
        WHERE targets.name = new.name
        "#,
        &names,
        &epochs,
        &settled as &[Option<i32>],
        &foreign as &[Option<i32>],
        &pending as &[Option<Uuid>],
        &last as &[Option<Uuid>],
        &column(|t| t.last_request_at) as &[Option<Timestamp>],
        &doomed,
        &pauses as &[Option<Uuid>],
        &column(|t| t.pause.as_ref().map(|pause| pause.at)) as &[Option<Timestamp>],
        &column(|t| t.pause.as_ref().and_then(|pause| pause.until)) as &[Option<Timestamp>],
        &words(|t| t.pause.as_ref().map(|pause| pause.actor.clone())) as &[Option<String>],
        &words(|t| t.pause.as_ref().map(|pause| pause.reason.clone())) as &[Option<String>],
        &column(|t| t.pause_changed_at) as &[Option<Timestamp>],
    )
    .execute(conn)
    .await
    .map_err(Error::database("saving targets"))?;
    Ok(())
}

/// The columns of `action_exec` that change with the status.
struct End<'a> {
    status: &'static str,
    result: Option<&'a str>,
    message: Option<&'a str>,
    running: Option<u32>,
    evidence: Value,
    at: Option<Timestamp>,
}

fn end(action: &Action) -> End<'_> {
    match &action.status {
        Status::Pending => End {
            status: "pending",
            result: None,
            message: None,
            running: None,
            evidence: Value::Array(Vec::new()),
            at: None,
        },
        Status::Completed {
            at,
            outcome,
            running,
            message,
        } => End {
            status: "completed",
            result: Some(outcome.as_str()),
            message: Some(message),
            running: Some(*running),
            evidence: Value::Array(Vec::new()),
            at: Some(*at),
        },
        Status::Failed {
            at,
            reason,
            running,
            message,
            evidence,
        } => End {
            status: "failed",
            result: Some(reason.as_str()),
            message: Some(message),
            running: *running,
            evidence: serde_json::to_value(evidence).expect("evidence is strings and numbers"),
            at: Some(*at),
        },
    }
}

/// Writes new actions, and those that changed. Terminal ones first: the index on pending ones
/// holds for each row as it is written.
pub async fn save_actions(
    conn: &mut PgConnection,
    actions: &[(Action, Trace)],
) -> Result<(), Error> {
    if actions.is_empty() {
        return Ok(());
    }
    let uuids =
        |pick: fn(&Action) -> Uuid| -> Vec<Uuid> { actions.iter().map(|(a, _)| pick(a)).collect() };
    let texts = |pick: fn(&Action) -> String| -> Vec<String> {
        actions.iter().map(|(a, _)| pick(a)).collect()
    };
    let times = |pick: fn(&Action) -> Timestamp| -> Vec<Timestamp> {
        actions.iter().map(|(a, _)| pick(a)).collect()
    };
    let desired: Vec<i32> = actions.iter().map(|(a, _)| a.request.desired).collect();
    let before: Vec<Option<i32>> = actions.iter().map(|(a, _)| a.request.previous).collect();
    let epochs: Vec<i64> = actions.iter().map(|(a, _)| a.epoch).collect();
    let previous: Vec<Option<i32>> = actions
        .iter()
        .map(|(a, _)| a.previous.map(stored))
        .collect();
    let ends: Vec<End<'_>> = actions.iter().map(|(a, _)| end(a)).collect();
    let statuses: Vec<String> = ends.iter().map(|end| end.status.to_owned()).collect();
    let results: Vec<Option<String>> = ends
        .iter()
        .map(|end| end.result.map(str::to_owned))
        .collect();
    let messages: Vec<Option<String>> = ends
        .iter()
        .map(|end| end.message.map(str::to_owned))
        .collect();
    let running: Vec<Option<i32>> = ends.iter().map(|end| end.running.map(stored)).collect();
    let evidence: Vec<Value> = ends.iter().map(|end| end.evidence.clone()).collect();
    let finished: Vec<Option<Timestamp>> = ends.iter().map(|end| end.at).collect();
    let parents: Vec<Option<String>> = actions.iter().map(|(_, t)| t.traceparent.clone()).collect();
    let states: Vec<Option<String>> = actions.iter().map(|(_, t)| t.tracestate.clone()).collect();
    sqlx::query!(
        r#"
        INSERT INTO action_exec
            (action_id, event_id, incident_id, target, kind, direction, desired,
             requested_previous, rule, reason, requested_at, deadline_at, epoch, previous, status,
             result, message, running, evidence, finished_at, traceparent, tracestate)
        SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[],
                             $6::text[], $7::int[], $8::int[], $9::text[], $10::text[],
                             $11::timestamptz[], $12::timestamptz[], $13::bigint[], $14::int[],
                             $15::text[], $16::text[], $17::text[], $18::int[], $19::jsonb[],
                             $20::timestamptz[], $21::text[], $22::text[])
             AS new (action_id, event_id, incident_id, target, kind, direction, desired,
                     requested_previous, rule, reason, requested_at, deadline_at, epoch, previous,
                     status, result, message, running, evidence, finished_at, traceparent,
                     tracestate)
        ORDER BY new.status = 'pending', new.action_id
        ON CONFLICT (action_id) DO UPDATE SET
            previous = excluded.previous, status = excluded.status, result = excluded.result,
            message = excluded.message, running = excluded.running, evidence = excluded.evidence,
            finished_at = excluded.finished_at
        "#,
        &uuids(|a| a.request.action_id.uuid()),
        &uuids(|a| a.request.event_id.uuid()),
        &uuids(|a| a.request.incident_id.uuid()),
        &texts(|a| a.request.target.clone()),
        &texts(|a| a.request.kind.to_string()),
        &texts(|a| a.request.ask.direction().to_string()),
        &desired,
        &before as &[Option<i32>],
        &texts(|a| a.request.rule.clone()),
        &texts(|a| a.request.reason.clone()),
        &times(|a| a.request.at),
        &times(|a| a.request.deadline_at),
        &epochs,
        &previous as &[Option<i32>],
        &statuses,
        &results as &[Option<String>],
        &messages as &[Option<String>],
        &running as &[Option<i32>],
        &evidence,
        &finished as &[Option<Timestamp>],
        &parents as &[Option<String>],
        &states as &[Option<String>],
    )
    .execute(conn)
    .await
    .map_err(Error::database("saving actions"))?;
    Ok(())
}

/// Keeps what replicas are made from, for when no container of others is left.
pub async fn keep_template(
    pool: &PgPool,
    target: &str,
    template: &Value,
    hash: &str,
    container: &str,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE targets SET template = $2, template_hash = $3, template_of = $4 WHERE name = $1",
        target,
        template,
        hash,
        container
    )
    .execute(pool)
    .await
    .map_err(Error::database("keeping a template"))?;
    Ok(())
}

/// Keeps what was last seen of a target, for people.
pub async fn keep_observed(pool: &PgPool, target: &str, observed: &Value) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE targets SET observed = $2, observed_at = clock_timestamp() WHERE name = $1",
        target,
        observed
    )
    .execute(pool)
    .await
    .map_err(Error::database("keeping an observation"))?;
    Ok(())
}
