//! Incidents as they were: the facts that had happened by then, joined by the same function.

use std::collections::HashMap;

use chrono::TimeDelta;
use service_kit::{Error, tx::in_tx};
use shared_events::{EventId, IncidentId, Timestamp};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{
    Stored,
    list::{self, After, Filter, Order, Page},
    story::{self, EntryRow},
};
use crate::domain::{Incident, Status, apply, entry};

/// Pages that are looked at for one page: bounds the time that a filter can cost.
const PAGES: usize = 20;

/// The incident of `id` as it was at `at`; `None` when it had not opened by then.
///
/// # Errors
/// When the database fails.
pub async fn incident(
    pool: &PgPool,
    id: IncidentId,
    at: Timestamp,
) -> Result<Option<Stored>, Error> {
    let id = id.uuid();
    let rows = in_tx(pool, move |conn| {
        Box::pin(async move { story::of_all(conn, &[id]).await })
    })
    .await?;
    Ok(told(rows, at).remove(&id).filter(is_open_by_then))
}

/// A page of incidents as they were at `at`: `filter` is about what they were then.
///
/// # Errors
/// When the database fails.
pub async fn page(
    pool: &PgPool,
    filter: Filter,
    order: Order,
    after: Option<After>,
    (limit, at): (usize, Timestamp),
) -> Result<Page, Error> {
    let then = Then::of(&filter);
    let mut wanted = filter;
    // what changes in an incident's life is tested on what it was then
    wanted.statuses.clear();
    wanted.severities.clear();
    wanted.needs_attention = None;
    let end = at
        .checked_add_signed(TimeDelta::microseconds(1))
        .unwrap_or(at);
    wanted.until = Some(wanted.until.map_or(end, |until| until.min(end)));
    let mut page = Page {
        incidents: Vec::new(),
        next: after,
    };
    for _ in 0..PAGES {
        let left = limit - page.incidents.len();
        let found = list::page(pool, wanted.clone(), order, page.next, left).await?;
        let ids: Vec<Uuid> = found
            .incidents
            .iter()
            .map(|s| s.incident.id.uuid())
            .collect();
        let rows = in_tx(pool, move |conn| {
            let ids = ids.clone();
            Box::pin(async move { rows(conn, &ids).await })
        })
        .await?;
        let mut stories = told(rows, at);
        for stored in found.incidents {
            let was = stories.remove(&stored.incident.id.uuid());
            let was = was
                .filter(is_open_by_then)
                .filter(|was| then.holds(&was.incident));
            page.incidents.extend(was);
        }
        page.next = found.next;
        if page.next.is_none() || page.incidents.len() >= limit {
            break;
        }
    }
    Ok(page)
}

async fn rows(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<EntryRow>, Error> {
    story::of_all(conn, ids).await
}

fn is_open_by_then(stored: &Stored) -> bool {
    stored.incident.opened.is_some()
}

/// Each incident of these lines, of what had happened at `at`.
fn told(rows: Vec<EntryRow>, at: Timestamp) -> HashMap<Uuid, Stored> {
    let mut told: HashMap<Uuid, Stored> = HashMap::new();
    for row in rows.into_iter().filter(|row| row.at <= at) {
        let id = row.incident_id;
        let beside = (row.causation_id, row.trace_id);
        let Some(fact) = entry::fact(EventId(row.event_id), &row.event_type, row.data, beside)
        else {
            continue;
        };
        let stored = told.entry(id).or_insert_with(|| Stored {
            incident: Incident::stub(IncidentId(id)),
            version: 0,
        });
        let before = std::mem::replace(&mut stored.incident, Incident::stub(IncidentId(id)));
        stored.incident = apply(before, &fact);
        stored.version += 1;
    }
    told
}

/// The part of a filter that is about a moment.
struct Then {
    statuses: Vec<String>,
    severities: Vec<String>,
    needs_attention: Option<bool>,
}

impl Then {
    fn of(filter: &Filter) -> Self {
        Self {
            statuses: filter.statuses.clone(),
            severities: filter.severities.clone(),
            needs_attention: filter.needs_attention,
        }
    }

    fn holds(&self, incident: &Incident) -> bool {
        let status = incident.status().map(Status::as_str).unwrap_or_default();
        let severity = incident
            .severity
            .as_ref()
            .and_then(|said| said.value.as_deref());
        let any = |wanted: &[String], is: Option<&str>| {
            wanted.is_empty() || is.is_some_and(|is| wanted.iter().any(|one| one == is))
        };
        any(&self.statuses, Some(status))
            && any(&self.severities, severity)
            && self
                .needs_attention
                .is_none_or(|wanted| wanted == incident.needs_attention())
    }
}
