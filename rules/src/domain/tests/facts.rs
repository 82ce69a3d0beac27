//! Events as other services would send them.

use shared_events::{
    ActionEvent, AlertId, EpisodeId, Labels, Timestamp,
    action::{ActionCompleted, ActionFailed, ActionRequested, FailureReason, Outcome as Result_},
    alert::{AlertEvent, AlertRaised, AlertResolved, ResolveReason},
};

use crate::domain::Sequence;

pub(super) fn labels(name: &str, service: &str) -> Labels {
    [
        ("alertname", name),
        ("service", service),
        ("severity", "warning"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

fn annotations(name: &str) -> Labels {
    [
        ("summary", format!("{name}: 84 %")),
        ("value", "0.84".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

pub(super) fn episode(name: &str, service: &str, number: i64) -> (AlertId, EpisodeId) {
    let alert = AlertId::of("demo", &labels(name, service));
    (alert, EpisodeId::of(alert, number, Timestamp::UNIX_EPOCH))
}

pub(super) fn raised(
    name: &str,
    service: &str,
    number: i64,
    occurrence: i64,
    at: Timestamp,
) -> AlertEvent {
    let (alert_id, episode_id) = episode(name, service, number);
    AlertEvent::Raised(AlertRaised {
        alert_id,
        episode_id,
        occurrence,
        at,
        source: "demo".to_owned(),
        labels: labels(name, service),
        annotations: annotations(name),
        starts_at: None,
        ends_at: None,
        reopens: None,
        generator_url: None,
        fingerprint: None,
        receipt_id: None,
    })
}

pub(super) fn resolved(name: &str, service: &str, number: i64, at: Timestamp) -> AlertEvent {
    let (alert_id, episode_id) = episode(name, service, number);
    AlertEvent::Resolved(AlertResolved {
        alert_id,
        episode_id,
        at,
        reason: ResolveReason::Notified,
        source: "demo".to_owned(),
        labels: labels(name, service),
        annotations: annotations(name),
        starts_at: None,
        ends_at: Some(at),
    })
}

pub(super) fn completed(action: &ActionRequested, running: i32, at: Timestamp) -> ActionEvent {
    ActionEvent::Completed(ActionCompleted {
        action_id: action.action_id,
        incident_id: action.incident_id,
        target: action.target.clone(),
        at,
        desired_replicas: action.desired_replicas,
        previous_replicas: action.previous_replicas,
        running_replicas: running,
        result: Result_::Scaled,
        message: String::new(),
    })
}

pub(super) fn failed(
    action: &ActionRequested,
    reason: FailureReason,
    at: Timestamp,
) -> ActionEvent {
    ActionEvent::Failed(ActionFailed {
        action_id: action.action_id,
        incident_id: action.incident_id,
        target: action.target.clone(),
        at,
        reason,
        message: "scaling app 1 -> 2 failed after 16 s: app-2 never healthy (503 cannot reach upstream cache.invalid:6379)".to_owned(),
        desired_replicas: action.desired_replicas,
        previous_replicas: Some(1),
        running_replicas: Some(1),
        evidence: Vec::new(),
    })
}

/// The place of an event in the order of its key.
pub(super) fn place(last: i64) -> Sequence {
    Sequence {
        topic: "alert".to_owned(),
        key: "app".to_owned(),
        source: "/ingest/one".to_owned(),
        last,
    }
}
