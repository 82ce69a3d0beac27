//! For each guarantee, a violation that must be found.

use super::*;

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
fn an_earlier_firing_that_is_heard_later_is_in_the_same_episode() {
    let earlier = |evidence: &mut Evidence| {
        let mut again = find(evidence, RAISED).clone();
        again.id = Some(id(97));
        if let Fact::Raised { starts_at, .. } = &mut again.fact {
            *starts_at = Some(50);
        }
        evidence.records.push(again);
        evidence.sent.push(firing(0, 50, 150));
    };
    assert_eq!(planted(earlier).lost, 0);
    finds(Guarantee::G1, "began at [50]", |evidence| {
        earlier(evidence);
        evidence.records.pop();
    });
}

#[test]
fn a_body_that_its_own_end_and_the_next_firing_overtook_is_of_the_next() {
    let overtaken = |evidence: &mut Evidence, answered: i64| {
        let late = Sent {
            answer: Some((answered, 200)),
            ..firing(0, 20, 50)
        };
        let mut over = firing(0, 20, 60);
        over.told = [Told {
            ends_at: Some(40),
            ..over.told[0]
        }]
        .into();
        evidence.sent.extend([late, over]);
    };
    assert_eq!(planted(|evidence| overtaken(evidence, 150)).lost, 0);
    finds(Guarantee::G1, "began at [20]", |evidence| {
        overtaken(evidence, 55);
    });
}

/// The other Alertmanager knew only of the firing before: by then all of both was over.
#[test]
fn a_body_that_the_end_of_a_later_firing_overtook_is_of_the_past() {
    let overtaken = |evidence: &mut Evidence, answered: i64| {
        let late = |began: i64, answered: i64| Sent {
            answer: Some((answered, 200)),
            ..firing(0, began, 50)
        };
        let mut over = firing(0, 20, 60);
        over.told = [Told {
            ends_at: Some(40),
            ..over.told[0]
        }]
        .into();
        let bodies = [late(15, answered), late(20, 150), over];
        evidence.sent.extend(bodies);
    };
    assert_eq!(planted(|evidence| overtaken(evidence, 150)).lost, 0);
    finds(Guarantee::G1, "began at [15]", |evidence| {
        overtaken(evidence, 55);
    });
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
        evidence.sent.push(firing(1, 5, 400));
    };
    finds(Guarantee::G1, "it stopped before Ingest's table", lose);
    assert_eq!(planted(lose).lost, 1);
}

#[test]
fn g1_a_second_firing_that_was_swallowed() {
    finds(Guarantee::G1, "began at [500]", |evidence| {
        evidence.sent.push(firing(0, 500, 500));
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
    finds(Guarantee::G5, "has no effect in rules", |evidence| {
        let rules = kit(evidence, "rules");
        rules.done.remove(&id(OVER));
        rules.whole_from = Some([(("alert".to_owned(), 0), 1)].into());
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

#[test]
fn what_may_be_forgotten_is_not_missed() {
    let judgement = planted(|evidence| {
        let rules = kit(evidence, "rules");
        rules.done.clear();
        rules.whole_from = Some([(("alert".to_owned(), 0), 2)].into());
    });
    assert!(judgement.holds(), "{:?}", judgement.violations);
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
