//! Sentences for people: cause, state, and what was seen.

use shared_events::{
    Timestamp,
    action::{Evidence, Outcome},
};

use super::{
    decide::wanted,
    evidence::line,
    observed::{Observed, Phase},
    plan::Ask,
    state::{Action, Pause, Request},
    target::Bounds,
};

/// `at least 2 replicas`
#[must_use]
pub fn count(ask: Ask, desired: i32) -> String {
    let noun = if desired == 1 { "replica" } else { "replicas" };
    match ask {
        Ask::Up => format!("at least {desired} {noun}"),
        Ask::Down => format!("at most {desired} {noun}"),
        Ask::Exact => format!("{desired} {noun}"),
    }
}

pub(super) fn superseded(newer: &Request) -> String {
    format!(
        "replaced by a newer request for {}: {} (action {})",
        newer.target,
        count(newer.ask, newer.desired),
        newer.action_id
    )
}

pub(super) fn overtaken(request: &Request) -> String {
    format!(
        "came after a newer request for {}: nothing was changed",
        request.target
    )
}

pub(super) fn unknown_target(target: &str) -> String {
    format!("targets.yaml does not declare {target}: nothing was changed")
}

pub(super) fn out_of_bounds(request: &Request, bounds: Bounds) -> String {
    format!(
        "{} of {} is outside {} to {} of targets.yaml: nothing was changed",
        count(request.ask, request.desired),
        request.target,
        bounds.min_replicas,
        bounds.max_replicas
    )
}

pub(super) fn late(request: &Request, now: Timestamp) -> String {
    let late = (now - request.deadline_at).num_seconds();
    format!("arrived {late} s after its deadline: nothing was changed")
}

/// `targets.yaml` was changed under a pending action.
#[must_use]
pub fn no_longer_declared(target: &str) -> String {
    format!("targets.yaml no longer declares {target}: nothing more was done")
}

/// Of a completed action.
#[must_use]
pub fn completed(action: &Action, outcome: &Outcome, observed: &Observed) -> String {
    let running = observed.running();
    let target = &action.request.target;
    match outcome {
        Outcome::Scaled => format!("{}, all ready", scaled(action, running)),
        Outcome::NothingToDo => format!(
            "{target} already ran {running}: {} was asked for",
            count(action.request.ask, action.request.desired)
        ),
        Outcome::Drift => format!(
            "{target} runs {running}, {} was asked for: {} made by Compose or a person are left alone",
            count(action.request.ask, action.request.desired),
            observed.running_foreign()
        ),
        Outcome::Unknown(_) => format!("{target} runs {running}"),
    }
}

fn scaled(action: &Action, running: u32) -> String {
    match action.previous {
        Some(previous) => format!("{}: {previous} -> {running}", action.request.target),
        None => format!("{}: {running}", action.request.target),
    }
}

/// Replicas exited, or were not ready in time. `seconds`: since the request.
#[must_use]
pub fn unhealthy(
    action: &Action,
    observed: &Observed,
    evidence: &[Evidence],
    culprits: &[String],
    seconds: i64,
) -> String {
    let mut text = format!("{} failed after {seconds} s", scale(action));
    for id in culprits {
        let Some(replica) = observed.replicas.iter().find(|replica| replica.id == *id) else {
            continue;
        };
        let last = evidence
            .iter()
            .find(|one| one.container == replica.name)
            .and_then(|one| one.logs.last());
        let seen = if replica.phase == Phase::Exited {
            last
        } else {
            None
        };
        let seen = line(seen.unwrap_or(&replica.health));
        let what = match (replica.phase, replica.exit_code) {
            (Phase::Exited, Some(code)) => format!("exited with code {code}"),
            (Phase::Exited, None) => "exited".to_owned(),
            (Phase::Created | Phase::Live | Phase::Removing, _) => "never ready".to_owned(),
        };
        text += &format!(": {} {what}", replica.name);
        if !seen.is_empty() {
            text += &format!(" ({seen})");
        }
    }
    text
}

/// The deadline passed and no replica is to blame.
#[must_use]
pub fn expired(action: &Action, observed: &Observed, seconds: i64) -> String {
    let mut text = format!(
        "{} failed after {seconds} s: {} run",
        scale(action),
        observed.running()
    );
    if observed.template.is_none() {
        text.push_str(
            ", and there is no container to copy: none was ever made by Compose or a person",
        );
    }
    text
}

/// The engine refused, or did not answer until the deadline.
#[must_use]
pub fn docker(action: &Action, trouble: &str, seconds: i64) -> String {
    format!(
        "{} failed after {seconds} s: {}",
        scale(action),
        line(trouble)
    )
}

/// A pause lasted longer than the deadline.
#[must_use]
pub fn paused(action: &Action, pause: &Pause) -> String {
    format!(
        "{} was not begun or finished in time: paused by {} ({})",
        scale(action),
        line(&pause.actor),
        line(&pause.reason)
    )
}

fn scale(action: &Action) -> String {
    let desired = wanted(&action.request);
    match action.previous {
        Some(previous) if previous != desired => {
            format!("scaling {} {previous} -> {desired}", action.request.target)
        }
        Some(_) | None => format!("scaling {} to {desired}", action.request.target),
    }
}
