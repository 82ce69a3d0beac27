//! The log of decisions.

use serde::{Deserialize, Serialize};
use service_kit::Error;
use shared_events::{AlertId, EpisodeId, EventId, IncidentId, Labels, Timestamp, ids};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::domain::{Snapshot, Verdict};

/// A row to be written.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Set when the input is decided under several keys.
    pub(crate) decision_id: Option<Uuid>,
    pub(crate) key: String,
    pub(crate) seq: i64,
    pub(crate) input_id: EventId,
    pub(crate) input: &'static str,
    /// The input itself, when it is on no topic.
    pub(crate) detail: Option<serde_json::Value>,
    /// Topic, partition and offset, when it is on one.
    pub(crate) position: Option<service_kit::Position>,
    pub(crate) alert: Option<(AlertId, EpisodeId)>,
    pub(crate) incident: Option<IncidentId>,
    pub(crate) at: Timestamp,
    pub(crate) read: Snapshot,
    pub(crate) outcomes: Vec<StoredOutcome>,
    pub(crate) emitted: Vec<Uuid>,
    /// Type of each of `emitted`.
    pub(crate) emitted_types: Vec<&'static str>,
    /// Annotations and occurrence of an alert event.
    pub(crate) said: Option<(Labels, Option<i64>)>,
}

/// The id of the decision about an input under this key, when it was decided under several.
pub(crate) fn decision_id(input: Uuid, key: &str) -> Uuid {
    ids::derive(["decision", &input.to_string(), key])
}

/// The answer of one rule, as the log keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredOutcome {
    pub(crate) rule: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) outcome: String,
    pub(crate) reason: String,
    #[serde(default)]
    pub(crate) inputs: serde_json::Value,
    #[serde(default)]
    pub(crate) emitted: Vec<Uuid>,
    /// Of a rule in state shadow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) shadow: bool,
}

impl From<Verdict> for StoredOutcome {
    fn from(verdict: Verdict) -> Self {
        let (rule, version) = verdict.rule.map(|rule| (rule.name, rule.version)).unzip();
        Self {
            rule,
            version,
            outcome: verdict.outcome.code().to_owned(),
            reason: verdict.reason,
            inputs: serde_json::Value::Object(verdict.inputs.into_iter().collect()),
            emitted: verdict.emitted.into_iter().map(EventId::uuid).collect(),
            shadow: verdict.shadow,
        }
    }
}

/// Appends decisions, in order: their ids ascend.
pub(crate) async fn append(
    conn: &mut PgConnection,
    rows: &[Row],
    rules_hash: &str,
) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let columns = Columns::of(rows);
    sqlx::query!(
        "INSERT INTO decisions_log (correlation_key, seq, input_id, input, detail, topic, partition,
             kafka_offset, alert_id, episode_id, incident_id, at, rules_hash, read, outcomes, emitted,
             decision_id, annotations, occurrence, emitted_types)
         SELECT key, seq, input_id, input, detail, topic, partition, kafka_offset, alert_id,
                episode_id, incident_id, at, $17, read, outcomes, emitted, decision_id,
                annotations, occurrence, emitted_types
         FROM UNNEST($1::text[], $2::bigint[], $3::uuid[], $4::text[], $5::jsonb[], $6::text[],
                     $7::int[], $8::bigint[], $9::uuid[], $10::uuid[], $11::uuid[],
                     $12::timestamptz[], $13::jsonb[], $14::jsonb[], $15::jsonb[], $16::bigint[],
                     $18::uuid[], $19::jsonb[], $20::bigint[], $21::jsonb[])
              AS new (key, seq, input_id, input, detail, topic, partition, kafka_offset, alert_id,
                      episode_id, incident_id, at, read, outcomes, emitted, position, decision_id,
                      annotations, occurrence, emitted_types)
         -- ids are given in this order
         ORDER BY position",
        &columns.keys as &[&str],
        &columns.seqs,
        &columns.input_ids,
        &columns.inputs as &[&str],
        &columns.details as &[Option<&serde_json::Value>],
        &columns.topics as &[Option<&str>],
        &columns.partitions as &[Option<i32>],
        &columns.offsets as &[Option<i64>],
        &columns.alerts as &[Option<Uuid>],
        &columns.episodes as &[Option<Uuid>],
        &columns.incidents as &[Option<Uuid>],
        &columns.ats,
        &columns.reads as &[Json<&Snapshot>],
        &columns.outcomes as &[Json<&[StoredOutcome]>],
        &columns.emitted as &[Json<&[Uuid]>],
        &columns.positions,
        rules_hash,
        &columns.decisions as &[Option<Uuid>],
        &columns.annotations as &[Option<Json<&Labels>>],
        &columns.occurrences as &[Option<i64>],
        &columns.types as &[Json<&[&str]>],
    )
    .execute(conn)
    .await
    .map_err(Error::database("logging decisions"))?;
    Ok(())
}

/// Rows, turned by ninety degrees.
#[derive(Default)]
struct Columns<'a> {
    keys: Vec<&'a str>,
    seqs: Vec<i64>,
    input_ids: Vec<Uuid>,
    inputs: Vec<&'a str>,
    details: Vec<Option<&'a serde_json::Value>>,
    topics: Vec<Option<&'a str>>,
    partitions: Vec<Option<i32>>,
    offsets: Vec<Option<i64>>,
    alerts: Vec<Option<Uuid>>,
    episodes: Vec<Option<Uuid>>,
    incidents: Vec<Option<Uuid>>,
    ats: Vec<Timestamp>,
    reads: Vec<Json<&'a Snapshot>>,
    outcomes: Vec<Json<&'a [StoredOutcome]>>,
    emitted: Vec<Json<&'a [Uuid]>>,
    positions: Vec<i64>,
    decisions: Vec<Option<Uuid>>,
    annotations: Vec<Option<Json<&'a Labels>>>,
    occurrences: Vec<Option<i64>>,
    types: Vec<Json<&'a [&'a str]>>,
}

impl<'a> Columns<'a> {
    fn of(rows: &'a [Row]) -> Self {
        let mut columns = Self::default();
        for row in rows {
            columns.push(row);
        }
        columns
    }

    fn push(&mut self, row: &'a Row) {
        let (alert, episode) = row.alert.unzip();
        let place = row.position.as_ref();
        self.positions.push(self.keys.len() as i64);
        self.keys.push(&row.key);
        self.seqs.push(row.seq);
        self.input_ids.push(row.input_id.uuid());
        self.inputs.push(row.input);
        self.details.push(row.detail.as_ref());
        self.topics.push(place.map(|place| place.topic.as_str()));
        self.partitions.push(place.map(|place| place.partition));
        self.offsets.push(place.map(|place| place.offset));
        self.alerts.push(alert.map(AlertId::uuid));
        self.episodes.push(episode.map(EpisodeId::uuid));
        self.incidents.push(row.incident.map(IncidentId::uuid));
        self.ats.push(row.at);
        self.reads.push(Json(&row.read));
        self.outcomes.push(Json(&row.outcomes));
        self.emitted.push(Json(&row.emitted));
        self.decisions.push(row.decision_id);
        let said = row.said.as_ref();
        self.annotations.push(said.map(|(said, _)| Json(said)));
        self.occurrences.push(said.and_then(|(_, number)| *number));
        self.types.push(Json(&row.emitted_types));
    }
}
