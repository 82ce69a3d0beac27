//! Events of topic `incident`, written by Rules, and of `incident.status`, written by Incident Store.

use chrono::serde::{ts_microseconds, ts_microseconds_option};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    ActionId, AlertId, EpisodeId, EventId, IncidentId, Labels, Timestamp, Topic, ids::event_id,
    topic::topic_event,
};

const PRODUCER: &str = "rules";

/// What happens to incidents. The highest `revision` tells the status; `Updated` has none.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum IncidentEvent {
    Opened(IncidentOpened),
    Updated(IncidentUpdated),
    Resolved(IncidentResolved),
    Failed(IncidentFailed),
}

topic_event!(IncidentEvent, Topic::Incident, {
    Opened(IncidentOpened) = "incident.opened",
    Updated(IncidentUpdated) = "incident.updated",
    Resolved(IncidentResolved) = "incident.resolved",
    Failed(IncidentFailed) = "incident.failed",
});

/// One alert of an incident, as of a revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentAlert {
    pub alert_id: AlertId,
    pub episode_id: EpisodeId,
    /// Label `alertname`.
    pub name: String,
    pub status: AlertStatus,
    /// Whether it keeps the incident open (a rule with `incident: open` matched it).
    pub holds: bool,
}

crate::wire_enum! {
    /// Whether an alert of an incident still fires.
    AlertStatus {
        /// It fires.
        Firing = "firing",
        /// Its episode is over.
        Resolved = "resolved",
    }
}

/// An incident begins; fields as `schemas/incident/IncidentOpened.avsc` documents them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentOpened {
    pub incident_id: IncidentId,
    pub revision: i64,
    #[serde(with = "ts_microseconds")]
    pub at: Timestamp,
    pub correlation_key: String,
    pub service: Option<String>,
    pub severity: Option<String>,
    pub title: String,
    pub rule: Option<String>,
    pub rule_version: Option<String>,
    pub generator_url: Option<String>,
    pub runbook_url: Option<String>,
    pub labels: Labels,
    pub alerts: Vec<IncidentAlert>,
}

/// An incident changed without a change of its status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentUpdated {
    pub incident_id: IncidentId,
    pub revision: i64,
    #[serde(with = "ts_microseconds")]
    pub at: Timestamp,
    pub correlation_key: String,
    pub severity: Option<String>,
    pub title: Option<String>,
    pub next_step: Option<String>,
    #[serde(with = "ts_microseconds_option")]
    pub next_due_at: Option<Timestamp>,
    pub alerts: Vec<IncidentAlert>,
}

/// An incident is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentResolved {
    pub incident_id: IncidentId,
    pub revision: i64,
    #[serde(with = "ts_microseconds")]
    pub at: Timestamp,
    pub correlation_key: String,
    pub reason_code: ReasonCode,
    pub reason_message: String,
    pub actor: Option<String>,
    pub alerts: Vec<IncidentAlert>,
}

/// The automation gave up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentFailed {
    pub incident_id: IncidentId,
    pub revision: i64,
    #[serde(with = "ts_microseconds")]
    pub at: Timestamp,
    pub correlation_key: String,
    pub reason_code: ReasonCode,
    pub reason_message: String,
    pub action_id: Option<ActionId>,
    pub alerts: Vec<IncidentAlert>,
}

crate::wire_enum! {
    /// Why an incident resolved or failed: each code has a row in `docs/OPERATING.md`.
    ReasonCode {
        /// No holding alert fires and no action is pending.
        AlertsCleared = "alerts_cleared",
        /// It had failed, and then its alerts cleared.
        RecoveredAfterFailure = "recovered_after_failure",
        /// The alert was over before it was heard of.
        AlreadyOver = "already_over",
        /// A person closed it.
        ClosedByPerson = "closed_by_person",
        /// The alert fell silent and was taken to be over.
        NoNews = "no_news",
        /// The action worked and the alert still fires.
        StillFiringAfterAction = "still_firing_after_action",
        /// The action failed.
        ActionFailed = "action_failed",
        /// The action gave no news until its deadline and grace had passed.
        ActionTimedOut = "action_timed_out",
        /// Undoing the action failed too.
        CompensationFailed = "compensation_failed",
    }
}

macro_rules! incident_fact {
    ($($payload:ident = $type:literal),+) => {$(
        impl $payload {
            fn key(&self) -> String {
                self.incident_id.to_string()
            }
            fn event_id(&self) -> EventId {
                event_id(PRODUCER, $type, self.incident_id.0, &self.revision.to_string())
            }
            fn subject(&self) -> String {
                self.incident_id.to_string()
            }
            fn correlation_id(&self) -> Uuid {
                self.incident_id.0
            }
        }
    )+};
}
incident_fact!(
    IncidentOpened = "incident.opened",
    IncidentUpdated = "incident.updated",
    IncidentResolved = "incident.resolved",
    IncidentFailed = "incident.failed"
);

/// What Incident Store says on topic `incident.status` when that is switched on.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum IncidentStatusEvent {
    Status(IncidentStatus),
}

topic_event!(IncidentStatusEvent, Topic::IncidentStatus, {
    Status(IncidentStatus) = "incident.status",
});

/// The derived state of an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentStatus {
    pub incident_id: IncidentId,
    /// Number of facts applied so far.
    pub version: i64,
    #[serde(with = "ts_microseconds")]
    pub at: Timestamp,
    /// `open | mitigating | resolved | failed`
    pub status: String,
    pub service: Option<String>,
}

impl IncidentStatus {
    fn key(&self) -> String {
        self.incident_id.to_string()
    }
    fn event_id(&self) -> EventId {
        let version = self.version.to_string();
        event_id(
            "incident-store",
            "incident.status",
            self.incident_id.0,
            &version,
        )
    }
    fn subject(&self) -> String {
        self.incident_id.to_string()
    }
    fn correlation_id(&self) -> Uuid {
        self.incident_id.0
    }
}
