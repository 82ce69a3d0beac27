//! What the tables hold, as hashes: what was decided in the recorded order must give the same.

use serde_json::{Value, json};
use service_kit::{
    Error,
    content::{self, Content, Item},
    tx::in_tx,
};
use shared_events::EventId;
use sqlx::{PgConnection, PgPool, types::Json};

use super::correlations::phase;
use crate::domain::{Correlation, Memory, Sequence, Target};

/// Id, inputs and document of one item; the document is null where nothing was ever decided.
pub(crate) type Described = (String, Option<i64>, Value);

/// How a correlation is hashed.
pub(crate) fn correlation(found: &Correlation) -> Described {
    let incident = found.memory.incident.as_ref();
    let document = json!({
        "key": found.key,
        "decisions": found.decisions,
        "sequences": found.sequences,
        "incident_id": incident.map(|incident| incident.id),
        "phase": incident.map(|incident| phase(incident.phase)),
        "memory": found.memory,
    });
    described(format!("correlation {}", found.key), found, document)
}

fn described(id: String, found: &Correlation, document: Value) -> Described {
    let document = match found.decisions {
        0 => Value::Null,
        _ => document,
    };
    (id, Some(found.decisions), document)
}

/// How a target is hashed.
pub(crate) fn target(name: &str, found: &Target) -> Described {
    let document = match *found == Target::default() {
        true => Value::Null,
        false => json!({"name": name, "target": found}),
    };
    (format!("target {name}"), None, document)
}

/// The hash of every correlation and target in one snapshot, and how far the topics were read.
pub(crate) async fn content(pool: &PgPool) -> Result<Content, Error> {
    in_tx(pool, |conn| {
        Box::pin(async move {
            content::snapshot(conn).await?;
            let items: Vec<Item> = all(conn)
                .await?
                .into_iter()
                .map(|(id, inputs, document)| Item::of(id, inputs, document))
                .collect();
            let dead = content::dead(conn).await?;
            Ok(Content {
                sha256: content::sha256_of(&items),
                read_to: content::read_to(conn).await?,
                dead: dead.into_iter().map(EventId::uuid).collect(),
                items,
            })
        })
    })
    .await
}

/// What the tables hold under this id.
pub(crate) async fn document(pool: &PgPool, id: String) -> Result<Option<Value>, Error> {
    in_tx(pool, move |conn| {
        let id = id.clone();
        Box::pin(async move {
            content::snapshot(conn).await?;
            let found = all(conn)
                .await?
                .into_iter()
                .find(|(found, ..)| *found == id);
            Ok(found.map(|(.., document)| document))
        })
    })
    .await
}

async fn all(conn: &mut PgConnection) -> Result<Vec<Described>, Error> {
    let mut items = correlations(conn).await?;
    items.extend(targets(conn).await?);
    items.retain(|(.., document)| !document.is_null());
    Ok(items)
}

/// The columns as they are: what is written beside the state must fit it too.
async fn correlations(conn: &mut PgConnection) -> Result<Vec<Described>, Error> {
    let rows = sqlx::query!(
        r#"SELECT key, decisions, sequences AS "sequences: Json<Vec<Sequence>>", incident_id, phase,
                  memory AS "memory: Json<Memory>"
           FROM correlations"#
    )
    .fetch_all(conn)
    .await
    .map_err(Error::database("reading correlations to hash"))?;
    let described = |key: String, decisions, document| {
        let found = Correlation {
            decisions,
            ..Correlation::new(key.clone())
        };
        described(format!("correlation {key}"), &found, document)
    };
    Ok(rows
        .into_iter()
        .map(|row| {
            let document = json!({
                "key": row.key,
                "decisions": row.decisions,
                "sequences": row.sequences.0,
                "incident_id": row.incident_id,
                "phase": row.phase,
                "memory": row.memory.0,
            });
            described(row.key, row.decisions, document)
        })
        .collect())
}

async fn targets(conn: &mut PgConnection) -> Result<Vec<Described>, Error> {
    let rows = super::targets::all(conn).await?;
    Ok(rows
        .iter()
        .map(|(name, found)| target(name, found))
        .collect())
}
