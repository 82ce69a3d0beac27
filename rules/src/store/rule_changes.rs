//! Changes of the rules: proposed by an instance, in force when they come back through the topic.

use service_kit::Error;
use shared_events::{Timestamp, rule::RuleChanged};
use sqlx::{PgExecutor, types::Json};
use uuid::Uuid;

use crate::domain::Difference;

/// A change, without its text.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) number: i64,
    pub(crate) hash: String,
    pub(crate) previous: Option<String>,
    pub(crate) actor: String,
    pub(crate) reason: String,
    pub(crate) at: Timestamp,
    pub(crate) summary: Json<Difference>,
    pub(crate) version: Option<String>,
    pub(crate) fault: Option<String>,
    pub(crate) partition: Option<i32>,
    pub(crate) kafka_offset: Option<i64>,
    pub(crate) applied_at: Option<Timestamp>,
}

/// A rules file that is, or was, in force.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) number: i64,
    pub(crate) hash: String,
    pub(crate) content: String,
}

/// The newest change, whether it has come back or not: what the next one is based on.
pub(crate) async fn newest(executor: impl PgExecutor<'_>) -> Result<Option<File>, Error> {
    sqlx::query_as!(
        File,
        "SELECT number, hash, content FROM rule_changes
         WHERE fault IS NULL ORDER BY number DESC, at DESC LIMIT 1"
    )
    .fetch_optional(executor)
    .await
    .map_err(Error::database("reading the newest change of rules"))
}

/// The change that is in force.
pub(crate) async fn in_force(executor: impl PgExecutor<'_>) -> Result<Option<File>, Error> {
    sqlx::query_as!(
        File,
        "SELECT number, hash, content FROM rule_changes
         -- by number: offsets begin anew with a topic that was made again
         WHERE version IS NOT NULL ORDER BY number DESC LIMIT 1"
    )
    .fetch_optional(executor)
    .await
    .map_err(Error::database("reading which rules are in force"))
}

/// The latest number that was given.
pub(crate) async fn last_number(executor: impl PgExecutor<'_>) -> Result<i64, Error> {
    sqlx::query_scalar!(r#"SELECT COALESCE(max(number), 0) AS "number!" FROM rule_changes"#)
        .fetch_one(executor)
        .await
        .map_err(Error::database("reading the last change of rules"))
}

/// Every change, newest first.
pub(crate) async fn all(executor: impl PgExecutor<'_>, limit: i64) -> Result<Vec<Change>, Error> {
    sqlx::query_as!(
        Change,
        r#"SELECT number, hash, previous, actor, reason, at,
                  summary AS "summary: Json<Difference>", version, fault, partition, kafka_offset,
                  applied_at
           FROM rule_changes ORDER BY number DESC, at DESC LIMIT $1"#,
        limit
    )
    .fetch_all(executor)
    .await
    .map_err(Error::database("reading changes of rules"))
}

/// The change of this event.
pub(crate) async fn of(
    executor: impl PgExecutor<'_>,
    event_id: Uuid,
) -> Result<Option<Change>, Error> {
    sqlx::query_as!(
        Change,
        r#"SELECT number, hash, previous, actor, reason, at,
                  summary AS "summary: Json<Difference>", version, fault, partition, kafka_offset,
                  applied_at
           FROM rule_changes WHERE event_id = $1"#,
        event_id
    )
    .fetch_optional(executor)
    .await
    .map_err(Error::database("reading a change of rules"))
}

/// Files whose hash begins like this, each once.
pub(crate) async fn files(executor: impl PgExecutor<'_>, prefix: &str) -> Result<Vec<File>, Error> {
    sqlx::query_as!(
        File,
        "SELECT DISTINCT ON (hash) number, hash, content FROM rule_changes
         WHERE hash LIKE $1 || '%' ORDER BY hash, number DESC LIMIT 2",
        prefix
    )
    .fetch_all(executor)
    .await
    .map_err(Error::database("reading a rules file"))
}

/// Keeps a change that is on its way to the topic.
pub(crate) async fn propose(
    executor: impl PgExecutor<'_>,
    event_id: Uuid,
    change: &RuleChanged,
    summary: &Difference,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO rule_changes (event_id, number, hash, previous, actor, reason, at, content,
                                   summary)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        event_id,
        change.number,
        change.hash,
        change.previous,
        change.actor,
        change.reason,
        change.at,
        change.text,
        Json(summary) as Json<&Difference>,
    )
    .execute(executor)
    .await
    .map_err(Error::database("keeping a change of rules"))?;
    Ok(())
}

/// What became of a change that came back.
pub(crate) struct Back<'a> {
    pub(crate) event_id: Uuid,
    pub(crate) change: &'a RuleChanged,
    pub(crate) summary: &'a Difference,
    pub(crate) version: Option<&'a str>,
    pub(crate) fault: Option<&'a str>,
    /// Partition and offset.
    pub(crate) place: (Option<i32>, Option<i64>),
}

/// Keeps where a change came back, and what became of it.
pub(crate) async fn came_back(executor: impl PgExecutor<'_>, back: &Back<'_>) -> Result<(), Error> {
    let change = back.change;
    sqlx::query!(
        "INSERT INTO rule_changes (event_id, number, hash, previous, actor, reason, at, content,
                                   summary, version, fault, partition, kafka_offset, applied_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, clock_timestamp())
         ON CONFLICT (event_id) DO UPDATE
         SET version = excluded.version, fault = excluded.fault, partition = excluded.partition,
             kafka_offset = excluded.kafka_offset, applied_at = excluded.applied_at",
        back.event_id,
        change.number,
        change.hash,
        change.previous,
        change.actor,
        change.reason,
        change.at,
        change.text,
        Json(back.summary) as Json<&Difference>,
        back.version,
        back.fault,
        back.place.0,
        back.place.1,
    )
    .execute(executor)
    .await
    .map_err(Error::database("keeping where a change of rules came back"))?;
    Ok(())
}
