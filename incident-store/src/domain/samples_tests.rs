//! One event of each type, and how they read.

use shared_events::{
    ActionEvent, ActionId, AlertId, EpisodeId, EventId, IncidentEvent, IncidentId, Timestamp,
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

use super::{Body, Incident, apply, entry::Entry, fact::Fact, view::Now};

pub(super) fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

/// Seconds after 2026-11-21T03:14:32Z.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(1_795_230_872 + seconds, 0).expect("in range")
}

fn alert(name: &str, status: AlertStatus) -> IncidentAlert {
    IncidentAlert {
        alert_id: AlertId(id(1)),
        episode_id: EpisodeId(id(2)),
        name: name.into(),
        status,
        holds: true,
    }
}

pub(super) fn opened(revision: i64, seconds: i64) -> IncidentOpened {
    IncidentOpened {
        incident_id: IncidentId(id(3)),
        revision,
        at: at(seconds),
        correlation_key: "service=app".into(),
        service: Some("app".into()),
        severity: Some("warning".into()),
        title: format!("CPU of app is at {} % of its limit", 83 + revision),
        rule: Some("high-cpu".into()),
        rule_version: Some("3fa9".into()),
        generator_url: None,
        runbook_url: None,
        labels: [("service".to_owned(), "app".to_owned())].into(),
        alerts: vec![alert("HighCPU", AlertStatus::Firing)],
    }
}

pub(super) fn updated(revision: i64, seconds: i64, title: bool, listed: bool) -> IncidentUpdated {
    let alerts = [
        alert("HighCPU", AlertStatus::Resolved),
        alert("CPUDataMissing", AlertStatus::Firing),
    ];
    IncidentUpdated {
        incident_id: IncidentId(id(3)),
        revision,
        at: at(seconds),
        correlation_key: "service=app".into(),
        severity: listed.then(|| "critical".into()),
        title: title.then(|| format!("no CPU series for app ({revision})")),
        next_step: listed.then(|| format!("look again ({revision})")),
        next_due_at: Some(at(seconds + 60)),
        alerts: if listed { alerts.to_vec() } else { vec![] },
    }
}

pub(super) fn resolved(revision: i64, seconds: i64, listed: bool) -> IncidentResolved {
    IncidentResolved {
        incident_id: IncidentId(id(3)),
        revision,
        at: at(seconds),
        correlation_key: "service=app".into(),
        reason_code: ReasonCode::AlertsCleared,
        reason_message: "HighCPU cleared at 42 %".into(),
        actor: None,
        alerts: if listed {
            vec![alert("HighCPU", AlertStatus::Resolved)]
        } else {
            vec![]
        },
    }
}

pub(super) fn failed(revision: i64, seconds: i64) -> IncidentFailed {
    IncidentFailed {
        incident_id: IncidentId(id(3)),
        revision,
        at: at(seconds),
        correlation_key: "service=app".into(),
        reason_code: ReasonCode::ActionFailed,
        reason_message: "Scale 1 -> 2 failed after 60 s: app-2 never healthy. Back to 1".into(),
        action_id: Some(ActionId(id(40))),
        alerts: vec![alert("HighCPU", AlertStatus::Firing)],
    }
}

pub(super) fn requested(number: u32, seconds: i64) -> ActionRequested {
    ActionRequested {
        action_id: ActionId(id(40 + u128::from(number))),
        incident_id: IncidentId(id(3)),
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
        cooldown_until: Some(at(seconds + 300)),
        verify_within_ms: Some(300_000),
        compensates: None,
        actor: None,
        reason: "HighCPU fires at 84 %".into(),
    }
}

pub(super) fn completed(number: u32, seconds: i64) -> ActionCompleted {
    ActionCompleted {
        action_id: ActionId(id(40 + u128::from(number))),
        incident_id: IncidentId(id(3)),
        target: "app".into(),
        at: at(seconds),
        desired_replicas: 2,
        previous_replicas: Some(1),
        running_replicas: 2,
        result: Outcome::Scaled,
        message: "eventpulse-app-2 healthy in 2.6 s".into(),
    }
}

pub(super) fn gave_up(number: u32, seconds: i64) -> ActionFailed {
    ActionFailed {
        action_id: ActionId(id(40 + u128::from(number))),
        incident_id: IncidentId(id(3)),
        target: "app".into(),
        at: at(seconds),
        reason: FailureReason::Unhealthy,
        message: "app-2: 503 cannot reach upstream cache.invalid:6379".into(),
        desired_replicas: 2,
        previous_replicas: Some(1),
        running_replicas: Some(1),
        evidence: vec![Evidence {
            container: "app-2".into(),
            exit_code: Some(1),
            oom_killed: false,
            logs: vec!["cannot reach upstream".into()],
            health: vec![],
        }],
    }
}

pub(super) fn incident_fact(event: impl Into<IncidentEvent>) -> Body {
    event.into().into()
}

pub(super) fn action_fact(event: impl Into<ActionEvent>) -> Body {
    Body::of_action(event.into()).expect("about an incident")
}

pub(super) fn fact(body: Body) -> Fact {
    Fact {
        event_id: EventId(id(7)),
        causation_id: None,
        trace_id: None,
        body,
    }
}

#[test]
fn a_story_reads_well() {
    let undo = ActionRequested {
        kind: ActionKind::EnsureReplicas,
        desired_replicas: 1,
        previous_replicas: None,
        compensates: Some(ActionId(id(40))),
        reason: String::new(),
        ..requested(1, 61)
    };
    let close = IncidentResolved {
        reason_code: ReasonCode::ClosedByPerson,
        reason_message: "the resolve was lost".into(),
        actor: Some("ann".into()),
        ..resolved(7, 90, true)
    };
    let idle = ActionCompleted {
        result: Outcome::NothingToDo,
        running_replicas: 1,
        message: String::new(),
        ..completed(1, 70)
    };
    let recovered = IncidentResolved {
        reason_code: ReasonCode::RecoveredAfterFailure,
        reason_message: String::new(),
        ..resolved(8, 99, true)
    };
    let story = [
        incident_fact(opened(1, 0)),
        action_fact(requested(0, 0)),
        action_fact(completed(0, 3)),
        incident_fact(updated(2, 5, true, true)),
        action_fact(gave_up(0, 60)),
        action_fact(undo),
        action_fact(idle),
        incident_fact(failed(3, 80)),
        incident_fact(close),
        incident_fact(recovered),
    ];
    let lines: Vec<String> = story
        .into_iter()
        .map(|body| Entry::of(&fact(body)))
        .map(|entry| format!("{:<14} {}", entry.actor, entry.summary))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn an_entry_keeps_the_event_with_readable_times() {
    let entry = Entry::of(&fact(action_fact(requested(0, 0))));
    assert_eq!(entry.data["at"], "2026-11-21T03:14:32.000000Z");
    assert_eq!(entry.data["deadline_at"], "2026-11-21T03:15:32.000000Z");
    assert_eq!(entry.data["desired_replicas"], 2);
}

fn after(bodies: impl IntoIterator<Item = Body>) -> Now {
    let stub = Incident::stub(IncidentId(id(3)));
    let bodies = bodies.into_iter().map(fact);
    bodies.fold(stub, |known, fact| apply(known, &fact)).now()
}

#[test]
fn what_comes_next() {
    let begin = || [incident_fact(opened(1, 0)), action_fact(requested(0, 0))];
    let step = |now: Now| now.next.map(|next| (next.step, next.due_at));

    let pending = after(begin());
    assert_eq!(pending.holding_alerts, ["HighCPU"]);
    let replicas = pending.replicas.clone().expect("of app");
    assert_eq!((replicas.running, replicas.desired), (Some(1), Some(2)));
    let expected = ("app from 1 to 2 replicas".to_owned(), Some(at(60)));
    assert_eq!(step(pending), Some(expected));

    let done = after(begin().into_iter().chain([action_fact(completed(0, 3))]));
    let expected = ("HighCPU must clear".to_owned(), Some(at(303)));
    assert_eq!(step(done), Some(expected));

    let said = [
        action_fact(completed(0, 3)),
        incident_fact(updated(2, 4, false, true)),
    ];
    let said = after(begin().into_iter().chain(said));
    assert_eq!(
        step(said),
        Some(("look again (2)".to_owned(), Some(at(64))))
    );

    let lost = after(begin().into_iter().chain([incident_fact(failed(2, 80))]));
    let (words, due) = step(lost).expect("a person is told what to do");
    assert!(words.contains("incident retry 000000"), "{words}");
    assert_eq!(due, None);

    let over = after(
        begin()
            .into_iter()
            .chain([incident_fact(resolved(2, 80, true))]),
    );
    assert_eq!((over.holding_alerts, over.next), (vec![], None));
}
