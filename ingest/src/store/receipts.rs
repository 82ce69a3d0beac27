//! Tables `receipts` and `alert_rejects`: what was sent, and what could not be taken.

use std::sync::Arc;

use chrono::TimeDelta;
use service_kit::Error;
use shared_events::Timestamp;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::domain::Reject;

/// An accepted body.
#[derive(Clone, Debug)]
pub struct Receipt {
    pub receipt_id: Uuid,
    /// Name of the credential that sent it.
    pub source: String,
    /// Address that sent it.
    pub remote: String,
    pub user_agent: Option<String>,
    /// Alerts in it, rejected ones included.
    pub alerts: i32,
    /// Alerts that the sender says it left out.
    pub truncated: i64,
    /// Bytes as it came.
    pub size: i32,
    pub sha256: [u8; 32],
    /// zstd
    pub body: Vec<u8>,
}

/// A rejected alert with where it came from.
#[derive(Clone, Debug)]
pub struct NewReject {
    pub receipt_id: Uuid,
    pub source: String,
    pub reject: Reject,
}

/// Stores bodies.
///
/// # Errors
/// When the database fails.
pub async fn insert_receipts(
    conn: &mut PgConnection,
    receipts: &[Arc<Receipt>],
    at: Timestamp,
) -> Result<(), Error> {
    if receipts.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = receipts.iter().map(|one| one.receipt_id).collect();
    let sources: Vec<&str> = receipts.iter().map(|one| &*one.source).collect();
    let remotes: Vec<&str> = receipts.iter().map(|one| &*one.remote).collect();
    let agents: Vec<Option<&str>> = receipts
        .iter()
        .map(|one| one.user_agent.as_deref())
        .collect();
    let alerts: Vec<i32> = receipts.iter().map(|one| one.alerts).collect();
    let truncated: Vec<i64> = receipts.iter().map(|one| one.truncated).collect();
    let sizes: Vec<i32> = receipts.iter().map(|one| one.size).collect();
    let hashes: Vec<&[u8]> = receipts.iter().map(|one| &one.sha256[..]).collect();
    let bodies: Vec<&[u8]> = receipts.iter().map(|one| &*one.body).collect();
    sqlx::query!(
        "INSERT INTO receipts (receipt_id, source, remote, user_agent, received_at, alerts,
                               truncated, size, sha256, body)
         SELECT id, source, remote, agent, $10, alerts, truncated, size, hash, body
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::int[], $6::bigint[],
                     $7::int[], $8::bytea[], $9::bytea[])
              AS new (id, source, remote, agent, alerts, truncated, size, hash, body)",
        &ids,
        &sources as &[&str],
        &remotes as &[&str],
        &agents as &[Option<&str>],
        &alerts,
        &truncated,
        &sizes,
        &hashes as &[&[u8]],
        &bodies as &[&[u8]],
        at
    )
    .execute(conn)
    .await
    .map_err(Error::database("storing bodies"))?;
    Ok(())
}

/// Stores rejected alerts.
///
/// # Errors
/// When the database fails.
pub async fn insert_rejects(
    conn: &mut PgConnection,
    rejects: &[Arc<NewReject>],
    at: Timestamp,
) -> Result<(), Error> {
    if rejects.is_empty() {
        return Ok(());
    }
    let receipts: Vec<Uuid> = rejects.iter().map(|new| new.receipt_id).collect();
    let sources: Vec<String> = rejects.iter().map(|new| new.source.clone()).collect();
    let reasons: Vec<String> = rejects
        .iter()
        .map(|new| new.reject.reason.as_str().to_owned())
        .collect();
    let details: Vec<String> = rejects
        .iter()
        .map(|new| new.reject.detail.clone())
        .collect();
    let raws: Vec<Vec<u8>> = rejects.iter().map(|new| new.reject.raw.to_vec()).collect();
    sqlx::query!(
        "INSERT INTO alert_rejects (receipt_id, source, reason, detail, raw, at)
         SELECT receipt_id, source, reason, detail, raw, $6
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bytea[]) WITH ORDINALITY
              AS new (receipt_id, source, reason, detail, raw, position)
         ORDER BY position",
        &receipts,
        &sources,
        &reasons,
        &details,
        &raws,
        at
    )
    .execute(conn)
    .await
    .map_err(Error::database("storing rejected alerts"))?;
    Ok(())
}

/// Deletes at most `limit` bodies and as many rejected alerts that are older than `keep`; how many
/// it was.
///
/// # Errors
/// When the database fails.
pub async fn prune(pool: &PgPool, keep: TimeDelta, limit: i64) -> Result<u64, Error> {
    let keep = keep.as_seconds_f64();
    let receipts = sqlx::query!(
        "DELETE FROM receipts WHERE receipt_id IN (
             SELECT receipt_id FROM receipts
             WHERE received_at < clock_timestamp() - make_interval(secs => $1)
             ORDER BY received_at LIMIT $2
             -- another instance prunes too
             FOR UPDATE SKIP LOCKED)",
        keep,
        limit
    )
    .execute(pool)
    .await
    .map_err(Error::database("pruning bodies"))?;
    let rejects = sqlx::query!(
        "DELETE FROM alert_rejects WHERE id IN (
             SELECT id FROM alert_rejects
             WHERE at < clock_timestamp() - make_interval(secs => $1)
             ORDER BY id LIMIT $2
             FOR UPDATE SKIP LOCKED)",
        keep,
        limit
    )
    .execute(pool)
    .await
    .map_err(Error::database("pruning rejected alerts"))?;
    Ok(receipts.rows_affected() + rejects.rows_affected())
}
