//! A fact as a line of the incident's story.

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;
use serde_json::Value;
use shared_events::{EventId, IncidentId, Timestamp};
use uuid::Uuid;

use super::{Body, Fact, summary};

/// One line of the timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    pub event_id: EventId,
    pub incident_id: IncidentId,
    pub event_type: String,
    pub at: Timestamp,
    /// Order among entries of one `at`: what happened before what was decided because of it.
    pub place: i64,
    pub actor: String,
    pub summary: String,
    /// The whole event; times as RFC 3339.
    pub data: Value,
    pub causation_id: Option<Uuid>,
    pub trace_id: Option<String>,
}

/// Fields of events that hold microseconds since 1970.
const TIMES: [&str; 4] = ["at", "next_due_at", "deadline_at", "cooldown_until"];

impl Entry {
    /// The line that `fact` is.
    #[must_use]
    pub fn of(fact: &Fact) -> Self {
        Self {
            event_id: fact.event_id,
            incident_id: fact.body.incident_id(),
            event_type: fact.body.event_type().to_owned(),
            at: fact.body.at(),
            place: place(&fact.body),
            actor: summary::actor(&fact.body),
            summary: summary::summary(&fact.body),
            data: data(&fact.body),
            causation_id: fact.causation_id,
            trace_id: fact.trace_id.clone(),
        }
    }
}

/// The fact that a line was made from: the other way round.
#[must_use]
pub fn fact(
    event_id: EventId,
    event_type: &str,
    mut data: Value,
    (causation_id, trace_id): (Option<Uuid>, Option<String>),
) -> Option<Fact> {
    for name in TIMES {
        if let Some(field) = data.get_mut(name)
            && let Some(at) = field
                .as_str()
                .and_then(|text| DateTime::parse_from_rfc3339(text).ok())
        {
            *field = Value::from(at.timestamp_micros());
        }
    }
    Some(Fact {
        event_id,
        causation_id,
        trace_id,
        body: Body::read(event_type, data)?,
    })
}

/// A decision has the `at` of the event that it answers, so `at` alone does not order a story:
/// outcomes come first, then what the incident says by revision, and a request after the opening
/// that it belongs to.
fn place(body: &Body) -> i64 {
    match body {
        Body::Completed(_) | Body::ActionFailed(_) => -1,
        Body::Opened(event) => event.revision.saturating_mul(2),
        Body::Updated(event) => event.revision.saturating_mul(2),
        Body::Resolved(event) => event.revision.saturating_mul(2),
        Body::Failed(event) => event.revision.saturating_mul(2),
        Body::Requested(_) => 3,
    }
}

fn data(body: &Body) -> Value {
    let value = match body {
        Body::Opened(event) => serde_json::to_value(event),
        Body::Updated(event) => serde_json::to_value(event),
        Body::Resolved(event) => serde_json::to_value(event),
        Body::Failed(event) => serde_json::to_value(event),
        Body::Requested(event) => serde_json::to_value(event),
        Body::Completed(event) => serde_json::to_value(event),
        Body::ActionFailed(event) => serde_json::to_value(event),
    };
    let mut value = value.expect("an event has string keys only");
    for name in TIMES {
        if let Some(field) = value.get_mut(name)
            && let Some(at) = field.as_i64().and_then(DateTime::from_timestamp_micros)
        {
            *field = Value::String(at.to_rfc3339_opts(SecondsFormat::Micros, true));
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::samples_tests::{
        action_fact, completed, fact as told, failed, gave_up, incident_fact, opened, requested,
        resolved, updated,
    };

    #[test]
    fn a_line_holds_its_whole_fact() {
        let bodies = [
            incident_fact(opened(1, 0)),
            incident_fact(updated(2, 1, true, true)),
            incident_fact(resolved(3, 2, true)),
            incident_fact(failed(4, 3)),
            action_fact(requested(0, 0)),
            action_fact(completed(0, 5)),
            action_fact(gave_up(1, 9)),
        ];
        for told in bodies.map(told) {
            let line = Entry::of(&told);
            let beside = (line.causation_id, line.trace_id);
            let read = fact(line.event_id, &line.event_type, line.data, beside);
            assert_eq!(read, Some(told));
        }
    }
}
