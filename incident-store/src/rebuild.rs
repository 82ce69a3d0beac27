//! The store from its topics alone, in memory: the same decoding and the same fold as the running
//! service, in whatever order the records come.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;
use service_kit::{Poison, Record, Service, content::Item};
use shared_events::{EventId, IncidentId};

use crate::{
    IncidentStore,
    domain::{Entry, Fact, Incident, apply},
    store::content::expected,
};

/// What the topics `incident` and `action` make of every incident.
#[derive(Clone, Debug, Default)]
pub struct Rebuilt {
    incidents: BTreeMap<IncidentId, (Incident, Vec<Entry>)>,
    known: HashSet<EventId>,
}

impl Rebuilt {
    /// Folds one record. True: it is new; false: it came before, or is of a type that the service
    /// does not listen to.
    ///
    /// # Errors
    /// When the record can never be handled: the service has made a dead letter of it.
    pub fn record(&mut self, record: &Record<'_>) -> Result<bool, Poison> {
        let wanted = <IncidentStore<false> as Service>::LISTENS
            .iter()
            .any(|(topic, types)| {
                *topic == record.topic && types.contains(&record.envelope.event_type.as_str())
            });
        if !wanted {
            return Ok(false);
        }
        let fact = IncidentStore::<false>.decode(record)?;
        Ok(self.fold(&fact))
    }

    /// Folds one fact.
    pub fn fold(&mut self, fact: &Fact) -> bool {
        if !self.known.insert(fact.event_id) {
            return false;
        }
        let id = fact.body.incident_id();
        let (incident, entries) = self
            .incidents
            .entry(id)
            .or_insert_with(|| (Incident::stub(id), Vec::new()));
        *incident = apply(std::mem::replace(incident, Incident::stub(id)), fact);
        entries.push(Entry::of(fact));
        true
    }

    /// The hash of every incident.
    #[must_use]
    pub fn items(&self) -> Vec<Item> {
        let item = |(incident, entries): &(Incident, Vec<Entry>)| {
            let document = expected(incident, entries.iter().cloned());
            let inputs = i64::try_from(entries.len()).ok();
            Item::of(incident.id.to_string(), inputs, document)
        };
        self.incidents.values().map(item).collect()
    }

    /// What the tables should hold of one incident.
    #[must_use]
    pub fn document(&self, id: IncidentId) -> Option<Value> {
        let (incident, entries) = self.incidents.get(&id)?;
        Some(expected(incident, entries.iter().cloned()))
    }
}
