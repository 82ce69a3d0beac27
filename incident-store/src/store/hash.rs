//! One hash over everything that follows from the facts: a store that was filled from the topics
//! alone has the same as the live one.

use serde::Serialize;
use serde_json::json;
use service_kit::{Error, tx::in_tx};
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{
    IncidentRow,
    load::{snapshot, with_actions},
    story,
};

/// Incidents that are read at a time.
const CHUNK: i64 = 500;

/// The hash, and how much it is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ContentHash {
    /// Hexadecimal.
    pub sha256: String,
    /// Stubs included.
    pub incidents: u64,
    pub actions: u64,
    pub facts: u64,
}

/// Hashes incidents, actions and timelines in canonical order, in one snapshot. Left out is what
/// depends on when or how facts came: `recorded_at`, `version`, the stream's cursor.
///
/// # Errors
/// When the database fails.
pub async fn content(pool: &PgPool) -> Result<ContentHash, Error> {
    in_tx(pool, |conn| Box::pin(all(conn))).await
}

async fn all(conn: &mut PgConnection) -> Result<ContentHash, Error> {
    snapshot(conn).await?;
    let mut digest = Sha256::new();
    let (mut incidents, mut actions, mut facts) = (0, 0, 0);
    let mut last = Uuid::nil();
    loop {
        let rows = sqlx::query_as!(
            IncidentRow,
            "SELECT * FROM incidents WHERE incident_id > $1 ORDER BY incident_id LIMIT $2",
            last,
            CHUNK
        )
        .fetch_all(&mut *conn)
        .await
        .map_err(Error::database("reading incidents to hash"))?;
        let ids: Vec<Uuid> = rows.iter().map(|row| row.incident_id).collect();
        let Some(end) = ids.last().copied() else {
            break;
        };
        last = end;
        for stored in with_actions(conn, rows).await? {
            incidents += 1;
            actions += stored.incident.actions.len() as u64;
            update(&mut digest, &stored.incident);
        }
        for entry in story::of_all(conn, &ids).await? {
            facts += 1;
            update(
                &mut digest,
                &json!([
                    entry.event_id,
                    entry.incident_id,
                    entry.event_type,
                    entry.at,
                    entry.place,
                    entry.actor,
                    entry.summary,
                    entry.data,
                    entry.causation_id,
                    entry.trace_id,
                ]),
            );
        }
    }
    Ok(ContentHash {
        sha256: hex::encode(digest.finalize()),
        incidents,
        actions,
        facts,
    })
}

fn update(digest: &mut Sha256, value: &impl Serialize) {
    let bytes = serde_json::to_vec(value).expect("rows are JSON with string keys only");
    digest.update((bytes.len() as u64).to_be_bytes());
    digest.update(bytes);
}
