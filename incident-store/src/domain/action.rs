//! An action of an incident: what was asked for and what came of it.

use serde::Serialize;
use shared_events::{
    ActionId, EventId, Timestamp,
    action::{ActionCompleted, ActionFailed, ActionRequested, Evidence},
};

use super::incident::Reason;

/// What is known of an action. Either half may be missing: topics have no order among each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Action {
    pub id: ActionId,
    pub request: Option<Request>,
    pub outcome: Option<Outcome>,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Request {
    pub event_id: EventId,
    pub at: Timestamp,
    pub target: String,
    /// `scale_docker | ensure_replicas`
    pub kind: String,
    /// `up | down | exact`
    pub direction: String,
    pub desired: i32,
    pub previous: Option<i32>,
    pub rule: String,
    pub deadline_at: Timestamp,
    pub verify_within_ms: Option<i64>,
    pub compensates: Option<ActionId>,
    pub actor: Option<String>,
    pub reason: String,
}

/// What came of it; written once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    pub event_id: EventId,
    pub at: Timestamp,
    pub target: String,
    pub failed: bool,
    /// Completed: `scaled | nothing_to_do | drift`. Failed: `unhealthy | docker | deadline |
    /// superseded | unknown_target | out_of_bounds`.
    pub reason: Reason,
    pub desired: i32,
    pub previous: Option<i32>,
    pub running: Option<i32>,
    pub evidence: Vec<Evidence>,
}

/// Where an action stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Progress {
    Requested,
    Completed,
    Failed,
}

impl Progress {
    /// The word for it in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

impl Action {
    /// An action of which nothing is known yet.
    #[must_use]
    pub const fn new(id: ActionId) -> Self {
        Self {
            id,
            request: None,
            outcome: None,
        }
    }

    /// Takes a request. Of two the earlier stays, however they come.
    pub(super) fn requested(&mut self, event_id: EventId, event: &ActionRequested) {
        let known = self
            .request
            .as_ref()
            .map(|known| (known.at, known.event_id));
        if known.is_none_or(|known| (event.at, event_id) < known) {
            self.request = Some(Request {
                event_id,
                at: event.at,
                target: event.target.clone(),
                kind: event.kind.to_string(),
                direction: event.direction.to_string(),
                desired: event.desired_replicas,
                previous: event.previous_replicas,
                rule: event.rule.clone(),
                deadline_at: event.deadline_at,
                verify_within_ms: event.verify_within_ms,
                compensates: event.compensates,
                actor: event.actor.clone(),
                reason: event.reason.clone(),
            });
        }
    }

    pub(super) fn completed(&mut self, event_id: EventId, event: &ActionCompleted) {
        self.ended(Outcome {
            event_id,
            at: event.at,
            target: event.target.clone(),
            failed: false,
            reason: Reason::new(event.result.as_str(), &event.message),
            desired: event.desired_replicas,
            previous: event.previous_replicas,
            running: Some(event.running_replicas),
            evidence: Vec::new(),
        });
    }

    pub(super) fn failed(&mut self, event_id: EventId, event: &ActionFailed) {
        self.ended(Outcome {
            event_id,
            at: event.at,
            target: event.target.clone(),
            failed: true,
            reason: Reason::new(event.reason.as_str(), &event.message),
            desired: event.desired_replicas,
            previous: event.previous_replicas,
            running: event.running_replicas,
            evidence: event.evidence.clone(),
        });
    }

    /// Action Runner gives one terminal event per action; were there two, the earlier stays.
    fn ended(&mut self, outcome: Outcome) {
        let known = self
            .outcome
            .as_ref()
            .map(|known| (known.at, known.event_id));
        if known.is_none_or(|known| (outcome.at, outcome.event_id) < known) {
            self.outcome = Some(outcome);
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn progress(&self) -> Progress {
        match &self.outcome {
            None => Progress::Requested,
            Some(outcome) if outcome.failed => Progress::Failed,
            Some(_) => Progress::Completed,
        }
    }

    /// Name of the target.
    #[must_use]
    pub fn target(&self) -> &str {
        let asked = self.request.as_ref().map(|request| request.target.as_str());
        let told = self.outcome.as_ref().map(|outcome| outcome.target.as_str());
        asked.or(told).unwrap_or_default()
    }

    /// The count to reach.
    #[must_use]
    pub fn desired(&self) -> Option<i32> {
        let asked = self.request.as_ref().map(|request| request.desired);
        asked.or_else(|| self.outcome.as_ref().map(|outcome| outcome.desired))
    }

    /// The count before: as the runner saw it, else as Rules knew it.
    #[must_use]
    pub fn previous(&self) -> Option<i32> {
        let seen = self.outcome.as_ref().and_then(|outcome| outcome.previous);
        seen.or_else(|| self.request.as_ref().and_then(|request| request.previous))
    }

    /// When it was last heard of; orders the actions of a target.
    #[must_use]
    pub fn last_at(&self) -> Option<Timestamp> {
        let asked = self.request.as_ref().map(|request| request.at);
        let told = self.outcome.as_ref().map(|outcome| outcome.at);
        asked.max(told)
    }
}
