//! What people ask for. The rows are the API's JSON, field by field.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::value::RawValue;
use service_kit::Error;
use shared_events::{Labels, Timestamp};
use sqlx::{PgPool, types::Json};
use utoipa::ToSchema;
use uuid::Uuid;

use shared_events::matcher::Matcher;

/// Series that one request looks at, whatever its matchers let through.
const SCANNED: usize = 20_000;
/// Series read at once while matchers are applied.
const CHUNK: usize = 1000;
/// Bodies larger than this are left out of lists, bytes.
const BODY_IN_LIST: i32 = 256 * 1024;

/// A series and its latest episode.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AlertRow {
    /// The series: its source and its labels
    pub alert_id: Uuid,
    /// Name of the credential that sent it
    pub source: String,
    /// Label `alertname`
    pub name: Option<String>,
    /// Label `service`
    pub service: Option<String>,
    /// `firing` or `resolved`
    #[schema(example = "firing")]
    pub status: String,
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub labels: Json<Labels>,
    /// As last sent
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub annotations: Json<Labels>,
    /// Number of the latest episode, from 1
    pub episode: i64,
    pub episode_id: Uuid,
    /// The episode that it reopens
    pub reopens: Option<Uuid>,
    /// Earliest `startsAt` heard (sender's clock)
    pub starts_at: DateTime<Utc>,
    /// End (sender's clock); missing while it fires, or when the end was only inferred
    pub ends_at: Option<DateTime<Utc>>,
    /// `notified` or `silent`; missing while it fires
    pub resolve_reason: Option<String>,
    /// Notifications of the latest episode
    pub occurrences: i64,
    /// Notifications of all episodes
    pub total_occurrences: i64,
    pub first_seen: DateTime<Utc>,
    pub last_seen: DateTime<Utc>,
    /// When this last changed
    pub at: DateTime<Utc>,
    /// Link to the expression that fired
    pub generator_url: Option<String>,
    /// Alertmanager's hash of the labels
    pub fingerprint: Option<String>,
    /// The webhook body that last changed this
    pub receipt_id: Option<Uuid>,
}

/// Which series are asked for.
#[derive(Clone, Debug, Default)]
pub struct AlertFilter {
    pub status: Option<String>,
    pub service: Option<String>,
    pub source: Option<String>,
    pub matchers: Vec<Matcher>,
}

impl AlertFilter {
    fn is_met(&self, row: &AlertRow) -> bool {
        self.matchers
            .iter()
            .all(|matcher| matcher.is_match(&row.labels.0))
    }

    /// Labels that every match has: what the database can check before we do.
    fn wanted(&self) -> Labels {
        let required = self.matchers.iter().filter_map(Matcher::required);
        required
            .map(|(label, value)| (label.to_owned(), value.to_owned()))
            .collect()
    }
}

/// A place in a list that is ordered by time and id, newest first.
pub type Place = (Timestamp, Uuid);

/// Series that ever fired, newest first, and where the next page begins. A page may hold fewer than
/// `limit` and still have a next one.
///
/// # Errors
/// When the database fails.
pub async fn alerts(
    pool: &PgPool,
    filter: &AlertFilter,
    after: Option<Place>,
    limit: usize,
) -> Result<(Vec<AlertRow>, Option<Place>), Error> {
    let chunk = if filter.matchers.is_empty() {
        limit
    } else {
        CHUNK
    };
    let (mut found, mut after, mut scanned) = (Vec::new(), after, 0);
    while scanned < SCANNED {
        let rows = chunk_of_alerts(pool, filter, after, chunk).await?;
        scanned += rows.len();
        let last = rows.len() < chunk;
        for row in rows {
            after = Some((row.first_seen, row.alert_id));
            if filter.is_met(&row) {
                found.push(row);
                if found.len() == limit {
                    return Ok((found, after));
                }
            }
        }
        if last {
            return Ok((found, None));
        }
    }
    Ok((found, after))
}

async fn chunk_of_alerts(
    pool: &PgPool,
    filter: &AlertFilter,
    after: Option<Place>,
    chunk: usize,
) -> Result<Vec<AlertRow>, Error> {
    sqlx::query_as!(
        AlertRow,
        r#"
        SELECT alert_id, source, labels ->> 'alertname' AS name, labels ->> 'service' AS service,
               status, labels AS "labels: Json<Labels>",
               annotations AS "annotations: Json<Labels>", episode,
               episode_id AS "episode_id!", reopens, starts_at AS "starts_at!", ends_at,
               resolve_reason, occurrences, total_occurrences, first_seen, last_seen, at,
               generator_url, fingerprint, receipt_id
        FROM alerts
        WHERE episode > 0
          AND ($1::text IS NULL OR status = $1)
          AND ($2::text IS NULL OR labels ->> 'service' = $2)
          AND ($3::text IS NULL OR source = $3)
          AND labels @> $4::jsonb
          AND ($5::timestamptz IS NULL OR (first_seen, alert_id) < ($5, $6::uuid))
        ORDER BY first_seen DESC, alert_id DESC
        LIMIT $7
        "#,
        filter.status,
        filter.service,
        filter.source,
        Json(filter.wanted()) as _,
        after.map(|(at, _)| at),
        after.map(|(_, id)| id),
        i64::try_from(chunk).unwrap_or(i64::MAX)
    )
    .fetch_all(pool)
    .await
    .map_err(Error::database("listing alerts"))
}

/// One series that ever fired.
///
/// # Errors
/// When the database fails.
pub async fn alert(pool: &PgPool, alert_id: Uuid) -> Result<Option<AlertRow>, Error> {
    sqlx::query_as!(
        AlertRow,
        r#"
        SELECT alert_id, source, labels ->> 'alertname' AS name, labels ->> 'service' AS service,
               status, labels AS "labels: Json<Labels>",
               annotations AS "annotations: Json<Labels>", episode,
               episode_id AS "episode_id!", reopens, starts_at AS "starts_at!", ends_at,
               resolve_reason, occurrences, total_occurrences, first_seen, last_seen, at,
               generator_url, fingerprint, receipt_id
        FROM alerts WHERE alert_id = $1 AND episode > 0
        "#,
        alert_id
    )
    .fetch_optional(pool)
    .await
    .map_err(Error::database("reading an alert"))
}

/// An accepted webhook body.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReceiptRow {
    pub receipt_id: Uuid,
    /// Name of the credential that sent it
    pub source: String,
    /// Address that sent it
    pub remote: String,
    /// As the sender named itself
    #[schema(example = "Alertmanager/0.25.0")]
    pub user_agent: Option<String>,
    pub received_at: DateTime<Utc>,
    /// Alerts in it, rejected ones included
    pub alerts: i32,
    pub rejected: i64,
    /// Alerts that the sender says it left out
    pub truncated: i64,
    /// Bytes of the body
    pub size: i32,
    /// Hash of the body as it came, hexadecimal
    pub sha256: String,
    /// The body as it came; in lists missing when it is larger than 256 KiB
    #[schema(value_type = Option<Object>)]
    pub body: Option<Box<RawValue>>,
}

struct StoredReceipt {
    receipt_id: Uuid,
    source: String,
    remote: String,
    user_agent: Option<String>,
    received_at: Timestamp,
    alerts: i32,
    rejected: i64,
    truncated: i64,
    size: i32,
    sha256: Vec<u8>,
    body: Option<Vec<u8>>,
}

/// Accepted bodies, newest first, and where the next page begins.
///
/// # Errors
/// When the database fails or a body in it is damaged.
pub async fn receipts(
    pool: &PgPool,
    after: Option<Place>,
    limit: usize,
) -> Result<(Vec<ReceiptRow>, Option<Place>), Error> {
    let rows = sqlx::query_as!(
        StoredReceipt,
        r#"
        SELECT receipt_id, source, remote, user_agent, received_at, alerts,
               (SELECT count(*) FROM alert_rejects
                WHERE alert_rejects.receipt_id = receipts.receipt_id) AS "rejected!",
               truncated, size, sha256, CASE WHEN size <= $1 THEN body END AS body
        FROM receipts
        WHERE ($2::timestamptz IS NULL OR (received_at, receipt_id) < ($2, $3::uuid))
        ORDER BY received_at DESC, receipt_id DESC
        LIMIT $4
        "#,
        BODY_IN_LIST,
        after.map(|(at, _)| at),
        after.map(|(_, id)| id),
        i64::try_from(limit).unwrap_or(i64::MAX)
    )
    .fetch_all(pool)
    .await
    .map_err(Error::database("listing bodies"))?;
    let last = rows.last().map(|row| (row.received_at, row.receipt_id));
    let next = last.filter(|_| rows.len() == limit);
    let rows = rows.into_iter().map(unpacked).collect::<Result<_, _>>()?;
    Ok((rows, next))
}

/// One accepted body.
///
/// # Errors
/// When the database fails or the body in it is damaged.
pub async fn receipt(pool: &PgPool, receipt_id: Uuid) -> Result<Option<ReceiptRow>, Error> {
    sqlx::query_as!(
        StoredReceipt,
        r#"
        SELECT receipt_id, source, remote, user_agent, received_at, alerts,
               (SELECT count(*) FROM alert_rejects
                WHERE alert_rejects.receipt_id = receipts.receipt_id) AS "rejected!",
               truncated, size, sha256, body AS "body?"
        FROM receipts WHERE receipt_id = $1
        "#,
        receipt_id
    )
    .fetch_optional(pool)
    .await
    .map_err(Error::database("reading a body"))?
    .map(unpacked)
    .transpose()
}

fn unpacked(row: StoredReceipt) -> Result<ReceiptRow, Error> {
    let damaged = |source: std::io::Error| Error::Database {
        doing: format!("unpacking body {}", row.receipt_id).into(),
        source: sqlx::Error::Decode(source.into()),
    };
    let body = match &row.body {
        None => None,
        Some(packed) => {
            let size = usize::try_from(row.size).unwrap_or_default();
            let bytes = zstd::bulk::decompress(packed, size).map_err(damaged)?;
            let text = String::from_utf8(bytes).map_err(std::io::Error::other);
            let json = text.and_then(|text| Ok(RawValue::from_string(text)?));
            Some(json.map_err(damaged)?)
        }
    };
    Ok(ReceiptRow {
        receipt_id: row.receipt_id,
        source: row.source,
        remote: row.remote,
        user_agent: row.user_agent,
        received_at: row.received_at,
        alerts: row.alerts,
        rejected: row.rejected,
        truncated: row.truncated,
        size: row.size,
        sha256: hex::encode(row.sha256),
        body,
    })
}

/// A rejected alert.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RejectRow {
    /// Order of arrival
    pub id: i64,
    /// The body that brought it
    pub receipt_id: Uuid,
    /// Name of the credential that sent it
    pub source: String,
    /// Code: `shape`, `status`, `no_labels`, `too_many_labels`, `label`, `nul`, `time`,
    /// `too_large`, `database`, `fault`
    pub reason: String,
    /// What exactly
    pub detail: String,
    pub at: DateTime<Utc>,
    /// The alert as it came, text
    pub raw: String,
}

/// Rejected alerts, newest first; the next page begins at the last one's id.
///
/// # Errors
/// When the database fails.
pub async fn rejects(
    pool: &PgPool,
    receipt_id: Option<Uuid>,
    before: Option<i64>,
    limit: usize,
) -> Result<Vec<RejectRow>, Error> {
    let rows = sqlx::query!(
        r#"
        SELECT id, receipt_id, source, reason, detail, at, raw FROM alert_rejects
        WHERE ($1::uuid IS NULL OR receipt_id = $1) AND ($2::bigint IS NULL OR id < $2)
        ORDER BY id DESC LIMIT $3
        "#,
        receipt_id,
        before,
        i64::try_from(limit).unwrap_or(i64::MAX)
    )
    .fetch_all(pool)
    .await
    .map_err(Error::database("listing rejected alerts"))?;
    let rows = rows.into_iter().map(|row| RejectRow {
        id: row.id,
        receipt_id: row.receipt_id,
        source: row.source,
        reason: row.reason,
        detail: row.detail,
        at: row.at,
        raw: String::from_utf8_lossy(&row.raw).into_owned(),
    });
    Ok(rows.collect())
}
