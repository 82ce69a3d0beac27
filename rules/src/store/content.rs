//! What the tables hold, as hashes: what was decided in the recorded order must give the same.

use serde_json::{Value, json};
use service_kit::{
    Error,
    content::{self, Content, Item},
    tx::in_tx,
};
use shared_events::EventId;
use sqlx::{PgConnection, PgPool, types::Json};
use uuid::Uuid;

use super::correlations::phase;
use crate::domain::{Correlation, Memory, Sequence, Target};

const CORRELATION: &str = "correlation ";
const TARGET: &str = "target ";

/// Id, inputs and document of one item; the document is null where nothing was ever decided.
pub(crate) type Described = (String, Option<i64>, Value);

/// A correlation as its row has it: what is written beside the memory is hashed too.
struct Row<'a> {
    key: &'a str,
    decisions: i64,
    sequences: &'a [Sequence],
    incident_id: Option<Uuid>,
    phase: Option<&'a str>,
    memory: &'a Memory,
}

impl Row<'_> {
    fn described(&self) -> Described {
        let document = match self.decisions {
            0 => Value::Null,
            _ => json!({
                "key": self.key,
                "decisions": self.decisions,
                "sequences": self.sequences,
                "incident_id": self.incident_id,
                "phase": self.phase,
                "memory": self.memory,
            }),
        };
        let id = format!("{CORRELATION}{}", self.key);
        (id, Some(self.decisions), document)
    }
}

/// How a correlation is hashed.
pub(crate) fn correlation(found: &Correlation) -> Described {
    let incident = found.memory.incident.as_ref();
    let row = Row {
        key: &found.key,
        decisions: found.decisions,
        sequences: &found.sequences,
        incident_id: incident.map(|incident| incident.id.uuid()),
        phase: incident.map(|incident| phase(incident.phase)),
        memory: &found.memory,
    };
    row.described()
}

/// How a target is hashed.
pub(crate) fn target(name: &str, found: &Target) -> Described {
    let document = match *found == Target::default() {
        true => Value::Null,
        false => json!({"name": name, "target": found}),
    };
    (format!("{TARGET}{name}"), None, document)
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
            let found = match (id.strip_prefix(CORRELATION), id.strip_prefix(TARGET)) {
                // no key has one, and Postgres takes none
                _ if id.contains('\0') => None,
                (Some(key), _) => correlations(conn, Some(key)).await?.pop(),
                (None, Some(name)) => {
                    let targets = super::targets::all(conn).await?;
                    let found = targets.iter().find(|(found, _)| found == name);
                    found.map(|(name, found)| target(name, found))
                }
                (None, None) => None,
            };
            Ok(found
                .map(|(.., document)| document)
                .filter(|document| !document.is_null()))
        })
    })
    .await
}

async fn all(conn: &mut PgConnection) -> Result<Vec<Described>, Error> {
    let mut items = correlations(conn, None).await?;
    let targets = super::targets::all(conn).await?;
    items.extend(targets.iter().map(|(name, found)| target(name, found)));
    items.retain(|(.., document)| !document.is_null());
    Ok(items)
}

/// Of this key, or of every key.
async fn correlations(conn: &mut PgConnection, key: Option<&str>) -> Result<Vec<Described>, Error> {
    let rows = sqlx::query!(
        r#"SELECT key, decisions, sequences AS "sequences: Json<Vec<Sequence>>", incident_id, phase,
                  memory AS "memory: Json<Memory>"
           FROM correlations
           WHERE $1::text IS NULL OR key = $1"#,
        key
    )
    .fetch_all(conn)
    .await
    .map_err(Error::database("reading correlations to hash"))?;
    let described = rows.iter().map(|row| {
        let row = Row {
            key: &row.key,
            decisions: row.decisions,
            sequences: &row.sequences.0,
            incident_id: row.incident_id,
            phase: row.phase.as_deref(),
            memory: &row.memory.0,
        };
        row.described()
    });
    Ok(described.collect())
}
