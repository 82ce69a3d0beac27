//! What the action of a rule would do to a target now, or why it would not.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shared_events::{Labels, Timestamp, action::Direction};

use super::{
    Action, Bounds, Opened, Outcome, Rule, RuleSet, State, Target, draft::Said, rule::Size,
    sentence,
};

/// What an action would do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Go(Plan),
    Held(Held),
}

/// A step that changes the count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) target: String,
    pub(super) desired: i32,
    /// Replicas that are known to run.
    pub(super) previous: Option<i32>,
}

/// A step that is not taken.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Held {
    pub(super) outcome: Outcome,
    pub(super) reason: String,
    pub(super) inputs: BTreeMap<String, Value>,
    /// When it could be taken, if that is known.
    pub(super) until: Option<Timestamp>,
    /// The target whose release could change it.
    pub(super) waits_for: Option<String>,
}

impl From<Held> for Said {
    fn from(held: Held) -> Self {
        Self::new(held.outcome, held.reason).with(held.inputs)
    }
}

impl Held {
    fn for_ever(outcome: Outcome, reason: String) -> Self {
        Self {
            outcome,
            reason,
            inputs: BTreeMap::new(),
            until: None,
            waits_for: None,
        }
    }

    /// A step that would be one too many.
    pub(super) fn limited(plan: &Plan, reason: String, opened: &Opened) -> Self {
        Self {
            inputs: BTreeMap::from([
                ("target".to_owned(), json!(plan.target)),
                ("replicas".to_owned(), json!(plan.previous)),
                ("desired".to_owned(), json!(plan.desired)),
                ("limit".to_owned(), json!(opened.limit)),
                ("opened_at".to_owned(), json!(opened.at)),
            ]),
            waits_for: Some(plan.target.clone()),
            ..Self::for_ever(Outcome::LimitReached, reason)
        }
    }

    /// Whether the step would be taken but for something that passes by itself.
    pub(super) fn passes(&self) -> bool {
        let person = self.outcome == Outcome::LimitReached;
        !person && (self.until.is_some() || self.waits_for.is_some())
    }
}

/// How much a step is hurried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Cooldowns hold.
    Normal,
    /// A person asks: cooldowns do not hold.
    ByPerson,
}

/// The step that `action` of `rule` asks for an alert with these labels.
pub(super) fn next_step(
    rules: &RuleSet,
    state: &State,
    (rule, action): (&Rule, &Action),
    labels: &Labels,
    (at, urgency): (Timestamp, Urgency),
) -> Step {
    let (name, bounds) = match declared(rules, action, labels) {
        Ok(declared) => declared,
        Err(reason) => return Step::Held(Held::for_ever(Outcome::NoTarget, reason)),
    };
    let unknown = Target::default();
    let target = state.targets.get(name).unwrap_or(&unknown);
    let desired = desired(action, target.replicas, bounds);
    let inputs = BTreeMap::from([
        ("target".to_owned(), json!(name)),
        ("replicas".to_owned(), json!(target.replicas)),
        ("desired".to_owned(), json!(desired)),
    ]);
    let held = occupied(state, name, target, at)
        .or_else(|| at_limit(name, action, target.replicas, (desired, bounds)))
        .or_else(|| match urgency {
            Urgency::Normal => cooling(name, target, (rule, action), at),
            Urgency::ByPerson => None,
        });
    match held {
        Some(held) => Step::Held(Held { inputs, ..held }),
        None => Step::Go(Plan {
            target: name.to_owned(),
            desired,
            previous: target.replicas,
        }),
    }
}

/// Name and bounds of the target that the labels name.
fn declared<'a>(
    rules: &RuleSet,
    action: &Action,
    labels: &'a Labels,
) -> Result<(&'a str, Bounds), String> {
    let name = labels
        .get(&action.target_label)
        .filter(|name| !name.is_empty())
        .ok_or_else(|| sentence::no_label(&action.target_label))?;
    let bounds = rules
        .targets
        .get(name)
        .ok_or_else(|| sentence::undeclared(name))?;
    Ok((name, *bounds))
}

/// What a relative step would begin from when no action has reported a count yet: the bound from
/// which the step changes least.
fn desired(action: &Action, replicas: Option<i32>, bounds: Bounds) -> i32 {
    let wanted = match action.size {
        Size::Replicas(count) => count,
        Size::Step(by) => {
            let unknown = if by < 0 {
                bounds.max_replicas
            } else {
                bounds.min_replicas
            };
            replicas.unwrap_or(unknown).saturating_add(by)
        }
    };
    wanted.clamp(bounds.min_replicas, bounds.max_replicas)
}

fn occupied(state: &State, name: &str, target: &Target, at: Timestamp) -> Option<Held> {
    if let Some(pause) = state.pause_of(name, at) {
        return Some(Held {
            until: pause.until,
            waits_for: Some(name.to_owned()),
            ..Held::for_ever(Outcome::Paused, sentence::paused(name, pause))
        });
    }
    let busy = target.pending.as_ref()?;
    Some(Held {
        waits_for: Some(name.to_owned()),
        ..Held::for_ever(Outcome::ActionPending, sentence::busy(name, busy))
    })
}

/// Whether the count that is known satisfies the step already. Not decided again when another rule
/// changes the count: two alerts that contradict each other must not make a target swing for ever.
fn at_limit(
    name: &str,
    action: &Action,
    replicas: Option<i32>,
    (desired, bounds): (i32, Bounds),
) -> Option<Held> {
    let known = replicas?;
    let satisfied = match action.direction {
        Direction::Up => known >= desired,
        Direction::Down => known <= desired,
        Direction::Exact | Direction::Unknown(_) => known == desired,
    };
    satisfied.then(|| {
        let reason = sentence::at_limit(name, known, desired, bounds);
        Held::for_ever(Outcome::AtLimit, reason)
    })
}

fn cooling(
    name: &str,
    target: &Target,
    (rule, action): (&Rule, &Action),
    at: Timestamp,
) -> Option<Held> {
    let until = *target.asked_at.get(&rule.cooldown_key())? + action.cooldown?;
    (at < until).then(|| Held {
        until: Some(until),
        ..Held::for_ever(
            Outcome::Cooldown,
            sentence::cooldown(&rule.name, name, until),
        )
    })
}
