//! When an action is over, and why.

use shared_events::{ActionId, action::Outcome};

use super::{
    observed::{Observed, Phase, Replica},
    plan::{Ask, Goal, plan},
};

/// The pending action, as far as its end depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pursuit {
    pub action_id: ActionId,
    pub ask: Ask,
    pub desired: u32,
    /// Running containers before the first step.
    pub previous: Option<u32>,
    /// Its deadline has passed.
    pub expired: bool,
}

/// Whether it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Steps are due, or something is awaited.
    GoOn,
    /// The goal is observed to be true.
    Reached(Outcome),
    /// Replicas exited, or were not ready by the deadline.
    Unhealthy { culprits: Vec<String> },
    /// The deadline passed and no replica is to blame.
    Expired,
}

/// Judges what is observed under `goal`, which is `pursuit`'s.
#[must_use]
pub fn verdict(pursuit: &Pursuit, goal: &Goal, observed: &Observed) -> Verdict {
    let own: Vec<&Replica> = observed
        .replicas
        .iter()
        .filter(|replica| !goal.doomed.contains(&replica.id))
        .collect();
    let exited = own.iter().filter(|replica| {
        replica.phase == Phase::Exited && replica.action_id == Some(pursuit.action_id)
    });
    let culprits = ids(exited.copied());
    if pursuit.ask != Ask::Down && !culprits.is_empty() {
        return Verdict::Unhealthy { culprits };
    }
    let unready = own
        .iter()
        .filter(|replica| replica.live() && !replica.ready);
    let unready = ids(unready.copied());
    let must_be_ready = pursuit.ask != Ask::Down;
    let settled = plan(goal, observed).is_empty()
        && (!must_be_ready || unready.is_empty())
        && enough(pursuit, observed);
    if settled {
        return Verdict::Reached(outcome(pursuit, observed));
    }
    if !pursuit.expired {
        return Verdict::GoOn;
    }
    if must_be_ready && !unready.is_empty() {
        return Verdict::Unhealthy { culprits: unready };
    }
    Verdict::Expired
}

/// A plan can be empty for want of a template.
fn enough(pursuit: &Pursuit, observed: &Observed) -> bool {
    pursuit.ask == Ask::Down || observed.running() >= pursuit.desired
}

fn outcome(pursuit: &Pursuit, observed: &Observed) -> Outcome {
    let running = observed.running();
    if pursuit.ask != Ask::Up && running > pursuit.desired {
        return Outcome::Drift;
    }
    let made = observed
        .replicas
        .iter()
        .any(|replica| replica.action_id == Some(pursuit.action_id));
    let changed = pursuit.previous.is_some_and(|previous| previous != running);
    if made || changed {
        Outcome::Scaled
    } else {
        Outcome::NothingToDo
    }
}

fn ids<'a>(replicas: impl Iterator<Item = &'a Replica>) -> Vec<String> {
    replicas.map(|replica| replica.id.clone()).collect()
}
