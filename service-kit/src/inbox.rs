//! What this service has seen before: an event has its effect once, whatever Kafka delivers.

use std::collections::HashSet;

use serde::Deserialize;
use shared_events::EventId;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Error, Position, error::storable};

/// One event to claim.
#[derive(Clone, Debug)]
pub struct Claim {
    pub id: EventId,
    pub position: Position,
    /// Asked for again by a person, for this consumer: a dead event may be claimed anew.
    pub redriven: bool,
    /// Why it is dead, if it is.
    pub dead: Option<String>,
}

/// Claims events; those that it returns are new here and belong to this transaction. A concurrent
/// claim of the same event waits for the other transaction's end. Stores `progress` with them.
pub(crate) async fn claim(
    conn: &mut PgConnection,
    claims: &[Claim],
    progress: &[Progress],
) -> Result<HashSet<Uuid>, Error> {
    if claims.is_empty() && progress.is_empty() {
        return Ok(HashSet::new());
    }
    let redriven: Vec<Uuid> = claims
        .iter()
        .filter(|claim| claim.redriven)
        .map(|claim| claim.id.uuid())
        .collect();
    if !redriven.is_empty() {
        sqlx::query!(
            "DELETE FROM inbox_events WHERE event_id = ANY($1) AND status = 'dead'",
            &redriven
        )
        .execute(&mut *conn)
        .await
        .map_err(Error::database("reopening redriven events"))?;
    }
    let ids: Vec<Uuid> = claims.iter().map(|claim| claim.id.uuid()).collect();
    let topics: Vec<String> = claims.iter().map(|c| c.position.topic.clone()).collect();
    let partitions: Vec<i32> = claims.iter().map(|c| c.position.partition).collect();
    let offsets: Vec<i64> = claims.iter().map(|c| c.position.offset).collect();
    let errors: Vec<Option<String>> = claims
        .iter()
        .map(|c| c.dead.as_deref().map(storable))
        .collect();
    let new = sqlx::query_scalar!(
        r#"
        WITH moved AS (
            INSERT INTO consumer_offsets (topic, partition, next_offset)
            SELECT * FROM UNNEST($6::text[], $7::int[], $8::bigint[]) ORDER BY 1, 2
            -- an old owner that finishes late must not turn the offset back
            ON CONFLICT (topic, partition) DO UPDATE
            SET next_offset = GREATEST(consumer_offsets.next_offset, excluded.next_offset)
        )
        INSERT INTO inbox_events (event_id, topic, partition, kafka_offset, status, error)
        SELECT id, topic, partition, kafka_offset,
               CASE WHEN error IS NULL THEN 'done' ELSE 'dead' END, error
        FROM UNNEST($1::uuid[], $2::text[], $3::int[], $4::bigint[], $5::text[])
             AS claimed (id, topic, partition, kafka_offset, error)
        -- one order for every instance: concurrent batches wait for each other, never deadlock
        ORDER BY id
        ON CONFLICT (event_id) DO NOTHING
        RETURNING event_id
        "#,
        &ids,
        &topics,
        &partitions,
        &offsets,
        &errors as &[Option<String>],
        &progress
            .iter()
            .map(|read| read.topic.clone())
            .collect::<Vec<_>>(),
        &progress
            .iter()
            .map(|read| read.partition)
            .collect::<Vec<_>>(),
        &progress
            .iter()
            .map(|read| read.next_offset)
            .collect::<Vec<_>>(),
    )
    .fetch_all(conn)
    .await
    .map_err(Error::database("claiming events in the inbox"))?;
    Ok(new.into_iter().collect())
}

/// Marks claimed events as dead: the fold refused them.
pub(crate) async fn bury(
    conn: &mut PgConnection,
    ids: &[Uuid],
    errors: &[String],
) -> Result<(), Error> {
    if ids.is_empty() {
        return Ok(());
    }
    let errors: Vec<String> = errors.iter().map(|error| storable(error)).collect();
    sqlx::query!(
        "UPDATE inbox_events SET status = 'dead', error = buried.error
         FROM UNNEST($1::uuid[], $2::text[]) AS buried (id, error)
         WHERE event_id = buried.id",
        ids,
        &errors
    )
    .execute(conn)
    .await
    .map_err(Error::database("marking dead events in the inbox"))?;
    Ok(())
}

/// Where the next batch of a partition begins, stored with the effects of all before it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Progress {
    /// As the broker knows it, with prefix.
    pub topic: String,
    pub partition: i32,
    /// First offset whose effect is not in the database after this batch.
    pub next_offset: i64,
}
