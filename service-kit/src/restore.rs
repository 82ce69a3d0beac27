//! A database that was restored from an older dump.
//!
//! [`announce`] gives it another name in `ce_source`, so that sequence numbers are not given twice
//! under one name. At its next start the service takes in what the dump lacked
//! ([`catch_up`](crate::consumer::catch_up)) before it does anything else, and keeps a report.

use std::str::FromStr;

use serde_json::Value;
use shared_events::Timestamp;
use sqlx::{Connection, PgConnection, PgPool, postgres::PgConnectOptions, types::Json};
use uuid::Uuid;

use crate::{Error, inbox::Progress, outbox::held::Because};

/// A restored database.
#[derive(Clone, Debug)]
pub struct Restoration {
    pub id: i64,
    pub at: Timestamp,
    pub actor: String,
    pub reason: String,
    /// Its name in `ce_source` when the dump was made.
    pub incarnation_before: Uuid,
    pub incarnation: Uuid,
    /// None: the service has not taken in yet what the dump lacked.
    pub caught_up_at: Option<Timestamp>,
    pub report: Option<Value>,
}

/// What came of an announcement.
#[derive(Clone, Debug)]
pub enum Announced {
    Done(Box<Restoration>),
    /// A service is connected to the database; its name.
    InUse(String),
}

/// [`announce`], in the database at this URL.
///
/// # Errors
/// When it is no URL, or the database fails.
pub async fn announce_at(url: &str, because: &Because) -> Result<Announced, Error> {
    let options = PgConnectOptions::from_str(url).map_err(|error| Error::Setting {
        name: "database url",
        reason: crate::error::chain(&error),
    })?;
    let mut conn = PgConnection::connect_with(&options)
        .await
        .map_err(Error::database("connecting"))?;
    let announced = announce(&mut conn, because).await;
    drop(conn.close().await);
    announced
}

/// Says that a database was restored, while no service uses it.
///
/// # Errors
/// When the database fails.
pub async fn announce(conn: &mut PgConnection, because: &Because) -> Result<Announced, Error> {
    let users = sqlx::query_scalar!(
        r#"SELECT application_name AS "name!" FROM pg_stat_activity
           WHERE datname = current_database() AND pid <> pg_backend_pid()
             AND (application_name LIKE 'eventpulse-%' OR application_name = 'relay')"#
    )
    .fetch_all(&mut *conn)
    .await
    .map_err(Error::database("looking who uses it"))?;
    if let Some(name) = users.into_iter().next() {
        return Ok(Announced::InUse(name));
    }
    let restoration = sqlx::query_as!(
        Restoration,
        "WITH before AS (SELECT id FROM incarnation FOR UPDATE),
              renewed AS (
                  UPDATE incarnation SET id = gen_random_uuid(), created_at = clock_timestamp()
                  FROM before WHERE incarnation.id = before.id
                  RETURNING before.id AS before, incarnation.id AS after
              )
         INSERT INTO restorations (actor, reason, incarnation_before, incarnation)
         SELECT $1, $2, renewed.before, renewed.after FROM renewed
         RETURNING id, at, actor, reason, incarnation_before, incarnation, caught_up_at, report",
        because.actor,
        because.reason
    )
    .fetch_one(&mut *conn)
    .await
    .map_err(Error::database(
        "renewing the incarnation and noting the restoration",
    ))?;
    Ok(Announced::Done(Box::new(restoration)))
}

/// The restoration that the service has still to catch up from, if there is one.
pub(crate) async fn open(conn: &mut PgConnection) -> Result<Option<Restoration>, Error> {
    sqlx::query_as!(
        Restoration,
        "SELECT id, at, actor, reason, incarnation_before, incarnation, caught_up_at, report
         FROM restorations WHERE caught_up_at IS NULL ORDER BY id LIMIT 1"
    )
    .fetch_optional(conn)
    .await
    .map_err(Error::database("looking for a restoration"))
}

/// What the database knew before it began to catch up, however often it has begun since.
#[derive(Clone, Debug)]
pub(crate) struct Baseline {
    /// Rows of the outbox beyond it were written while catching up.
    pub(crate) last_outbox_id: i64,
    /// Rows of `consumer_offsets`.
    pub(crate) read_until: Vec<Progress>,
}

/// Reads what the database knew, and keeps it the first time, for every restoration that is open.
pub(crate) async fn baseline(conn: &mut PgConnection, id: i64) -> Result<Baseline, Error> {
    let row = sqlx::query!(
        r#"WITH kept AS (
               UPDATE restorations
               SET last_outbox_id = COALESCE(
                       last_outbox_id, (SELECT max(outbox_events.id) FROM outbox_events), 0),
                   read_until = COALESCE(
                       read_until, (SELECT jsonb_agg(consumer_offsets) FROM consumer_offsets), '[]')
               WHERE caught_up_at IS NULL
               RETURNING id, last_outbox_id, read_until
           )
           SELECT last_outbox_id AS "last_outbox_id!",
                  read_until AS "read_until!: Json<Vec<Progress>>"
           FROM kept WHERE id = $1"#,
        id
    )
    .fetch_one(conn)
    .await
    .map_err(Error::database("keeping what a dump knows"))?;
    Ok(Baseline {
        last_outbox_id: row.last_outbox_id,
        read_until: row.read_until.0,
    })
}

/// It is caught up from.
pub(crate) async fn close(conn: &mut PgConnection, id: i64, report: &Value) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE restorations SET caught_up_at = clock_timestamp(), report = $2 WHERE id = $1",
        id,
        report
    )
    .execute(conn)
    .await
    .map(drop)
    .map_err(Error::database("ending a restoration"))
}

/// Every restoration, newest first.
pub(crate) async fn all(pool: &PgPool) -> Result<Vec<Restoration>, Error> {
    sqlx::query_as!(
        Restoration,
        "SELECT id, at, actor, reason, incarnation_before, incarnation, caught_up_at, report
         FROM restorations ORDER BY id DESC LIMIT 20"
    )
    .fetch_all(pool)
    .await
    .map_err(Error::database("reading restorations"))
}
