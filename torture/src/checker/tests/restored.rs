//! A database that was lost and restored: what is sound then, and what is still found.

use super::*;
use crate::checker::evidence::Lost;

/// Ingest's database was lost after its first event, which the dump did not have as sent.
fn lost(evidence: &mut Evidence) {
    find(evidence, OVER).source = "/ingest/y".into();
    kit(evidence, "ingest").sent.remove(0);
    evidence.lost.insert(
        "ingest".to_owned(),
        Lost {
            source: "/ingest/x".to_owned(),
            between: (50, 200),
        },
    );
}

#[test]
fn a_restored_database_goes_on_from_its_dump() {
    let judgement = planted(|evidence| {
        lost(evidence);
        evidence.sent[0].bad = ["bad-1.".to_owned()].into();
    });
    assert!(judgement.holds(), "{:#?}", judgement.violations);
    let from_the_beginning = planted(|evidence| {
        lost(evidence);
        find(evidence, OVER).sequence = Some(1);
    });
    assert!(from_the_beginning.holds());
}

#[test]
fn what_it_says_again_has_numbers_of_its_own() {
    let judgement = planted(|evidence| {
        lost(evidence);
        let mut again = find(evidence, RAISED).clone();
        (again.source, again.offset) = ("/ingest/y".into(), 2);
        evidence.records.push(again);
        let over = find(evidence, OVER);
        (over.offset, over.sequence) = (3, Some(2));
        evidence
            .records
            .sort_by_key(|r| (Arc::clone(&r.topic), r.offset));
        for service in ["ingest", "rules"] {
            kit(evidence, service)
                .next
                .insert(("alert".to_owned(), 0), 4);
        }
    });
    assert!(judgement.holds(), "{:#?}", judgement.violations);
}

#[test]
fn g1_a_reject_of_before_the_dump_is_missed() {
    finds(Guarantee::G1, "0 rows of alert_rejects", |evidence| {
        lost(evidence);
        evidence.sent[1].bad = ["bad-1.".to_owned()].into();
    });
}

#[test]
fn g3_what_the_restored_one_said_was_marked() {
    finds(Guarantee::G3, "no row of an outbox_sent", |evidence| {
        lost(evidence);
        kit(evidence, "ingest").sent.clear();
    });
}

#[test]
fn g4_a_number_that_the_lost_one_never_reached() {
    finds(Guarantee::G4, "3 follows 0", |evidence| {
        lost(evidence);
        find(evidence, OVER).sequence = Some(3);
    });
    finds(Guarantee::G4, "2 follows 0", |evidence| {
        lost(evidence);
        find(evidence, RESOLVED).source = "/rules/y".into();
    });
}
