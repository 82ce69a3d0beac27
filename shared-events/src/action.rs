//! Events of topic `action`: requests and pauses by Rules, outcomes by Action Runner.

use chrono::serde::{ts_microseconds, ts_microseconds_option};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{ActionId, EventId, IncidentId, Timestamp, Topic, ids::event_id, topic::topic_event};

/// What happens to targets.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ActionEvent {
    Requested(ActionRequested),
    Completed(ActionCompleted),
    Failed(ActionFailed),
    Paused(TargetPaused),
    Resumed(TargetResumed),
}

topic_event!(ActionEvent, Topic::Action, {
    Requested(ActionRequested) = "action.requested",
    Completed(ActionCompleted) = "action.completed",
    Failed(ActionFailed) = "action.failed",
    Paused(TargetPaused) = "target.paused",
    Resumed(TargetResumed) = "target.resumed",
});

/// Name that stands for every target in a pause.
pub const ALL_TARGETS: &str = "*";

/// Rules ask for an absolute number of replicas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionRequested {
    pub action_id: ActionId,
    pub incident_id: IncidentId,
    pub target: String,
    #[serde(with = "ts_microseconds")]
    pub at: Timestamp,
    pub kind: ActionKind,
    pub desired_replicas: i32,
    pub direction: Direction,
    pub previous_replicas: Option<i32>,
    pub rule: String,
    pub rule_version: String,
    pub correlation_key: String,
    #[serde(with = "ts_microseconds")]
    pub deadline_at: Timestamp,
    #[serde(with = "ts_microseconds_option")]
    pub cooldown_until: Option<Timestamp>,
    pub verify_within_ms: Option<i64>,
    /// The action that this one undoes.
    pub compensates: Option<ActionId>,
    pub actor: Option<String>,
    pub reason: String,
}

crate::wire_enum! {
    /// What is asked for.
    ActionKind {
        /// A rule's step.
        ScaleDocker = "scale_docker",
        /// A compensation: back to a count.
        EnsureReplicas = "ensure_replicas",
    }
}

crate::wire_enum! {
    /// What `desired_replicas` means.
    Direction {
        /// At least: never removes.
        Up = "up",
        /// At most: never creates.
        Down = "down",
        /// Exactly.
        Exact = "exact",
    }
}

/// The target has what was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionCompleted {
    pub action_id: ActionId,
    pub incident_id: IncidentId,
    pub target: String,
    #[serde(with = "ts_microseconds")]
    pub at: Timestamp,
    pub desired_replicas: i32,
    pub previous_replicas: Option<i32>,
    pub running_replicas: i32,
    pub result: Outcome,
    pub message: String,
}

crate::wire_enum! {
    /// How an action completed.
    Outcome {
        /// Steps were done.
        Scaled = "scaled",
        /// Nothing was due.
        NothingToDo = "nothing_to_do",
        /// More than desired run, made by others, and are left alone.
        Drift = "drift",
    }
}

/// The target does not have what was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionFailed {
    pub action_id: ActionId,
    pub incident_id: IncidentId,
    pub target: String,
    #[serde(with = "ts_microseconds")]
    pub at: Timestamp,
    pub reason: FailureReason,
    pub message: String,
    pub desired_replicas: i32,
    pub previous_replicas: Option<i32>,
    pub running_replicas: Option<i32>,
    pub evidence: Vec<Evidence>,
}

crate::wire_enum! {
    /// Why an action failed.
    FailureReason {
        /// A replica exited or was not ready by the deadline.
        Unhealthy = "unhealthy",
        /// Docker refused.
        Docker = "docker",
        /// The deadline passed.
        Deadline = "deadline",
        /// A newer request for the target replaced it.
        Superseded = "superseded",
        /// The target is not declared: nothing was changed.
        UnknownTarget = "unknown_target",
        /// The count is outside the target's bounds: nothing was changed.
        OutOfBounds = "out_of_bounds",
    }
}

/// What was seen of a replica before it was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    pub container: String,
    pub exit_code: Option<i64>,
    pub oom_killed: bool,
    /// Last lines of its log.
    pub logs: Vec<String>,
    /// Last outputs of its health check.
    pub health: Vec<String>,
}

/// A person stops the automation of a target, or of all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetPaused {
    pub pause_id: Uuid,
    /// Name of the target, or [`ALL_TARGETS`].
    pub target: String,
    #[serde(with = "ts_microseconds")]
    pub at: Timestamp,
    #[serde(with = "ts_microseconds_option")]
    pub until: Option<Timestamp>,
    pub actor: String,
    pub reason: String,
}

/// A pause ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetResumed {
    pub pause_id: Uuid,
    /// Name of the target, or [`ALL_TARGETS`].
    pub target: String,
    #[serde(with = "ts_microseconds")]
    pub at: Timestamp,
    pub actor: String,
    pub reason: String,
}

macro_rules! action_fact {
    ($($payload:ident = $type:literal by $producer:literal: $entity:ident, $correlation:ident);+ $(;)?) => {$(
        impl $payload {
            fn key(&self) -> String {
                self.target.clone()
            }
            fn event_id(&self) -> EventId {
                event_id($producer, $type, self.$entity.into(), "")
            }
            fn subject(&self) -> String {
                self.$entity.to_string()
            }
            fn correlation_id(&self) -> Uuid {
                self.$correlation.into()
            }
        }
    )+};
}
action_fact!(
    ActionRequested = "action.requested" by "rules": action_id, incident_id;
    ActionCompleted = "action.completed" by "action-runner": action_id, incident_id;
    ActionFailed = "action.failed" by "action-runner": action_id, incident_id;
    TargetPaused = "target.paused" by "rules": pause_id, pause_id;
    TargetResumed = "target.resumed" by "rules": pause_id, pause_id;
);
