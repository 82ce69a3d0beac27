//! A person commands.

use shared_events::{
    ActionEvent, IncidentId, Timestamp,
    action::{ALL_TARGETS, TargetPaused, TargetResumed},
    incident::ReasonCode,
};

use super::{
    Answer, Command, Event, Outcome, Pause, Phase, Verb,
    act::{Scope, act_again},
    draft::{Draft, Said},
    life, sentence,
    step::Urgency,
};

/// Folds a command.
pub(super) fn obey(draft: &mut Draft<'_>, command: &Command) {
    let answer = match &command.verb {
        Verb::Pause { target, until } => pause(draft, command, target, *until),
        Verb::Resume { target } => resume(draft, command, target),
        Verb::CloseLimit { target } => close_limit(draft, target),
        Verb::Retry { incident_id } => retry(draft, command, *incident_id),
        Verb::Close { incident_id } => close(draft, command, *incident_id),
    };
    let said = match &answer {
        Answer::Done { message, .. } => Said::new(Outcome::Obeyed, message),
        Answer::Refused { message, .. } | Answer::Unknown { message } => {
            Said::new(Outcome::Refused, message)
        }
    };
    draft.say(None, said);
    draft.answer = Some(answer);
}

fn refused(outcome: Outcome, message: impl Into<String>) -> Answer {
    Answer::Refused {
        outcome,
        message: message.into(),
    }
}

fn pause(
    draft: &mut Draft<'_>,
    command: &Command,
    target: &str,
    until: Option<Timestamp>,
) -> Answer {
    if target != ALL_TARGETS && !draft.rules.targets.contains_key(target) {
        return Answer::Unknown {
            message: sentence::undeclared(target),
        };
    }
    if until.is_some_and(|until| until <= command.at) {
        return refused(Outcome::Refused, sentence::PAUSE_IS_OVER);
    }
    let pause = Pause {
        pause_id: draft.cause.uuid(),
        at: command.at,
        until,
        actor: command.actor.clone(),
        reason: command.reason.clone(),
    };
    let message = sentence::paused(target, &pause);
    let event = TargetPaused {
        pause_id: pause.pause_id,
        target: target.to_owned(),
        at: command.at,
        until,
        actor: command.actor.clone(),
        reason: command.reason.clone(),
    };
    let pause_id = Some(pause.pause_id);
    *pause_slot(draft, target) = Some(pause);
    draft.emit(Event::Action(ActionEvent::Paused(event)));
    Answer::Done {
        message,
        action_id: None,
        pause_id,
    }
}

fn pause_slot<'d>(draft: &'d mut Draft<'_>, target: &str) -> &'d mut Option<Pause> {
    if target == ALL_TARGETS {
        &mut draft.state.everything
    } else {
        &mut draft.state.target(target).pause
    }
}

fn resume(draft: &mut Draft<'_>, command: &Command, target: &str) -> Answer {
    let Some(pause) = pause_slot(draft, target).take() else {
        return Answer::Unknown {
            message: sentence::not_paused(target),
        };
    };
    let event = TargetResumed {
        pause_id: pause.pause_id,
        target: target.to_owned(),
        // a clock that was set back must not make it older than what it ends
        at: command.at.max(pause.at),
        actor: command.actor.clone(),
        reason: command.reason.clone(),
    };
    draft.emit(Event::Action(ActionEvent::Resumed(event)));
    wake(draft, target);
    Answer::Done {
        message: sentence::resumed(target, &pause, draft.at),
        action_id: None,
        pause_id: Some(pause.pause_id),
    }
}

/// Decides again what waits for the target, or for any.
fn wake(draft: &mut Draft<'_>, target: &str) {
    let waited_for: Vec<String> = if target == ALL_TARGETS {
        draft.state.targets.keys().cloned().collect()
    } else {
        vec![target.to_owned()]
    };
    for name in waited_for {
        draft.wake_waiting(&name);
    }
}

/// Closes the breaker; the hour begins anew.
fn close_limit(draft: &mut Draft<'_>, target: &str) -> Answer {
    let budget = match target {
        ALL_TARGETS => &mut draft.state.total,
        target => &mut draft.state.target(target).budget,
    };
    let Some(opened) = std::mem::take(budget).opened else {
        return Answer::Unknown {
            message: sentence::limit_not_open(target),
        };
    };
    wake(draft, target);
    Answer::Done {
        message: sentence::limit_closed(target, &opened, draft.at),
        action_id: None,
        pause_id: None,
    }
}

/// The next step now, cooldown or not. It is a new attempt: it may be undone again.
fn retry(draft: &mut Draft<'_>, command: &Command, id: IncidentId) -> Answer {
    if let Err(answer) = current(draft, id) {
        return answer;
    }
    if draft.memory().is_pending(id) {
        return refused(Outcome::ActionPending, sentence::UNDER_WAY);
    }
    let before = draft.state.clone();
    if let Some(incident) = draft.current(id) {
        incident.phase = Phase::Open;
        incident.undone = None;
    }
    let held = act_again(
        draft,
        Scope::Firing,
        (Urgency::ByPerson, Some(&command.actor)),
    );
    let asked = draft
        .memory()
        .pending
        .values()
        .find(|requested| requested.incident_id == id);
    if let Some(requested) = asked {
        return Answer::Done {
            message: sentence::retries(requested, &command.actor, &command.reason),
            action_id: Some(requested.action_id),
            pause_id: None,
        };
    }
    draft.state = before;
    match held.into_iter().next() {
        Some(held) => refused(held.outcome, held.reason),
        None => refused(Outcome::NothingToAttach, sentence::NO_STEP),
    }
}

fn close(draft: &mut Draft<'_>, command: &Command, id: IncidentId) -> Answer {
    if let Err(answer) = current(draft, id) {
        return answer;
    }
    draft.memory_mut().evidence.clear();
    let message = sentence::closed_by(&command.actor, &command.reason);
    let actor = Some(command.actor.clone());
    life::resolve(draft, ReasonCode::ClosedByPerson, message.clone(), actor);
    Answer::Done {
        message,
        action_id: None,
        pause_id: None,
    }
}

fn current(draft: &Draft<'_>, id: IncidentId) -> Result<(), Answer> {
    match &draft.memory().incident {
        Some(incident) if incident.id == id && incident.is_current() => Ok(()),
        Some(incident) if incident.id == id => {
            Err(refused(Outcome::AlreadyOver, sentence::CLOSED_ALREADY))
        }
        Some(_) | None => Err(Answer::Unknown {
            message: sentence::no_incident(id),
        }),
    }
}
