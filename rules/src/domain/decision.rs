//! What a decision gives: the next state, what the log keeps, and what must be done.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shared_events::{
    ActionEvent, ActionId, EventId, IncidentEvent, IncidentId, Timestamp, TopicEvent,
};
use uuid::Uuid;

use super::{Opened, Outcome, Phase, State, Timer, Verdict};

/// The result of [`decide`](super::decide()).
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub state: State,
    pub facts: Facts,
    pub effects: Vec<Effect>,
    /// To the person who commanded, if one did.
    pub answer: Option<Answer>,
}

/// What the log keeps of a decision.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// What was read.
    pub read: Snapshot,
    pub verdicts: Vec<Verdict>,
    /// The incident that it was about.
    pub incident: Option<IncidentId>,
}

/// What must be done because of a decision.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Others must hear it.
    Emit(Box<Event>),
    /// Set a timer.
    Arm(Timer),
    /// Take a timer back; it may be gone.
    Disarm(EventId),
}

/// An event for others.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Incident(IncidentEvent),
    Action(ActionEvent),
}

impl Event {
    /// Its `ce_id`.
    #[must_use]
    pub fn id(&self) -> EventId {
        match self {
            Self::Incident(event) => event.event_id(),
            Self::Action(event) => event.event_id(),
        }
    }

    /// Its `ce_type`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Incident(event) => event.event_type(),
            Self::Action(event) => event.event_type(),
        }
    }
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was carried out.
    Done {
        message: String,
        action_id: Option<ActionId>,
        pause_id: Option<Uuid>,
    },
    /// It makes no sense now.
    Refused { outcome: Outcome, message: String },
    /// There is no such thing.
    Unknown { message: String },
}

/// The part of a state that explains a decision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentSnapshot>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<ActionId>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub targets: BTreeMap<String, TargetSnapshot>,
    /// Set while the limit of all targets is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Opened>,
}

/// The incident of a [`Snapshot`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentSnapshot {
    pub id: IncidentId,
    pub phase: Phase,
    pub revision: i64,
    /// Alerts that fire and hold it.
    pub holding: usize,
}

/// A target of a [`Snapshot`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetSnapshot {
    pub replicas: Option<i32>,
    pub pending: Option<ActionId>,
    pub paused: bool,
    /// When each rule last asked for an action: what cooldowns count from.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub asked_at: BTreeMap<String, Timestamp>,
    /// Set while its limit is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Opened>,
}

impl Snapshot {
    /// What `state` is at this time.
    #[must_use]
    pub fn of(state: &State, at: Timestamp) -> Self {
        let memory = &state.correlation.memory;
        let incident = memory.incident.as_ref().map(|incident| IncidentSnapshot {
            id: incident.id,
            phase: incident.phase,
            revision: incident.revision,
            holding: incident.holding().count(),
        });
        let targets = state.targets.iter().map(|(name, target)| {
            let seen = TargetSnapshot {
                replicas: target.replicas,
                pending: target.pending.as_ref().map(|busy| busy.action_id),
                paused: state.pause_of(name, at).is_some(),
                asked_at: target.asked_at.clone(),
                limit: target.budget.opened.clone(),
            };
            (name.clone(), seen)
        });
        Self {
            incident,
            pending: memory.pending.keys().copied().collect(),
            targets: targets.collect(),
            limit: state.total.opened.clone(),
        }
    }
}
