//! Incident Store's states, and its transaction around the real core.

use std::collections::{BTreeMap, HashSet};

use incident_store::domain::{Body, Fact, Incident, apply};
use shared_events::{EventId, IncidentId};

use crate::log::{Event, Record};

/// Tables of Incident Store.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Incidents {
    pub(crate) incidents: BTreeMap<IncidentId, Incident>,
    /// `incident_events`: id, type, subject, and whose story it is in.
    pub(crate) story: Vec<(EventId, &'static str, String, IncidentId)>,
    known: HashSet<EventId>,
}

/// The fact that a record is, if it is one.
pub(crate) fn fact(record: &Record) -> Option<Fact> {
    let body = match &*record.event {
        Event::Alert(_) => return None,
        Event::Incident(event) => Body::from(event.clone()),
        Event::Action(event) => Body::of_action(event.clone())?,
    };
    Some(Fact {
        event_id: record.id,
        causation_id: None,
        trace_id: None,
        body: body.without_nul(),
    })
}

impl Incidents {
    /// Folds records in order; the caller keeps a copy in case that it aborts.
    pub(crate) fn fold<'a>(&mut self, records: impl IntoIterator<Item = &'a Record>) {
        for record in records {
            let Some(fact) = fact(record) else {
                continue;
            };
            if !self.known.insert(fact.event_id) {
                continue;
            }
            let id = fact.body.incident_id();
            let before = self
                .incidents
                .remove(&id)
                .unwrap_or_else(|| Incident::stub(id));
            self.incidents.insert(id, apply(before, &fact));
            let event = &record.event;
            let revision = match &**event {
                Event::Incident(_) => record.event.id().to_string(),
                Event::Alert(_) | Event::Action(_) => event.subject(),
            };
            self.story.push((fact.event_id, event.name(), revision, id));
        }
    }
}
