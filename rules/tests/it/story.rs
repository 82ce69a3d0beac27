//! Events of a busy hour: several services, alerts that come and go, actions that end well and badly.

use std::{collections::HashMap, sync::Arc};

use chrono::TimeDelta;
use rules::service::Input;
use service_kit::Work;
use shared_events::{
    ActionEvent, AlertEvent, AlertId, EpisodeId, Labels, Timestamp, TopicEvent,
    action::{ActionCompleted, ActionFailed, ActionRequested, FailureReason, Outcome},
    alert::{AlertRaised, AlertResolved, ResolveReason},
};

use crate::support::{record, start};

/// Gives events their place in topic and key, as Ingest and Action Runner do.
#[derive(Default)]
pub(crate) struct Log {
    sequences: HashMap<(String, String), i64>,
    offsets: HashMap<String, i64>,
}

impl Log {
    fn place<E: TopicEvent>(&mut self, event: &E) -> (i64, i64) {
        let topic = E::TOPIC.name().to_owned();
        let sequence = self
            .sequences
            .entry((topic.clone(), event.key()))
            .or_default();
        *sequence += 1;
        let offset = self.offsets.entry(topic).or_default();
        *offset += 1;
        (*sequence, *offset - 1)
    }

    pub(crate) fn alert(&mut self, event: AlertEvent) -> Work<Input> {
        let place = self.place(&event);
        let input = Input::Alert(Arc::new(event.clone()));
        record(&event, "/ingest/one", place, input)
    }

    pub(crate) fn action(&mut self, event: ActionEvent) -> Work<Input> {
        let place = self.place(&event);
        let input = Input::Action(Arc::new(event.clone()));
        record(&event, "/action-runner/one", place, input)
    }
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    start() + TimeDelta::seconds(seconds)
}

pub(crate) fn labels(name: &str, service: &str) -> Labels {
    [
        ("alertname", name),
        ("service", service),
        ("severity", "warning"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

pub(crate) fn alert_id(name: &str, service: &str) -> AlertId {
    AlertId::of("demo", &labels(name, service))
}

pub(crate) fn raised(
    name: &str,
    service: &str,
    (number, occurrence): (i64, i64),
    seconds: i64,
) -> AlertEvent {
    let alert_id = alert_id(name, service);
    AlertRaised {
        alert_id,
        episode_id: EpisodeId::of(alert_id, number, Timestamp::UNIX_EPOCH),
        occurrence,
        at: at(seconds),
        source: "demo".to_owned(),
        labels: labels(name, service),
        annotations: [("summary".to_owned(), format!("{name} of {service}"))].into(),
        starts_at: None,
        ends_at: None,
        reopens: None,
        generator_url: None,
        fingerprint: None,
        receipt_id: None,
    }
    .into()
}

pub(crate) fn resolved(name: &str, service: &str, number: i64, seconds: i64) -> AlertEvent {
    let alert_id = alert_id(name, service);
    AlertResolved {
        alert_id,
        episode_id: EpisodeId::of(alert_id, number, Timestamp::UNIX_EPOCH),
        at: at(seconds),
        reason: ResolveReason::Notified,
        source: "demo".to_owned(),
        labels: labels(name, service),
        annotations: Labels::new(),
        starts_at: None,
        ends_at: Some(at(seconds)),
    }
    .into()
}

pub(crate) fn completed(action: &ActionRequested, seconds: i64) -> ActionEvent {
    ActionCompleted {
        action_id: action.action_id,
        incident_id: action.incident_id,
        target: action.target.clone(),
        at: at(seconds),
        desired_replicas: action.desired_replicas,
        previous_replicas: action.previous_replicas,
        running_replicas: action.desired_replicas,
        result: Outcome::Scaled,
        message: String::new(),
    }
    .into()
}

pub(crate) fn failed(action: &ActionRequested, seconds: i64) -> ActionEvent {
    ActionFailed {
        action_id: action.action_id,
        incident_id: action.incident_id,
        target: action.target.clone(),
        at: at(seconds),
        reason: FailureReason::Unhealthy,
        message: "app-2 never healthy\0".to_owned(),
        desired_replicas: action.desired_replicas,
        previous_replicas: Some(1),
        running_replicas: Some(1),
        evidence: Vec::new(),
    }
    .into()
}

/// Alerts of three services, in the order of their topic: some repeat, some meet again.
pub(crate) fn busy(log: &mut Log) -> Vec<Work<Input>> {
    let mut works = Vec::new();
    for (turn, service) in ["app", "shop", "other"]
        .into_iter()
        .cycle()
        .take(12)
        .enumerate()
    {
        let turn = i64::try_from(turn).expect("few");
        let (number, now) = (turn / 3 + 1, turn * 20);
        for event in [
            raised("Down", service, (number, 1), now),
            raised("HighCPU", service, (number, 1), now + 1),
            raised("HighCPU", service, (number, 2), now + 5),
            raised("Unknown", service, (number, 1), now + 6),
            resolved("Down", service, number, now + 8),
            raised("LowCPU", service, (number, 1), now + 9),
            resolved("HighCPU", service, number, now + 12),
            resolved("LowCPU", service, number, now + 14),
        ] {
            works.push(log.alert(event));
        }
    }
    works
}
