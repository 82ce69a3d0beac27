//! Events that were sent, sent once more: after a broker has lost its disk.
//!
//! They keep their ids, so whoever has handled them drops them. They carry the header [`RESENT`]:
//! who has not, takes them although later events of their key may have come before.

use shared_events::Timestamp;
use sqlx::{PgConnection, PgPool};

use super::{encode_headers, held::Because, shard};
use crate::{Error, tx::in_tx};

/// Header of a record that was sent before: it may come after later ones of its key.
pub const RESENT: &str = "ep.resent";
/// Events of one transaction, about; the keys of an event go together.
const EVENTS: i64 = 20_000;
/// Keys of one transaction.
const KEYS: i64 = 500;

/// Events acknowledged from `since` on and before `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub since: Timestamp,
    pub until: Timestamp,
}

/// What one part of a resending did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resent {
    pub events: u64,
    /// Nothing of the span is left.
    pub complete: bool,
}

/// How many events a span holds, and the oldest that is kept at all.
pub(crate) async fn count(pool: &PgPool, span: Span) -> Result<(i64, Option<Timestamp>), Error> {
    let row = sqlx::query!(
        r#"SELECT count(*) FILTER (WHERE sent_at >= $1 AND sent_at < $2) AS "events!",
                  min(sent_at) AS oldest
           FROM outbox_sent"#,
        span.since,
        span.until
    )
    .fetch_one(pool)
    .await
    .map_err(Error::database("counting sent events"))?;
    Ok((row.events, row.oldest))
}

/// Puts a part of the span back into the outbox, each key in its order and before what waits of it.
/// To be repeated with the same span until it is complete.
pub(crate) async fn resend(pool: &PgPool, span: Span, because: &Because) -> Result<Resent, Error> {
    let because = because.clone();
    in_tx(pool, move |conn| {
        let because = because.clone();
        Box::pin(async move { part(conn, span, &because).await })
    })
    .await
}

async fn part(conn: &mut PgConnection, span: Span, because: &Because) -> Result<Resent, Error> {
    let keys = sqlx::query!(
        r#"SELECT topic AS "topic!", key AS "key!" FROM (
               SELECT topic, key, count(*) AS events,
                      sum(count(*)) OVER (ORDER BY topic COLLATE "C", key) AS sum
               FROM outbox_sent WHERE sent_at >= $1 AND sent_at < $2
               GROUP BY topic, key
           ) AS counted
           WHERE sum - events < $3::bigint
           ORDER BY topic COLLATE "C", key LIMIT $4"#,
        span.since,
        span.until,
        EVENTS,
        KEYS
    )
    .fetch_all(&mut *conn)
    .await
    .map_err(Error::database("reading keys to resend"))?;
    let (topics, keys): (Vec<String>, Vec<Vec<u8>>) =
        keys.into_iter().map(|row| (row.topic, row.key)).unzip();
    if topics.is_empty() {
        return Ok(Resent {
            events: 0,
            complete: true,
        });
    }
    // one key may have very many events
    sqlx::query!("SET LOCAL statement_timeout = '25s'")
        .execute(&mut *conn)
        .await
        .map_err(Error::database("taking time to resend"))?;
    lock(conn, &topics, &keys).await?;
    let events = put_back(conn, span, &topics, &keys).await?;
    sqlx::query!(
        "INSERT INTO outbox_interventions (verb, actor, reason, sent_since, sent_until, events)
         VALUES ('resend', $1, $2, $3, $4, $5)",
        because.actor,
        because.reason,
        span.since,
        span.until,
        i64::try_from(events).unwrap_or(i64::MAX)
    )
    .execute(conn)
    .await
    .map_err(Error::database("noting a resending"))?;
    Ok(Resent {
        events,
        complete: false,
    })
}

/// Nobody says anything under these keys until the end of the transaction. The order is that of
/// everyone who takes sequences.
async fn lock(conn: &mut PgConnection, topics: &[String], keys: &[Vec<u8>]) -> Result<(), Error> {
    sqlx::query!(
        r#"SELECT seq FROM outbox_keys
           WHERE (topic, key) IN (SELECT * FROM UNNEST($1::text[], $2::bytea[]))
           ORDER BY topic COLLATE "C", key FOR UPDATE"#,
        topics,
        keys
    )
    .fetch_all(conn)
    .await
    .map(drop)
    .map_err(Error::database("locking keys to resend"))
}

/// The rows get new ids, and so do those that wait behind them: id order stays sequence order.
async fn put_back(
    conn: &mut PgConnection,
    span: Span,
    topics: &[String],
    keys: &[Vec<u8>],
) -> Result<u64, Error> {
    let mark = encode_headers([(RESENT, b"true".as_slice())]);
    let shards = topics.iter().zip(keys);
    let shards: Vec<i16> = shards.map(|(topic, key)| shard(topic, key)).collect();
    let events = sqlx::query_scalar!(
        r#"WITH keys AS (
               SELECT * FROM UNNEST($1::text[], $2::bytea[], $3::smallint[])
                             AS keys (topic, key, shard)
           ), again AS (
               DELETE FROM outbox_sent AS sent USING keys
               WHERE sent.topic = keys.topic AND sent.key = keys.key
                 AND sent_at >= $4 AND sent_at < $5
               RETURNING event_id, sent.topic, sent.key, key_seq, shard, event_type,
                         CASE WHEN position($6::bytea IN headers) > 0 THEN headers
                              ELSE headers || $6 END AS headers,
                         schema_record, payload, created_at
           ), waiting AS (
               DELETE FROM outbox_events AS waiting USING keys
               WHERE waiting.topic = keys.topic AND waiting.key = keys.key
               RETURNING waiting.*
           ), both_kinds AS (
               SELECT event_id, topic, key, key_seq, shard, event_type, headers, schema_record,
                      payload, created_at, attempts, not_before, parked, last_error FROM waiting
               UNION ALL
               SELECT event_id, topic, key, key_seq, shard, event_type, headers, schema_record,
                      payload, created_at, 0, '-infinity', false, NULL FROM again
               WHERE event_id NOT IN (SELECT event_id FROM waiting)
           ), put AS (
               INSERT INTO outbox_events (event_id, topic, key, key_seq, shard, event_type, headers,
                                          schema_record, payload, created_at, attempts, not_before,
                                          parked, last_error)
               -- the sort takes in all that was deleted before the first row is written
               SELECT * FROM both_kinds ORDER BY topic COLLATE "C", key, key_seq
           )
           SELECT count(*) AS "events!" FROM again"#,
        topics,
        keys,
        &shards,
        span.since,
        span.until,
        mark
    )
    .fetch_one(conn)
    .await
    .map_err(Error::database("putting sent events back"))?;
    Ok(events.unsigned_abs())
}
