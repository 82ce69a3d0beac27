//! Whatever the order and however often facts come: the same state.

use proptest::prelude::*;
use sha2::{Digest, Sha256};
use shared_events::{ActionEvent, IncidentEvent, IncidentId, TopicEvent};

use super::{
    Body, Fact, Incident, Status, apply,
    samples_tests::{completed, failed, gave_up, id, opened, requested, resolved, updated},
};

fn fact(event_id: shared_events::EventId, body: Body) -> Fact {
    Fact {
        event_id,
        causation_id: None,
        trace_id: None,
        body,
    }
}

fn of_incident(event: impl Into<IncidentEvent>) -> Fact {
    let event = event.into();
    fact(event.event_id(), event.into())
}

fn of_action(event: impl Into<ActionEvent>) -> Fact {
    let event = event.into();
    let body = Body::of_action(event.clone()).expect("about an incident");
    fact(event.event_id(), body)
}

/// Any fact that a writer could give, one that was restored from an older dump included: revisions
/// collide between types, actions end twice.
fn any_fact() -> impl Strategy<Value = Fact> {
    let revision = 1..6_i64;
    let at = 0..20_i64;
    let number = 0..3_u32;
    prop_oneof![
        (revision.clone(), at.clone()).prop_map(|(n, at)| of_incident(opened(n, at))),
        (revision.clone(), at.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(n, at, title, alerts)| of_incident(updated(n, at, title, alerts))),
        (revision.clone(), at.clone(), any::<bool>())
            .prop_map(|(n, at, alerts)| of_incident(resolved(n, at, alerts))),
        (revision, at.clone()).prop_map(|(n, at)| of_incident(failed(n, at))),
        (number.clone(), at.clone()).prop_map(|(n, at)| of_action(requested(n, at))),
        (number.clone(), at.clone()).prop_map(|(n, at)| of_action(completed(n, at))),
        (number, at).prop_map(|(n, at)| of_action(gave_up(n, at))),
    ]
}

/// A set of facts (one content per id), and the same facts shuffled with repeats.
fn facts_and_a_shuffle() -> impl Strategy<Value = (Vec<Fact>, Vec<Fact>)> {
    prop::collection::vec(any_fact(), 0..16)
        .prop_map(|mut facts| {
            facts.sort_by_key(|fact| fact.event_id);
            facts.dedup_by_key(|fact| fact.event_id);
            facts
        })
        .prop_flat_map(|facts| {
            let repeats = prop::sample::subsequence(facts.clone(), 0..=facts.len());
            let all = repeats.prop_map({
                let facts = facts.clone();
                move |again| [facts.clone(), again].concat()
            });
            (Just(facts), all.prop_shuffle())
        })
}

fn fold<'a>(facts: impl IntoIterator<Item = &'a Fact>) -> Incident {
    facts
        .into_iter()
        .fold(Incident::stub(IncidentId(id(3))), apply)
}

fn hash(incident: &Incident) -> Vec<u8> {
    let canonical = serde_json::to_vec(incident).expect("string keys only");
    Sha256::digest(canonical).to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn order_and_repeats_change_nothing((facts, shuffled) in facts_and_a_shuffle()) {
        let (one, other) = (fold(&facts), fold(&shuffled));
        prop_assert_eq!(&one, &other);
        prop_assert_eq!(hash(&one), hash(&other));
        prop_assert_eq!(one.now(), other.now());
    }

    #[test]
    fn a_stub_shows_nothing((facts, _) in facts_and_a_shuffle()) {
        let incident = fold(&facts);
        let seen = facts.iter().any(|fact| matches!(fact.body, Body::Opened(_)));
        prop_assert_eq!(incident.status().is_some(), seen);
    }

    #[test]
    fn the_highest_revision_tells_the_status((facts, _) in facts_and_a_shuffle()) {
        let incident = fold(&facts);
        let ending = facts.iter().filter_map(|fact| match &fact.body {
            Body::Opened(event) => Some((event.revision, 0, None)),
            Body::Resolved(event) => Some((event.revision, 1, Some(Status::Resolved))),
            Body::Failed(event) => Some((event.revision, 2, Some(Status::Failed))),
            Body::Updated(_) | Body::Requested(_) | Body::Completed(_) | Body::ActionFailed(_) => None,
        });
        let expected = ending.max_by_key(|(revision, rank, _)| (*revision, *rank));
        if let (Some(status), Some((_, _, expected))) = (incident.status(), expected) {
            let asked = facts.iter().any(|fact| matches!(fact.body, Body::Requested(_)));
            let underway = if asked { Status::Mitigating } else { Status::Open };
            prop_assert_eq!(status, expected.unwrap_or(underway));
        }
    }
}

#[test]
fn another_incidents_fact_changes_nothing() {
    let mut other = opened(1, 0);
    other.incident_id = IncidentId(id(99));
    let stub = Incident::stub(IncidentId(id(3)));
    assert_eq!(apply(stub.clone(), &of_incident(other)), stub);
}

#[test]
fn an_action_after_the_end_does_not_mitigate() {
    let late = [
        of_incident(opened(1, 0)),
        of_incident(resolved(2, 5, true)),
        of_action(requested(0, 9)),
    ];
    let incident = fold(&late);
    assert_eq!(incident.status(), Some(Status::Resolved));
    assert_eq!(incident.mitigating_at(), None);
    assert_eq!(incident.actions.len(), 1);
}

#[test]
fn nul_characters_become_visible_ones() {
    let mut event = opened(1, 0);
    event.title = "a\0b \\u0000".into();
    event.labels.insert("x\0".into(), "\0".into());
    let Body::Opened(clean) = Body::from(IncidentEvent::from(event.clone())).without_nul() else {
        panic!("still an opening");
    };
    assert_eq!(clean.title, "a\u{fffd}b \\u0000");
    assert_eq!(clean.labels["x\u{fffd}"], "\u{fffd}");
    assert_eq!(clean.at, event.at);
}
