//! What a backtest reads: the messages of the topics, and the decisions that were made of them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shared_events::{ActionEvent, AlertEvent, EventId, Timestamp, TopicEvent};
use uuid::Uuid;

use crate::{
    service::without_nul,
    store::decisions::{Row, StoredOutcome},
};

/// The past.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// Messages of `alert` and `action`, in any order.
    pub messages: Vec<Message>,
    /// The log of decisions, oldest first; empty when it cannot be read.
    pub decisions: Vec<Decision>,
    /// Timers fire until then, when that is later than the last input.
    pub until: Option<Timestamp>,
}

/// One event with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub partition: i32,
    pub offset: i64,
    pub event: Event,
}

/// An event of a topic that rules listen to or write.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Alert(Arc<AlertEvent>),
    Action(Arc<ActionEvent>),
}

/// What was decided about one input under one correlation key. As JSON it is an item of
/// `GET /api/v1/decisions`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// `ce_id` of the event, or the id of a timer, command or rule change.
    pub event_id: Uuid,
    /// `alert.raised`, `timer.verify`, `command.pause` and the like.
    pub input: String,
    pub alert_id: Option<Uuid>,
    pub episode_id: Option<Uuid>,
    pub incident_id: Option<Uuid>,
    pub correlation_key: String,
    /// Gapless per correlation key, from 1.
    pub seq: i64,
    pub at: Timestamp,
    /// Hash of the rule set.
    pub rules_version: String,
    /// What was read.
    pub state: serde_json::Value,
    pub outcomes: Vec<Answer>,
    /// Ids of the events that follow from it, in order.
    pub emitted: Vec<Uuid>,
    /// The input itself, when it is on no topic.
    pub detail: Option<serde_json::Value>,
}

/// The answer of one rule, or of the engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    pub rule: Option<String>,
    pub version: Option<String>,
    /// A code: `fired`, `cooldown` and the like.
    pub outcome: String,
    /// A sentence for people.
    pub reason: String,
    #[serde(default)]
    pub inputs: serde_json::Value,
    #[serde(default)]
    pub emitted: Vec<Uuid>,
    /// The rule is in state `shadow`: it says what it would do.
    #[serde(default)]
    pub shadow: bool,
}

impl Event {
    /// `ce_id`
    #[must_use]
    pub fn id(&self) -> EventId {
        match self {
            Self::Alert(event) => event.event_id(),
            Self::Action(event) => event.event_id(),
        }
    }

    /// Its time.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Alert(event) => event.at(),
            Self::Action(event) => event.at(),
        }
    }

    /// Name of its topic, without prefix.
    #[must_use]
    pub const fn topic(&self) -> &'static str {
        match self {
            Self::Alert(_) => AlertEvent::TOPIC.name(),
            Self::Action(_) => ActionEvent::TOPIC.name(),
        }
    }
}

impl From<AlertEvent> for Event {
    fn from(event: AlertEvent) -> Self {
        Self::Alert(Arc::new(event))
    }
}

impl From<ActionEvent> for Event {
    fn from(event: ActionEvent) -> Self {
        Self::Action(Arc::new(without_nul(event)))
    }
}

impl Decision {
    /// What the engine made of `row` under the rule set of this hash.
    pub(super) fn of(row: Row, rules_version: &str) -> Self {
        let (alert, episode) = row.alert.unzip();
        let state = serde_json::to_value(&row.read);
        Self {
            event_id: row.input_id.uuid(),
            input: row.input.to_owned(),
            alert_id: alert.map(Into::into),
            episode_id: episode.map(Into::into),
            incident_id: row.incident.map(Into::into),
            correlation_key: row.key,
            seq: row.seq,
            at: row.at,
            rules_version: rules_version.to_owned(),
            state: state.expect("strings, numbers and times only"),
            outcomes: row.outcomes.into_iter().map(Into::into).collect(),
            emitted: row.emitted,
            detail: row.detail,
        }
    }
}

impl From<StoredOutcome> for Answer {
    fn from(stored: StoredOutcome) -> Self {
        Self {
            rule: stored.rule,
            version: stored.version,
            outcome: stored.outcome,
            reason: stored.reason,
            inputs: stored.inputs,
            emitted: stored.emitted,
            shadow: stored.shadow,
        }
    }
}
