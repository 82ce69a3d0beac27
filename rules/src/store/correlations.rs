//! One row for each correlation key.

use std::collections::{BTreeSet, HashMap};

use service_kit::Error;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::domain::{Correlation, Memory, Phase, Sequence};

/// Locks the correlations of these keys, new ones included, and reads them.
pub(crate) async fn lock(
    conn: &mut PgConnection,
    keys: &BTreeSet<String>,
) -> Result<HashMap<String, Correlation>, Error> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    sqlx::query!(
        "INSERT INTO correlations (key)
         SELECT key FROM UNNEST($1::text[]) AS wanted (key) ORDER BY key
         ON CONFLICT (key) DO NOTHING",
        &keys as &[&str]
    )
    .execute(&mut *conn)
    .await
    .map_err(Error::database("adding correlations"))?;
    let rows = sqlx::query!(
        r#"SELECT key, decisions, sequences AS "sequences: Json<Vec<Sequence>>",
                  memory AS "memory: Json<Memory>"
           FROM correlations WHERE key = ANY($1) ORDER BY key FOR UPDATE"#,
        &keys as &[&str]
    )
    .fetch_all(conn)
    .await
    .map_err(Error::database("locking correlations"))?;
    let read = rows.into_iter().map(|row| {
        let correlation = Correlation {
            key: row.key.clone(),
            decisions: row.decisions,
            sequences: row.sequences.0,
            memory: row.memory.0,
        };
        (row.key, correlation)
    });
    Ok(read.collect())
}

/// Writes them back.
pub(crate) async fn save(conn: &mut PgConnection, changed: &[&Correlation]) -> Result<(), Error> {
    if changed.is_empty() {
        return Ok(());
    }
    let incident = |c: &&Correlation| {
        c.memory
            .incident
            .as_ref()
            .map(|incident| incident.id.uuid())
    };
    let phase = |c: &&Correlation| c.memory.incident.as_ref().map(|kept| phase(kept.phase));
    let keys: Vec<&str> = changed.iter().map(|c| c.key.as_str()).collect();
    let decisions: Vec<i64> = changed.iter().map(|c| c.decisions).collect();
    let sequences: Vec<Json<&[Sequence]>> = changed
        .iter()
        .map(|c| Json(c.sequences.as_slice()))
        .collect();
    let incidents: Vec<Option<Uuid>> = changed.iter().map(incident).collect();
    let phases: Vec<Option<&str>> = changed.iter().map(phase).collect();
    let memories: Vec<Json<&Memory>> = changed.iter().map(|c| Json(&c.memory)).collect();
    sqlx::query!(
        "UPDATE correlations
         SET decisions = new.decisions, sequences = new.sequences, incident_id = new.incident_id,
             phase = new.phase, memory = new.memory, updated_at = clock_timestamp()
         FROM UNNEST($1::text[], $2::bigint[], $3::jsonb[], $4::uuid[], $5::text[], $6::jsonb[])
              AS new (key, decisions, sequences, incident_id, phase, memory)
         WHERE correlations.key = new.key",
        &keys as &[&str],
        &decisions,
        &sequences as &[Json<&[Sequence]>],
        &incidents as &[Option<Uuid>],
        &phases as &[Option<&str>],
        &memories as &[Json<&Memory>],
    )
    .execute(conn)
    .await
    .map_err(Error::database("saving correlations"))?;
    Ok(())
}

pub(crate) const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Open => "open",
        Phase::Failed => "failed",
        Phase::Closed => "closed",
    }
}
