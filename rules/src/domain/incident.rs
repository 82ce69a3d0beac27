//! An incident as Rules knows it, and the actions that it asked for.

use serde::{Deserialize, Serialize};
use shared_events::{
    ActionId, AlertId, EpisodeId, IncidentId, Timestamp,
    action::{ActionKind, Direction},
    incident::{AlertStatus, IncidentAlert, ReasonCode},
};

use super::{Timer, rule::Undo};

/// Alerts that an event lists at most: the firing ones first.
pub const LISTED: usize = 100;
/// Alerts that are over and that an incident still lists.
const KEPT_RESOLVED: usize = 100;

/// The incident of a correlation key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    pub id: IncidentId,
    pub phase: Phase,
    /// Of its last event.
    pub revision: i64,
    pub opened_at: Timestamp,
    pub title: String,
    pub severity: Option<String>,
    /// In the order in which they joined.
    pub alerts: Vec<Alert>,
    /// Its action failed and is being, or was, undone: nothing more is tried.
    pub undone: Option<Failure>,
    /// It failed at some time.
    pub has_failed: bool,
    /// Its last holding alert was not heard of any more, rather than resolved.
    pub fell_silent: bool,
    /// Looks whether a completed action helped.
    pub verify: Option<Verify>,
    /// Closes it, if nothing fires again after an action has ended.
    pub settle: Option<Timer>,
    /// What people were last told to expect.
    pub next: Option<Next>,
}

/// Where an incident is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Current: alerts hold it, or an action is under way.
    Open,
    /// Current, but the automation gave up.
    Failed,
    /// Over.
    Closed,
}

/// An alert of an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    pub episode_id: EpisodeId,
    pub alert_id: AlertId,
    /// Label `alertname`.
    pub name: String,
    pub severity: Option<String>,
    pub firing: bool,
    pub holds: bool,
}

/// Why an action failed for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub code: ReasonCode,
    pub message: String,
    pub action_id: ActionId,
}

/// A look that is due after an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verify {
    pub timer: Timer,
    /// The action that should have helped.
    pub action_id: ActionId,
    /// How long it was given.
    pub within_ms: i64,
}

/// What happens next, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    pub step: String,
    pub due: Option<Timestamp>,
}

/// An action under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Requested {
    pub action_id: ActionId,
    pub incident_id: IncidentId,
    pub target: String,
    pub rule: String,
    pub rule_version: String,
    pub kind: ActionKind,
    pub direction: Direction,
    pub desired: i32,
    /// Replicas that were known when it was asked for.
    pub previous: Option<i32>,
    pub requested_at: Timestamp,
    pub timeout_ms: i64,
    pub verify_within_ms: Option<i64>,
    pub on_failure: Option<Undo>,
    /// The action that this one undoes.
    pub compensates: Option<ActionId>,
    pub timeout: Timer,
}

impl Incident {
    /// A new one, without alerts.
    #[must_use]
    pub fn new(id: IncidentId, at: Timestamp, title: String) -> Self {
        Self {
            id,
            phase: Phase::Open,
            revision: 0,
            opened_at: at,
            title,
            severity: None,
            alerts: Vec::new(),
            undone: None,
            has_failed: false,
            fell_silent: false,
            verify: None,
            settle: None,
            next: None,
        }
    }

    /// Whether it is the one that alerts of its key join.
    #[must_use]
    pub fn is_current(&self) -> bool {
        match self.phase {
            Phase::Open | Phase::Failed => true,
            Phase::Closed => false,
        }
    }

    /// Whether nothing more is tried until its alerts clear or a person asks for it.
    #[must_use]
    pub fn has_given_up(&self) -> bool {
        self.phase == Phase::Failed || self.undone.is_some()
    }

    /// Alerts that fire and hold it.
    pub fn holding(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().filter(|alert| alert.is_holding())
    }

    /// Whether one does.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.holding().next().is_some()
    }

    /// Its alert of this episode.
    #[must_use]
    pub fn alert(&self, episode: EpisodeId) -> Option<&Alert> {
        self.alerts.iter().find(|alert| alert.episode_id == episode)
    }

    pub(super) fn alert_mut(&mut self, episode: EpisodeId) -> Option<&mut Alert> {
        self.alerts
            .iter_mut()
            .find(|alert| alert.episode_id == episode)
    }

    /// Adds an alert that was not there before.
    pub(super) fn join(&mut self, alert: Alert) {
        if alert.is_holding() && rank(alert.severity.as_ref()) > rank(self.severity.as_ref()) {
            self.severity.clone_from(&alert.severity);
        }
        self.alerts.push(alert);
        let over = self.alerts.iter().filter(|alert| !alert.firing);
        if self.alerts.len() > KEPT_RESOLVED && over.count() > KEPT_RESOLVED {
            let oldest = self.alerts.iter().position(|alert| !alert.firing);
            self.alerts.remove(oldest.expect("some are over"));
        }
    }

    /// The highest severity that holds it; when nothing does, the last one stays.
    pub(super) fn refresh_severity(&mut self) {
        let severities = self.holding().map(|alert| alert.severity.as_ref());
        if let Some(Some(highest)) = severities.max_by_key(|severity| rank(*severity)) {
            self.severity = Some(highest.clone());
        }
    }

    /// Its alerts as events list them.
    #[must_use]
    pub fn listed(&self) -> Vec<IncidentAlert> {
        let firing = self.alerts.iter().filter(|alert| alert.firing);
        let over = self.alerts.iter().rev().filter(|alert| !alert.firing);
        let listed = |alert: &Alert| IncidentAlert {
            alert_id: alert.alert_id,
            episode_id: alert.episode_id,
            name: alert.name.clone(),
            status: match alert.firing {
                true => AlertStatus::Firing,
                false => AlertStatus::Resolved,
            },
            holds: alert.holds,
        };
        firing.chain(over).take(LISTED).map(listed).collect()
    }
}

impl Alert {
    /// Whether it fires and keeps its incident open.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.holds && self.firing
    }
}

/// Severities that people use, highest first; others rank below.
const SEVERITIES: [&[&str]; 5] = [
    &["critical", "page", "emergency", "fatal"],
    &["error", "high", "major"],
    &["warning", "warn", "medium", "minor"],
    &["info", "low", "notice"],
    &["none", "debug"],
];

fn rank(severity: Option<&String>) -> usize {
    let Some(severity) = severity else {
        return 0;
    };
    let position = |names: &&[&str]| names.iter().any(|name| severity.eq_ignore_ascii_case(name));
    let level = SEVERITIES.iter().position(position);
    SEVERITIES.len() + 1 - level.unwrap_or(SEVERITIES.len())
}
