//! Sentences for people: cause, state, next step. Every word that an operator reads comes from here.

use chrono::{SecondsFormat, TimeDelta};
use shared_events::{
    IncidentId, Timestamp, action::ALL_TARGETS, action::ActionCompleted, alert::AlertRaised,
    incident::ReasonCode,
};

use super::{Bounds, Busy, Incident, Memory, Opened, Pause, Requested, RulesLoaded};

pub(super) const SETTLES: &str = "closes unless an alert fires again";
pub(super) const VERIFIES: &str = "looks whether its alerts have cleared";
pub(super) const RECHECKS: &str = "decides the refused step again";
pub(super) const OVER: &str = "this episode is over: its incident has heard of its end";
pub(super) const CLOSED: &str =
    "the incident of this episode was closed; it opens no other until it clears and fires anew";
pub(super) const LATE_TIMER: &str = "what this timer was set for has ended";
pub(super) const LATE_NEWS: &str = "this action is not under way any more: its news came too late";
pub(super) const NOTHING_WAITS: &str = "no alert fires that a step was refused for";
pub(super) const NOTHING_FIRES: &str = "no alert holds the incident any more";
pub(super) const PAUSE_IS_OVER: &str = "the pause would be over before it begins";
pub(super) const UNDER_WAY: &str = "an action of this incident is under way: wait for its end";
pub(super) const NO_STEP: &str = "no rule with an action means an alert that holds this incident";
pub(super) const CLOSED_ALREADY: &str = "the incident is closed already";

/// `35 s`, `2 min 40 s`, `1 h 5 min`.
#[must_use]
pub fn span(delta: TimeDelta) -> String {
    let seconds = delta.num_seconds().max(0);
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes, rest) {
        (0, 0, s) => format!("{s} s"),
        (0, m, 0) => format!("{m} min"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, 0, _s) => format!("{h} h"),
        (h, m, _s) => format!("{h} h {m} min"),
    }
}

/// UTC, whole seconds.
#[must_use]
pub fn clock(at: Timestamp) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// First digits of an id: enough for people and for the CLI.
#[must_use]
pub fn short(id: IncidentId) -> String {
    id.to_string()[..6].to_owned()
}

fn count(known: Option<i32>) -> String {
    known.map_or_else(|| "?".to_owned(), |count| count.to_string())
}

fn change(requested: &Requested) -> String {
    let (from, to) = (count(requested.previous), requested.desired);
    match requested.compensates {
        Some(_) => format!("Putting {} back to {to}", requested.target),
        None => format!("Scale {} {from} -> {to}", requested.target),
    }
}

pub(super) fn title(alert: &AlertRaised, key: &str) -> String {
    let name = alert
        .labels
        .get("alertname")
        .map_or("alert", String::as_str);
    match alert.annotations.get("summary") {
        Some(summary) if !summary.is_empty() => summary.clone(),
        Some(_) | None if key.is_empty() => name.to_owned(),
        Some(_) | None => format!("{name} on {key}"),
    }
}

pub(super) fn opened(rule: &str) -> String {
    format!("{rule} opened an incident")
}

pub(super) fn already_open(incident: &Incident, joined: bool) -> String {
    let id = short(incident.id);
    match joined {
        true => format!(
            "joined incident {id}, which is open since {}",
            clock(incident.opened_at)
        ),
        false => format!("still firing: it holds incident {id}"),
    }
}

pub(super) fn attached(incident: &Incident) -> String {
    let state = match incident.is_current() {
        true => "current",
        false => "latest",
    };
    format!(
        "joined the {state} incident {}, without holding it",
        short(incident.id)
    )
}

pub(super) fn nothing_to_attach(key: &str) -> String {
    format!("there never was an incident of {key:?} to join")
}

pub(super) fn already_over(alert: &AlertRaised) -> String {
    let name = alert
        .labels
        .get("alertname")
        .map_or("The alert", String::as_str);
    format!("{name} was over before it was heard of: nothing was done")
}

pub(super) fn condition_false(source: &str, worked_out: &str) -> String {
    format!("`when` is false: {source} ({worked_out})")
}

pub(super) fn condition_unclear(source: &str, error: &str) -> String {
    format!("`when` cannot be told, so it counts as false: {error} in {source}")
}

pub(super) fn limit_opened(target: &str, used: usize, limit: u32) -> String {
    let what = match target {
        ALL_TARGETS => "all targets",
        target => target,
    };
    format!("{used} actions on {what} within an hour, and {limit} are allowed")
}

pub(super) fn limit_reached(target: &str, opened: &Opened) -> String {
    let closing = match target {
        ALL_TARGETS => "eventpulse limits close --reason ..".to_owned(),
        target => format!("eventpulse limits close {target} --reason .."),
    };
    format!(
        "{} (since {}): nothing more until a person looks, then `{closing}`",
        opened.reason,
        clock(opened.at)
    )
}

pub(super) fn limit_not_open(target: &str) -> String {
    match target {
        ALL_TARGETS => "the limit of all targets is not reached".to_owned(),
        target => format!("the limit of {target} is not reached"),
    }
}

pub(super) fn limit_closed(target: &str, opened: &Opened, at: Timestamp) -> String {
    let what = match target {
        ALL_TARGETS => "every target",
        target => target,
    };
    format!(
        "{what} may be acted on again, after {}",
        span(at - opened.at)
    )
}

pub(super) fn gave_up(incident: &Incident) -> String {
    format!(
        "the automation gave up on incident {id}: nothing more until it clears, or `eventpulse incident retry {id} --reason ..`",
        id = short(incident.id)
    )
}

pub(super) fn no_label(label: &str) -> String {
    format!("the alert has no label {label:?} to name a target")
}

pub(super) fn undeclared(target: &str) -> String {
    format!("targets.yaml declares no target {target:?}")
}

pub(super) fn busy(target: &str, busy: &Busy) -> String {
    format!(
        "{target} is busy: {rule} asked for {count} (incident of {key:?}); decided again when that ends",
        rule = busy.rule,
        count = replicas(busy.desired),
        key = busy.correlation_key
    )
}

pub(super) fn cooldown(rule: &str, target: &str, until: Timestamp) -> String {
    format!(
        "{rule} acted on {target} not long ago; decided again at {}",
        clock(until)
    )
}

pub(super) fn at_limit(target: &str, known: i32, desired: i32, bounds: Bounds) -> String {
    let bound = match desired {
        desired if desired == bounds.max_replicas => ", its max_replicas",
        desired if desired == bounds.min_replicas => ", its min_replicas",
        _desired => "",
    };
    format!(
        "{target} has {}; {desired} are wanted{bound}",
        replicas(known)
    )
}

fn replicas(count: i32) -> String {
    match count {
        1 => "1 replica".to_owned(),
        count => format!("{count} replicas"),
    }
}

pub(super) fn paused(target: &str, pause: &Pause) -> String {
    let what = match target {
        ALL_TARGETS => "every target",
        target => target,
    };
    let until = pause.until.map_or_else(
        || "until resumed".to_owned(),
        |until| format!("until {}", clock(until)),
    );
    format!(
        "{what} is paused {until} by {}: {}",
        pause.actor, pause.reason
    )
}

pub(super) fn asks(rule: &str, target: &str, previous: Option<i32>, desired: i32) -> String {
    format!("{rule} scales {target} {} -> {desired}", count(previous))
}

pub(super) fn awaits(requested: &Requested) -> String {
    format!("{}, given up if it has not ended", change(requested))
}

pub(super) fn completed(requested: &Requested, action: &ActionCompleted) -> String {
    let took = span(action.at - requested.requested_at);
    let running = replicas(action.running_replicas);
    format!(
        "{} done after {took}: {running} running.",
        change(requested)
    )
}

pub(super) fn settles(due: Timestamp) -> String {
    format!(
        "No alert fires: the incident closes at {} unless one does.",
        clock(due)
    )
}

pub(super) fn verifies(due: Timestamp) -> String {
    format!("Looks at {} whether its alerts have cleared.", clock(due))
}

pub(super) fn looks_again(due: Timestamp) -> String {
    format!(
        "the alerts still fire and the next step is refused for now: looks again at {}",
        clock(due)
    )
}

pub(super) fn superseded(requested: &Requested) -> String {
    format!("{}: replaced by a newer request", change(requested))
}

pub(super) fn came_late(requested: &Requested) -> String {
    format!(
        "{}: came to Action Runner after its deadline, and nothing was changed. It is decided again.",
        change(requested)
    )
}

pub(super) fn failed(requested: &Requested, at: Timestamp, message: &str) -> String {
    let took = span(at - requested.requested_at);
    let cause = cause(message).trim_end_matches('.');
    format!("{} failed after {took}: {cause}.", change(requested))
}

/// What the runner's words add to "scaling app 1 -> 2 failed after 16 s: ".
fn cause(message: &str) -> &str {
    message
        .strip_prefix("scaling ")
        .and_then(|rest| rest.split_once(" failed after "))
        .and_then(|(_, rest)| rest.split_once(": "))
        .map_or(message, |(_, cause)| cause)
}

pub(super) fn timed_out(requested: &Requested, at: Timestamp) -> String {
    let took = span(at - requested.requested_at);
    format!("{} gave no news for {took}: timed out.", change(requested))
}

pub(super) fn not_undone(target: &str, pause: &Pause) -> String {
    format!("Not undone: {}.", paused(target, pause))
}

pub(super) fn undoes(what: &str, target: &str, to: i32) -> String {
    format!("{what} Putting {target} back to {}.", replicas(to))
}

pub(super) fn undone(what: &str, to: i32) -> String {
    format!("{what} Back to {to}.")
}

pub(super) fn load_stays_high(memory: &Memory, within: TimeDelta) -> String {
    let what = format!(
        "Load stays high: {} after the action was done, no rule has a further step.",
        span(within)
    );
    gives_up(memory, &what)
}

/// `what`, what still fires, and what a person can do.
pub(super) fn gives_up(memory: &Memory, what: &str) -> String {
    let Some(incident) = &memory.incident else {
        return what.to_owned();
    };
    let id = short(incident.id);
    match still_firing(memory, incident) {
        Some(firing) => format!(
            "{what} {firing} Nothing more will be tried until it clears: fix the cause, then `eventpulse incident retry {id} --reason ..`."
        ),
        None => format!("{what} No alert fires any more; look at the target."),
    }
}

/// `HighCPU still fires: "CPU of app is at 84 % of its limit".`
fn still_firing(memory: &Memory, incident: &Incident) -> Option<String> {
    let first = incident.holding().next()?;
    let others = match incident.holding().count() - 1 {
        0 => String::new(),
        others => format!(" (and {others} more)"),
    };
    let said = memory
        .evidence
        .get(&first.episode_id)
        .and_then(|alert| alert.annotations.get("summary"))
        .map_or_else(|| ".".to_owned(), |summary| format!(": {summary:?}."));
    Some(format!("{}{others} still fires{said}", first.name))
}

pub(super) fn recovered(code: &ReasonCode, incident: &Incident, at: Timestamp) -> String {
    let mut names: Vec<&str> = incident
        .alerts
        .iter()
        .filter(|alert| alert.holds)
        .map(|alert| alert.name.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    let (names, took) = (names.join(", "), span(at - incident.opened_at));
    match code {
        ReasonCode::NoNews => format!(
            "{names} was not heard of any more and counts as over, {took} after the incident opened"
        ),
        ReasonCode::RecoveredAfterFailure => format!(
            "{names} cleared {took} after the incident opened; the automation had given up before"
        ),
        ReasonCode::AlertsCleared
        | ReasonCode::AlreadyOver
        | ReasonCode::ClosedByPerson
        | ReasonCode::StillFiringAfterAction
        | ReasonCode::ActionFailed
        | ReasonCode::ActionTimedOut
        | ReasonCode::CompensationFailed
        | ReasonCode::Unknown(_) => format!("{names} cleared {took} after the incident opened"),
    }
}

pub(super) fn cleared_without_hold(name: &str) -> String {
    format!("{name} fires no more; it held no incident")
}

pub(super) fn cleared_after_close(name: &str) -> String {
    format!("{name} fires no more; its incident was closed before")
}

pub(super) fn still_held(name: &str, left: usize) -> String {
    let alerts = match left {
        1 => "1 alert".to_owned(),
        left => format!("{left} alerts"),
    };
    format!("{name} fires no more; the incident stays open: {alerts} still hold it")
}

pub(super) fn cleared_during_action(name: &str) -> String {
    format!(
        "{name} fires no more; the incident stays open until the action under way has ended and nothing fires again"
    )
}

pub(super) fn not_paused(target: &str) -> String {
    match target {
        ALL_TARGETS => "no pause of every target is on".to_owned(),
        target => format!("{target} is not paused"),
    }
}

pub(super) fn resumed(target: &str, pause: &Pause, at: Timestamp) -> String {
    let what = match target {
        ALL_TARGETS => "every target",
        target => target,
    };
    format!("{what} works again, after {}", span(at - pause.at))
}

pub(super) fn retries(requested: &Requested, actor: &str, reason: &str) -> String {
    format!("{}, asked for by {actor}: {reason}", change(requested))
}

pub(super) fn closed_by(actor: &str, reason: &str) -> String {
    format!("Closed by {actor}: {reason}")
}

/// The answer to a command about an incident that is not there.
#[must_use]
pub fn no_incident(id: IncidentId) -> String {
    format!("no current incident {id}")
}

pub(super) fn rules_loaded(loaded: &RulesLoaded) -> String {
    let version = loaded.hash.get(..8).unwrap_or(&loaded.hash);
    let active = match loaded.rules {
        1 => format!("1 rule of version {version} is active"),
        rules => format!("{rules} rules of version {version} are active"),
    };
    match (&loaded.change, &loaded.fault) {
        (Some(by), None) => {
            format!(
                "{active}: change {} by {}: {}",
                by.number, by.actor, by.reason
            )
        }
        (Some(by), Some(fault)) => {
            format!(
                "change {} by {} took no effect: {fault}; {active}",
                by.number, by.actor
            )
        }
        (None, Some(fault)) => format!("{fault}; {active}"),
        (None, None) => active,
    }
}
