//! Events of topic `alert`, written by Telemetry Ingest.

use chrono::serde::{ts_microseconds, ts_microseconds_option};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    AlertId, EpisodeId, EventId, Labels, Timestamp, Topic,
    ids::event_id,
    topic::{TopicEvent, topic_event},
};

const PRODUCER: &str = "ingest";

/// What happens to alerts.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum AlertEvent {
    Raised(AlertRaised),
    Resolved(AlertResolved),
}

topic_event!(AlertEvent, Topic::Alert, {
    Raised(AlertRaised) = "alert.raised",
    Resolved(AlertResolved) = "alert.resolved",
});

/// An alert fires; fields as `schemas/alert/AlertRaised.avsc` documents them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertRaised {
    pub alert_id: AlertId,
    pub episode_id: EpisodeId,
    /// Absolute, from 1; above 1 means "still firing".
    pub occurrence: i64,
    #[serde(with = "ts_microseconds")]
    pub at: Timestamp,
    pub source: String,
    pub labels: Labels,
    pub annotations: Labels,
    #[serde(with = "ts_microseconds_option")]
    pub starts_at: Option<Timestamp>,
    /// Set when the episode was born closed: known to be over.
    #[serde(with = "ts_microseconds_option")]
    pub ends_at: Option<Timestamp>,
    pub reopens: Option<EpisodeId>,
    pub generator_url: Option<String>,
    pub fingerprint: Option<String>,
    pub receipt_id: Option<Uuid>,
}

/// An episode is over; fields as `schemas/alert/AlertResolved.avsc` documents them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertResolved {
    pub alert_id: AlertId,
    pub episode_id: EpisodeId,
    #[serde(with = "ts_microseconds")]
    pub at: Timestamp,
    pub reason: ResolveReason,
    pub source: String,
    pub labels: Labels,
    pub annotations: Labels,
    #[serde(with = "ts_microseconds_option")]
    pub starts_at: Option<Timestamp>,
    #[serde(with = "ts_microseconds_option")]
    pub ends_at: Option<Timestamp>,
}

crate::wire_enum! {
    /// Why an episode is taken to be over.
    ResolveReason {
        /// The sender said so.
        Notified = "notified",
        /// A later episode of the series began.
        Superseded = "superseded",
        /// Unheard of for `stale_after`.
        Silent = "silent",
    }
}

/// Key of every event of a series: its label `service`, so that all alerts of one service keep
/// their order, else the series itself.
#[must_use]
pub fn key(labels: &Labels, alert: AlertId) -> String {
    match labels.get("service") {
        Some(service) if !service.is_empty() => service.clone(),
        Some(_) | None => alert.to_string(),
    }
}

impl AlertRaised {
    fn key(&self) -> String {
        key(&self.labels, self.alert_id)
    }
    fn event_id(&self) -> EventId {
        let occurrence = self.occurrence.to_string();
        event_id(PRODUCER, "alert.raised", self.episode_id.0, &occurrence)
    }
    fn subject(&self) -> String {
        self.episode_id.to_string()
    }
    fn correlation_id(&self) -> Uuid {
        self.alert_id.0
    }
}

impl AlertResolved {
    fn key(&self) -> String {
        key(&self.labels, self.alert_id)
    }
    fn event_id(&self) -> EventId {
        event_id(PRODUCER, "alert.resolved", self.episode_id.0, "")
    }
    fn subject(&self) -> String {
        self.episode_id.to_string()
    }
    fn correlation_id(&self) -> Uuid {
        self.alert_id.0
    }
}

impl AlertEvent {
    /// The episode it is about.
    #[must_use]
    pub fn episode_id(&self) -> EpisodeId {
        match self {
            Self::Raised(event) => event.episode_id,
            Self::Resolved(event) => event.episode_id,
        }
    }

    /// The labels of the series.
    #[must_use]
    pub fn labels(&self) -> &Labels {
        match self {
            Self::Raised(event) => &event.labels,
            Self::Resolved(event) => &event.labels,
        }
    }

    /// When Ingest committed it.
    #[must_use]
    pub fn committed_at(&self) -> Timestamp {
        self.at()
    }
}
