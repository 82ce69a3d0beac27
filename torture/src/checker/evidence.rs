//! What the checker judges by: read elsewhere, plain here, so that a violation can be planted.
//!
//! Times are microseconds since 1970, as they stand in the records.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub type Labels = BTreeMap<String, String>;

/// Everything there is to judge by.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The rules that were active, as the run wrote them.
    pub rules: Vec<Rule>,
    pub targets: BTreeMap<String, Bounds>,
    /// Series that the driver has, by the index that [`Told`] uses.
    pub series: Vec<Labels>,
    /// Every body that was sent, in the order in which it was first tried.
    pub sent: Vec<Sent>,
    /// Every record of every topic, by topic, partition and offset.
    pub records: Vec<Record>,
    pub ingest: Ingest,
    pub rules_rows: RulesRows,
    pub runner: Runner,
    pub store: Store,
    /// The rest of each database, by service.
    pub kits: BTreeMap<String, Kit>,
    pub docker: Vec<Change>,
    /// Containers at the end.
    pub containers: Vec<Container>,
    /// Of a run whose services forget: bodies that are older may have left no row of a reject.
    pub forgotten_before: Option<i64>,
    /// Databases that were lost and restored, by service.
    pub lost: BTreeMap<String, Lost>,
}

/// A database that was lost. A dump of it came back, under another name in `ce_source`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// `ce_source` of what it had said.
    pub source: String,
    /// Microseconds since 1970: the dump was begun; its restore had ended. What was written between
    /// is not in the database unless it could be read again.
    pub between: (i64, i64),
}

impl Evidence {
    /// Whether a record was published by a database that was lost.
    #[must_use]
    pub fn is_of_lost(&self, record: &Record) -> bool {
        let mut lost = self.lost.values();
        lost.any(|lost| *lost.source == *record.source)
    }

    /// The `ce_source` that a database had before it was restored as the one of this record.
    #[must_use]
    pub fn before(&self, record: &Record) -> Option<&str> {
        let service = record.source.split('/').nth(1)?;
        let lost = self.lost.get(service)?;
        (*lost.source != *record.source).then_some(&lost.source)
    }
}

/// A rule of the run: it matches one alert name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rule {
    pub name: String,
    pub alertname: String,
    /// `incident: open`, else `attach`.
    pub opens: bool,
    /// Of its action, if it has one.
    pub cooldown: Option<i64>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Bounds {
    pub min: i64,
    pub max: i64,
}

/// One attempt at a body.
#[derive(Clone, Debug)]
pub struct Sent {
    /// 0 and 1: the pair; 2: the real Alertmanager.
    pub member: usize,
    pub at: i64,
    /// When the answer came, and its status.
    pub answer: Option<(i64, u16)>,
    pub told: Arc<[Told]>,
    /// Marks of alerts that can only be rejected.
    pub bad: Arc<[String]>,
}

impl Sent {
    #[must_use]
    pub fn accepted(&self) -> bool {
        self.answer
            .is_some_and(|(_, status)| (200..300).contains(&status))
    }
}

/// One alert of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub series: usize,
    pub starts_at: i64,
    /// Resolved, if it has one.
    pub ends_at: Option<i64>,
}

/// A record of a topic.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Without prefix.
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    pub key: Arc<str>,
    /// `ce_id`
    pub id: Option<Uuid>,
    /// `ce_type`
    pub kind: Arc<str>,
    /// `ce_source`
    pub source: Arc<str>,
    /// `ce_sequence`
    pub sequence: Option<u64>,
    /// The run wrote this poison.
    pub injected: bool,
    /// Of a dead letter: topic, partition and offset of what died.
    pub died: Option<(String, i32, i64)>,
    pub fact: Fact,
}

impl Kit {
    /// Whether the inbox may have forgotten a record.
    #[must_use]
    pub fn may_forget(&self, record: &Record) -> bool {
        self.whole_from.as_ref().is_some_and(|from| {
            let place = (record.topic.to_string(), record.partition);
            from.get(&place).is_none_or(|from| record.offset < *from)
        })
    }
}

impl Record {
    /// Where it is, for people.
    #[must_use]
    pub fn place(&self) -> String {
        let id = self
            .id
            .map_or_else(|| "no id".to_owned(), |id| id.to_string());
        format!(
            "{} {}[{}]@{} key {} ({id})",
            self.kind, self.topic, self.partition, self.offset, self.key
        )
    }
}

/// What a record says, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Fact {
    Raised {
        alert: Uuid,
        episode: Uuid,
        occurrence: i64,
        labels: Arc<Labels>,
        starts_at: Option<i64>,
    },
    Over {
        episode: Uuid,
    },
    Incident(Box<IncidentFact>),
    Requested(Box<Requested>),
    Ended {
        action: Uuid,
        target: String,
        at: i64,
        completed: bool,
        running: Option<i64>,
        reason: String,
    },
    /// It could not be read, and why.
    Unreadable(String),
    #[default]
    Other,
}

/// opened, updated, resolved or failed.
#[derive(Clone, Debug, PartialEq)]
pub struct IncidentFact {
    pub incident: Uuid,
    pub revision: i64,
    pub at: i64,
    pub reason: String,
    /// Episode, whether it holds, whether it fires.
    pub alerts: Vec<(Uuid, bool, bool)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Requested {
    pub action: Uuid,
    pub incident: Uuid,
    pub target: String,
    pub at: i64,
    pub kind: String,
    pub desired: i64,
    pub direction: String,
    pub rule: String,
    pub deadline: i64,
    pub by_person: bool,
}

/// Tables that every service has.
#[derive(Clone, Debug, Default)]
pub struct Kit {
    /// Waiting in the outbox: id and type.
    pub outbox: Vec<(Uuid, String)>,
    /// Sent: id and topic.
    pub sent: Vec<(Uuid, String)>,
    /// Done in the inbox.
    pub done: HashMap<Uuid, Seen>,
    /// Dead in the inbox.
    pub dead: HashMap<Uuid, Seen>,
    /// Of a run whose services forget: by topic and partition, the offset from which on the inbox
    /// must be whole. It need not be anywhere else.
    pub whole_from: Option<BTreeMap<(String, i32), i64>>,
    /// By topic and partition: the next offset, as the database has it.
    pub next: BTreeMap<(String, i32), i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Seen {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

#[derive(Clone, Debug, Default)]
pub struct Ingest {
    /// By alert id.
    pub alerts: HashMap<Uuid, AlertRow>,
    /// Bytes of rejected alerts.
    pub rejects: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct AlertRow {
    pub labels: Labels,
    pub firing: bool,
    pub episode: Option<Uuid>,
}

#[derive(Clone, Debug, Default)]
pub struct RulesRows {
    /// By id.
    pub decisions: Vec<DecisionRow>,
    /// Correlation key and kind.
    pub timers: Vec<(String, String)>,
    /// Targets with an action under way, and correlations that wait for them.
    pub busy: BTreeMap<String, Uuid>,
    pub waiting: BTreeSet<String>,
}

#[derive(Clone, Debug, Default)]
pub struct DecisionRow {
    pub key: String,
    pub seq: i64,
    pub input: Uuid,
    /// alert.raised, timer.verify and the like.
    pub kind: String,
    pub episode: Option<Uuid>,
    /// Rule (the engine's own have none) and outcome.
    pub outcomes: Vec<(String, String)>,
    pub emitted: Vec<Uuid>,
}

#[derive(Clone, Debug, Default)]
pub struct Runner {
    /// By action: the event that asked, and its status.
    pub actions: HashMap<Uuid, (Uuid, String)>,
}

#[derive(Clone, Debug, Default)]
pub struct Store {
    pub incidents: HashMap<Uuid, IncidentRow>,
    /// Event ids of the timeline.
    pub story: HashMap<Uuid, Uuid>,
    pub actions: HashMap<Uuid, (Uuid, String)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct IncidentRow {
    /// Missing: a stub.
    pub status: Option<String>,
    pub opened_at: Option<i64>,
    pub resolved_at: Option<i64>,
    pub failed_at: Option<i64>,
    /// Episodes and whether they fire.
    pub alerts: BTreeMap<Uuid, bool>,
}

/// A line of the Docker engine's journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Nanoseconds since 1970.
    pub at: i64,
    /// create, start, die, destroy
    pub what: String,
    pub id: String,
    pub name: String,
    /// Value of label `service`.
    pub target: String,
    pub managed: bool,
    /// Label `eventpulse.epoch` of a managed one.
    pub epoch: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub name: String,
    pub target: String,
    pub managed: bool,
    pub running: bool,
}
