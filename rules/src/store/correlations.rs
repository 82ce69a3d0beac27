//! One row for each correlation key.

use std::collections::{BTreeSet, HashMap};

use service_kit::Error;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::domain::{Correlation, Memory, Phase, Sequence};

/// Locks the correlations of these keys, and reads them; and the keys that have no row. Those cannot
/// be locked: [`save`] finds out if somebody made their rows meanwhile.
pub(crate) async fn lock(
    conn: &mut PgConnection,
    wanted: &BTreeSet<String>,
) -> Result<(HashMap<String, Correlation>, Vec<String>), Error> {
    if wanted.is_empty() {
        return Ok((HashMap::new(), Vec::new()));
    }
    let keys: Vec<&str> = wanted.iter().map(String::as_str).collect();
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
    let mut correlations: HashMap<String, Correlation> = read.collect();
    let is_fresh = |key: &&String| !correlations.contains_key(*key);
    let fresh: Vec<String> = wanted.iter().filter(is_fresh).cloned().collect();
    let new = fresh
        .iter()
        .map(|key| (key.clone(), Correlation::new(key.as_str())));
    correlations.extend(new);
    Ok((correlations, fresh))
}

/// Writes those that [`lock`] gave, of which `fresh` had no row.
pub(crate) async fn save(
    conn: &mut PgConnection,
    changed: &[&Correlation],
    fresh: &[String],
) -> Result<(), Error> {
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
    let lingers: Vec<bool> = changed.iter().map(|c| c.memory.lingers()).collect();
    let memories: Vec<Json<&Memory>> = changed.iter().map(|c| Json(&c.memory)).collect();
    let written = sqlx::query!(
        "INSERT INTO correlations
             (key, decisions, sequences, incident_id, phase, memory, lingers, updated_at)
         SELECT key, decisions, sequences, incident_id, phase, memory, lingers, clock_timestamp()
         FROM UNNEST($1::text[], $2::bigint[], $3::jsonb[], $4::uuid[], $5::text[], $6::jsonb[],
                     $8::boolean[])
              AS new (key, decisions, sequences, incident_id, phase, memory, lingers)
         -- one order for every instance: concurrent batches wait for each other, never deadlock
         ORDER BY key
         ON CONFLICT (key) DO UPDATE
         SET decisions = excluded.decisions, sequences = excluded.sequences,
             incident_id = excluded.incident_id, phase = excluded.phase,
             memory = excluded.memory, lingers = excluded.lingers,
             updated_at = excluded.updated_at
         -- decided as if it had no row, and has one: left alone, and missed in the count
         WHERE correlations.key <> ALL($7)",
        &keys as &[&str],
        &decisions,
        &sequences as &[Json<&[Sequence]>],
        &incidents as &[Option<Uuid>],
        &phases as &[Option<&str>],
        &memories as &[Json<&Memory>],
        fresh,
        &lingers,
    )
    .execute(conn)
    .await
    .map_err(Error::database("saving correlations"))?;
    let written = written.rows_affected();
    Error::unless_all("saving correlations", changed.len(), written)
}

pub(crate) const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Open => "open",
        Phase::Failed => "failed",
        Phase::Closed => "closed",
    }
}
