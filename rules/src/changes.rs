//! Changes of the rules through topic `rule`: proposed under the lock of the active rules, said on
//! the topic, and in force for every instance from the moment that one of them folds the event.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use service_kit::{Error, Outgoing, Trace, Work};
use shared_events::{EventId, RuleEvent, TopicEvent, rule::RuleChanged};
use sqlx::PgConnection;

use crate::{
    active::{ActiveRules, in_background},
    domain::{ChangedBy, Difference, RuleSet, RulesLoaded},
    files::{self, Source, Sources},
    service::Input,
    store::{rule_changes, rule_sets},
};

/// A change that somebody wants.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// With the number and the previous hash still open.
    pub change: RuleChanged,
    pub summary: Difference,
    /// Hash that it must be based on.
    pub based_on: Base,
}

/// What a proposal must be based on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// Whatever is there.
    Any,
    /// The file of this hash.
    Hash(String),
    /// No change was ever made.
    Nothing,
}

/// What became of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proposed {
    /// It is on its way.
    Accepted {
        event_id: EventId,
        number: i64,
        previous: Option<String>,
    },
    /// Another change was first; its hash.
    Overtaken(Option<String>),
}

/// A change that came back through the topic.
#[derive(Clone, Debug)]
pub(crate) struct Returned {
    pub(crate) change: Arc<RuleChanged>,
    pub(crate) summary: Difference,
    /// What it is, or why it is nothing.
    pub(crate) compiled: Result<(Arc<RuleSet>, Sources), String>,
    pub(crate) loaded: RulesLoaded,
}

/// Changes of a batch, by work.
pub(crate) type Changes = HashMap<EventId, Returned>;

/// Compiles the changes of a batch, in order, with the bounds and the policy in force. Gives them,
/// and the set that is active after the last.
pub(crate) async fn compile(
    active: &ActiveRules,
    conn: &mut PgConnection,
    (hash, ignored): (Option<&str>, bool),
    works: &[Work<Input>],
) -> Result<(Changes, Option<Arc<RuleSet>>), Error> {
    let mut changes = Changes::new();
    let mut current: Option<Arc<RuleSet>> = None;
    for work in works {
        let Input::Changed(change) = &work.input else {
            continue;
        };
        let (targets, policy) = base(active, conn, hash).await?;
        let name = format!("rules.yaml of {}", change.actor);
        let sources = Sources {
            rules: Source {
                name,
                text: change.text.clone(),
            },
            targets,
        };
        let compiled = match ignored {
            true => Err("EVENTPULSE_RULES_SOURCE is file".to_owned()),
            false => in_background(sources.clone(), policy)
                .await?
                .map(|set| (Arc::new(set), sources))
                .map_err(|error| error.to_string()),
        };
        let before = match &current {
            Some(set) => Some(Arc::clone(set)),
            None => active.compiled_at(conn, hash).await?,
        };
        let set = compiled.as_ref().ok().map(|(set, _)| Arc::clone(set));
        // nothing but this change is decided in such a batch
        let nothing = || Arc::new(RuleSet::new(Vec::new(), BTreeMap::new(), policy));
        let returned = returned(change, compiled, before.as_deref());
        changes.insert(work.id, returned);
        current = Some(set.or(before).unwrap_or_else(nothing));
    }
    Ok((changes, current))
}

fn returned(
    change: &Arc<RuleChanged>,
    compiled: Result<(Arc<RuleSet>, Sources), String>,
    before: Option<&RuleSet>,
) -> Returned {
    let set = compiled.as_ref().ok().map(|(set, _)| &**set);
    let loaded = RulesLoaded {
        at: change.at,
        hash: set
            .or(before)
            .map_or_else(String::new, |set| set.hash.clone()),
        rules: set.or(before).map_or(0, |set| set.rules.len()),
        before: before.map(|set| set.hash.clone()),
        change: Some(ChangedBy {
            number: change.number,
            hash: change.hash.clone(),
            actor: change.actor.clone(),
            reason: change.reason.clone(),
        }),
        fault: compiled.as_ref().err().cloned(),
    };
    Returned {
        change: Arc::clone(change),
        summary: set.map_or_else(Difference::default, |set| Difference::between(before, set)),
        compiled,
        loaded,
    }
}

/// Bounds of targets and policy: those of the active set, else those of this process.
async fn base(
    active: &ActiveRules,
    conn: &mut PgConnection,
    hash: Option<&str>,
) -> Result<(Source, crate::domain::Policy), Error> {
    let stored = match hash {
        Some(hash) => rule_sets::stored(&mut *conn, hash).await?,
        None => None,
    };
    match stored {
        Some(stored) => Ok((stored.sources.targets, stored.policy)),
        None => active.base(),
    }
}

/// Accepts or refuses the proposals of a batch, under the lock of the active rules.
pub(crate) async fn judge(
    conn: &mut PgConnection,
    hash: Option<&str>,
    works: &[Work<Input>],
) -> Result<Vec<(Work<Input>, Proposed)>, Error> {
    let mut judged = Vec::new();
    for work in works {
        let Input::Propose(proposal) = &work.input else {
            continue;
        };
        let newest = match rule_changes::newest(&mut *conn).await? {
            Some(file) => Some(file.hash),
            None => match (&proposal.based_on, hash) {
                (Base::Nothing, _) | (_, None) => None,
                (_, Some(hash)) => rule_sets::stored(&mut *conn, hash)
                    .await?
                    .map(|stored| files::content_hash(&stored.sources.rules.text)),
            },
        };
        let fits = match &proposal.based_on {
            Base::Any => true,
            Base::Nothing => newest.is_none(),
            Base::Hash(wanted) => newest.as_ref() == Some(wanted),
        };
        if !fits {
            judged.push((work.clone(), Proposed::Overtaken(newest)));
            continue;
        }
        let number = rule_changes::last_number(&mut *conn).await? + 1;
        let change = RuleChanged {
            number,
            previous: newest.clone(),
            ..proposal.change.clone()
        };
        let event_id = RuleEvent::Changed(change.clone()).event_id();
        rule_changes::propose(&mut *conn, event_id.uuid(), &change, &proposal.summary).await?;
        let proposal = Proposal {
            change,
            ..(**proposal).clone()
        };
        let accepted = Proposed::Accepted {
            event_id,
            number,
            previous: newest,
        };
        let input = Input::Propose(Arc::new(proposal));
        judged.push((
            Work {
                input,
                ..work.clone()
            },
            accepted,
        ));
    }
    Ok(judged)
}

/// The event of an accepted proposal.
pub(crate) fn outgoing(
    change: &RuleChanged,
    cause: EventId,
    trace: &Trace,
) -> Result<Outgoing, Error> {
    Outgoing::event(&RuleEvent::Changed(change.clone()), cause, trace)
}

/// Keeps what came back, and makes the last valid change the active rules.
pub(crate) async fn save(
    conn: &mut PgConnection,
    returned: &[(Work<Input>, Returned)],
) -> Result<(), Error> {
    for (work, returned) in returned {
        let place = work.delivery().map(|delivery| &delivery.position);
        let set = returned.compiled.as_ref().ok();
        if let Some((set, sources)) = set {
            rule_sets::activate(conn, set, sources, &returned.loaded).await?;
        }
        let back = rule_changes::Back {
            event_id: work.id.uuid(),
            change: &returned.change,
            summary: &returned.summary,
            version: set.map(|(set, _)| set.hash.as_str()),
            fault: returned.compiled.as_ref().err().map(String::as_str),
            place: place.map(|at| (at.partition, at.offset)).unzip(),
        };
        rule_changes::came_back(&mut *conn, &back).await?;
    }
    Ok(())
}
