//! The tables of Rules once more, from the topics alone: every input that the log of decisions
//! names, in its order, under the rules of that time, through the same fold.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use serde_json::Value;
use service_kit::{Origin, Poison, Record, Service, Trace, Work, content::Item, service::Delivery};
use shared_events::EventId;
use uuid::Uuid;

use super::{Decision, world::World};
use crate::{
    domain::{RuleSet, RulesLoaded, Timer},
    files::{Source, Sources},
    service::{Activation, Input, RuleEngine},
    store::content::{correlation, target},
};

/// Events of the topics, by id: the first record of each.
#[derive(Clone, Debug, Default)]
pub struct Events(HashMap<Uuid, Work<Input>>);

/// Why the tables cannot be made again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Gap {
    #[error(
        "the log of decisions begins with number {seq} under {key}: what was before it was pruned"
    )]
    Pruned { key: String, seq: i64 },
    #[error("the log of decisions lacks number {seq} under {key}")]
    Missing { key: String, seq: i64 },
    #[error("{input} {event_id}, which was decided about, is in no topic")]
    Lost { input: String, event_id: Uuid },
    #[error("rule set {hash}, which was decided under, is not kept")]
    NoRules { hash: String },
    #[error("{input} {event_id} was logged by another build: it cannot be read")]
    Unreadable { input: String, event_id: Uuid },
}

impl Events {
    /// Keeps one record, if it is the first of its event. Records of types that Rules do not listen to
    /// are left out.
    ///
    /// # Errors
    /// When the record can never be handled: Rules have made a dead letter of it.
    pub fn record(&mut self, record: &Record<'_>, delivery: Delivery) -> Result<(), Poison> {
        let wanted = RuleEngine::LISTENS.iter().any(|(topic, types)| {
            *topic == record.topic && types.contains(&record.envelope.event_type.as_str())
        });
        if wanted {
            let input = RuleEngine::default().decode(record)?;
            self.keep(Work {
                id: record.envelope.id,
                // whether it is a repeat was decided then: every row of the log was folded
                origin: Origin::Redriven(Arc::new(delivery)),
                trace: Trace::default(),
                input,
            });
        }
        Ok(())
    }

    /// Keeps one work, if it is the first of its event.
    pub fn keep(&mut self, work: Work<Input>) {
        self.0.entry(work.id.uuid()).or_insert(work);
    }
}

/// What the tables hold when everything of the log was folded.
#[derive(Debug)]
pub struct Rebuilt(Vec<(String, Option<i64>, Value)>);

impl Rebuilt {
    /// The hash of every correlation and target.
    #[must_use]
    pub fn items(&self) -> Vec<Item> {
        let item = |(id, inputs, value): &(String, Option<i64>, Value)| {
            Item::of(id.clone(), *inputs, value.clone())
        };
        self.0.iter().map(item).collect()
    }

    /// What the tables should hold under this id.
    #[must_use]
    pub fn document(&self, id: &str) -> Option<&Value> {
        let (.., value) = self.0.iter().find(|(found, ..)| found == id)?;
        Some(value)
    }
}

/// Folds what `decisions` name (oldest first, as the log has them) into empty tables.
///
/// # Errors
/// When something that was decided about is not there any more.
pub fn rebuild(
    decisions: &[Decision],
    events: &Events,
    sets: &HashMap<String, Arc<RuleSet>>,
) -> Result<Rebuilt, Gap> {
    gapless(decisions)?;
    let Some(first) = decisions.first() else {
        return Ok(Rebuilt(Vec::new()));
    };
    let mut world = World::new(set(sets, &first.rules_version)?);
    let mut seen = HashSet::new();
    for decision in decisions {
        // an event that touches two correlations has two rows, and is folded once
        if seen.insert(decision.event_id) {
            fold(&mut world, decision, events, sets)?;
        }
    }
    Ok(Rebuilt(contents(&world)))
}

fn gapless(decisions: &[Decision]) -> Result<(), Gap> {
    let mut last: HashMap<&str, i64> = HashMap::new();
    for decision in decisions {
        let (key, seq) = (decision.correlation_key.as_str(), decision.seq);
        match last.insert(key, seq) {
            None if seq != 1 => {
                let key = key.to_owned();
                return Err(Gap::Pruned { key, seq });
            }
            Some(before) if seq != before + 1 => {
                let (key, seq) = (key.to_owned(), before + 1);
                return Err(Gap::Missing { key, seq });
            }
            None | Some(_) => {}
        }
    }
    Ok(())
}

fn fold(
    world: &mut World,
    decision: &Decision,
    events: &Events,
    sets: &HashMap<String, Arc<RuleSet>>,
) -> Result<(), Gap> {
    let id = EventId(decision.event_id);
    let family = decision.input.split('.').next().unwrap_or_default();
    let local = |input| Work::local(id, Trace::default(), input);
    let work = match family {
        "rules" => {
            let loaded: RulesLoaded = detail(decision)?;
            let set = set(sets, &loaded.hash)?;
            // as when the files of a process are loaded
            if loaded.fault.is_none() {
                world.activate(Arc::clone(&set));
            }
            let topic = events.0.get(&decision.event_id);
            Work {
                origin: topic.map_or(Origin::Local, |work| work.origin.clone()),
                ..local(Input::Activate(Arc::new(activation(set, loaded))))
            }
        }
        "timer" => {
            let timer: Timer = detail(decision)?;
            world.use_rules(set(sets, &decision.rules_version)?);
            world.take(&timer);
            local(Input::Timer(timer))
        }
        "command" => {
            world.use_rules(set(sets, &decision.rules_version)?);
            local(Input::Command(detail(decision)?))
        }
        _ => {
            world.use_rules(set(sets, &decision.rules_version)?);
            let work = events.0.get(&decision.event_id).cloned();
            work.ok_or_else(|| Gap::Lost {
                input: decision.input.clone(),
                event_id: decision.event_id,
            })?
        }
    };
    world.fold_as_recorded(work);
    Ok(())
}

fn set(sets: &HashMap<String, Arc<RuleSet>>, hash: &str) -> Result<Arc<RuleSet>, Gap> {
    let set = sets.get(hash).cloned();
    set.ok_or_else(|| Gap::NoRules {
        hash: hash.to_owned(),
    })
}

fn detail<T: serde::de::DeserializeOwned>(decision: &Decision) -> Result<T, Gap> {
    let detail = decision.detail.clone().unwrap_or_default();
    serde_json::from_value(detail).map_err(|_| Gap::Unreadable {
        input: decision.input.clone(),
        event_id: decision.event_id,
    })
}

fn activation(set: Arc<RuleSet>, loaded: RulesLoaded) -> Activation {
    let nothing = || Source {
        name: String::new(),
        text: String::new(),
    };
    Activation {
        set,
        sources: Sources {
            rules: nothing(),
            targets: nothing(),
        },
        loaded,
        after: 0,
    }
}

fn contents(world: &World) -> Vec<(String, Option<i64>, Value)> {
    let correlations = world.correlations().map(correlation);
    let mut contents: Vec<_> = correlations.collect();
    contents.extend(world.targets().map(|(name, found)| target(name, &found)));
    contents.retain(|(.., value)| !value.is_null());
    contents.sort_by(|one, other| one.0.cmp(&other.0));
    contents
}
