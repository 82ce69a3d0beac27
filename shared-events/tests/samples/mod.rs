//! One event of each type with every field set, and one with every optional field missing.

use shared_events::{
    ActionEvent, ActionId, AlertEvent, AlertId, EpisodeId, IncidentEvent, IncidentId, Labels,
    RuleEvent, Timestamp,
    action::{
        ActionCompleted, ActionFailed, ActionKind, ActionRequested, Direction, Evidence,
        FailureReason, Outcome, TargetPaused, TargetResumed,
    },
    alert::{AlertRaised, AlertResolved, ResolveReason},
    incident::{
        AlertStatus, IncidentAlert, IncidentFailed, IncidentOpened, IncidentResolved,
        IncidentStatus, IncidentStatusEvent, IncidentUpdated, ReasonCode,
    },
    rule::RuleChanged,
};
use uuid::Uuid;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_timestamp_micros(1_700_000_000_000_000 + micros).expect("in range")
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn labels() -> Labels {
    [("alertname", "HighCPU"), ("service", "app")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

pub(crate) fn alerts() -> Vec<AlertEvent> {
    let full = AlertRaised {
        alert_id: AlertId(id(1)),
        episode_id: EpisodeId(id(2)),
        occurrence: 3,
        at: at(1),
        source: "demo".into(),
        labels: labels(),
        annotations: labels(),
        starts_at: Some(at(0)),
        ends_at: Some(at(5)),
        reopens: Some(EpisodeId(id(9))),
        generator_url: Some("http://prometheus/graph".into()),
        fingerprint: Some("a1".into()),
        receipt_id: Some(id(4)),
    };
    let resolved = AlertResolved {
        alert_id: AlertId(id(1)),
        episode_id: EpisodeId(id(2)),
        at: at(9),
        reason: ResolveReason::Notified,
        source: "demo".into(),
        labels: labels(),
        annotations: Labels::new(),
        starts_at: Some(at(0)),
        ends_at: None,
    };
    let unknown = AlertResolved {
        reason: ResolveReason::Unknown("later build".into()),
        ..resolved.clone()
    };
    let bare = AlertRaised {
        starts_at: None,
        ends_at: None,
        reopens: None,
        generator_url: None,
        fingerprint: None,
        receipt_id: None,
        ..full.clone()
    };
    vec![full.into(), bare.into(), resolved.into(), unknown.into()]
}

fn alert() -> IncidentAlert {
    IncidentAlert {
        alert_id: AlertId(id(1)),
        episode_id: EpisodeId(id(2)),
        name: "HighCPU".into(),
        status: AlertStatus::Firing,
        holds: true,
    }
}

pub(crate) fn incidents() -> Vec<IncidentEvent> {
    let incident_id = IncidentId(id(3));
    let correlation_key = "service=app".to_owned();
    vec![
        IncidentOpened {
            incident_id,
            revision: 1,
            at: at(2),
            correlation_key: correlation_key.clone(),
            service: Some("app".into()),
            severity: Some("warning".into()),
            title: "CPU of app is at 84 %".into(),
            rule: Some("high-cpu".into()),
            rule_version: Some("3fa9".into()),
            generator_url: None,
            runbook_url: None,
            labels: labels(),
            alerts: vec![alert()],
        }
        .into(),
        IncidentUpdated {
            incident_id,
            revision: 2,
            at: at(3),
            correlation_key: correlation_key.clone(),
            severity: None,
            title: None,
            next_step: Some("verify".into()),
            next_due_at: Some(at(100)),
            alerts: vec![alert(), alert()],
        }
        .into(),
        IncidentResolved {
            incident_id,
            revision: 3,
            at: at(4),
            correlation_key: correlation_key.clone(),
            reason_code: ReasonCode::ClosedByPerson,
            reason_message: "closed".into(),
            actor: Some("ann".into()),
            alerts: vec![],
        }
        .into(),
        IncidentFailed {
            incident_id,
            revision: 4,
            at: at(5),
            correlation_key,
            reason_code: ReasonCode::ActionFailed,
            reason_message: "never healthy".into(),
            action_id: Some(ActionId(id(4))),
            alerts: vec![alert()],
        }
        .into(),
    ]
}

pub(crate) fn statuses() -> Vec<IncidentStatusEvent> {
    vec![
        IncidentStatus {
            incident_id: IncidentId(id(3)),
            version: 4,
            at: at(6),
            status: "mitigating".into(),
            service: Some("app".into()),
        }
        .into(),
    ]
}

pub(crate) fn rules() -> Vec<RuleEvent> {
    let change = RuleChanged {
        hash: "3fa9".into(),
        text: "version: 1\nrules: []\n".into(),
        at: at(7),
        number: 2,
        previous: Some("11aa".into()),
        actor: "ann".into(),
        reason: "less noise".into(),
    };
    let first = RuleChanged {
        number: 1,
        previous: None,
        ..change.clone()
    };
    vec![change.into(), first.into()]
}

pub(crate) fn actions() -> Vec<ActionEvent> {
    let (action_id, incident_id, target) = (ActionId(id(4)), IncidentId(id(3)), "app".to_owned());
    let (actor, reason) = ("ann".to_owned(), "deploy".to_owned());
    vec![
        ActionRequested {
            action_id,
            incident_id,
            target: target.clone(),
            at: at(2),
            kind: ActionKind::ScaleDocker,
            desired_replicas: 2,
            direction: Direction::Up,
            previous_replicas: Some(1),
            rule: "high-cpu".into(),
            rule_version: "3fa9".into(),
            correlation_key: "service=app".into(),
            deadline_at: at(60_000_000),
            cooldown_until: Some(at(300_000_000)),
            verify_within_ms: Some(300_000),
            compensates: Some(ActionId(id(5))),
            actor: None,
            reason: "HighCPU fires".into(),
        }
        .into(),
        ActionCompleted {
            action_id,
            incident_id,
            target: target.clone(),
            at: at(3),
            desired_replicas: 2,
            previous_replicas: Some(1),
            running_replicas: 2,
            result: Outcome::Scaled,
            message: "1 -> 2".into(),
        }
        .into(),
        ActionFailed {
            action_id,
            incident_id,
            target: target.clone(),
            at: at(4),
            reason: FailureReason::Unhealthy,
            message: "never healthy".into(),
            desired_replicas: 2,
            previous_replicas: None,
            running_replicas: Some(1),
            evidence: vec![Evidence {
                container: "app-2".into(),
                exit_code: Some(137),
                oom_killed: true,
                logs: vec!["cannot reach upstream".into()],
                health: vec![],
            }],
        }
        .into(),
        TargetPaused {
            pause_id: id(7),
            target: target.clone(),
            at: at(5),
            until: Some(at(6)),
            actor: actor.clone(),
            reason: reason.clone(),
        }
        .into(),
        TargetResumed {
            pause_id: id(7),
            target,
            at: at(6),
            actor,
            reason,
        }
        .into(),
    ]
}
