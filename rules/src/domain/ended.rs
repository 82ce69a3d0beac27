//! An action has ended: completed, failed, or without news for too long.

use chrono::TimeDelta;
use shared_events::{
    ActionId, IncidentId,
    action::{ActionCompleted, ActionFailed, ActionKind, Direction, FailureReason},
    incident::ReasonCode,
};

use super::{
    Failure, Outcome, Phase, Requested, RuleRef,
    act::{Request, request_for},
    draft::{Draft, Said},
    life,
    rule::Undo,
    sentence,
};

/// Folds `action.completed`.
pub(super) fn completed(draft: &mut Draft<'_>, action: &ActionCompleted) {
    let running = Some(action.running_replicas);
    let Some(mut requested) = end(draft, action.action_id) else {
        return stale(draft, &action.target, action.action_id, running);
    };
    requested.previous = requested.previous.or(action.previous_replicas);
    draft.state.target(&requested.target).replicas = running;
    draft.wake_waiting(&requested.target);
    let mut reason = sentence::completed(&requested, action);
    if let Some(then) = after_success(draft, &requested) {
        reason.push(' ');
        reason.push_str(&then);
    }
    draft.say_of(
        rule_of(&requested),
        Said::new(Outcome::ActionCompleted, reason),
    );
}

/// What follows for the incident: it settles, is looked at again, or fails at once when it is held
/// after its undoing and nobody said how long to wait.
fn after_success(draft: &mut Draft<'_>, requested: &Requested) -> Option<String> {
    let id = requested.incident_id;
    if life::settle_if_quiet(draft, id) {
        return Some(sentence::settles(draft.at + draft.rules.policy.settle));
    }
    let incident = draft.current(id)?;
    if incident.phase == Phase::Failed || !incident.is_held() {
        return None;
    }
    let undone = incident.undone.clone();
    match (requested.verify_within_ms, undone) {
        (Some(within), _) => {
            let due = draft.at + TimeDelta::milliseconds(within);
            life::verify_at(draft, id, due, (requested.action_id, within));
            Some(sentence::verifies(due))
        }
        (None, Some(failure)) => Some(fail_undone(draft, failure)),
        (None, None) => None,
    }
}

/// Fails the current incident, whose action was undone and which alerts still hold.
pub(super) fn fail_undone(draft: &mut Draft<'_>, failure: Failure) -> String {
    let message = sentence::gives_up(draft.memory(), &failure.message);
    life::fail(
        draft,
        Failure {
            message: message.clone(),
            ..failure
        },
    );
    message
}

/// Folds `action.failed`.
pub(super) fn failed(draft: &mut Draft<'_>, action: &ActionFailed) {
    let Some(mut requested) = end(draft, action.action_id) else {
        let running = action.running_replicas;
        return stale(draft, &action.target, action.action_id, running);
    };
    requested.previous = requested.previous.or(action.previous_replicas);
    let target = draft.state.target(&requested.target);
    let rule = rule_of(&requested);
    let said = match &action.reason {
        FailureReason::Superseded => {
            target.replicas = action.running_replicas;
            life::settle_if_quiet(draft, requested.incident_id);
            // What fires on is decided again, for nothing else would come of this step; not at once:
            // as long as the newest request is ahead of the clock the next is too old as well.
            draft.recheck_at(draft.at + draft.rules.policy.action_grace);
            Said::new(Outcome::Superseded, sentence::superseded(&requested))
        }
        FailureReason::UnknownTarget | FailureReason::OutOfBounds => {
            let what = sentence::failed(&requested, action.at, &action.message);
            let reason = give_up(draft, &requested, ReasonCode::ActionFailed, &what);
            Said::new(Outcome::ActionFailed, reason)
        }
        FailureReason::Deadline if never_begun(action, &requested) => {
            let reason = ask_again(draft, &requested);
            Said::new(Outcome::ActionFailed, reason)
        }
        FailureReason::Unhealthy
        | FailureReason::Docker
        | FailureReason::Deadline
        | FailureReason::Unknown(_) => {
            target.replicas = action.running_replicas;
            let what = sentence::failed(&requested, action.at, &action.message);
            let before = action.previous_replicas.or(requested.previous);
            let reason = undo(draft, &requested, before, (ReasonCode::ActionFailed, what));
            Said::new(Outcome::ActionFailed, reason)
        }
    };
    draft.wake_waiting(&requested.target);
    draft.say_of(rule, said);
}

/// It came to Action Runner after its deadline, which changed nothing: an outage or a backlog lay in
/// between, and tells nothing about the step.
fn never_begun(action: &ActionFailed, requested: &Requested) -> bool {
    let deadline = requested.requested_at + TimeDelta::milliseconds(requested.timeout_ms);
    // an undoing is asked for once
    requested.compensates.is_none() && action.running_replicas.is_none() && deadline <= action.at
}

/// The step is decided again, by the time of the news and when the cooldown is over.
fn ask_again(draft: &mut Draft<'_>, requested: &Requested) -> String {
    life::settle_if_quiet(draft, requested.incident_id);
    draft.recheck_at(draft.at);
    sentence::came_late(requested)
}

/// No news of an action until its deadline and grace had passed.
pub(super) fn timed_out(draft: &mut Draft<'_>, action_id: ActionId) {
    let Some(requested) = end(draft, action_id) else {
        return draft.say(None, Said::new(Outcome::Stale, sentence::LATE_TIMER));
    };
    draft.state.target(&requested.target).replicas = None;
    let what = sentence::timed_out(&requested, draft.at);
    let before = requested.previous;
    let reason = undo(
        draft,
        &requested,
        before,
        (ReasonCode::ActionTimedOut, what),
    );
    draft.wake_waiting(&requested.target);
    let said = Said::new(Outcome::ActionTimedOut, reason);
    draft.say_of(rule_of(&requested), said);
}

/// Puts the target back to the count before, once; what cannot be undone fails the incident.
fn undo(
    draft: &mut Draft<'_>,
    requested: &Requested,
    before: Option<i32>,
    (code, what): (ReasonCode, String),
) -> String {
    if requested.compensates.is_some() {
        return give_up(draft, requested, ReasonCode::CompensationFailed, &what);
    }
    let Some(undo) = requested.on_failure else {
        return give_up(draft, requested, code, &what);
    };
    if let Some(pause) = draft.state.pause_of(&requested.target, draft.at) {
        let what = format!("{what} {}", sentence::not_undone(&requested.target, pause));
        return give_up(draft, requested, code, &what);
    }
    let to = count_to_restore(draft, requested, (undo, before));
    if let Some(incident) = draft.current(requested.incident_id) {
        incident.undone = Some(Failure {
            code,
            message: sentence::undone(&what, to),
            action_id: requested.action_id,
        });
    }
    let reason = sentence::undoes(&what, &requested.target, to);
    let wish = compensation(requested, to, reason.clone());
    request_for(draft, requested.incident_id, wish);
    reason
}

fn count_to_restore(
    draft: &Draft<'_>,
    requested: &Requested,
    (undo, before): (Undo, Option<i32>),
) -> i32 {
    let bounds = draft.rules.targets.get(&requested.target);
    let wanted = match undo {
        Undo::Replicas(count) => count,
        Undo::Previous => before
            .or_else(|| bounds.map(|bounds| bounds.min_replicas))
            .unwrap_or(requested.desired),
    };
    bounds.map_or(wanted, |bounds| {
        wanted.clamp(bounds.min_replicas, bounds.max_replicas)
    })
}

fn compensation(requested: &Requested, to: i32, reason: String) -> Request {
    Request {
        target: requested.target.clone(),
        kind: ActionKind::EnsureReplicas,
        rule: requested.rule.clone(),
        rule_version: requested.rule_version.clone(),
        direction: Direction::Exact,
        desired: to,
        previous: None,
        timeout_ms: requested.timeout_ms,
        cooldown_ms: None,
        verify_within_ms: requested.verify_within_ms,
        on_failure: None,
        compensates: Some(requested.action_id),
        actor: None,
        reason,
    }
}

/// Fails the incident of the action, if it is current; the story of a closed one stays as it is.
fn give_up(draft: &mut Draft<'_>, requested: &Requested, code: ReasonCode, what: &str) -> String {
    let id: IncidentId = requested.incident_id;
    if draft.current(id).is_none() {
        return what.to_owned();
    }
    let message = sentence::gives_up(draft.memory(), what);
    let failure = Failure {
        code,
        message: message.clone(),
        action_id: requested.action_id,
    };
    life::fail(draft, failure);
    message
}

/// Takes an action off the list, and frees its target.
fn end(draft: &mut Draft<'_>, action_id: ActionId) -> Option<Requested> {
    let requested = draft.memory_mut().pending.remove(&action_id)?;
    let target = draft.state.target(&requested.target);
    if target
        .pending
        .as_ref()
        .is_some_and(|busy| busy.action_id == action_id)
    {
        target.pending = None;
    }
    Some(requested)
}

/// News of an action that is not under way any more. Its count counts, if nothing was asked of the
/// target since.
fn stale(draft: &mut Draft<'_>, target: &str, action_id: ActionId, running: Option<i32>) {
    let known = draft.state.target(target);
    if known.pending.is_none() && known.latest == Some(action_id) {
        known.replicas = running;
    }
    draft.say(None, Said::new(Outcome::Stale, sentence::LATE_NEWS));
}

fn rule_of(requested: &Requested) -> RuleRef {
    RuleRef {
        name: requested.rule.clone(),
        version: requested.rule_version.clone(),
    }
}
