//! Locks and reads what a batch touches: correlations first, then targets.

use std::collections::{BTreeSet, HashMap};

use service_kit::{Error, Work};
use shared_events::{
    ActionEvent, ActionId, AlertEvent, EpisodeId, IncidentId, action::ALL_TARGETS,
};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    batch::{Batch, Plan, Produced},
    changes,
    domain::{Answer, Correlation, Route, RuleSet, Verb, route, sentence},
    service::{Input, RuleEngine, topic_key},
    store::{correlations, lookups, lookups::Strays, rule_sets, targets, timers},
};

pub(crate) async fn load(
    engine: &RuleEngine,
    conn: &mut PgConnection,
    works: &mut Vec<Work<Input>>,
) -> Result<Batch, Error> {
    let activates = works.iter().any(activates);
    let pauses_all = works.iter().any(pauses_all);
    let moment = rule_sets::decide_under(conn, activates, pauses_all).await?;
    drop_late_activations(works, moment.active.activation);
    let hash = moment.active.hash.as_deref();
    let ignored = (hash, engine.file_rules);
    let (changes, changed) = changes::compile(&engine.rules, conn, ignored, works).await?;
    let rules = match changed {
        Some(set) => set,
        None => engine.rules.at(conn, hash, works).await?,
    };
    let known = Known::look_up(conn, works).await?;
    let mut produced = Produced {
        proposals: changes::judge(conn, hash, works).await?,
        ..Produced::default()
    };
    refuse_unknown(works, &known, &mut produced);
    let mut plans: HashMap<_, Plan> = works
        .iter()
        .map(|work| (work.id, plan(&rules, &known, work)))
        .collect();
    let routes = plans.values().flat_map(|plan| &plan.routes);
    let keys: BTreeSet<String> = routes.map(|route| route.key.clone()).collect();
    let (correlations, fresh) = correlations::lock(conn, &keys).await?;
    take_timers(conn, works).await?;
    // whatever waits for any target waits for the end of a pause of all
    let all = match works.iter().any(about_all) {
        true => targets::names(conn).await?,
        false => Vec::new(),
    };
    for work in works.iter() {
        if let Some(plan) = plans.get_mut(&work.id) {
            plan.targets = targets_of(&rules, &known, &correlations, (work, plan));
            plan.targets.extend(all.iter().cloned());
        }
    }
    let names: BTreeSet<String> = plans
        .values()
        .flat_map(|plan| plan.targets.clone())
        .collect();
    let total = rules.limits.is_set() && !names.is_empty() || works.iter().any(about_all);
    let mut targets = match total {
        true => {
            let all = names.into_iter().chain([ALL_TARGETS.to_owned()]);
            targets::lock(conn, &all.collect()).await?
        }
        false => targets::lock(conn, &names).await?,
    };
    let total = targets.remove(ALL_TARGETS).map(|all| all.budget);
    Ok(Batch {
        rules,
        correlations,
        fresh,
        targets,
        total,
        everything: moment.everything,
        plans,
        changes,
        produced,
    })
}

/// Of two instances that load at once, one is first.
fn drop_late_activations(works: &mut Vec<Work<Input>>, activation: i64) {
    works.retain(|work| match &work.input {
        Input::Activate(wanted) => wanted.after == activation,
        Input::Alert(_)
        | Input::Action(_)
        | Input::Timer(_)
        | Input::Command(_)
        | Input::Changed(_)
        | Input::Propose(_) => true,
    });
}

/// What inputs do not say of themselves.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) actions: HashMap<ActionId, (String, String)>,
    pub(crate) strays: HashMap<EpisodeId, Strays>,
    pub(crate) incidents: HashMap<IncidentId, String>,
}

impl Known {
    async fn look_up(conn: &mut PgConnection, works: &[Work<Input>]) -> Result<Self, Error> {
        let (mut actions, mut episodes, mut incidents) = (Vec::new(), Vec::new(), Vec::new());
        for work in works {
            match &work.input {
                Input::Alert(alert) => episodes.push(alert.episode_id().uuid()),
                Input::Action(action) => actions.extend(action_id(action).map(ActionId::uuid)),
                Input::Command(command) => match &command.verb {
                    Verb::Retry { incident_id } | Verb::Close { incident_id } => {
                        incidents.push(incident_id.uuid());
                    }
                    Verb::Pause { .. } | Verb::Resume { .. } | Verb::CloseLimit { .. } => {}
                },
                Input::Timer(_) | Input::Activate(_) | Input::Changed(_) | Input::Propose(_) => {}
            }
        }
        Ok(Self {
            actions: lookups::actions(conn, &actions).await?,
            strays: lookups::strays(conn, &episodes).await?,
            incidents: lookups::incidents(conn, &incidents).await?,
        })
    }
}

fn action_id(action: &ActionEvent) -> Option<ActionId> {
    match action {
        ActionEvent::Completed(action) => Some(action.action_id),
        ActionEvent::Failed(action) => Some(action.action_id),
        ActionEvent::Requested(_) | ActionEvent::Paused(_) | ActionEvent::Resumed(_) => None,
    }
}

/// Commands about an incident that nobody knows are answered without a decision.
pub(crate) fn refuse_unknown(works: &mut Vec<Work<Input>>, known: &Known, produced: &mut Produced) {
    works.retain(|work| {
        let Input::Command(command) = &work.input else {
            return true;
        };
        let (Verb::Retry { incident_id } | Verb::Close { incident_id }) = &command.verb else {
            return true;
        };
        let is_known = known.incidents.contains_key(incident_id);
        if !is_known {
            let message = sentence::no_incident(*incident_id);
            produced
                .answers
                .insert(work.id, Answer::Unknown { message });
        }
        is_known
    });
}

pub(crate) fn plan(rules: &RuleSet, known: &Known, work: &Work<Input>) -> Plan {
    let key = topic_key(work);
    let to = |key: &str| {
        vec![Route {
            key: key.to_owned(),
            rules: Vec::new(),
        }]
    };
    let routes = match &work.input {
        Input::Alert(alert) => {
            let strays = known.strays.get(&alert.episode_id());
            let strays = || strays.into_iter().flatten();
            let held = strays().filter(|(_, stays)| **stays);
            let held: Vec<String> = held.map(|(key, _)| key.clone()).collect();
            let mut routes = route(rules, alert.labels(), &held, &key);
            match &**alert {
                AlertEvent::Raised(_) => {}
                AlertEvent::Resolved(_) => {
                    for (key, _) in strays() {
                        if !routes.iter().any(|route| route.key == *key) {
                            routes.extend(to(key));
                        }
                    }
                }
            }
            routes
        }
        Input::Action(action) => {
            let asked = action_id(action).and_then(|id| known.actions.get(&id));
            to(asked.map_or(&key, |(correlation, _)| correlation))
        }
        Input::Command(command) => match &command.verb {
            Verb::Retry { incident_id } | Verb::Close { incident_id } => {
                to(known.incidents.get(incident_id).unwrap_or(&key))
            }
            Verb::Pause { .. } | Verb::Resume { .. } | Verb::CloseLimit { .. } => to(&key),
        },
        Input::Timer(_) | Input::Activate(_) | Input::Changed(_) => to(&key),
        Input::Propose(_) => Vec::new(),
    };
    let stray = match &work.input {
        Input::Alert(alert) => known.strays.contains_key(&alert.episode_id()),
        Input::Action(_)
        | Input::Timer(_)
        | Input::Command(_)
        | Input::Activate(_)
        | Input::Changed(_)
        | Input::Propose(_) => false,
    };
    Plan {
        routes,
        targets: BTreeSet::new(),
        stray,
    }
}

/// Takes the timers of the batch under the lock of their correlations; those that another instance
/// took are no work any more.
async fn take_timers(conn: &mut PgConnection, works: &mut Vec<Work<Input>>) -> Result<(), Error> {
    let is_timer = |work: &&Work<Input>| matches!(work.input, Input::Timer(_));
    let ids: Vec<Uuid> = works
        .iter()
        .filter(is_timer)
        .map(|work| work.id.uuid())
        .collect();
    let taken = timers::take(conn, &ids).await?;
    works.retain(|work| !is_timer(&work) || taken.contains(&work.id.uuid()));
    Ok(())
}

/// Whether a work changes which rules are active, or decides which ones will be.
fn activates(work: &Work<Input>) -> bool {
    match &work.input {
        Input::Activate(_) | Input::Changed(_) | Input::Propose(_) => true,
        Input::Alert(_) | Input::Action(_) | Input::Timer(_) | Input::Command(_) => false,
    }
}

/// Whether a work begins or ends the pause of all targets.
pub(crate) fn pauses_all(work: &Work<Input>) -> bool {
    let Input::Command(command) = &work.input else {
        return false;
    };
    match &command.verb {
        Verb::Pause { target, .. } | Verb::Resume { target } => target == ALL_TARGETS,
        Verb::Retry { .. } | Verb::Close { .. } | Verb::CloseLimit { .. } => false,
    }
}

/// Whether a work is a command about all targets.
pub(crate) fn about_all(work: &Work<Input>) -> bool {
    let Input::Command(command) = &work.input else {
        return false;
    };
    match &command.verb {
        Verb::Pause { target, .. } | Verb::Resume { target } | Verb::CloseLimit { target } => {
            target == ALL_TARGETS
        }
        Verb::Retry { .. } | Verb::Close { .. } => false,
    }
}

/// Targets that the fold of a work may read or change.
pub(crate) fn targets_of(
    rules: &RuleSet,
    known: &Known,
    correlations: &HashMap<String, Correlation>,
    (work, plan): (&Work<Input>, &Plan),
) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    match &work.input {
        Input::Alert(alert) => {
            let seen = plan.routes.iter().flat_map(|route| &route.rules);
            let labels = alert.labels();
            let acting = seen.filter_map(|&at| rules.rules.get(at)?.action.as_ref());
            names.extend(acting.filter_map(|action| labels.get(&action.target_label).cloned()));
        }
        Input::Action(action) => {
            let asked = action_id(action).and_then(|id| known.actions.get(&id));
            names.extend(asked.map(|(_, target)| target.clone()));
            return names;
        }
        Input::Command(command) => match &command.verb {
            Verb::Pause { target, .. } | Verb::Resume { target } | Verb::CloseLimit { target }
                if target != ALL_TARGETS =>
            {
                names.insert(target.clone());
            }
            Verb::Pause { .. } | Verb::Resume { .. } | Verb::CloseLimit { .. } => {}
            Verb::Retry { .. } | Verb::Close { .. } => {
                names.extend(of_memory(rules, correlations, plan));
            }
        },
        Input::Timer(_) => names.extend(of_memory(rules, correlations, plan)),
        Input::Activate(_) | Input::Changed(_) | Input::Propose(_) => {}
    }
    let pending = pending_targets(correlations, plan);
    // a target that no file declares is never acted on: it gets no row
    names.retain(|name| rules.targets.contains_key(name) || pending.contains(name));
    names
}

fn pending_targets(correlations: &HashMap<String, Correlation>, plan: &Plan) -> BTreeSet<String> {
    let memories = plan
        .routes
        .iter()
        .filter_map(|route| Some(&correlations.get(&route.key)?.memory));
    memories
        .flat_map(|memory| memory.pending.values())
        .map(|requested| requested.target.clone())
        .collect()
}

/// Targets of actions under way, and those that the rules name for alerts that fire.
fn of_memory(
    rules: &RuleSet,
    correlations: &HashMap<String, Correlation>,
    plan: &Plan,
) -> BTreeSet<String> {
    let mut names = pending_targets(correlations, plan);
    for route in &plan.routes {
        let Some(correlation) = correlations.get(&route.key) else {
            continue;
        };
        for alert in correlation.memory.evidence.values() {
            let named = rules.matching(&alert.labels).filter_map(|rule| {
                let label = &rule.action.as_ref()?.target_label;
                alert.labels.get(label).cloned()
            });
            names.extend(named);
        }
    }
    names
}
