//! A small world in which everything holds, and for each guarantee a violation planted in it.

mod planted;
mod restored;

use std::sync::Arc;

use uuid::Uuid;

use super::{
    Evidence, Guarantee, Judgement, check,
    evidence::{
        AlertRow, Bounds, Change, Container, DecisionRow, Fact, IncidentFact, IncidentRow, Labels,
        Record, Requested, Rule, Seen, Sent, Told,
    },
};

const SECOND: i64 = 1_000_000;

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn labels(alertname: &str, service: &str) -> Labels {
    [("alertname", alertname), ("service", service)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// Ids of the world below.
const ALERT: u128 = 1;
const EPISODE: u128 = 2;
const INCIDENT: u128 = 3;
const ACTION: u128 = 4;
const RAISED: u128 = 10;
const OPENED: u128 = 11;
const REQUESTED: u128 = 12;
const COMPLETED: u128 = 13;
const OVER: u128 = 14;
const RESOLVED: u128 = 15;

fn record(number: u128, kind: &str, fact: Fact) -> Record {
    let (topic, source) = match kind.split_once('.') {
        Some(("alert", _)) => ("alert", "/ingest/x"),
        Some(("incident", _)) => ("incident", "/rules/x"),
        Some((_, "requested")) => ("action", "/rules/x"),
        _ => ("action", "/action-runner/x"),
    };
    Record {
        topic: topic.into(),
        key: "app".into(),
        id: Some(id(number)),
        kind: kind.into(),
        source: source.into(),
        fact,
        ..Record::default()
    }
}

fn incident(revision: i64, at: i64, fires: bool) -> Fact {
    Fact::Incident(Box::new(IncidentFact {
        incident: id(INCIDENT),
        revision,
        at,
        reason: String::new(),
        alerts: vec![(id(EPISODE), true, fires)],
    }))
}

fn requested(action: u128, at: i64) -> Requested {
    Requested {
        action: id(action),
        incident: id(INCIDENT),
        target: "app".to_owned(),
        at,
        kind: "scale_docker".to_owned(),
        desired: 2,
        direction: "up".to_owned(),
        rule: "high-cpu".to_owned(),
        deadline: at + 30 * SECOND,
        by_person: false,
    }
}

fn ended(action: u128, at: i64) -> Fact {
    Fact::Ended {
        action: id(action),
        target: "app".to_owned(),
        at,
        completed: true,
        running: Some(2),
        reason: String::new(),
    }
}

/// Numbers offsets by topic, and sequences by topic and source.
fn placed(records: Vec<Record>) -> Vec<Record> {
    let mut placed: Vec<Record> = Vec::new();
    for mut record in records {
        let before = |same: &dyn Fn(&Record) -> bool| placed.iter().filter(|r| same(r)).count();
        let offset = before(&|other| other.topic == record.topic);
        let number = before(&|o| o.topic == record.topic && o.source == record.source);
        record.offset = i64::try_from(offset).expect("few");
        record.sequence = Some(number as u64 + 1);
        placed.push(record);
    }
    placed.sort_by_key(|record| (Arc::clone(&record.topic), record.offset));
    placed
}

fn change(at: i64, what: &str, epoch: i64) -> Change {
    Change {
        at,
        what: what.to_owned(),
        id: "c2".to_owned(),
        name: "p-app-2".to_owned(),
        target: "app".to_owned(),
        managed: true,
        epoch: Some(epoch),
    }
}

fn container(name: &str, managed: bool) -> Container {
    Container {
        name: name.to_owned(),
        target: "app".to_owned(),
        managed,
        running: true,
    }
}

fn decision(seq: i64, input: u128, kind: &str, outcome: &str, emitted: &[u128]) -> DecisionRow {
    DecisionRow {
        key: "service=app".to_owned(),
        seq,
        input: id(input),
        kind: kind.to_owned(),
        episode: Some(id(EPISODE)),
        outcomes: vec![("high-cpu".to_owned(), outcome.to_owned())],
        emitted: emitted.iter().copied().map(id).collect(),
    }
}

fn sent(at: i64, ends_at: Option<i64>) -> Sent {
    Sent {
        member: 0,
        at,
        answer: Some((at + 1, 200)),
        told: [Told {
            series: 0,
            starts_at: 100,
            ends_at,
        }]
        .into(),
        bad: [].into(),
    }
}

/// A body that tells of one firing.
fn firing(series: usize, starts_at: i64, at: i64) -> Sent {
    let told = [Told {
        series,
        starts_at,
        ends_at: None,
    }];
    Sent {
        told: told.into(),
        ..sent(at, None)
    }
}

/// One alert that fired, was acted on, and ended.
fn world() -> Evidence {
    let mut evidence = Evidence {
        rules: vec![Rule {
            name: "high-cpu".to_owned(),
            alertname: "HighCPU".to_owned(),
            opens: true,
            cooldown: Some(5 * SECOND),
        }],
        targets: [("app".to_owned(), Bounds { min: 1, max: 3 })].into(),
        series: vec![labels("HighCPU", "app")],
        sent: vec![sent(100, None), sent(300, Some(250))],
        docker: vec![change(1, "create", 1), change(2, "start", 1)],
        containers: vec![container("p-app-1", false), container("p-app-2", true)],
        ..Evidence::default()
    };
    let raised = Fact::Raised {
        alert: id(ALERT),
        episode: id(EPISODE),
        occurrence: 1,
        labels: Arc::new(labels("HighCPU", "app")),
        starts_at: Some(100),
    };
    let over = Fact::Over {
        episode: id(EPISODE),
    };
    evidence.records = placed(vec![
        record(RAISED, "alert.raised", raised),
        record(OPENED, "incident.opened", incident(1, 110, true)),
        record(
            REQUESTED,
            "action.requested",
            Fact::Requested(Box::new(requested(ACTION, 110))),
        ),
        record(COMPLETED, "action.completed", ended(ACTION, 120)),
        record(OVER, "alert.resolved", over),
        record(RESOLVED, "incident.resolved", incident(2, 130, false)),
    ]);
    evidence.rules_rows.decisions = vec![
        decision(1, RAISED, "alert.raised", "fired", &[OPENED, REQUESTED]),
        decision(2, COMPLETED, "action.completed", "action_completed", &[]),
        decision(3, OVER, "alert.resolved", "cleared", &[RESOLVED]),
    ];
    let row = AlertRow {
        labels: labels("HighCPU", "app"),
        firing: false,
        episode: Some(id(EPISODE)),
    };
    evidence.ingest.alerts.insert(id(ALERT), row);
    let asked = (id(REQUESTED), "completed".to_owned());
    evidence.runner.actions.insert(id(ACTION), asked);
    evidence.store.incidents.insert(
        id(INCIDENT),
        IncidentRow {
            status: Some("resolved".to_owned()),
            opened_at: Some(110),
            resolved_at: Some(130),
            failed_at: None,
            alerts: [(id(EPISODE), false)].into(),
        },
    );
    let story = [OPENED, REQUESTED, COMPLETED, RESOLVED].map(|event| (id(event), id(INCIDENT)));
    evidence.store.story = story.into();
    let done = (id(INCIDENT), "completed".to_owned());
    evidence.store.actions.insert(id(ACTION), done);
    kits(&mut evidence);
    evidence
}

fn kits(evidence: &mut Evidence) {
    let sends: [(&str, &[u128]); 4] = [
        ("ingest", &[RAISED, OVER]),
        ("rules", &[OPENED, REQUESTED, RESOLVED]),
        ("action-runner", &[COMPLETED]),
        ("incident-store", &[]),
    ];
    let reads: [(&str, &[u128]); 4] = [
        ("ingest", &[]),
        ("rules", &[RAISED, COMPLETED, OVER]),
        ("action-runner", &[REQUESTED]),
        ("incident-store", &[OPENED, REQUESTED, COMPLETED, RESOLVED]),
    ];
    for ((service, sent), (_, read)) in sends.into_iter().zip(reads) {
        let kit = evidence.kits.entry(service.to_owned()).or_default();
        for event in sent {
            let record = evidence.records.iter().find(|r| r.id == Some(id(*event)));
            let topic = record.map(|record| record.topic.to_string());
            kit.sent.push((id(*event), topic.unwrap_or_default()));
        }
        kit.done = read
            .iter()
            .map(|event| (id(*event), Seen::default()))
            .collect();
        for topic in ["alert", "incident", "action"] {
            kit.next.insert((topic.to_owned(), 0), 2);
        }
    }
}

fn kit<'a>(evidence: &'a mut Evidence, service: &str) -> &'a mut super::evidence::Kit {
    evidence.kits.get_mut(service).expect("a kit")
}

fn find(evidence: &mut Evidence, number: u128) -> &mut Record {
    let record = evidence
        .records
        .iter_mut()
        .find(|r| r.id == Some(id(number)));
    record.expect("a record")
}

/// Plants something and says what was found.
fn planted(plant: impl FnOnce(&mut Evidence)) -> Judgement {
    let mut evidence = world();
    plant(&mut evidence);
    check(&evidence)
}

/// A violation of `guarantee` is found, and its words say where.
fn finds(guarantee: Guarantee, words: &str, plant: impl FnOnce(&mut Evidence)) {
    let judgement = planted(plant);
    let mut of_it = judgement
        .violations
        .iter()
        .filter(|v| v.guarantee == guarantee);
    assert!(
        of_it.any(|violation| violation.what.contains(words)),
        "no {guarantee:?} with {words:?} in {:#?}",
        judgement.violations
    );
}
