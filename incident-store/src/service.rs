//! Incident Store to the shell: what it listens to, and how a batch of facts becomes rows.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use service_kit::{Error, Outgoing, Poison, Record, Saved, Service, Trace, Work};
use shared_events::{
    ActionEvent, EventId, IncidentEvent, IncidentId, Topic,
    incident::{IncidentStatus, IncidentStatusEvent},
};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    domain::{Body, Entry, Fact, Incident, Status, apply},
    store::{ActionRow, IncidentRow, Stored, load, save},
};

/// The service. With `SAYS` it publishes `incident.status` when the derived status changes; without,
/// it publishes nothing, and the topic is never made.
#[derive(Clone, Copy, Debug, Default)]
pub struct IncidentStore<const SAYS: bool>;

/// The incidents that a batch of facts touches.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    incidents: BTreeMap<IncidentId, Stored>,
    /// Incidents that have no row yet.
    fresh: Vec<Uuid>,
    /// Incidents that were stubs when the batch was loaded.
    stubs: BTreeSet<IncidentId>,
    /// Facts that are stored already, or were folded in this batch.
    known: HashSet<EventId>,
    /// Actions that facts of this batch changed.
    touched: BTreeSet<(IncidentId, shared_events::ActionId)>,
    entries: Vec<Entry>,
    changes: Vec<Change>,
}

/// A change of status and what caused it.
#[derive(Clone, Debug)]
struct Change {
    event: IncidentStatusEvent,
    cause: EventId,
    trace: Trace,
}

impl<const SAYS: bool> Service for IncidentStore<SAYS> {
    const NAME: &'static str = "incident-store";
    const LISTENS: &'static [(&'static str, &'static [&'static str])] = &[
        (Topic::Incident.name(), IncidentEvent::TYPES),
        (
            Topic::Action.name(),
            &["action.requested", "action.completed", "action.failed"],
        ),
    ];

    const SAYS: &'static [(&'static str, &'static [&'static str])] = if SAYS {
        &[(Topic::IncidentStatus.name(), IncidentStatusEvent::TYPES)]
    } else {
        &[]
    };

    type Input = Fact;
    type Batch = Batch;
    type Reply = ();

    fn decode(&self, record: &Record<'_>) -> Result<Fact, Poison> {
        let body = if record.topic == Topic::Incident.name() {
            Some(Body::from(record.event::<IncidentEvent>()?))
        } else {
            Body::of_action(record.event::<ActionEvent>()?)
        };
        let body = body.ok_or_else(|| Poison {
            stage: "type",
            reason: format!("{} is about no incident", record.envelope.event_type),
        })?;
        Ok(Fact {
            event_id: record.envelope.id,
            causation_id: record.envelope.causation_id,
            trace_id: trace_id(record.envelope.traceparent.as_deref()),
            body: body.without_nul(),
        })
    }

    async fn load(
        &self,
        conn: &mut PgConnection,
        works: &mut Vec<Work<Fact>>,
    ) -> Result<Batch, Error> {
        let touched: BTreeSet<Uuid> = works
            .iter()
            .map(|work| work.input.body.incident_id().uuid())
            .collect();
        let events: Vec<Uuid> = works
            .iter()
            .map(|work| work.input.event_id.uuid())
            .collect();
        let ids: Vec<Uuid> = touched.into_iter().collect();
        let stored = load::lock(conn, &ids).await?;
        let known = load::known(conn, &events).await?;
        let stubs = stored
            .iter()
            .filter(|stored| stored.incident.opened.is_none())
            .map(|stored| stored.incident.id)
            .collect();
        let mut incidents: BTreeMap<IncidentId, Stored> = stored
            .into_iter()
            .map(|stored| (stored.incident.id, stored))
            .collect();
        let mut fresh = ids;
        fresh.retain(|id| !incidents.contains_key(&IncidentId(*id)));
        incidents.extend(fresh.iter().map(|&id| {
            let id = IncidentId(id);
            let incident = Incident::stub(id);
            (
                id,
                Stored {
                    incident,
                    version: 0,
                },
            )
        }));
        Ok(Batch {
            incidents,
            fresh,
            stubs,
            known,
            ..Batch::default()
        })
    }

    fn fold(&self, batch: &mut Batch, work: &Work<Fact>) -> Result<(), Poison> {
        let fact = &work.input;
        if !batch.known.insert(fact.event_id) {
            return Ok(());
        }
        let id = fact.body.incident_id();
        let stored = batch.incidents.get_mut(&id).ok_or_else(|| Poison {
            stage: "fold",
            reason: format!("incident {id} was not loaded"),
        })?;
        let before = stored.incident.status();
        let stub = Incident::stub(id);
        stored.incident = apply(std::mem::replace(&mut stored.incident, stub), fact);
        stored.version += 1;
        let change = (SAYS && stored.incident.status() != before)
            .then(|| change(stored, work))
            .flatten();
        batch.changes.extend(change);
        batch
            .touched
            .extend(action_of(&fact.body).map(|action| (id, action)));
        batch.entries.push(Entry::of(fact));
        Ok(())
    }

    async fn save(&self, conn: &mut PgConnection, batch: Batch) -> Result<Saved<()>, Error> {
        let changed: BTreeSet<IncidentId> = batch
            .entries
            .iter()
            .map(|entry| entry.incident_id)
            .collect();
        let rows: Vec<IncidentRow> = changed
            .iter()
            .filter_map(|id| batch.incidents.get(id))
            .map(|stored| IncidentRow::of(&stored.incident, stored.version))
            .collect();
        let actions: Vec<ActionRow> = batch
            .touched
            .iter()
            .filter_map(|(id, action)| {
                let action = batch.incidents.get(id)?.incident.actions.get(action)?;
                Some(ActionRow::of(id.uuid(), action))
            })
            .collect();
        let visible: Vec<bool> = batch
            .entries
            .iter()
            .map(|entry| batch.opened(entry.incident_id))
            .collect();
        let revealed: Vec<Uuid> = batch
            .stubs
            .iter()
            .filter(|id| batch.opened(**id))
            .map(|id| id.uuid())
            .collect();
        save::incidents(conn, &rows, &batch.fresh).await?;
        save::actions(conn, &actions).await?;
        save::reveal(conn, &revealed).await?;
        save::entries(conn, &batch.entries, &visible).await?;
        let outgoing = batch
            .changes
            .iter()
            .map(|change| Outgoing::event(&change.event, change.cause, &change.trace))
            .collect::<Result<_, _>>()?;
        Ok(Saved {
            outgoing,
            reply: (),
        })
    }
}

impl Batch {
    fn opened(&self, id: IncidentId) -> bool {
        self.incidents
            .get(&id)
            .is_some_and(|stored| stored.incident.opened.is_some())
    }
}

fn change(stored: &Stored, work: &Work<Fact>) -> Option<Change> {
    let status: Status = stored.incident.status()?;
    let opening = stored.incident.opened.as_ref();
    let event = IncidentStatus {
        incident_id: stored.incident.id,
        version: stored.version,
        at: work.input.body.at(),
        status: status.as_str().to_owned(),
        service: opening.and_then(|said| said.value.service.clone()),
    };
    Some(Change {
        event: event.into(),
        cause: work.id,
        trace: work.trace.clone(),
    })
}

fn action_of(body: &Body) -> Option<shared_events::ActionId> {
    match body {
        Body::Requested(event) => Some(event.action_id),
        Body::Completed(event) => Some(event.action_id),
        Body::ActionFailed(event) => Some(event.action_id),
        Body::Opened(_) | Body::Updated(_) | Body::Resolved(_) | Body::Failed(_) => None,
    }
}

/// Second part of a `traceparent`.
fn trace_id(traceparent: Option<&str>) -> Option<String> {
    let id = traceparent?.split('-').nth(1)?;
    (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.to_owned())
}
