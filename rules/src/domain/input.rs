//! What is decided about.

use serde::{Deserialize, Serialize};
use shared_events::{
    ActionId, EventId, IncidentId, Timestamp,
    action::{ActionCompleted, ActionFailed},
    alert::{AlertRaised, AlertResolved},
    ids,
};

/// One input, with the id of the event that it is: the cause of everything that follows.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    pub id: EventId,
    pub kind: Kind,
}

/// What came in.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// `rules`: positions of the rules that see the alert under this key (see [`route`](super::route())).
    Raised {
        alert: Box<AlertRaised>,
        rules: Vec<usize>,
    },
    Resolved {
        alert: Box<AlertResolved>,
        rules: Vec<usize>,
    },
    Completed(Box<ActionCompleted>),
    Failed(Box<ActionFailed>),
    Timer(Timer),
    Command(Command),
    RulesLoaded(RulesLoaded),
}

/// A set timer; due once, at a time of the inputs' clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    pub id: EventId,
    /// Correlation that it wakes.
    pub key: String,
    #[serde(flatten)]
    pub kind: TimerKind,
    pub due: Timestamp,
}

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "timer")]
pub enum TimerKind {
    /// No news of an action until its deadline and a grace had passed.
    Timeout { action_id: ActionId },
    /// A refused step may be possible now.
    Recheck,
    /// Did a completed action help?
    Verify { incident_id: IncidentId },
    /// Nothing has fired since the last action ended?
    Settle { incident_id: IncidentId },
}

/// What a person asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    pub at: Timestamp,
    pub actor: String,
    pub reason: String,
    #[serde(flatten)]
    pub verb: Verb,
}

/// The verb of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "command")]
pub enum Verb {
    /// Stop the automation of a target, or of all (`*`).
    Pause {
        target: String,
        until: Option<Timestamp>,
    },
    /// Let it work again.
    Resume { target: String },
    /// Try the next step of a current incident now, cooldown or not.
    Retry { incident_id: IncidentId },
    /// Let actions on a target, or on all (`*`), be asked for again after a limit was reached.
    CloseLimit { target: String },
    /// Close a current incident.
    Close { incident_id: IncidentId },
}

/// A rule set became the active one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesLoaded {
    pub at: Timestamp,
    pub hash: String,
    pub rules: usize,
    /// Hash of the one before.
    pub before: Option<String>,
    /// The event that brought it; missing when files did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangedBy>,
    /// Why what it brought did not become active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// Who changed the rules, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedBy {
    pub number: i64,
    /// SHA-256 of the rules file.
    pub hash: String,
    pub actor: String,
    pub reason: String,
}

impl Input {
    /// Its time: all that cooldowns and windows ever compare.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        match &self.kind {
            Kind::Raised { alert, .. } => alert.at,
            Kind::Resolved { alert, .. } => alert.at,
            Kind::Completed(action) => action.at,
            Kind::Failed(action) => action.at,
            Kind::Timer(timer) => timer.due,
            Kind::Command(command) => command.at,
            Kind::RulesLoaded(loaded) => loaded.at,
        }
    }
}

impl Kind {
    /// What it is called in the log and in metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Raised { .. } => "alert.raised",
            Self::Resolved { .. } => "alert.resolved",
            Self::Completed(_) => "action.completed",
            Self::Failed(_) => "action.failed",
            Self::Timer(timer) => match timer.kind {
                TimerKind::Timeout { .. } => "timer.timeout",
                TimerKind::Recheck => "timer.recheck",
                TimerKind::Verify { .. } => "timer.verify",
                TimerKind::Settle { .. } => "timer.settle",
            },
            Self::Command(command) => match command.verb {
                Verb::Pause { .. } => "command.pause",
                Verb::Resume { .. } => "command.resume",
                Verb::Retry { .. } => "command.retry",
                Verb::CloseLimit { .. } => "command.close_limit",
                Verb::Close { .. } => "command.close",
            },
            Self::RulesLoaded(_) => "rules.loaded",
        }
    }
}

impl Timer {
    /// A timer that `cause` sets.
    #[must_use]
    pub fn new(key: &str, kind: TimerKind, due: Timestamp, cause: EventId) -> Self {
        let (name, entity) = match kind {
            TimerKind::Timeout { action_id } => ("timeout", action_id.to_string()),
            TimerKind::Recheck => ("recheck", String::new()),
            TimerKind::Verify { incident_id } => ("verify", incident_id.to_string()),
            TimerKind::Settle { incident_id } => ("settle", incident_id.to_string()),
        };
        let id = ids::derive(["timer", key, name, &entity, &cause.to_string()]);
        Self {
            id: EventId(id),
            key: key.to_owned(),
            kind,
            due,
        }
    }
}
