//! The timeline of an incident.

use serde_json::Value;
use service_kit::Error;
use shared_events::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

/// One line of the story, as it was stored.
#[derive(Clone, Debug)]
pub struct EntryRow {
    pub event_id: Uuid,
    pub incident_id: Uuid,
    pub event_type: String,
    pub at: Timestamp,
    pub place: i64,
    pub recorded_at: Timestamp,
    pub actor: String,
    pub summary: String,
    pub data: Value,
    pub causation_id: Option<Uuid>,
    pub trace_id: Option<String>,
}

/// Where a page begins: after this line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct After {
    pub at: Timestamp,
    pub place: i64,
    pub event_id: Uuid,
}

/// At most `limit` lines of an incident's story, in the order in which they happened.
///
/// # Errors
/// When the database fails.
pub async fn entries(
    conn: &mut PgConnection,
    incident_id: Uuid,
    after: Option<After>,
    limit: i64,
) -> Result<Vec<EntryRow>, Error> {
    sqlx::query_as!(
        EntryRow,
        "SELECT event_id, incident_id, type AS event_type, at, place, recorded_at, actor, summary,
                data, causation_id, trace_id
         FROM incident_events
         WHERE incident_id = $1
           AND ($2::timestamptz IS NULL OR (at, place, event_id) > ($2, $3::bigint, $4::uuid))
         ORDER BY at, place, event_id LIMIT $5",
        incident_id,
        after.map(|after| after.at),
        after.map(|after| after.place),
        after.map(|after| after.event_id),
        limit
    )
    .fetch_all(conn)
    .await
    .map_err(Error::database("reading a timeline"))
}

/// Every line of these incidents' stories, by incident and event id.
pub(super) async fn of_all(
    conn: &mut PgConnection,
    incidents: &[Uuid],
) -> Result<Vec<EntryRow>, Error> {
    sqlx::query_as!(
        EntryRow,
        "SELECT event_id, incident_id, type AS event_type, at, place, recorded_at, actor, summary,
                data, causation_id, trace_id
         FROM incident_events WHERE incident_id = ANY($1) ORDER BY incident_id, event_id",
        incidents
    )
    .fetch_all(conn)
    .await
    .map_err(Error::database("reading timelines"))
}
