//! Table `alerts`: the state of each series.

use std::sync::Arc;

use chrono::TimeDelta;
use service_kit::Error;
use shared_events::{AlertId, EpisodeId, Labels, Timestamp};
use sqlx::{PgConnection, PgPool, types::Json};
use uuid::Uuid;

use super::CHECKED;
use crate::domain::{About, Closing, Episode, Phase, Series, series::CloseReason};

/// The database's clock.
///
/// # Errors
/// When the database fails.
pub async fn now(conn: &mut PgConnection) -> Result<Timestamp, Error> {
    sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#)
        .fetch_one(conn)
        .await
        .map_err(Error::database("reading its clock"))
}

/// Locks the rows of `ids` to the end of the transaction and reads them. Those that are not there
/// cannot be locked: [`save`] finds out if somebody made them meanwhile.
///
/// # Errors
/// When the database fails.
pub async fn lock(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Series>, Error> {
    let rows = sqlx::query_as!(
        SeriesRow,
        "SELECT alert_id, status, episode, episode_id, reopens, starts_at, last_starts_at, ends_at,
                resolve_reason, occurrences, total_occurrences, over_until, resolve_heard_at,
                first_seen, last_seen, at
         FROM alerts WHERE alert_id = ANY($1)
         ORDER BY alert_id FOR UPDATE",
        ids
    )
    .fetch_all(conn)
    .await
    .map_err(Error::database("locking series"))?;
    Ok(rows.into_iter().map(Series::from).collect())
}

/// What was last told of each series in `ids`.
///
/// # Errors
/// When the database fails.
pub async fn abouts(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<(AlertId, About)>, Error> {
    let rows = sqlx::query!(
        r#"SELECT alert_id, source, labels AS "labels: Json<Labels>",
                  annotations AS "annotations: Json<Labels>", generator_url, fingerprint
           FROM alerts WHERE alert_id = ANY($1)"#,
        ids
    )
    .fetch_all(conn)
    .await
    .map_err(Error::database("reading what is known of series"))?;
    let abouts = rows.into_iter().map(|row| {
        let about = About {
            source: row.source,
            labels: row.labels.0,
            annotations: row.annotations.0,
            generator_url: row.generator_url,
            fingerprint: row.fingerprint,
        };
        (AlertId(row.alert_id), about)
    });
    Ok(abouts.collect())
}

/// Open series that were unheard of for `stale_after`, at most `limit`, after `after`. Only a hint:
/// whoever acts on it must look again under the lock.
///
/// # Errors
/// When the database fails.
pub async fn unheard(
    pool: &PgPool,
    stale_after: TimeDelta,
    after: Uuid,
    limit: i64,
) -> Result<Vec<AlertId>, Error> {
    let ids = sqlx::query_scalar!(
        "SELECT alert_id FROM alerts
         WHERE status = 'firing' AND alert_id > $3
           AND last_seen <= clock_timestamp() - make_interval(secs => $1)
         ORDER BY alert_id LIMIT $2",
        stale_after.as_seconds_f64(),
        limit,
        after
    )
    .fetch_all(pool)
    .await
    .map_err(Error::database("looking for silent series"))?;
    Ok(ids.into_iter().map(AlertId).collect())
}

/// A series as it is to be written.
#[derive(Clone, Debug)]
pub struct Changed {
    pub series: Series,
    /// What was told by the notification that changed it.
    pub about: Arc<About>,
    /// The body that brought it; `None` keeps the one before.
    pub receipt_id: Option<Uuid>,
}

/// Writes series whose rows are locked, and those that had no row: `fresh`, in ascending order.
///
/// # Errors
/// When the database fails, or refuses what a sender wrote; `Raced` when a fresh one has a row by now.
pub async fn save(
    conn: &mut PgConnection,
    changed: &[Changed],
    fresh: &[Uuid],
) -> Result<(), Error> {
    if changed.is_empty() {
        return Ok(());
    }
    let mut columns = Columns::default();
    for one in changed {
        columns.push(one);
    }
    columns.write(conn, fresh).await
}

/// Columns of `alerts`, one vector each, for UNNEST.
#[derive(Default)]
struct Columns {
    ids: Vec<Uuid>,
    sources: Vec<String>,
    labels: Vec<String>,
    annotations: Vec<String>,
    generator_urls: Vec<Option<String>>,
    fingerprints: Vec<Option<String>>,
    receipts: Vec<Option<Uuid>>,
    statuses: Vec<String>,
    episodes: Vec<i64>,
    episode_ids: Vec<Option<Uuid>>,
    reopens: Vec<Option<Uuid>>,
    starts: Vec<Option<Timestamp>>,
    last_starts: Vec<Option<Timestamp>>,
    ends: Vec<Option<Timestamp>>,
    reasons: Vec<Option<String>>,
    occurrences: Vec<i64>,
    totals: Vec<i64>,
    over_untils: Vec<Option<Timestamp>>,
    resolves_heard: Vec<Option<Timestamp>>,
    first_seens: Vec<Timestamp>,
    last_seens: Vec<Timestamp>,
    ats: Vec<Timestamp>,
}

impl Columns {
    fn push(&mut self, changed: &Changed) {
        let Changed {
            series,
            about,
            receipt_id,
        } = changed;
        let (status, episode, closing) = match series.phase {
            Phase::Quiet => ("resolved", None, None),
            Phase::Open(episode) => ("firing", Some(episode), None),
            Phase::Closed(episode, closing) => ("resolved", Some(episode), Some(closing)),
        };
        self.ids.push(series.alert_id.uuid());
        self.sources.push(about.source.clone());
        self.labels.push(json(&about.labels));
        self.annotations.push(json(&about.annotations));
        self.generator_urls.push(about.generator_url.clone());
        self.fingerprints.push(about.fingerprint.clone());
        self.receipts.push(*receipt_id);
        self.statuses.push(status.to_owned());
        self.episodes
            .push(episode.map_or(0, |episode| episode.number));
        self.episode_ids
            .push(episode.map(|episode| episode.id.uuid()));
        self.reopens.push(
            episode
                .and_then(|episode| episode.reopens)
                .map(EpisodeId::uuid),
        );
        self.starts.push(episode.map(|episode| episode.starts_at));
        self.last_starts
            .push(episode.map(|episode| episode.last_starts_at));
        self.ends.push(closing.and_then(|closing| closing.ends_at));
        self.reasons
            .push(closing.map(|closing| reason(closing.reason).to_owned()));
        self.occurrences
            .push(episode.map_or(0, |episode| episode.occurrences));
        self.totals.push(series.total_occurrences);
        self.over_untils.push(series.over_until);
        self.resolves_heard.push(series.resolve_heard_at);
        self.first_seens.push(series.first_seen);
        self.last_seens.push(series.last_seen);
        self.ats.push(series.at);
    }

    async fn write(self, conn: &mut PgConnection, fresh: &[Uuid]) -> Result<(), Error> {
        let written = sqlx::query!(
            r#"
            INSERT INTO alerts
                (alert_id, source, labels, annotations, generator_url, fingerprint, receipt_id,
                 status, episode, episode_id, reopens, starts_at, last_starts_at, ends_at,
                 resolve_reason, occurrences, total_occurrences, over_until, resolve_heard_at,
                 first_seen, last_seen, at)
            SELECT alert_id, source, labels::jsonb, annotations::jsonb, generator_url, fingerprint,
                   receipt_id, status, episode, episode_id, reopens, starts_at, last_starts_at,
                   ends_at, resolve_reason, occurrences, total_occurrences, over_until,
                   resolve_heard_at, first_seen, last_seen, at
            FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
                        $7::uuid[], $8::text[], $9::bigint[], $10::uuid[], $11::uuid[],
                        $12::timestamptz[], $13::timestamptz[], $14::timestamptz[], $15::text[],
                        $16::bigint[], $17::bigint[], $18::timestamptz[], $19::timestamptz[],
                        $20::timestamptz[], $21::timestamptz[], $22::timestamptz[])
                 AS new (alert_id, source, labels, annotations, generator_url, fingerprint,
                         receipt_id, status, episode, episode_id, reopens, starts_at,
                         last_starts_at, ends_at, resolve_reason, occurrences, total_occurrences,
                         over_until, resolve_heard_at, first_seen, last_seen, at)
            -- one order for every instance: concurrent batches wait for each other, never deadlock
            ORDER BY alert_id
            ON CONFLICT (alert_id) DO UPDATE SET
                annotations = excluded.annotations, generator_url = excluded.generator_url,
                fingerprint = excluded.fingerprint,
                receipt_id = COALESCE(excluded.receipt_id, alerts.receipt_id),
                status = excluded.status, episode = excluded.episode,
                episode_id = excluded.episode_id, reopens = excluded.reopens,
                starts_at = excluded.starts_at, last_starts_at = excluded.last_starts_at,
                ends_at = excluded.ends_at, resolve_reason = excluded.resolve_reason,
                occurrences = excluded.occurrences,
                total_occurrences = excluded.total_occurrences, over_until = excluded.over_until,
                resolve_heard_at = excluded.resolve_heard_at, last_seen = excluded.last_seen,
                at = excluded.at
            -- decided as if it had no row, and has one: left alone, and missed in the count
            -- (by bisection: a body may have ten thousands of either)
            WHERE ($23::uuid[])[width_bucket(alerts.alert_id, $23::uuid[])]
                  IS DISTINCT FROM alerts.alert_id
            "#,
            &self.ids,
            &self.sources,
            &self.labels,
            &self.annotations,
            &self.generator_urls as &[Option<String>],
            &self.fingerprints as &[Option<String>],
            &self.receipts as &[Option<Uuid>],
            &self.statuses,
            &self.episodes,
            &self.episode_ids as &[Option<Uuid>],
            &self.reopens as &[Option<Uuid>],
            &self.starts as &[Option<Timestamp>],
            &self.last_starts as &[Option<Timestamp>],
            &self.ends as &[Option<Timestamp>],
            &self.reasons as &[Option<String>],
            &self.occurrences,
            &self.totals,
            &self.over_untils as &[Option<Timestamp>],
            &self.resolves_heard as &[Option<Timestamp>],
            &self.first_seens,
            &self.last_seens,
            &self.ats,
            fresh
        )
        .execute(conn)
        .await
        .map_err(Error::database("saving series"))?;
        Error::unless_all("saving series", self.ids.len(), written.rows_affected())
    }
}

/// A row of `alerts` without what was told of the series.
struct SeriesRow {
    alert_id: Uuid,
    status: String,
    episode: i64,
    episode_id: Option<Uuid>,
    reopens: Option<Uuid>,
    starts_at: Option<Timestamp>,
    last_starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
    resolve_reason: Option<String>,
    occurrences: i64,
    total_occurrences: i64,
    over_until: Option<Timestamp>,
    resolve_heard_at: Option<Timestamp>,
    first_seen: Timestamp,
    last_seen: Timestamp,
    at: Timestamp,
}

impl From<SeriesRow> for Series {
    fn from(row: SeriesRow) -> Self {
        Self {
            alert_id: AlertId(row.alert_id),
            at: row.at,
            first_seen: row.first_seen,
            last_seen: row.last_seen,
            total_occurrences: row.total_occurrences,
            over_until: row.over_until,
            resolve_heard_at: row.resolve_heard_at,
            phase: phase(&row),
        }
    }
}

fn phase(row: &SeriesRow) -> Phase {
    if row.episode == 0 {
        return Phase::Quiet;
    }
    let episode = Episode {
        id: EpisodeId(row.episode_id.expect(CHECKED)),
        number: row.episode,
        starts_at: row.starts_at.expect(CHECKED),
        last_starts_at: row.last_starts_at.expect(CHECKED),
        occurrences: row.occurrences,
        reopens: row.reopens.map(EpisodeId),
    };
    if row.status == "firing" {
        return Phase::Open(episode);
    }
    let silent = row.resolve_reason.as_deref() == Some(reason(CloseReason::Silent));
    let closing = Closing {
        ends_at: row.ends_at,
        reason: if silent {
            CloseReason::Silent
        } else {
            CloseReason::Notified
        },
    };
    Phase::Closed(episode, closing)
}

/// Column `resolve_reason`.
const fn reason(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Notified => "notified",
        CloseReason::Silent => "silent",
    }
}

/// Labels as text of a jsonb.
fn json(labels: &Labels) -> String {
    serde_json::to_string(labels).expect("strings are JSON")
}
