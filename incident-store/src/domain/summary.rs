//! A fact as a sentence that a person reads at three in the morning: cause, state, next step.

use chrono::SecondsFormat;
use shared_events::{
    Timestamp,
    action::{
        ActionCompleted, ActionFailed, ActionKind, ActionRequested, Direction, FailureReason,
        Outcome,
    },
    incident::{
        AlertStatus, IncidentAlert, IncidentFailed, IncidentOpened, IncidentResolved,
        IncidentUpdated, ReasonCode,
    },
};

use super::{Body, view::replicas};

/// Who did it: a person's name, a rule, or the service.
#[must_use]
pub fn actor(body: &Body) -> String {
    let rule = |name: &str| match name {
        "" => "rules".to_owned(),
        name => format!("rule {name}"),
    };
    match body {
        Body::Opened(event) => rule(event.rule.as_deref().unwrap_or_default()),
        Body::Resolved(event) => event.actor.clone().unwrap_or_else(|| "rules".to_owned()),
        Body::Requested(event) => event.actor.clone().unwrap_or_else(|| rule(&event.rule)),
        Body::Updated(_) | Body::Failed(_) => "rules".to_owned(),
        Body::Completed(_) | Body::ActionFailed(_) => "action-runner".to_owned(),
    }
}

/// What happened, in words.
#[must_use]
pub fn summary(body: &Body) -> String {
    match body {
        Body::Opened(event) => opened(event),
        Body::Updated(event) => updated(event),
        Body::Resolved(event) => resolved(event),
        Body::Failed(event) => failed(event),
        Body::Requested(event) => requested(event),
        Body::Completed(event) => completed(event),
        Body::ActionFailed(event) => action_failed(event),
    }
}

fn opened(event: &IncidentOpened) -> String {
    let alert = event.alerts.first().map_or("an alert", |alert| &alert.name);
    let of = event
        .service
        .as_ref()
        .map(|service| format!(" for {service}"));
    let severity = event
        .severity
        .as_ref()
        .map(|severity| format!(" ({severity})"));
    sentence(&format!(
        "Incident opened: {alert} fires{}{}. {}",
        of.unwrap_or_default(),
        severity.unwrap_or_default(),
        event.title,
    ))
}

fn updated(event: &IncidentUpdated) -> String {
    let mut text = match alerts(&event.alerts) {
        Some(alerts) => sentence(&alerts),
        None => "Incident updated.".to_owned(),
    };
    if let Some(title) = &event.title {
        text = format!("{text} Now: {}", sentence(title));
    }
    if let Some(step) = &event.next_step {
        let due = event.next_due_at.map(|at| format!(" by {}", clock(at)));
        let step = step.trim_end_matches('.');
        text = format!("{text} Next: {step}{}.", due.unwrap_or_default());
    }
    text
}

fn alerts(alerts: &[IncidentAlert]) -> Option<String> {
    let with = |status: &AlertStatus| {
        let mut names: Vec<&str> = alerts
            .iter()
            .filter(|alert| alert.status == *status)
            .map(|alert| alert.name.as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        (!names.is_empty()).then(|| names.join(", "))
    };
    match (with(&AlertStatus::Firing), with(&AlertStatus::Resolved)) {
        (Some(firing), None) => Some(format!("Still firing: {firing}")),
        (Some(firing), Some(over)) => Some(format!("Still firing: {firing}; over: {over}")),
        (None, Some(over)) => Some(format!("No longer firing: {over}")),
        (None, None) => None,
    }
}

fn resolved(event: &IncidentResolved) -> String {
    let head = match &event.reason_code {
        ReasonCode::ClosedByPerson => match &event.actor {
            Some(actor) => format!("Closed by {actor}"),
            None => "Closed by a person".to_owned(),
        },
        ReasonCode::RecoveredAfterFailure => "Resolved, recovered after failure".to_owned(),
        ReasonCode::AlertsCleared
        | ReasonCode::AlreadyOver
        | ReasonCode::NoNews
        | ReasonCode::StillFiringAfterAction
        | ReasonCode::ActionFailed
        | ReasonCode::ActionTimedOut
        | ReasonCode::CompensationFailed
        | ReasonCode::Unknown(_) => "Resolved".to_owned(),
    };
    let code = match &event.reason_code {
        ReasonCode::ClosedByPerson | ReasonCode::RecoveredAfterFailure => "",
        ReasonCode::AlertsCleared => "no alert holds it any more",
        ReasonCode::AlreadyOver => "the alert was over before it was heard of",
        ReasonCode::NoNews => "the sender fell silent",
        ReasonCode::StillFiringAfterAction
        | ReasonCode::ActionFailed
        | ReasonCode::ActionTimedOut
        | ReasonCode::CompensationFailed
        | ReasonCode::Unknown(_) => event.reason_code.as_str(),
    };
    because(&head, &event.reason_message, code)
}

fn failed(event: &IncidentFailed) -> String {
    because(
        "FAILED (automation gave up; needs you)",
        &event.reason_message,
        event.reason_code.as_str(),
    )
}

fn requested(event: &ActionRequested) -> String {
    let undo = match (&event.compensates, &event.kind) {
        (
            Some(_),
            ActionKind::ScaleDocker | ActionKind::EnsureReplicas | ActionKind::Unknown(_),
        )
        | (None, ActionKind::EnsureReplicas) => "Undo: ",
        (None, ActionKind::ScaleDocker | ActionKind::Unknown(_)) => "",
    };
    let bound = match (&event.direction, event.previous_replicas) {
        (Direction::Up, None) => "at least ",
        (Direction::Down, None) => "at most ",
        (Direction::Up | Direction::Down | Direction::Exact | Direction::Unknown(_), Some(_))
        | (Direction::Exact | Direction::Unknown(_), None) => "",
    };
    let from = event
        .previous_replicas
        .map(|count| format!(" from {count}"));
    let head = format!(
        "{undo}scale {}{} to {bound}{} (deadline {})",
        event.target,
        from.unwrap_or_default(),
        replicas(event.desired_replicas),
        clock(event.deadline_at),
    );
    because(&capital(&head), &event.reason, "")
}

fn completed(event: &ActionCompleted) -> String {
    let (target, running) = (&event.target, replicas(event.running_replicas));
    let before = event
        .previous_replicas
        .filter(|before| *before != event.running_replicas);
    let head = match &event.result {
        Outcome::NothingToDo => format!("{target} has {running}, nothing to do"),
        Outcome::Drift => format!(
            "{target} has {running} instead of {}: what others made is left alone",
            event.desired_replicas
        ),
        Outcome::Scaled | Outcome::Unknown(_) => match before {
            Some(before) => format!("{target} has {running}, was {before}"),
            None => format!("{target} has {running}"),
        },
    };
    because(&head, &event.message, "")
}

fn action_failed(event: &ActionFailed) -> String {
    let from = event
        .previous_replicas
        .map(|count| format!(" from {count}"));
    let step = format!(
        "Scaling {}{} to {}",
        event.target,
        from.unwrap_or_default(),
        event.desired_replicas
    );
    let head = match &event.reason {
        FailureReason::Superseded => format!("{step} was replaced by a newer request"),
        FailureReason::Deadline => format!("{step} failed: it was not done by its deadline"),
        FailureReason::Unhealthy => format!("{step} failed: a replica never got ready"),
        FailureReason::Docker => format!("{step} failed: Docker refused"),
        FailureReason::UnknownTarget => {
            format!("{step} failed: the target is not in targets.yaml, nothing was changed")
        }
        FailureReason::OutOfBounds => {
            format!("{step} failed: outside the target's bounds, nothing was changed")
        }
        FailureReason::Unknown(reason) => format!("{step} failed: {reason}"),
    };
    because(&head, &event.message, "")
}

/// `head: message.`, with `code` where there is no message.
fn because(head: &str, message: &str, code: &str) -> String {
    let message = if message.trim().is_empty() {
        code
    } else {
        message
    };
    if message.is_empty() {
        return sentence(head);
    }
    let joint = if head.contains(": ") { ". " } else { ": " };
    sentence(&format!("{head}{joint}{message}"))
}

fn sentence(text: &str) -> String {
    let text = text.trim_end();
    if text.ends_with(['.', '!', '?']) || text.is_empty() {
        text.to_owned()
    } else {
        format!("{text}.")
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// `03:15:32Z`: the day is the entry's own.
fn clock(at: Timestamp) -> String {
    let text = at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let time = text.split_once('T').map(|(_, time)| time.to_owned());
    time.unwrap_or(text)
}
