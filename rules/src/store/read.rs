//! What the API and the workers read.

use std::{collections::HashMap, time::Duration};

use chrono::TimeDelta;
use service_kit::Error;
use shared_events::{AlertId, Labels, Timestamp};
use sqlx::{PgConnection, PgExecutor, PgPool, types::Json};
use uuid::Uuid;

use super::decisions::StoredOutcome;
use crate::domain::Pause;

/// Rows that one page looks at, at most, when it filters by rule alone.
const LOOKED_AT: i64 = 20_000;

/// Which decisions are wanted; the newest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) alert_id: Option<Uuid>,
    pub(crate) incident_id: Option<Uuid>,
    pub(crate) key: Option<String>,
    pub(crate) rule: Option<String>,
    /// Only older ones than this.
    pub(crate) before: Option<i64>,
}

/// A decision, as the log has it.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) id: i64,
    pub(crate) key: String,
    pub(crate) seq: i64,
    pub(crate) input_id: Uuid,
    pub(crate) input: String,
    pub(crate) detail: Option<serde_json::Value>,
    pub(crate) alert_id: Option<Uuid>,
    pub(crate) episode_id: Option<Uuid>,
    pub(crate) incident_id: Option<Uuid>,
    pub(crate) at: Timestamp,
    pub(crate) rules_hash: String,
    pub(crate) read: serde_json::Value,
    pub(crate) outcomes: Json<Vec<StoredOutcome>>,
    pub(crate) emitted: Json<Vec<Uuid>>,
    pub(crate) decision_id: Option<Uuid>,
    pub(crate) topic: Option<String>,
    pub(crate) partition: Option<i32>,
    pub(crate) kafka_offset: Option<i64>,
    pub(crate) annotations: Option<Json<Labels>>,
    pub(crate) occurrence: Option<i64>,
    pub(crate) emitted_types: Option<Json<Vec<String>>>,
}

/// A page, and where the next begins.
pub(crate) struct Page {
    pub(crate) rows: Vec<Logged>,
    pub(crate) next: Option<i64>,
}

/// Decisions of a filter. A rule that is asked for and that did not answer is no reason to leave a
/// decision out when the alert or the incident is given: why it did not is the question.
pub(crate) async fn decisions(pool: &PgPool, filter: &Filter, limit: i64) -> Result<Page, Error> {
    let narrow = filter.alert_id.is_some() || filter.incident_id.is_some() || filter.key.is_some();
    let look = if narrow { limit } else { limit.max(LOOKED_AT) };
    let answered = filter.rule.as_ref().filter(|_| !narrow);
    let answered = answered.map(|rule| serde_json::json!([{"rule": rule}]));
    let rows = sqlx::query_as!(
        Logged,
        r#"
        WITH looked AS (
            SELECT * FROM decisions_log
            WHERE ($1::uuid IS NULL OR alert_id = $1)
              AND ($2::uuid IS NULL OR incident_id = $2)
              AND ($3::text IS NULL OR correlation_key = $3)
              AND ($4::bigint IS NULL OR id < $4)
            ORDER BY id DESC LIMIT $5
        )
        SELECT id, correlation_key AS key, seq, input_id, input, detail, alert_id, episode_id,
               incident_id, at, rules_hash, read, outcomes AS "outcomes: Json<Vec<StoredOutcome>>",
               emitted AS "emitted: Json<Vec<Uuid>>", decision_id, topic, partition, kafka_offset,
               annotations AS "annotations: Json<Labels>", occurrence,
               emitted_types AS "emitted_types: Json<Vec<String>>"
        FROM looked
        WHERE $6::jsonb IS NULL OR outcomes @> $6
        ORDER BY id DESC LIMIT $7
        "#,
        filter.alert_id,
        filter.incident_id,
        filter.key,
        filter.before,
        look,
        answered,
        limit
    )
    .fetch_all(pool)
    .await
    .map_err(Error::database("reading decisions"))?;
    let full = i64::try_from(rows.len()).unwrap_or(i64::MAX) >= limit;
    let next = match (full, narrow || answered.is_none()) {
        (true, _) => rows.last().map(|row| row.id),
        (false, true) => None,
        (false, false) => last_looked_at(pool, filter, look).await?,
    };
    Ok(Page { rows, next })
}

/// The last row that a page by rule looked at; none when it came to the end.
async fn last_looked_at(pool: &PgPool, filter: &Filter, look: i64) -> Result<Option<i64>, Error> {
    sqlx::query_scalar!(
        "SELECT id FROM decisions_log WHERE $1::bigint IS NULL OR id < $1
         ORDER BY id DESC OFFSET $2 LIMIT 1",
        filter.before,
        look - 1
    )
    .fetch_optional(pool)
    .await
    .map_err(Error::database("reading decisions"))
}

/// The decisions of these rows, newest first.
pub(crate) async fn rows(pool: &PgPool, ids: &[i64]) -> Result<Vec<Logged>, Error> {
    sqlx::query_as!(
        Logged,
        r#"SELECT id, correlation_key AS key, seq, input_id, input, detail, alert_id, episode_id,
                  incident_id, at, rules_hash, read, outcomes AS "outcomes: Json<Vec<StoredOutcome>>",
                  emitted AS "emitted: Json<Vec<Uuid>>", decision_id, topic, partition, kafka_offset,
                  annotations AS "annotations: Json<Labels>", occurrence,
                  emitted_types AS "emitted_types: Json<Vec<String>>"
           FROM decisions_log WHERE id = ANY($1) ORDER BY id DESC"#,
        ids
    )
    .fetch_all(pool)
    .await
    .map_err(Error::database("reading decisions"))
}

/// Labels of series.
pub(crate) async fn labels(
    pool: &PgPool,
    alerts: &[Uuid],
) -> Result<HashMap<AlertId, Labels>, Error> {
    let rows = sqlx::query!(
        r#"SELECT alert_id, labels AS "labels: Json<Labels>" FROM series WHERE alert_id = ANY($1)"#,
        alerts
    )
    .fetch_all(pool)
    .await
    .map_err(Error::database("reading the labels of series"))?;
    Ok(rows
        .into_iter()
        .map(|row| (AlertId(row.alert_id), row.labels.0))
        .collect())
}

/// Pauses that are on at `now`, by target.
pub(crate) async fn pauses(
    executor: impl PgExecutor<'_>,
    now: Timestamp,
) -> Result<Vec<(String, Pause)>, Error> {
    let rows = sqlx::query!(
        r#"SELECT name, pause AS "pause!: Json<Pause>" FROM targets
           WHERE pause IS NOT NULL ORDER BY name"#
    )
    .fetch_all(executor)
    .await
    .map_err(Error::database("reading pauses"))?;
    let pauses = rows.into_iter().map(|row| (row.name, row.pause.0));
    Ok(pauses.filter(|(_, pause)| pause.is_on(now)).collect())
}

/// Incidents that are current: open ones, failed ones.
pub(crate) async fn current_incidents(conn: &mut PgConnection) -> Result<(i64, i64), Error> {
    let row = sqlx::query!(
        r#"SELECT count(*) FILTER (WHERE phase = 'open') AS "open!",
                  count(*) FILTER (WHERE phase = 'failed') AS "failed!"
           FROM correlations WHERE phase IN ('open', 'failed')"#
    )
    .fetch_one(conn)
    .await
    .map_err(Error::database("counting current incidents"))?;
    Ok((row.open, row.failed))
}

/// Deletes decisions that are older than `keep`; gives how many.
pub(crate) async fn prune(pool: &PgPool, keep: Duration, limit: i64) -> Result<u64, Error> {
    let keep = TimeDelta::from_std(keep).unwrap_or(TimeDelta::MAX);
    let pruned = sqlx::query!(
        "DELETE FROM decisions_log WHERE id IN (
             SELECT id FROM decisions_log
             WHERE recorded_at < clock_timestamp() - make_interval(secs => $1)
             ORDER BY id LIMIT $2)",
        keep.num_seconds() as f64,
        limit
    )
    .execute(pool)
    .await
    .map_err(Error::database("pruning decisions"))?;
    Ok(pruned.rows_affected())
}
