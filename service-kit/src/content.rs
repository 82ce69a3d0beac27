//! What a service's tables hold, as hashes: two databases that were filled by the same events have
//! the same ones, and a difference can be named.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use shared_events::EventId;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Error;

/// Everything in one database that follows from events, at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Content {
    /// Over all items
    pub sha256: String,
    /// What was read when it was so: of each partition everything before the offset
    pub read_to: Vec<ReadTo>,
    /// Events that were read and had no effect: dead letters that nobody redrove
    pub dead: Vec<Uuid>,
    pub items: Vec<Item>,
}

/// One thing that follows from events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Item {
    pub id: String,
    /// How many inputs it is made of, where that is known
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<i64>,
    pub sha256: String,
}

/// How far a partition was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReadTo {
    /// As the broker knows it, with prefix
    pub topic: String,
    pub partition: i32,
    /// First offset whose effect is not in the database
    pub next_offset: i64,
}

/// Where two values part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// JSON pointer
    pub path: String,
    pub one: Value,
    pub other: Value,
}

impl Item {
    /// The item that `value` is.
    #[must_use]
    pub fn of(id: impl Into<String>, inputs: Option<i64>, value: Value) -> Self {
        Self {
            id: id.into(),
            inputs,
            sha256: sha256(value),
        }
    }
}

/// Hash of a value, whatever the order of its members.
#[must_use]
pub fn sha256(value: Value) -> String {
    let bytes = serde_json::to_vec(&sorted(value)).expect("a JSON value has string keys");
    hex::encode(Sha256::digest(bytes))
}

/// Hash over items in the order of their ids.
#[must_use]
pub fn sha256_of(items: &[Item]) -> String {
    let mut sorted: Vec<&Item> = items.iter().collect();
    sorted.sort_by(|one, other| one.id.cmp(&other.id));
    let mut digest = Sha256::new();
    for item in sorted {
        for part in [&item.id, &item.sha256] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
    }
    hex::encode(digest.finalize())
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<(String, Value)> = members.into_iter().collect();
            members.sort_by(|one, other| one.0.cmp(&other.0));
            let members = members
                .into_iter()
                .map(|(name, value)| (name, sorted(value)));
            Value::Object(members.collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

/// The first place at which two values differ.
#[must_use]
pub fn difference(one: &Value, other: &Value) -> Option<Difference> {
    part(one, other, String::new())
}

fn part(one: &Value, other: &Value, path: String) -> Option<Difference> {
    match (one, other) {
        (Value::Object(ones), Value::Object(others)) => {
            let mut names: Vec<&String> = ones.keys().chain(others.keys()).collect();
            names.sort();
            names.dedup();
            names.into_iter().find_map(|name| {
                let of = |members: &Map<String, Value>| members.get(name).cloned();
                let (one, other) = (of(ones).unwrap_or_default(), of(others).unwrap_or_default());
                part(&one, &other, format!("{path}/{name}"))
            })
        }
        (Value::Array(ones), Value::Array(others)) => {
            (0..ones.len().max(others.len())).find_map(|at| {
                let of = |items: &[Value]| items.get(at).cloned().unwrap_or_default();
                part(&of(ones), &of(others), format!("{path}/{at}"))
            })
        }
        (one, other) if one == other => None,
        (one, other) => Some(Difference {
            path,
            one: one.clone(),
            other: other.clone(),
        }),
    }
}

/// How far this database has read its topics.
///
/// # Errors
/// When the database fails.
pub async fn read_to(conn: &mut PgConnection) -> Result<Vec<ReadTo>, Error> {
    sqlx::query_as!(
        ReadTo,
        "SELECT topic, partition, next_offset FROM consumer_offsets ORDER BY topic, partition"
    )
    .fetch_all(conn)
    .await
    .map_err(Error::database("reading how far the topics were read"))
}

/// Events that had no effect here.
///
/// # Errors
/// When the database fails.
pub async fn dead(conn: &mut PgConnection) -> Result<Vec<EventId>, Error> {
    let ids = sqlx::query_scalar!("SELECT event_id FROM inbox_events WHERE status = 'dead'")
        .fetch_all(conn)
        .await
        .map_err(Error::database("reading dead events"))?;
    Ok(ids.into_iter().map(EventId).collect())
}

/// Makes every statement of this transaction see the same moment. The first statement of it.
///
/// # Errors
/// When the database fails.
pub async fn snapshot(conn: &mut PgConnection) -> Result<(), Error> {
    sqlx::query!("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        .execute(conn)
        .await
        .map(drop)
        .map_err(Error::database("taking a snapshot"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_of_members_is_no_difference_and_of_items_is_one() {
        let (one, other) = (json!({"a": 1, "b": [1, 2]}), json!({"b": [1, 2], "a": 1}));
        assert_eq!(sha256(one.clone()), sha256(other.clone()));
        assert_eq!(difference(&one, &other), None);
        let other = json!({"a": 1, "b": [2, 1]});
        assert_ne!(sha256(one.clone()), sha256(other.clone()));
        let found = difference(&one, &other).expect("they differ");
        assert_eq!((found.path.as_str(), found.one), ("/b/0", json!(1)));
    }

    #[test]
    fn what_one_lacks_is_a_difference() {
        let found = difference(&json!({"a": {"b": "x"}}), &json!({"a": {}}));
        let found = found.expect("they differ");
        assert_eq!((found.path.as_str(), found.other), ("/a/b", Value::Null));
        let found = difference(&json!([1]), &json!([1, 2])).expect("they differ");
        assert_eq!(found.path, "/1");
    }
}
