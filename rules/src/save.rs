//! Writes what a batch gave: one statement for each table.

use service_kit::{Error, Outgoing, Saved};
use shared_events::{ActionEvent, EpisodeId, EventId, action::ActionRequested};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    batch::{Batch, Said},
    changes::{self, Proposed},
    domain::{Correlation, Event, Target},
    service::{Input, Reply},
    store::{correlations, decisions, lookups, rule_sets, targets, timers},
};

pub(crate) async fn save(conn: &mut PgConnection, batch: Batch) -> Result<Saved<Reply>, Error> {
    let produced = batch.produced;
    let changed: Vec<&Correlation> = produced
        .correlations
        .iter()
        .filter_map(|key| batch.correlations.get(key))
        .collect();
    correlations::save(conn, &changed, &batch.fresh).await?;
    if produced.everything {
        targets::save_everything(conn, batch.everything.as_ref()).await?;
    }
    let changed: Vec<(&str, &Target)> = produced
        .targets
        .iter()
        .filter_map(|name| Some((name.as_str(), batch.targets.get(name)?)))
        .collect();
    targets::save(conn, &changed).await?;
    if let Some(total) = &batch.total {
        targets::save_total(conn, total).await?;
    }
    let armed: Vec<_> = produced.armed.values().collect();
    let disarmed: Vec<Uuid> = produced.disarmed.into_iter().map(EventId::uuid).collect();
    timers::change(conn, &armed, &disarmed).await?;
    lookups::add_actions(conn, &requested(&produced.events)).await?;
    lookups::add_series(conn, &produced.series).await?;
    let over: Vec<Uuid> = produced
        .strays_over
        .into_iter()
        .map(EpisodeId::uuid)
        .collect();
    lookups::forget_strays(conn, &over).await?;
    decisions::append(conn, &produced.rows, &batch.rules.hash).await?;
    if let Some(new) = &produced.activation {
        rule_sets::activate(conn, &new.set, &new.sources, &new.loaded).await?;
    }
    changes::save(conn, &produced.returned).await?;
    let outgoing: Result<Vec<Outgoing>, Error> = produced.events.iter().map(outgoing).collect();
    let mut outgoing = outgoing?;
    for (work, proposed) in &produced.proposals {
        if let (Input::Propose(proposal), Proposed::Accepted { .. }) = (&work.input, proposed) {
            outgoing.push(changes::outgoing(&proposal.change, work.id, &work.trace)?);
        }
    }
    let proposed = produced.proposals.into_iter();
    Ok(Saved {
        outgoing,
        reply: Reply {
            answers: produced.answers,
            activated: produced.activation.is_some(),
            proposed: proposed.map(|(work, what)| (work.id, what)).collect(),
        },
    })
}

pub(crate) fn requested(events: &[Said]) -> Vec<&ActionRequested> {
    events
        .iter()
        .filter_map(|said| match &said.event {
            Event::Action(ActionEvent::Requested(action)) => Some(action),
            Event::Action(
                ActionEvent::Completed(_)
                | ActionEvent::Failed(_)
                | ActionEvent::Paused(_)
                | ActionEvent::Resumed(_),
            )
            | Event::Incident(_) => None,
        })
        .collect()
}

fn outgoing(said: &Said) -> Result<Outgoing, Error> {
    match &said.event {
        Event::Incident(event) => Outgoing::event(event, said.cause, &said.trace),
        Event::Action(event) => Outgoing::event(event, said.cause, &said.trace),
    }
}
