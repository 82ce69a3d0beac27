//! What is known of a target and its actions, and what can happen to them.

use std::collections::{BTreeMap, BTreeSet};

use shared_events::{
    ActionId, EventId, IncidentId, Timestamp,
    action::{ActionKind, Evidence, FailureReason, Outcome},
};
use uuid::Uuid;

use super::{plan::Ask, target::Bounds};

/// A target, and the actions that an input can concern.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub target: TargetState,
    /// From `targets.yaml`; `None`: it does not declare the target.
    pub bounds: Option<Bounds>,
    pub actions: BTreeMap<ActionId, Action>,
}

/// What is known of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetState {
    pub name: String,
    /// Raised by every accepted request and every end of an action: what was planned under an
    /// earlier one is not done any more.
    pub epoch: i64,
    /// Replicas to keep while no action is pending. `None`: no action has ever settled, and drift
    /// is nobody's business yet.
    pub settled: Option<u32>,
    /// Containers of others that ran when it settled.
    pub foreign: Option<u32>,
    pub pending: Option<ActionId>,
    /// `at` of the newest accepted request.
    pub last_request_at: Option<Timestamp>,
    /// The newest accepted action.
    pub last_action: Option<ActionId>,
    /// Ids of replicas that failed an action and are still to be removed.
    pub doomed: BTreeSet<String>,
    pub pause: Option<Pause>,
    /// `at` of the newest pause or resume that was folded.
    pub pause_changed_at: Option<Timestamp>,
}

/// A person has stopped the automation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    pub pause_id: Uuid,
    pub at: Timestamp,
    /// `None`: until somebody resumes.
    pub until: Option<Timestamp>,
    pub actor: String,
    pub reason: String,
}

impl Pause {
    /// Whether it still holds.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// One request, and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    pub request: Request,
    /// Epoch of the target under which it was accepted.
    pub epoch: i64,
    /// Running containers before the first step, as observed.
    pub previous: Option<u32>,
    pub status: Status,
}

impl Action {
    /// Running containers before the first step: as observed, else as Rules know it.
    #[must_use]
    pub fn previous_replicas(&self) -> Option<i32> {
        let observed = self.previous.map(|n| i32::try_from(n).unwrap_or(i32::MAX));
        observed.or(self.request.previous)
    }
}

/// Where an action stands. Terminal states are for ever.
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    Pending,
    Completed {
        at: Timestamp,
        outcome: Outcome,
        running: u32,
        message: String,
    },
    Failed {
        at: Timestamp,
        reason: FailureReason,
        running: Option<u32>,
        message: String,
        evidence: Vec<Evidence>,
    },
}

/// What Rules ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// `ce_id` of the request: cause of its outcome.
    pub event_id: EventId,
    pub action_id: ActionId,
    pub incident_id: IncidentId,
    pub target: String,
    pub kind: ActionKind,
    pub ask: Ask,
    /// As it came: it may be out of any bounds.
    pub desired: i32,
    /// Running containers before, as Rules know it.
    pub previous: Option<i32>,
    pub at: Timestamp,
    pub deadline_at: Timestamp,
    pub rule: String,
    pub reason: String,
}

/// What can happen to a target.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    Requested(Request),
    Paused(Pause),
    Resumed {
        at: Timestamp,
    },
    /// The pending action was observed for the first time, before any step.
    Began {
        action_id: ActionId,
        running: u32,
    },
    /// The pending action's goal was observed to be true.
    Reached {
        action_id: ActionId,
        outcome: Outcome,
        running: u32,
        foreign: u32,
        message: String,
    },
    /// The pending action's goal will not be reached.
    Missed {
        action_id: ActionId,
        reason: FailureReason,
        /// Running containers without the culprits; `None`: Docker did not tell.
        running: Option<u32>,
        foreign: Option<u32>,
        /// Replicas to remove: they exited, or were never seen ready.
        culprits: Vec<String>,
        message: String,
        evidence: Vec<Evidence>,
    },
    /// These doomed replicas are gone.
    Buried {
        ids: Vec<String>,
    },
}
