//! Events as Rules and Action Runner write them.

use shared_events::{
    ActionId, AlertId, EpisodeId, IncidentId, Timestamp,
    action::{
        ActionCompleted, ActionFailed, ActionKind, ActionRequested, Direction, Evidence,
        FailureReason, Outcome,
    },
    incident::{
        AlertStatus, IncidentAlert, IncidentFailed, IncidentOpened, IncidentResolved,
        IncidentUpdated, ReasonCode,
    },
};
use uuid::Uuid;

/// Seconds after 2026-11-21T03:14:32Z.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(1_795_230_872 + seconds, 0).expect("in range")
}

/// The `n`th incident; its id begins with `n` in six digits.
pub(crate) fn incident(n: u128) -> IncidentId {
    IncidentId(Uuid::from_u128((n << 104) | 0x3000))
}

pub(crate) fn action(incident: IncidentId, number: u32) -> ActionId {
    ActionId::of(incident, number)
}

fn alert(status: AlertStatus) -> IncidentAlert {
    IncidentAlert {
        alert_id: AlertId(Uuid::from_u128(1)),
        episode_id: EpisodeId(Uuid::from_u128(2)),
        name: "HighCPU".into(),
        status,
        holds: true,
    }
}

pub(crate) fn opened(n: u128, seconds: i64) -> IncidentOpened {
    let service = if n.is_multiple_of(2) { "app" } else { "shop" };
    let labels = [
        ("alertname", "HighCPU"),
        ("service", service),
        ("zone", &format!("z{n}")),
    ];
    IncidentOpened {
        incident_id: incident(n),
        revision: 1,
        at: at(seconds),
        correlation_key: format!("service={service}"),
        service: Some(service.into()),
        severity: Some("warning".into()),
        title: format!("CPU of {service} is at 84 % of its limit"),
        rule: Some("high-cpu".into()),
        rule_version: Some("3fa9".into()),
        generator_url: Some("http://prometheus:9090/graph".into()),
        runbook_url: Some("javascript:alert(1)".into()),
        labels: labels
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        alerts: vec![alert(AlertStatus::Firing)],
    }
}

pub(crate) fn updated(n: u128, revision: i64, seconds: i64) -> IncidentUpdated {
    IncidentUpdated {
        incident_id: incident(n),
        revision,
        at: at(seconds),
        correlation_key: "service=app".into(),
        severity: Some("critical".into()),
        title: None,
        next_step: Some("the effect is verified".into()),
        next_due_at: Some(at(seconds + 300)),
        alerts: vec![alert(AlertStatus::Firing)],
    }
}

pub(crate) fn resolved(n: u128, revision: i64, seconds: i64) -> IncidentResolved {
    IncidentResolved {
        incident_id: incident(n),
        revision,
        at: at(seconds),
        correlation_key: "service=app".into(),
        reason_code: ReasonCode::AlertsCleared,
        reason_message: "HighCPU cleared".into(),
        actor: None,
        alerts: vec![alert(AlertStatus::Resolved)],
    }
}

pub(crate) fn failed(n: u128, revision: i64, seconds: i64) -> IncidentFailed {
    IncidentFailed {
        incident_id: incident(n),
        revision,
        at: at(seconds),
        correlation_key: "service=app".into(),
        reason_code: ReasonCode::ActionFailed,
        reason_message: "app-2 was never healthy; back to 1".into(),
        action_id: None,
        alerts: vec![alert(AlertStatus::Firing)],
    }
}

pub(crate) fn requested(n: u128, number: u32, seconds: i64) -> ActionRequested {
    ActionRequested {
        action_id: action(incident(n), number),
        incident_id: incident(n),
        target: "app".into(),
        at: at(seconds),
        kind: ActionKind::ScaleDocker,
        desired_replicas: 2,
        direction: Direction::Up,
        previous_replicas: Some(1),
        rule: "high-cpu".into(),
        rule_version: "3fa9".into(),
        correlation_key: "service=app".into(),
        deadline_at: at(seconds + 60),
        cooldown_until: None,
        verify_within_ms: Some(300_000),
        compensates: (number > 0).then(|| action(incident(n), 0)),
        actor: None,
        reason: "HighCPU fires".into(),
    }
}

pub(crate) fn completed(n: u128, number: u32, seconds: i64) -> ActionCompleted {
    ActionCompleted {
        action_id: action(incident(n), number),
        incident_id: incident(n),
        target: "app".into(),
        at: at(seconds),
        desired_replicas: 2,
        previous_replicas: Some(1),
        running_replicas: 2,
        result: Outcome::Scaled,
        message: "app-2 healthy in 2.6 s".into(),
    }
}

pub(crate) fn gave_up(n: u128, number: u32, seconds: i64) -> ActionFailed {
    ActionFailed {
        action_id: action(incident(n), number),
        incident_id: incident(n),
        target: "app".into(),
        at: at(seconds),
        reason: FailureReason::Unhealthy,
        message: "app-2 was never healthy".into(),
        desired_replicas: 2,
        previous_replicas: Some(1),
        running_replicas: Some(1),
        evidence: vec![Evidence {
            container: "app-2".into(),
            exit_code: Some(1),
            oom_killed: false,
            // a stray NUL, which no column can hold
            logs: vec!["cannot reach\0 upstream".into()],
            health: vec![],
        }],
    }
}
