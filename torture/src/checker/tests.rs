//! A small world in which everything holds, and for each guarantee a violation planted in it.

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

#[test]
fn a_sound_world_breaks_nothing() {
    let judgement = planted(|_| {});
    assert!(judgement.holds(), "{:#?}", judgement.violations);
    assert_eq!(
        (
            judgement.accepted,
            judgement.episodes,
            judgement.incidents,
            judgement.actions
        ),
        (1, 1, 1, 1)
    );
}

#[test]
fn published_twice_and_answered_late_is_sound() {
    let judgement = planted(|evidence| {
        for (offset, number) in [(2, RAISED), (3, OVER)] {
            let mut again = find(evidence, number).clone();
            again.offset = offset;
            evidence.records.insert(0, again);
        }
        evidence
            .records
            .sort_by_key(|r| (Arc::clone(&r.topic), r.offset));
        kit(evidence, "rules")
            .next
            .insert(("alert".to_owned(), 0), 4);
        let lost = Sent {
            answer: None,
            ..sent(90, None)
        };
        evidence.sent.insert(0, lost);
    });
    assert!(judgement.holds(), "{:#?}", judgement.violations);
}

#[test]
fn an_end_without_an_answer_may_have_been_stored() {
    let judgement = planted(|evidence| evidence.sent[1].answer = None);
    assert!(judgement.holds(), "{:#?}", judgement.violations);
    finds(
        Guarantee::G8,
        "fires: true; Ingest says false",
        |evidence| {
            evidence.sent.pop();
        },
    );
}

#[test]
fn g1_an_accepted_firing_without_an_episode() {
    let lose = |evidence: &mut Evidence| {
        evidence.series.push(labels("Down", "other"));
        let told = [Told {
            series: 1,
            starts_at: 5,
            ends_at: None,
        }];
        evidence.sent.push(Sent {
            told: told.into(),
            ..sent(400, None)
        });
    };
    finds(Guarantee::G1, "it stopped before Ingest's table", lose);
    assert_eq!(planted(lose).lost, 1);
}

#[test]
fn g1_a_second_firing_that_was_swallowed() {
    finds(Guarantee::G1, "began at [500]", |evidence| {
        let told = [Told {
            series: 0,
            starts_at: 500,
            ends_at: None,
        }];
        evidence.sent.push(Sent {
            told: told.into(),
            ..sent(500, None)
        });
    });
}

#[test]
fn g1_two_episodes_of_one_firing() {
    let double = |evidence: &mut Evidence| {
        let mut again = find(evidence, RAISED).clone();
        again.id = Some(id(99));
        if let Fact::Raised { episode, .. } = &mut again.fact {
            *episode = id(98);
        }
        evidence.records.push(again);
    };
    finds(Guarantee::G1, "2 episodes", double);
    assert_eq!(planted(double).doubled, 1);
}

#[test]
fn g1_an_episode_in_no_incident_and_in_two() {
    finds(Guarantee::G1, "in 0 of the store", |evidence| {
        evidence.store.incidents.clear();
    });
    finds(Guarantee::G1, "holds 2 incidents", |evidence| {
        let mut other = find(evidence, OPENED).clone();
        other.id = Some(id(97));
        if let Fact::Incident(fact) = &mut other.fact {
            fact.incident = id(96);
        }
        evidence.records.push(other);
    });
}

#[test]
fn g1_a_bad_alert_without_its_row() {
    finds(Guarantee::G1, "0 rows of alert_rejects", |evidence| {
        evidence.sent[0].bad = ["bad-1.".to_owned()].into();
    });
}

#[test]
fn g2_an_incident_of_nothing() {
    finds(Guarantee::G2, "of which no firing was sent", |evidence| {
        evidence.sent.remove(0);
    });
    finds(Guarantee::G2, "no alert on the topic", |evidence| {
        evidence
            .store
            .incidents
            .insert(id(95), IncidentRow::default());
    });
}

#[test]
fn g3_what_waits_lags_or_got_lost() {
    finds(Guarantee::G3, "wait in the outbox of rules", |evidence| {
        let waiting = (id(94), "incident.opened".to_owned());
        kit(evidence, "rules").outbox.push(waiting);
    });
    finds(Guarantee::G3, "incident-store lags 1 records", |evidence| {
        let next = &mut kit(evidence, "incident-store").next;
        next.insert(("incident".to_owned(), 0), 1);
    });
    finds(Guarantee::G3, "where it is not", |evidence| {
        kit(evidence, "ingest")
            .sent
            .push((id(93), "alert".to_owned()));
    });
    finds(Guarantee::G3, "no row of an outbox_sent", |evidence| {
        kit(evidence, "ingest").sent.remove(0);
    });
}

#[test]
fn g4_a_gap_a_swap_and_a_key_in_two_partitions() {
    finds(Guarantee::G4, "3 follows 1", |evidence| {
        find(evidence, OVER).sequence = Some(3);
    });
    finds(Guarantee::G4, "2 follows 0", |evidence| {
        find(evidence, RAISED).offset = 1;
        find(evidence, OVER).offset = 0;
        evidence
            .records
            .sort_by_key(|r| (Arc::clone(&r.topic), r.offset));
    });
    finds(Guarantee::G4, "in partition 0 too", |evidence| {
        find(evidence, OVER).partition = 4;
    });
}

#[test]
fn g5_no_effect_two_effects_and_effects_of_nothing() {
    finds(Guarantee::G5, "has no effect in rules", |evidence| {
        kit(evidence, "rules").done.remove(&id(OVER));
    });
    finds(Guarantee::G5, "decided twice", |evidence| {
        let mut again = evidence.rules_rows.decisions[0].clone();
        again.seq = 4;
        evidence.rules_rows.decisions.push(again);
    });
    finds(Guarantee::G5, "which is on no topic", |evidence| {
        kit(evidence, "rules").done.insert(id(92), Seen::default());
    });
    finds(Guarantee::G5, "left nothing in action_exec", |evidence| {
        evidence.runner.actions.clear();
    });
    finds(
        Guarantee::G5,
        "left nothing in incident_events",
        |evidence| {
            evidence.store.story.remove(&id(OPENED));
        },
    );
}

fn poison(evidence: &mut Evidence, buried: bool) {
    let place = ("alert".to_owned(), 0, 2);
    let bad = Record {
        offset: 2,
        injected: true,
        id: Some(id(91)),
        ..find(evidence, RAISED).clone()
    };
    evidence.records.push(bad);
    let rules = kit(evidence, "rules");
    rules.next.insert(("alert".to_owned(), 0), 3);
    let seen = Seen {
        topic: "alert".to_owned(),
        partition: 0,
        offset: 2,
    };
    rules.dead.insert(id(91), seen);
    if buried {
        evidence.records.push(Record {
            topic: "alert.dlq.rules".into(),
            died: Some(place),
            ..Record::default()
        });
    }
}

#[test]
fn g5_dead_letters_are_the_poison() {
    let judgement = planted(|evidence| poison(evidence, true));
    assert!(judgement.holds(), "{:#?}", judgement.violations);
    assert_eq!(judgement.dead_letters, 1);
    finds(Guarantee::G5, "is no dead letter of rules", |evidence| {
        poison(evidence, false);
    });
    finds(Guarantee::G5, "which is no poison", |evidence| {
        evidence.records.push(Record {
            topic: "alert.dlq.rules".into(),
            died: Some(("alert".to_owned(), 0, 0)),
            ..Record::default()
        });
    });
}

#[test]
fn g6_ends_slots_and_replicas() {
    finds(Guarantee::G6, "has 0 ends", |evidence| {
        evidence
            .records
            .retain(|record| record.id != Some(id(COMPLETED)));
    });
    finds(Guarantee::G6, "has 2 ends", |evidence| {
        let mut again = find(evidence, COMPLETED).clone();
        again.id = Some(id(90));
        evidence.records.push(again);
    });
    finds(Guarantee::G6, "again at 3 without a removal", |evidence| {
        evidence.docker.push(change(3, "create", 1));
    });
    finds(Guarantee::G6, "under epoch 1 after 2", |evidence| {
        evidence.docker[0].epoch = Some(2);
        evidence.docker.push(change(3, "destroy", 1));
        evidence.docker.push(change(4, "create", 1));
    });
    finds(Guarantee::G6, "3 managed replicas of app ran", |evidence| {
        for other in ["c3", "c4"] {
            evidence.docker.push(Change {
                id: other.to_owned(),
                ..change(5, "start", 1)
            });
        }
    });
}

fn another_request(evidence: &mut Evidence, at: i64) -> &mut Requested {
    let mut again = find(evidence, REQUESTED).clone();
    again.id = Some(id(89));
    again.offset = 2;
    again.fact = Fact::Requested(Box::new(requested(88, at)));
    evidence.records.push(again);
    match &mut evidence.records.last_mut().expect("just pushed").fact {
        Fact::Requested(requested) => requested,
        other => panic!("{other:?}"),
    }
}

#[test]
fn g7_cooldown_bounds_and_one_at_a_time() {
    finds(Guarantee::G7, "whose cooldown is", |evidence| {
        another_request(evidence, 110 + SECOND);
    });
    finds(Guarantee::G7, "beyond Some", |evidence| {
        another_request(evidence, 110 + 9 * SECOND).desired = 4;
    });
    finds(Guarantee::G7, "was under way", |evidence| {
        another_request(evidence, 110 + 9 * SECOND);
        find(evidence, COMPLETED).offset = 3;
    });
}

#[test]
fn g8_replicas_incidents_and_alerts() {
    finds(Guarantee::G8, "1 of app run", |evidence| {
        evidence.containers.pop();
    });
    finds(
        Guarantee::G8,
        "fires: false; Ingest says true",
        |evidence| {
            let row = evidence.ingest.alerts.get_mut(&id(ALERT));
            row.expect("a row").firing = true;
        },
    );
    finds(Guarantee::G8, "of its alerts [] fire", |evidence| {
        let row = evidence.store.incidents.get_mut(&id(INCIDENT));
        row.expect("a row").status = Some("mitigating".to_owned());
    });
    finds(Guarantee::G8, "is Some(\"resolved\")", |evidence| {
        evidence
            .records
            .retain(|record| record.id != Some(id(OVER)));
    });
}

#[test]
fn g9_a_store_that_is_not_what_the_topics_say() {
    finds(Guarantee::G9, "in the store", |evidence| {
        let row = evidence.store.incidents.get_mut(&id(INCIDENT));
        row.expect("a row").resolved_at = None;
    });
    finds(Guarantee::G9, "is completed, in the store", |evidence| {
        evidence.store.actions.clear();
    });
    finds(Guarantee::G9, "3 where 2 is due", |evidence| {
        evidence.rules_rows.decisions.remove(1);
    });
    finds(Guarantee::G9, "which is on no topic", |evidence| {
        evidence.rules_rows.decisions[0].emitted.push(id(87));
    });
}

fn refused(evidence: &mut Evidence) {
    evidence
        .records
        .retain(|record| record.id != Some(id(OVER)));
    evidence.rules_rows.decisions.pop();
    evidence.rules_rows.decisions[0].outcomes[0].1 = "cooldown".to_owned();
    evidence.rules_rows.decisions[1].outcomes.clear();
}

#[test]
fn g12_a_refusal_that_nothing_wakes() {
    finds(Guarantee::G12, "nothing wakes it", refused);
    let woken = planted(|evidence| {
        refused(evidence);
        let timer = ("service=app".to_owned(), "recheck".to_owned());
        evidence.rules_rows.timers.push(timer);
    });
    assert!(
        !woken
            .violations
            .iter()
            .any(|v| v.guarantee == Guarantee::G12)
    );
    finds(Guarantee::G12, "has no answer", |evidence| {
        refused(evidence);
        evidence.rules_rows.decisions[0].outcomes.clear();
    });
}
