//! G1, G3, G5, G8, G9, G12 at rest: faults have stopped, the senders have told, nothing is due.

use std::collections::{BTreeMap, BTreeSet};

use incident_store::domain::Status;
use shared_events::{EpisodeId, IncidentEvent, IncidentId, incident::ReasonCode};

use super::{Verdict, ensure};
use crate::{
    incidents::{Incidents, fact},
    log::{Event, PARTITIONS, Record},
    rules::TARGETS,
    script::SERIES,
    senders::{self, View},
    shell::{LISTENS, NAMES},
    world::World,
};

/// Alerts that open incidents: what the rules file says.
const OPENS: [usize; 5] = [0, 2, 3, 4, 5];

/// Incidents of each episode that holds them, and those that a person closed.
type Holders = (
    BTreeMap<EpisodeId, BTreeSet<IncidentId>>,
    BTreeSet<IncidentId>,
);

pub(crate) fn check(world: &World) -> Verdict {
    drained(world)?;
    world.checks.alerts.at_rest()?;
    heard(world)?;
    let holders = holders(world);
    one_incident_each(world, &holders)?;
    incidents_agree(world, &holders)?;
    counts_agree(world)?;
    rebuilt(world)?;
    nobody_waits(world)
}

/// G3
fn drained(world: &World) -> Verdict {
    for (service, shell) in world.shells.iter().enumerate() {
        ensure(shell.outbox.is_empty(), "G3", || {
            format!("{} has {:?} to send", NAMES[service], shell.outbox.keys())
        })?;
        for &topic in LISTENS[service] {
            for partition in 0..PARTITIONS {
                let (next, end) = (
                    shell.next[topic][partition],
                    world.log.end(topic, partition),
                );
                ensure(next == end, "G3", || {
                    format!("{} has read {next} of {end}", NAMES[service])
                })?;
            }
        }
    }
    Ok(())
}

/// G5: every event had its effect with everybody who listens.
fn heard(world: &World) -> Verdict {
    let story: BTreeSet<_> = world.store.story.iter().map(|(id, ..)| *id).collect();
    for topic in 0..3 {
        for record in world.log.of_topic(topic) {
            let name = record.event.name();
            let to_rules = topic == 0 || matches!(name, "action.completed" | "action.failed");
            let decided = !to_rules || world.checks.order.knows(record.id);
            ensure(decided, "G5", || {
                format!("Rules never decided about {name} {}", record.id)
            })?;
            let told = fact(record).is_none() || story.contains(&record.id);
            ensure(told, "G5", || {
                format!("{name} {} is in no story", record.id)
            })?;
        }
    }
    Ok(())
}

fn holders(world: &World) -> Holders {
    let (mut holders, mut closed) = Holders::default();
    for record in world.log.of_topic(1) {
        let Event::Incident(event) = &*record.event else {
            continue;
        };
        let (id, alerts) = match event {
            IncidentEvent::Opened(event) => (event.incident_id, &event.alerts),
            IncidentEvent::Updated(event) => (event.incident_id, &event.alerts),
            IncidentEvent::Failed(event) => (event.incident_id, &event.alerts),
            IncidentEvent::Resolved(event) => {
                if event.reason_code == ReasonCode::ClosedByPerson {
                    closed.insert(event.incident_id);
                }
                (event.incident_id, &event.alerts)
            }
        };
        for alert in alerts.iter().filter(|alert| alert.holds) {
            holders.entry(alert.episode_id).or_default().insert(id);
        }
    }
    (holders, closed)
}

/// G1, G2
fn one_incident_each(world: &World, (holders, _): &Holders) -> Verdict {
    for (id, episode) in &world.checks.alerts.episodes {
        let wanted = usize::from(OPENS.contains(&episode.series));
        let found = holders.get(id).map_or(0, BTreeSet::len);
        ensure(found == wanted, "G1", || {
            let name = senders::name(episode.series);
            format!("episode {id} of {name} holds {found} incidents, {wanted} expected")
        })?;
    }
    for id in holders.keys() {
        ensure(world.checks.alerts.episodes.contains_key(id), "G2", || {
            format!("an incident is held by {id}, which nobody raised")
        })?;
    }
    Ok(())
}

/// G8: an incident is open while what holds it fires, by the truth.
fn incidents_agree(world: &World, (holders, closed): &Holders) -> Verdict {
    let mut held: BTreeMap<IncidentId, String> = BTreeMap::new();
    for series in 0..SERIES {
        let open = world
            .checks
            .alerts
            .of_series(series)
            .filter(|e| !e.resolved)
            .count();
        let fires = matches!(world.senders.truth[series], View::Firing(_));
        ensure(open == usize::from(fires), "G8", || {
            let name = senders::name(series);
            format!("{name} fires: {fires}, and {open} episodes of it are open")
        })?;
    }
    for (id, episode) in &world.checks.alerts.episodes {
        if episode.resolved {
            continue;
        }
        for incident in holders.get(id).into_iter().flatten() {
            held.insert(*incident, senders::name(episode.series));
        }
    }
    for incident in world.store.incidents.values() {
        let status = incident.status();
        ensure(status.is_some(), "G8", || {
            format!("{} is a stub", incident.id)
        })?;
        let over = status == Some(Status::Resolved);
        let holder = held.get(&incident.id);
        let agrees = over != holder.is_some() || over && closed.contains(&incident.id);
        ensure(agrees, "G8", || {
            format!("{} is {status:?}, held by {holder:?}", incident.id)
        })?;
    }
    Ok(())
}

/// G8: what runs is what was reported, foreign containers aside.
fn counts_agree(world: &World) -> Verdict {
    for target in TARGETS {
        let Some(said) = world.checks.actions.said.get(target) else {
            continue;
        };
        let (managed, foreign) = world.docker.running(target);
        let running = i32::try_from(managed + foreign).expect("few");
        if said.completed && said.foreign == foreign {
            ensure(said.running == Some(running), "G8", || {
                format!(
                    "{running} of {target} run, and {:?} was reported",
                    said.running
                )
            })?;
        }
        let known = world
            .rules
            .targets
            .get(target)
            .and_then(|target| target.replicas);
        let believed = known.is_none() || known == said.running;
        ensure(believed, "G8", || {
            format!(
                "Rules believe {known:?} of {target}, {:?} was reported",
                said.running
            )
        })?;
    }
    Ok(())
}

/// G9: the topics alone, in another order and twice, give the same incidents.
fn rebuilt(world: &World) -> Verdict {
    let backwards = |topic: usize| {
        world
            .log
            .of_topic(topic)
            .collect::<Vec<&Record>>()
            .into_iter()
            .rev()
    };
    let mut rebuilt = Incidents::default();
    rebuilt.fold(
        backwards(2)
            .chain(backwards(1))
            .chain(world.log.of_topic(2)),
    );
    ensure(rebuilt.incidents == world.store.incidents, "G9", || {
        "incidents rebuilt from the topics differ from the live ones".to_owned()
    })
}

/// G12
fn nobody_waits(world: &World) -> Verdict {
    for (name, target) in &world.rules.targets {
        let asleep =
            target.waiting.is_empty() || target.pending.is_some() || target.pause.is_some();
        ensure(asleep, "G12", || {
            format!("{:?} wait for {name}, which is free", target.waiting)
        })?;
        ensure(target.pending.is_none(), "G8", || {
            format!("{name} is busy for ever with {:?}", target.pending)
        })?;
    }
    Ok(())
}
