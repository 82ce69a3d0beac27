//! One hash over everything that follows from the facts: a store that was filled from the topics
//! alone has the same as the live one. Left out is what depends on when or how facts came:
//! `recorded_at`, `version`, the stream's cursor.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Value, json};
use service_kit::{
    Error,
    content::{self, Content, Item},
    tx::in_tx,
};
use shared_events::EventId;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{ActionRow, IncidentRow, story, story::EntryRow};
use crate::domain::{Entry, Incident};

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

/// Hashes incidents, actions and timelines in one snapshot.
///
/// # Errors
/// When the database fails.
pub async fn hash(pool: &PgPool) -> Result<ContentHash, Error> {
    in_tx(pool, |conn| {
        Box::pin(async move {
            content::snapshot(conn).await?;
            Ok(all(conn).await?.1)
        })
    })
    .await
}

/// The hash of each incident, and how far the topics were read for it.
///
/// # Errors
/// When the database fails.
pub async fn content(pool: &PgPool) -> Result<Content, Error> {
    in_tx(pool, |conn| {
        Box::pin(async move {
            content::snapshot(conn).await?;
            let (items, hash) = all(conn).await?;
            let dead = content::dead(conn).await?;
            Ok(Content {
                sha256: hash.sha256,
                read_to: content::read_to(conn).await?,
                dead: dead.into_iter().map(EventId::uuid).collect(),
                items,
            })
        })
    })
    .await
}

/// What the tables hold of one incident, as it is hashed.
///
/// # Errors
/// When the database fails.
pub async fn document(pool: &PgPool, id: Uuid) -> Result<Option<Value>, Error> {
    in_tx(pool, move |conn| {
        Box::pin(async move {
            content::snapshot(conn).await?;
            let row = sqlx::query_as!(
                IncidentRow,
                "SELECT * FROM incidents WHERE incident_id = $1",
                id
            )
            .fetch_optional(&mut *conn)
            .await
            .map_err(Error::database("reading an incident to compare"))?;
            let found = documents(conn, row.into_iter().collect()).await?;
            Ok(found.into_iter().next().map(|(_, document)| document))
        })
    })
    .await
}

/// What the tables would hold of `incident` with these entries, as it is hashed.
#[must_use]
pub fn expected(incident: &Incident, entries: impl IntoIterator<Item = Entry>) -> Value {
    let id = incident.id.uuid();
    let actions = incident.actions.values();
    of_rows(
        &IncidentRow::of(incident, 0),
        actions.map(|action| ActionRow::of(id, action)).collect(),
        entries.into_iter().map(entry).collect(),
    )
}

async fn all(conn: &mut PgConnection) -> Result<(Vec<Item>, ContentHash), Error> {
    let (mut items, mut last) = (Vec::new(), Uuid::nil());
    let (mut actions, mut facts) = (0, 0);
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
        let Some(end) = rows.last().map(|row| row.incident_id) else {
            break;
        };
        last = end;
        for (id, document) in documents(conn, rows).await? {
            let count = |name: &str| document[name].as_array().map_or(0, Vec::len) as u64;
            actions += count("actions");
            facts += count("timeline");
            let inputs = i64::try_from(count("timeline")).ok();
            items.push(Item::of(id.to_string(), inputs, document));
        }
    }
    let hash = ContentHash {
        sha256: content::sha256_of(&items),
        incidents: items.len() as u64,
        actions,
        facts,
    };
    Ok((items, hash))
}

async fn documents(
    conn: &mut PgConnection,
    rows: Vec<IncidentRow>,
) -> Result<Vec<(Uuid, Value)>, Error> {
    let ids: Vec<Uuid> = rows.iter().map(|row| row.incident_id).collect();
    let read = sqlx::query_as!(
        ActionRow,
        "SELECT * FROM actions WHERE incident_id = ANY($1) ORDER BY action_id",
        &ids
    )
    .fetch_all(&mut *conn)
    .await
    .map_err(Error::database("reading actions to hash"))?;
    let mut actions: HashMap<Uuid, Vec<ActionRow>> = HashMap::new();
    for row in read {
        actions.entry(row.incident_id).or_default().push(row);
    }
    let mut timelines: HashMap<Uuid, Vec<Entry>> = HashMap::new();
    for row in story::of_all(conn, &ids).await? {
        timelines
            .entry(row.incident_id)
            .or_default()
            .push(stored(row));
    }
    let document = |row: IncidentRow| {
        let id = row.incident_id;
        let own = actions.remove(&id).unwrap_or_default();
        let timeline = timelines.remove(&id).unwrap_or_default();
        (
            id,
            of_rows(&row, own, timeline.into_iter().map(entry).collect()),
        )
    };
    Ok(rows.into_iter().map(document).collect())
}

fn of_rows(row: &IncidentRow, mut actions: Vec<ActionRow>, mut timeline: Vec<Value>) -> Value {
    actions.sort_by_key(|action| action.action_id);
    timeline.sort_by(|one, other| one["event_id"].as_str().cmp(&other["event_id"].as_str()));
    json!({"incident": row, "actions": actions, "timeline": timeline})
}

fn entry(entry: Entry) -> Value {
    serde_json::to_value(entry).expect("string keys only")
}

fn stored(row: EntryRow) -> Entry {
    Entry {
        event_id: EventId(row.event_id),
        incident_id: row.incident_id.into(),
        event_type: row.event_type,
        at: row.at,
        place: row.place,
        actor: row.actor,
        summary: row.summary,
        data: row.data,
        causation_id: row.causation_id,
        trace_id: row.trace_id,
    }
}
