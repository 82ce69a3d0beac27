//! G4, G5: sequences without gaps, effects once.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use shared_events::{EventId, IncidentId};

use super::{Verdict, ensure};
use crate::{incidents::Incidents, log::Record, rules::Row};

#[derive(Clone, Debug, Default)]
pub(crate) struct Order {
    /// Ids by topic, key and source, in sequence.
    seen: HashMap<(usize, String, &'static str), Vec<EventId>>,
    /// Inputs of each correlation's decisions.
    inputs: HashMap<String, (i64, HashSet<EventId>)>,
    stories: BTreeSet<(&'static str, String, IncidentId)>,
    told: usize,
    /// Whether an incident was seen resolved.
    resolved: BTreeMap<IncidentId, bool>,
}

impl Order {
    pub(crate) fn appended(&mut self, record: &Record) -> Verdict {
        let of = (record.event.topic(), record.key.clone(), record.source);
        let seen = self.seen.entry(of).or_default();
        let place = usize::try_from(record.sequence - 1).unwrap_or(usize::MAX);
        let told = || {
            format!(
                "{} has sequence {} under {}, {} were seen",
                record.event.name(),
                record.sequence,
                record.key,
                seen.len()
            )
        };
        ensure(place <= seen.len(), "G4", told)?;
        if place == seen.len() {
            seen.push(record.id);
        }
        ensure(seen[place] == record.id, "G4", || {
            format!("{} was sent under two ids", record.event.name())
        })
    }

    pub(crate) fn decided(&mut self, rows: &[Row]) -> Verdict {
        for row in rows {
            let (last, inputs) = self.inputs.entry(row.key.clone()).or_default();
            *last += 1;
            ensure(row.sequence == *last, "G5", || {
                format!(
                    "decision {} of {} follows {}",
                    row.sequence,
                    row.key,
                    *last - 1
                )
            })?;
            ensure(inputs.insert(row.input), "G5", || {
                format!(
                    "{} {} was decided twice under {}",
                    row.kind, row.input, row.key
                )
            })?;
        }
        Ok(())
    }

    /// Whether Rules have decided about an event.
    pub(crate) fn knows(&self, id: EventId) -> bool {
        self.inputs.values().any(|(_, inputs)| inputs.contains(&id))
    }

    /// Incident Store comes back from a dump: its story begins anew.
    pub(crate) fn restored(&mut self) {
        self.stories.clear();
        self.resolved.clear();
        self.told = 0;
    }

    /// Each fact is once in the stories, and what was resolved stays so.
    pub(crate) fn told(&mut self, store: &Incidents) -> Verdict {
        for (_, name, subject, incident) in &store.story[self.told..] {
            let fact = (*name, subject.clone(), *incident);
            ensure(self.stories.insert(fact), "G5", || {
                format!("{name} {subject} is in the story of {incident} twice")
            })?;
        }
        self.told = store.story.len();
        for incident in store.incidents.values() {
            let over = incident.status() == Some(incident_store::domain::Status::Resolved);
            let before = self.resolved.insert(incident.id, over).unwrap_or(false);
            ensure(over || !before, "G8", || {
                format!("{} was resolved and is not any more", incident.id)
            })?;
        }
        Ok(())
    }
}
