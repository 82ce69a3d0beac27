//! Reading incidents with their actions, locked or not.

use std::collections::{HashMap, HashSet};

use service_kit::Error;
use shared_events::EventId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{ActionRow, IncidentRow};
use crate::domain::{Action, Incident};

/// An incident and how many facts it is made of.
#[derive(Clone, Debug)]
pub struct Stored {
    pub incident: Incident,
    pub version: i64,
}

/// Locks the incidents of `ids` and reads them. Those that are not there cannot be locked: saving
/// finds out if somebody made their rows meanwhile.
pub(crate) async fn lock(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Stored>, Error> {
    let rows = sqlx::query_as!(
        IncidentRow,
        "SELECT * FROM incidents WHERE incident_id = ANY($1) ORDER BY incident_id FOR UPDATE",
        ids
    )
    .fetch_all(&mut *conn)
    .await
    .map_err(Error::database("locking incidents"))?;
    with_actions(conn, rows).await
}

/// The incidents of these rows, in their order.
pub(crate) async fn with_actions(
    conn: &mut PgConnection,
    rows: Vec<IncidentRow>,
) -> Result<Vec<Stored>, Error> {
    let ids: Vec<Uuid> = rows
        .iter()
        .filter(|row| row.actions > 0)
        .map(|row| row.incident_id)
        .collect();
    let mut actions = actions(conn, &ids).await?;
    rows.into_iter()
        .map(|row| {
            let (id, version) = (row.incident_id, row.version);
            let mut incident = row.incident()?;
            let own = actions.remove(&id).unwrap_or_default();
            incident.actions = own.into_iter().map(|action| (action.id, action)).collect();
            Ok(Stored { incident, version })
        })
        .collect()
}

async fn actions(
    conn: &mut PgConnection,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, Vec<Action>>, Error> {
    let mut actions: HashMap<Uuid, Vec<Action>> = HashMap::new();
    if ids.is_empty() {
        return Ok(actions);
    }
    let rows = sqlx::query_as!(
        ActionRow,
        "SELECT * FROM actions WHERE incident_id = ANY($1)",
        ids
    )
    .fetch_all(conn)
    .await
    .map_err(Error::database("reading actions"))?;
    for row in rows {
        let incident_id = row.incident_id;
        actions.entry(incident_id).or_default().push(row.action()?);
    }
    Ok(actions)
}

/// Those of `ids` that are stored already.
pub(crate) async fn known(
    conn: &mut PgConnection,
    ids: &[Uuid],
) -> Result<HashSet<EventId>, Error> {
    let known = sqlx::query_scalar!(
        "SELECT event_id FROM incident_events WHERE event_id = ANY($1)",
        ids
    )
    .fetch_all(conn)
    .await
    .map_err(Error::database("looking for facts that are stored already"))?;
    Ok(known.into_iter().map(EventId).collect())
}
