//! The facts that an incident is made of.

use serde::{Serialize, de::DeserializeOwned};
use shared_events::{
    ActionEvent, EventId, IncidentEvent, IncidentId, Timestamp,
    action::{ActionCompleted, ActionFailed, ActionRequested},
    incident::{IncidentFailed, IncidentOpened, IncidentResolved, IncidentUpdated},
};
use uuid::Uuid;

/// One event of topic `incident` or `action`, with what its envelope adds to the story.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// `ce_id`: one id, one content.
    pub event_id: EventId,
    /// The event that this one answers.
    pub causation_id: Option<Uuid>,
    /// W3C trace id, 32 hexadecimal digits.
    pub trace_id: Option<String>,
    pub body: Body,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Opened(Box<IncidentOpened>),
    Updated(Box<IncidentUpdated>),
    Resolved(Box<IncidentResolved>),
    Failed(Box<IncidentFailed>),
    Requested(Box<ActionRequested>),
    Completed(Box<ActionCompleted>),
    ActionFailed(Box<ActionFailed>),
}

impl From<IncidentEvent> for Body {
    fn from(event: IncidentEvent) -> Self {
        match event {
            IncidentEvent::Opened(event) => Self::Opened(event.into()),
            IncidentEvent::Updated(event) => Self::Updated(event.into()),
            IncidentEvent::Resolved(event) => Self::Resolved(event.into()),
            IncidentEvent::Failed(event) => Self::Failed(event.into()),
        }
    }
}

impl Body {
    /// The fact that an event of topic `action` is; a pause is about a target, not an incident.
    #[must_use]
    pub fn of_action(event: ActionEvent) -> Option<Self> {
        match event {
            ActionEvent::Requested(event) => Some(Self::Requested(event.into())),
            ActionEvent::Completed(event) => Some(Self::Completed(event.into())),
            ActionEvent::Failed(event) => Some(Self::ActionFailed(event.into())),
            ActionEvent::Paused(_) | ActionEvent::Resumed(_) => None,
        }
    }

    /// `ce_type`.
    #[must_use]
    pub const fn event_type(&self) -> &'static str {
        match self {
            Self::Opened(_) => "incident.opened",
            Self::Updated(_) => "incident.updated",
            Self::Resolved(_) => "incident.resolved",
            Self::Failed(_) => "incident.failed",
            Self::Requested(_) => "action.requested",
            Self::Completed(_) => "action.completed",
            Self::ActionFailed(_) => "action.failed",
        }
    }

    /// The fact of this `ce_type` that `data` is, as [`Entry`](super::Entry) keeps it; none when it is
    /// of no type that this build knows.
    #[must_use]
    pub fn read(event_type: &str, data: serde_json::Value) -> Option<Self> {
        fn of<T: DeserializeOwned>(data: serde_json::Value) -> Option<Box<T>> {
            serde_json::from_value(data).ok().map(Box::new)
        }
        let known = match event_type {
            "incident.opened" => Self::Opened(of(data)?),
            "incident.updated" => Self::Updated(of(data)?),
            "incident.resolved" => Self::Resolved(of(data)?),
            "incident.failed" => Self::Failed(of(data)?),
            "action.requested" => Self::Requested(of(data)?),
            "action.completed" => Self::Completed(of(data)?),
            "action.failed" => Self::ActionFailed(of(data)?),
            _other => return None,
        };
        Some(known)
    }

    /// The incident that it is about.
    #[must_use]
    pub fn incident_id(&self) -> IncidentId {
        match self {
            Self::Opened(event) => event.incident_id,
            Self::Updated(event) => event.incident_id,
            Self::Resolved(event) => event.incident_id,
            Self::Failed(event) => event.incident_id,
            Self::Requested(event) => event.incident_id,
            Self::Completed(event) => event.incident_id,
            Self::ActionFailed(event) => event.incident_id,
        }
    }

    /// When it happened.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Opened(event) => event.at,
            Self::Updated(event) => event.at,
            Self::Resolved(event) => event.at,
            Self::Failed(event) => event.at,
            Self::Requested(event) => event.at,
            Self::Completed(event) => event.at,
            Self::ActionFailed(event) => event.at,
        }
    }

    /// The same without NUL characters, which neither `text` nor `jsonb` of Postgres can hold: an
    /// incident must not be lost for a stray byte in a container's log.
    #[must_use]
    pub fn without_nul(self) -> Self {
        match self {
            Self::Opened(event) => Self::Opened(clean(event)),
            Self::Updated(event) => Self::Updated(clean(event)),
            Self::Resolved(event) => Self::Resolved(clean(event)),
            Self::Failed(event) => Self::Failed(clean(event)),
            Self::Requested(event) => Self::Requested(clean(event)),
            Self::Completed(event) => Self::Completed(clean(event)),
            Self::ActionFailed(event) => Self::ActionFailed(clean(event)),
        }
    }
}

fn clean<T: Serialize + DeserializeOwned>(event: Box<T>) -> Box<T> {
    let json = serde_json::to_string(&event).expect("an event has string keys only");
    if json.contains("\\u0000") {
        // An escaped backslash before "u0000" gives the same six characters and is no NUL: only
        // strings that hold one are rewritten.
        let mut value = serde_json::from_str(&json).expect("what was just written");
        replace_nul(&mut value);
        serde_json::from_value(value).expect("only characters within strings changed")
    } else {
        event
    }
}

fn replace_nul(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => *text = text.replace('\0', "\u{fffd}"),
        serde_json::Value::Array(items) => items.iter_mut().for_each(replace_nul),
        serde_json::Value::Object(fields) => {
            if fields.keys().any(|name| name.contains('\0')) {
                *fields = std::mem::take(fields)
                    .into_iter()
                    .map(|(name, value)| (name.replace('\0', "\u{fffd}"), value))
                    .collect();
            }
            fields.values_mut().for_each(replace_nul);
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
}
