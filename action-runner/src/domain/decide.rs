//! `decide`: one target's state and an input give the new state and what others must hear.

use shared_events::{
    ActionEvent, ActionId, Timestamp,
    action::{ActionCompleted, ActionFailed, Evidence, FailureReason, Outcome},
};

use super::{
    plan::Ask,
    state::{Action, Input, Pause, Request, State, Status},
    wording,
};

/// What follows from an input.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub state: State,
    /// In the order in which they must be heard. At most one terminal event per action, ever.
    pub events: Vec<ActionEvent>,
}

/// Decides. Total; doing it again with the same input changes nothing.
#[must_use]
pub fn decide(state: &State, input: &Input, now: Timestamp) -> Decision {
    let mut decision = Decision {
        state: state.clone(),
        events: Vec::new(),
    };
    match input {
        Input::Requested(request) => decision.requested(request, now),
        Input::Paused(pause) => decision.paused(pause),
        Input::Resumed { at } => decision.resumed(*at),
        Input::Began { action_id, running } => decision.began(*action_id, *running),
        Input::Reached {
            action_id,
            outcome,
            running,
            foreign,
            message,
        } => decision.reached(*action_id, outcome, *running, *foreign, message, now),
        Input::Missed {
            action_id,
            reason,
            running,
            foreign,
            culprits,
            message,
            evidence,
        } => {
            let end = End {
                reason: reason.clone(),
                running: *running,
                message: message.clone(),
                evidence: evidence.clone(),
            };
            decision.missed(*action_id, end, *foreign, culprits, now);
        }
        Input::Buried { ids } => {
            for id in ids {
                decision.state.target.doomed.remove(id);
            }
        }
    }
    decision
}

/// How an action fails.
struct End {
    reason: FailureReason,
    running: Option<u32>,
    message: String,
    evidence: Vec<Evidence>,
}

impl End {
    fn untouched(reason: FailureReason, message: String) -> Self {
        Self {
            reason,
            running: None,
            message,
            evidence: Vec::new(),
        }
    }
}

impl Decision {
    fn requested(&mut self, request: &Request, now: Timestamp) {
        if self.state.actions.contains_key(&request.action_id) {
            return;
        }
        let refusal = self.refusal(request, now);
        let target = &mut self.state.target;
        let mut superseded = None;
        if refusal.is_none() {
            superseded = target.pending.replace(request.action_id);
            target.last_request_at = Some(request.at);
            target.last_action = Some(request.action_id);
            target.epoch += 1;
        }
        let action = Action {
            request: request.clone(),
            epoch: target.epoch,
            previous: None,
            status: Status::Pending,
        };
        self.state.actions.insert(request.action_id, action);
        if let Some(end) = refusal {
            self.fail(request.action_id, end, now);
        }
        if let Some(older) = superseded {
            let message = wording::superseded(request);
            self.fail(
                older,
                End::untouched(FailureReason::Superseded, message),
                now,
            );
        }
    }

    /// Why a request is not accepted, if it is not. Nothing is changed then.
    fn refusal(&self, request: &Request, now: Timestamp) -> Option<End> {
        let Some(bounds) = self.state.bounds else {
            let message = wording::unknown_target(&request.target);
            return Some(End::untouched(FailureReason::UnknownTarget, message));
        };
        let allowed = u32::try_from(request.desired).is_ok_and(|desired| bounds.allow(desired));
        if !allowed {
            let message = wording::out_of_bounds(request, bounds);
            return Some(End::untouched(FailureReason::OutOfBounds, message));
        }
        // A dead letter that a person sent again can come after newer requests.
        if self
            .state
            .target
            .last_request_at
            .is_some_and(|newest| request.at < newest)
        {
            let message = wording::overtaken(request);
            return Some(End::untouched(FailureReason::Superseded, message));
        }
        (request.deadline_at <= now).then(|| {
            let message = wording::late(request, now);
            End::untouched(FailureReason::Deadline, message)
        })
    }

    fn paused(&mut self, pause: &Pause) {
        let target = &mut self.state.target;
        if target.pause_changed_at.is_none_or(|at| at <= pause.at) {
            target.pause = Some(pause.clone());
            target.pause_changed_at = Some(pause.at);
        }
    }

    fn resumed(&mut self, at: Timestamp) {
        let target = &mut self.state.target;
        if target.pause_changed_at.is_none_or(|changed| changed <= at) {
            target.pause = None;
            target.pause_changed_at = Some(at);
        }
    }

    fn began(&mut self, action_id: ActionId, running: u32) {
        if let Some(action) = self.pending(action_id) {
            action.previous = Some(running);
        }
    }

    fn reached(
        &mut self,
        action_id: ActionId,
        outcome: &Outcome,
        running: u32,
        foreign: u32,
        message: &str,
        now: Timestamp,
    ) {
        let Some(action) = self.pending(action_id) else {
            return;
        };
        let at = now.max(action.request.at);
        action.status = Status::Completed {
            at,
            outcome: outcome.clone(),
            running,
            message: message.to_owned(),
        };
        let completed = completed(action, at, outcome, running, message);
        let (ask, desired) = (action.request.ask, wanted(&action.request));
        self.state.target.settled = Some(self.kept(ask, desired, running, foreign));
        self.state.target.foreign = Some(foreign);
        self.close(action_id);
        self.events.push(completed.into());
    }

    /// The count to keep after a completed action: what was asked for, and beyond it what the
    /// action was not allowed to change.
    fn kept(&self, ask: Ask, desired: u32, running: u32, foreign: u32) -> u32 {
        let counted = self
            .state
            .target
            .foreign
            .map_or(foreign, |known| known.min(foreign));
        let managed = running.saturating_sub(foreign);
        let bounds = self.state.bounds;
        match ask {
            Ask::Exact => desired,
            Ask::Up if managed == 0 => desired,
            Ask::Up => {
                let max = bounds.map_or(desired, |bounds| bounds.max_replicas);
                desired.max((managed + counted).min(max))
            }
            Ask::Down => {
                let min = bounds.map_or(0, |bounds| bounds.min_replicas);
                desired.min(running.max(min))
            }
        }
    }

    fn missed(
        &mut self,
        action_id: ActionId,
        end: End,
        foreign: Option<u32>,
        culprits: &[String],
        now: Timestamp,
    ) {
        let Some(action) = self.pending(action_id) else {
            return;
        };
        let desired = wanted(&action.request);
        let target = &mut self.state.target;
        if let Some(running) = end.running {
            target.settled = left_over(target.settled, desired, running);
        }
        target.foreign = foreign.or(target.foreign);
        target.doomed.extend(culprits.iter().cloned());
        self.close(action_id);
        self.fail(action_id, end, now);
    }

    /// The action is over: what was planned for it is not done any more.
    fn close(&mut self, action_id: ActionId) {
        let target = &mut self.state.target;
        if target.pending == Some(action_id) {
            target.pending = None;
        }
        target.epoch += 1;
    }

    /// The only place where an action fails: from pending, once.
    fn fail(&mut self, action_id: ActionId, end: End, now: Timestamp) {
        let Some(action) = self.pending(action_id) else {
            return;
        };
        let at = now.max(action.request.at);
        action.status = Status::Failed {
            at,
            reason: end.reason.clone(),
            running: end.running,
            message: end.message.clone(),
            evidence: end.evidence.clone(),
        };
        let event = ActionFailed {
            action_id,
            incident_id: action.request.incident_id,
            target: action.request.target.clone(),
            at,
            reason: end.reason,
            message: end.message,
            desired_replicas: action.request.desired,
            previous_replicas: action.previous_replicas(),
            running_replicas: end.running.map(replicas),
            evidence: end.evidence,
        };
        self.events.push(event.into());
    }

    fn pending(&mut self, action_id: ActionId) -> Option<&mut Action> {
        self.state
            .actions
            .get_mut(&action_id)
            .filter(|action| action.status == Status::Pending)
    }
}

/// What an accepted request asks for.
#[must_use]
pub fn wanted(request: &Request) -> u32 {
    u32::try_from(request.desired).unwrap_or(0)
}

/// The count to keep after a failed action: what works, but neither more than the action wanted
/// nor less than was kept before (the other way round for a failed step down).
fn left_over(settled: Option<u32>, desired: u32, running: u32) -> Option<u32> {
    match settled {
        Some(settled) => Some(running.clamp(settled.min(desired), settled.max(desired))),
        None if running == 0 => None,
        None => Some(running.min(desired)),
    }
}

fn completed(
    action: &Action,
    at: Timestamp,
    outcome: &Outcome,
    running: u32,
    message: &str,
) -> ActionCompleted {
    ActionCompleted {
        action_id: action.request.action_id,
        incident_id: action.request.incident_id,
        target: action.request.target.clone(),
        at,
        desired_replicas: action.request.desired,
        previous_replicas: action.previous_replicas(),
        running_replicas: replicas(running),
        result: outcome.clone(),
        message: message.to_owned(),
    }
}

fn replicas(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
