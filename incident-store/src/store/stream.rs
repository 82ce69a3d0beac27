//! Facts in the order in which they became certain, for readers with a cursor.
//!
//! A sequence is not commit order: a transaction that took its numbers first may commit last, and
//! a reader that has passed them would never see it. So a row carries the transaction that made it
//! visible, and only rows below the oldest transaction that still runs are read: nothing can
//! appear there any more.

use std::{fmt, str::FromStr};

use serde_json::Value;
use service_kit::Error;
use shared_events::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use super::story::EntryRow;

/// A place in the stream: transaction and number, `1234-77` on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub xid: u64,
    pub id: i64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.xid, self.id)
    }
}

impl FromStr for Cursor {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (xid, id) = text.split_once('-').unwrap_or((text, "0"));
        Ok(Self {
            xid: xid.parse()?,
            id: id.parse()?,
        })
    }
}

/// One fact and its place.
#[derive(Clone, Debug)]
pub struct Streamed {
    pub cursor: Cursor,
    pub entry: EntryRow,
}

/// Transactions of this moment.
#[derive(Clone, Copy, Debug)]
pub struct Horizon {
    /// Oldest that runs: everything below is certain.
    pub oldest: u64,
    /// First that has not begun.
    pub next: u64,
}

/// Reads the horizon.
///
/// # Errors
/// When the database fails.
pub async fn horizon(conn: &mut PgConnection) -> Result<Horizon, Error> {
    let row = sqlx::query!(
        r#"SELECT pg_snapshot_xmin(now)::text AS "oldest!", pg_snapshot_xmax(now)::text AS "next!"
           FROM pg_current_snapshot() AS now"#
    )
    .fetch_one(conn)
    .await
    .map_err(Error::database("reading the stream's horizon"))?;
    Ok(Horizon {
        oldest: number(&row.oldest)?,
        next: number(&row.next)?,
    })
}

/// Row of the stream before its transaction is a number.
struct Row {
    xid: String,
    id: i64,
    event_id: Uuid,
    incident_id: Uuid,
    event_type: String,
    at: Timestamp,
    place: i64,
    recorded_at: Timestamp,
    actor: String,
    summary: String,
    data: Value,
    causation_id: Option<Uuid>,
    trace_id: Option<String>,
}

/// At most `limit` facts after `cursor`, of one incident or of all.
///
/// # Errors
/// When the database fails.
pub async fn after(
    conn: &mut PgConnection,
    cursor: Cursor,
    incident_id: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Streamed>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT xid::text AS "xid!", id, event_id, incident_id, type AS event_type, at, place,
                  recorded_at, actor, summary, data, causation_id, trace_id
           FROM incident_events
           WHERE (xid, id) > ($1::text::xid8, $2)
             -- the guard against late committers: see the module
             AND xid < pg_snapshot_xmin(pg_current_snapshot())
             AND ($3::uuid IS NULL OR incident_id = $3)
           ORDER BY xid, id LIMIT $4"#,
        cursor.xid.to_string(),
        cursor.id,
        incident_id,
        limit
    )
    .fetch_all(conn)
    .await
    .map_err(Error::database("reading the stream"))?;
    rows.into_iter().map(streamed).collect()
}

fn streamed(row: Row) -> Result<Streamed, Error> {
    Ok(Streamed {
        cursor: Cursor {
            xid: number(&row.xid)?,
            id: row.id,
        },
        entry: EntryRow {
            event_id: row.event_id,
            incident_id: row.incident_id,
            event_type: row.event_type,
            at: row.at,
            place: row.place,
            recorded_at: row.recorded_at,
            actor: row.actor,
            summary: row.summary,
            data: row.data,
            causation_id: row.causation_id,
            trace_id: row.trace_id,
        },
    })
}

fn number(text: &str) -> Result<u64, Error> {
    text.parse().map_err(|error| Error::Database {
        doing: format!("reading transaction {text:?}").into(),
        source: sqlx::Error::Decode(Box::new(error)),
    })
}

/// A database restored into another server counts transactions anew: what it holds from beyond
/// the present is from its former life, and put before everything.
///
/// # Errors
/// When the database fails.
pub async fn adopt(conn: &mut PgConnection) -> Result<u64, Error> {
    let adopted = sqlx::query!(
        "UPDATE incident_events SET xid = '0'
         WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())"
    )
    .execute(conn)
    .await
    .map_err(Error::database("adopting facts of a restored database"))?;
    Ok(adopted.rows_affected())
}
