//! Events that wait, and what a person decides about those that the broker refused for good.

use shared_events::Timestamp;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{Error, tx::in_tx};

/// Who wants it and why: kept in `outbox_interventions`.
#[derive(Clone, Debug)]
pub struct Because {
    pub actor: String,
    pub reason: String,
}

/// Which events to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Given up until a person decides.
    Parked,
    /// Those and the ones that were put off.
    Held,
    All,
}

/// An event that waits.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub event_id: Uuid,
    /// Without prefix.
    pub topic: String,
    pub key: Vec<u8>,
    pub key_seq: i64,
    pub event_type: String,
    pub created_at: Timestamp,
    pub attempts: i32,
    pub parked: bool,
    /// Bytes of the payload.
    pub bytes: i32,
    pub last_error: Option<String>,
    /// Later events of its key, which wait for it.
    pub behind: i64,
}

/// What came of an order about one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    Done {
        topic: String,
        key_seq: i64,
    },
    /// It is not in the outbox: sent, skipped, or never said.
    Unknown,
    /// It waits its turn: nothing is wrong with it.
    NotHeld,
}

/// Lists what waits, oldest first.
pub(crate) async fn list(pool: &PgPool, which: Which, limit: i64) -> Result<Vec<Waiting>, Error> {
    let (all, parked) = (which == Which::All, which == Which::Parked);
    sqlx::query_as!(
        Waiting,
        r#"WITH listed AS MATERIALIZED (
               SELECT id, event_id, topic, key, key_seq, event_type, created_at, attempts, parked,
                      octet_length(payload) AS bytes, last_error
               FROM outbox_events
               WHERE $1 OR ((parked OR not_before > '-infinity') AND (parked OR NOT $2))
               ORDER BY id LIMIT $3
           ), behind AS (
               -- one pass over the outbox, however many are listed
               SELECT listed.id, count(*) AS count
               FROM listed JOIN outbox_events AS later USING (topic, key)
               WHERE later.id > listed.id GROUP BY listed.id
           )
           SELECT event_id, topic, key, key_seq, event_type, created_at, attempts, parked,
                  bytes AS "bytes!", last_error, coalesce(count, 0) AS "behind!"
           FROM listed LEFT JOIN behind USING (id) ORDER BY id"#,
        all,
        parked,
        limit
    )
    .fetch_all(pool)
    .await
    .map_err(Error::database("listing the outbox"))
}

/// How many events wait in all.
pub(crate) async fn depth(pool: &PgPool) -> Result<i64, Error> {
    sqlx::query_scalar!(r#"SELECT count(*) AS "depth!" FROM outbox_events"#)
        .fetch_one(pool)
        .await
        .map_err(Error::database("measuring the outbox"))
}

/// Lets a held event be sent again; as often refused, it is parked again.
pub(crate) async fn retry(pool: &PgPool, id: Uuid, because: &Because) -> Result<Settled, Error> {
    let because = because.clone();
    in_tx(pool, move |conn| {
        let because = because.clone();
        Box::pin(async move { release(conn, id, &because).await })
    })
    .await
}

async fn release(conn: &mut PgConnection, id: Uuid, because: &Because) -> Result<Settled, Error> {
    let done = sqlx::query!(
        r#"WITH released AS (
               UPDATE outbox_events SET parked = false, attempts = 0, not_before = '-infinity'
               WHERE event_id = $1 AND (parked OR not_before > '-infinity')
               RETURNING event_id, topic, key, key_seq, event_type, last_error
           )
           INSERT INTO outbox_interventions (verb, actor, reason, event_id, topic, key, key_seq,
                                             event_type, last_error, events)
           SELECT 'retry', $2, $3, event_id, topic, key, key_seq, event_type, last_error, 1
           FROM released
           RETURNING topic AS "topic!", key_seq AS "key_seq!""#,
        id,
        because.actor,
        because.reason
    )
    .fetch_optional(&mut *conn)
    .await
    .map_err(Error::database("releasing an event"))?;
    match done {
        Some(row) => Ok(Settled::Done {
            topic: row.topic,
            key_seq: row.key_seq,
        }),
        None => why_not(conn, id).await,
    }
}

/// Takes a parked event out: it is never sent, and kept with the reason.
pub(crate) async fn skip(pool: &PgPool, id: Uuid, because: &Because) -> Result<Settled, Error> {
    let because = because.clone();
    in_tx(pool, move |conn| {
        let because = because.clone();
        Box::pin(async move { take_out(conn, id, &because).await })
    })
    .await
}

async fn take_out(conn: &mut PgConnection, id: Uuid, because: &Because) -> Result<Settled, Error> {
    let done = sqlx::query!(
        r#"WITH gone AS (
               DELETE FROM outbox_events WHERE event_id = $1 AND parked RETURNING *
           )
           INSERT INTO outbox_interventions (verb, actor, reason, event_id, topic, key, key_seq,
                                             event_type, last_error, headers, schema_record,
                                             payload, events)
           SELECT 'skip', $2, $3, event_id, topic, key, key_seq, event_type, last_error, headers,
                  schema_record, payload, 1
           FROM gone
           RETURNING topic AS "topic!", key_seq AS "key_seq!""#,
        id,
        because.actor,
        because.reason
    )
    .fetch_optional(&mut *conn)
    .await
    .map_err(Error::database("skipping an event"))?;
    match done {
        Some(row) => Ok(Settled::Done {
            topic: row.topic,
            key_seq: row.key_seq,
        }),
        None => why_not(conn, id).await,
    }
}

async fn why_not(conn: &mut PgConnection, id: Uuid) -> Result<Settled, Error> {
    let waits = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM outbox_events WHERE event_id = $1) AS "waits!""#,
        id
    )
    .fetch_one(conn)
    .await
    .map_err(Error::database("looking for an event"))?;
    Ok(if waits {
        Settled::NotHeld
    } else {
        Settled::Unknown
    })
}

/// One line of the audit.
#[derive(Clone, Debug)]
pub struct Intervention {
    pub at: Timestamp,
    pub verb: String,
    pub actor: String,
    pub reason: String,
    pub event_id: Option<Uuid>,
    pub topic: Option<String>,
    pub event_type: Option<String>,
    pub sent_since: Option<Timestamp>,
    pub events: i64,
}

/// What people did, newest first.
pub(crate) async fn interventions(pool: &PgPool, limit: i64) -> Result<Vec<Intervention>, Error> {
    sqlx::query_as!(
        Intervention,
        "SELECT at, verb, actor, reason, event_id, topic, event_type, sent_since, events
         FROM outbox_interventions ORDER BY id DESC LIMIT $1",
        limit
    )
    .fetch_all(pool)
    .await
    .map_err(Error::database("reading what was done to the outbox"))
}
