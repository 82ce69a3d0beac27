//! How actions end that never happened.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde::Serialize;
use shared_events::{
    ActionEvent, ActionId, Timestamp,
    action::{ActionCompleted, ActionFailed, ActionRequested, Direction, FailureReason, Outcome},
};

use super::{Event, Message};

/// How an action that nobody carried out is taken to have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Assume {
    /// It completed one second after it was asked for.
    Completed,
    /// It failed at its deadline: never healthy.
    Failed,
    /// As the last action on the same target in the same direction ended before it, after as long;
    /// where there is none, completed.
    #[default]
    Recorded,
}

/// How long an action takes of which nothing is known.
const TAKES: TimeDelta = TimeDelta::seconds(1);

/// When an action was asked for, how long it took, and whether it completed.
type Ended = (Timestamp, TimeDelta, bool);

/// What really happened to actions.
#[derive(Default)]
pub(super) struct Happened {
    requested: BTreeMap<ActionId, ActionRequested>,
    /// By target and direction.
    ended: BTreeMap<(String, Direction), Vec<Ended>>,
}

impl Happened {
    pub(super) fn of(messages: &[Message]) -> Self {
        let mut happened = Self::default();
        let actions = || {
            messages.iter().filter_map(|message| match &message.event {
                Event::Action(action) => Some(&**action),
                Event::Alert(_) => None,
            })
        };
        for action in actions() {
            if let ActionEvent::Requested(action) = action {
                happened.requested.insert(action.action_id, action.clone());
            }
        }
        for action in actions() {
            let (id, at, completed) = match action {
                ActionEvent::Completed(action) => (action.action_id, action.at, true),
                ActionEvent::Failed(action) => (action.action_id, action.at, false),
                ActionEvent::Requested(_) | ActionEvent::Paused(_) | ActionEvent::Resumed(_) => {
                    continue;
                }
            };
            if let Some(asked) = happened.requested.get(&id) {
                let kind = (asked.target.clone(), asked.direction.clone());
                let how = (asked.at, at - asked.at, completed);
                happened.ended.entry(kind).or_default().push(how);
            }
        }
        for ended in happened.ended.values_mut() {
            ended.sort();
        }
        happened
    }

    /// Whether the action of this id was really asked for then.
    pub(super) fn knows(&self, action: ActionId) -> bool {
        self.requested.contains_key(&action)
    }

    /// Whether just this was really asked for then.
    pub(super) fn includes(&self, action: &ActionRequested) -> bool {
        self.requested.get(&action.action_id).is_some_and(|real| {
            (&real.target, real.desired_replicas) == (&action.target, action.desired_replicas)
                && real.direction == action.direction
        })
    }

    /// How `action` is taken to end.
    pub(super) fn ending(&self, action: &ActionRequested, assume: Assume) -> ActionEvent {
        let (at, completed) = match assume {
            Assume::Completed => (action.at + TAKES, true),
            Assume::Failed => (action.deadline_at, false),
            Assume::Recorded => {
                let kind = (action.target.clone(), action.direction.clone());
                let before = self.ended.get(&kind).and_then(|ended| {
                    let before = ended.iter().rev().find(|(at, _, _)| *at <= action.at);
                    before.or_else(|| ended.first())
                });
                let (_, took, completed) = before.copied().unwrap_or((action.at, TAKES, true));
                ((action.at + took).min(action.deadline_at), completed)
            }
        };
        if completed {
            return ActionEvent::Completed(ActionCompleted {
                action_id: action.action_id,
                incident_id: action.incident_id,
                target: action.target.clone(),
                at,
                desired_replicas: action.desired_replicas,
                previous_replicas: action.previous_replicas,
                running_replicas: action.desired_replicas,
                result: Outcome::Scaled,
                message: "assumed".to_owned(),
            });
        }
        ActionEvent::Failed(ActionFailed {
            action_id: action.action_id,
            incident_id: action.incident_id,
            target: action.target.clone(),
            at,
            reason: FailureReason::Unhealthy,
            message: "assumed: never healthy".to_owned(),
            desired_replicas: action.desired_replicas,
            previous_replicas: action.previous_replicas,
            running_replicas: action.previous_replicas,
            evidence: Vec::new(),
        })
    }
}
