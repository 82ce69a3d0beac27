//! Observed and desired give steps. Slots lowest free first; down removes what is not ready, then the
//! highest slot first; what is not ours is counted and never touched.

use std::collections::BTreeSet;

use shared_events::action::Direction;

use super::observed::{Observed, Phase, Replica};

/// What a target should come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goal {
    /// Create until this many run.
    pub at_least: Option<u32>,
    /// Remove replicas of ours until this many run, or none of ours is left.
    pub at_most: Option<u32>,
    /// How many foreign containers count against `at_most`. What a person adds beyond them is shown
    /// as drift and costs no replica. `None`: all count.
    pub foreign_counted: Option<u32>,
    /// Replace replicas that were made from another template.
    pub replace: bool,
    /// Containers that failed an action: removed before anything else.
    pub doomed: BTreeSet<String>,
    /// Slots whose name belongs to a container that is not of this target.
    pub blocked: BTreeSet<u32>,
}

impl Goal {
    /// What an action asks for: up never removes, down never creates.
    #[must_use]
    pub fn action(desired: u32, ask: Ask) -> Self {
        Self {
            at_least: (ask != Ask::Down).then_some(desired),
            at_most: (ask != Ask::Up).then_some(desired),
            foreign_counted: None,
            replace: false,
            doomed: BTreeSet::new(),
            blocked: BTreeSet::new(),
        }
    }

    /// What is kept while no action is pending: the settled count, made up of the `foreign`
    /// containers that ran when it settled and replicas of ours.
    #[must_use]
    pub fn upkeep(settled: u32, foreign: Option<u32>) -> Self {
        Self {
            at_least: Some(settled),
            at_most: Some(settled),
            foreign_counted: foreign,
            replace: true,
            doomed: BTreeSet::new(),
            blocked: BTreeSet::new(),
        }
    }
}

/// What a desired count means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// At least.
    Up,
    /// At most.
    Down,
    /// Exactly.
    Exact,
}

impl Ask {
    /// `None`: a direction that this build does not know.
    #[must_use]
    pub fn of(direction: &Direction) -> Option<Self> {
        match direction {
            Direction::Up => Some(Self::Up),
            Direction::Down => Some(Self::Down),
            Direction::Exact => Some(Self::Exact),
            Direction::Unknown(_) => None,
        }
    }

    /// As it is on the wire.
    #[must_use]
    pub fn direction(self) -> Direction {
        match self {
            Self::Up => Direction::Up,
            Self::Down => Direction::Down,
            Self::Exact => Direction::Exact,
        }
    }
}

/// One idempotent thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Stops and removes a replica of ours, by id.
    Remove {
        id: String,
        name: String,
        why: Removal,
    },
    /// Starts a replica that was made and never started.
    Start { id: String, name: String },
    /// Makes and starts the replica of a slot, by name.
    Create { slot: u32 },
}

/// Why a replica goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It failed an action.
    Failed,
    /// It ended, or was never started.
    Zombie,
    /// More run than should.
    Surplus,
    /// One from the current template has taken over.
    Replaced,
}

/// The steps that are due, in order. Empty: nothing is due, or what is under way must be awaited.
/// What is dead goes first and alone, so that its slot is free when the next plan is made.
#[must_use]
pub fn plan(goal: &Goal, observed: &Observed) -> Vec<Step> {
    let dead = dead(goal, observed);
    if !dead.is_empty() {
        return dead;
    }
    let surplus = surplus(goal, observed);
    if !surplus.is_empty() {
        return surplus;
    }
    let missing = missing(goal, observed);
    if !missing.is_empty() {
        return missing;
    }
    replacement(goal, observed).into_iter().collect()
}

/// Containers that run, or would after a start that is due.
fn missing_count(goal: &Goal, observed: &Observed) -> u32 {
    goal.at_least
        .unwrap_or(0)
        .saturating_sub(observed.running())
}

fn dead(goal: &Goal, observed: &Observed) -> Vec<Step> {
    let mut startable = missing_count(goal, observed);
    let mut steps = Vec::new();
    for replica in by_slot(observed) {
        if goal.doomed.contains(&replica.id) {
            if replica.phase != Phase::Removing {
                steps.push(remove(replica, Removal::Failed));
            }
            continue;
        }
        match replica.phase {
            Phase::Exited => steps.push(remove(replica, Removal::Zombie)),
            Phase::Created if startable > 0 && current(replica, observed) => startable -= 1,
            Phase::Created => steps.push(remove(replica, Removal::Zombie)),
            Phase::Live | Phase::Removing => {}
        }
    }
    steps
}

fn surplus(goal: &Goal, observed: &Observed) -> Vec<Step> {
    let Some(at_most) = goal.at_most else {
        return Vec::new();
    };
    let managed = observed.running_managed();
    let allowed =
        at_most.saturating_sub(foreign_counted(goal, observed)) + u32::from(surges(goal, observed));
    let excess = managed.saturating_sub(allowed);
    let mut live: Vec<&Replica> = live(observed).collect();
    // what serves stays as long as there is something else to remove
    live.sort_by_key(|replica| (replica.ready, std::cmp::Reverse(replica.slot)));
    live.into_iter()
        .take(excess as usize)
        .map(|replica| remove(replica, Removal::Surplus))
        .collect()
}

fn missing(goal: &Goal, observed: &Observed) -> Vec<Step> {
    let mut due = missing_count(goal, observed);
    let mut steps = Vec::new();
    for replica in by_slot(observed) {
        if due > 0 && replica.phase == Phase::Created {
            steps.push(Step::Start {
                id: replica.id.clone(),
                name: replica.name.clone(),
            });
            due -= 1;
        }
    }
    if observed.template.is_some() {
        let mut taken = observed.taken();
        taken.extend(&goal.blocked);
        let free = (1..).filter(|slot| !taken.contains(slot));
        steps.extend(free.take(due as usize).map(|slot| Step::Create { slot }));
    }
    steps
}

/// One more than `at_most` may run while a replica is being replaced. Only beside a foreign
/// container, so that replicas of ours never exceed the count: without one the template is the
/// stored one and does not change.
fn surges(goal: &Goal, observed: &Observed) -> bool {
    goal.replace
        && foreign_counted(goal, observed) > 0
        && live(observed).any(|replica| !current(replica, observed))
}

/// The next step of replacing replicas one at a time, the new one ready first.
fn replacement(goal: &Goal, observed: &Observed) -> Option<Step> {
    if !surges(goal, observed) {
        return None;
    }
    let (new, old): (Vec<&Replica>, Vec<&Replica>) =
        live(observed).partition(|replica| current(replica, observed));
    let allowed = goal
        .at_most?
        .saturating_sub(foreign_counted(goal, observed));
    if observed.running_managed() <= allowed {
        let slot = lowest_free(goal, observed);
        return new
            .iter()
            .all(|replica| replica.ready)
            .then_some(Step::Create { slot });
    }
    if !new.iter().all(|replica| replica.ready) {
        return None;
    }
    let last = old.into_iter().max_by_key(|replica| replica.slot)?;
    Some(remove(last, Removal::Replaced))
}

fn lowest_free(goal: &Goal, observed: &Observed) -> u32 {
    let mut taken = observed.taken();
    taken.extend(&goal.blocked);
    (1..)
        .find(|slot| !taken.contains(slot))
        .expect("slots are taken by containers, and there are fewer of them than numbers")
}

fn foreign_counted(goal: &Goal, observed: &Observed) -> u32 {
    let running = observed.running_foreign();
    goal.foreign_counted
        .map_or(running, |counted| counted.min(running))
}

fn current(replica: &Replica, observed: &Observed) -> bool {
    observed.template.as_ref() == Some(&replica.template)
}

fn live(observed: &Observed) -> impl Iterator<Item = &Replica> {
    observed.replicas.iter().filter(|replica| replica.live())
}

fn by_slot(observed: &Observed) -> Vec<&Replica> {
    let mut replicas: Vec<&Replica> = observed.replicas.iter().collect();
    replicas.sort_by_key(|replica| replica.slot);
    replicas
}

fn remove(replica: &Replica, why: Removal) -> Step {
    Step::Remove {
        id: replica.id.clone(),
        name: replica.name.clone(),
        why,
    }
}
