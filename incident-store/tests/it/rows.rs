//! Facts become the same rows in whatever order and batches they come.

use incident_store::{
    domain::{Incident, apply},
    store::list,
};
use service_kit::Work;
use shared_events::IncidentId;
use sqlx::Row;

use crate::{
    facts::{self, completed, failed, gave_up, opened, requested, resolved, updated},
    stage::{Stage, action, incident},
};

type Fact = Work<incident_store::domain::Fact>;

/// Two incidents: one that was mitigated, one that failed and recovered.
fn story() -> Vec<Fact> {
    vec![
        incident(opened(1, 0)),
        action(requested(1, 0, 0)),
        incident(opened(2, 1)),
        action(completed(1, 0, 3)),
        incident(updated(1, 2, 4)),
        action(requested(2, 0, 5)),
        action(gave_up(2, 0, 30)),
        action(requested(2, 1, 30)),
        action(completed(2, 1, 33)),
        incident(failed(2, 2, 40)),
        incident(resolved(1, 3, 50)),
        incident(resolved(2, 3, 60)),
    ]
}

/// A shuffle of one's own: the same for each seed, on every machine.
fn shuffled<T>(mut items: Vec<T>, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for end in (1..items.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let at = usize::try_from(state % (end as u64 + 1)).expect("below the length");
        items.swap(end, at);
    }
    items
}

async fn incidents(stage: &Stage, id: IncidentId) -> Vec<incident_store::store::Stored> {
    list::between(&stage.handler.pool, id.uuid(), id.uuid())
        .await
        .expect("a list")
}

#[tokio::test]
async fn any_order_and_any_batches_give_the_same_rows() {
    let live = Stage::<false>::fresh().await;
    for fact in story() {
        live.play([fact]).await;
    }
    let expected = live.hash().await;
    assert_eq!(
        (expected.incidents, expected.actions, expected.facts),
        (2, 3, 12)
    );

    for seed in 1..=6 {
        let rebuilt = Stage::<false>::fresh().await;
        let facts = shuffled([story(), story()].concat(), seed);
        let (mut size, mut rest) = (1, facts.as_slice());
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(size.min(rest.len()));
            rebuilt.play(batch.to_vec()).await;
            (size, rest) = (size % 5 + 1, later);
        }
        assert_eq!(rebuilt.hash().await, expected, "seed {seed}");
        let stored = incidents(&rebuilt, facts::incident(2)).await;
        assert_eq!(stored[0].version, 7, "each fact counts once, seed {seed}");
    }
}

#[tokio::test]
async fn a_changed_fact_changes_the_hash() {
    let (one, other) = (Stage::<false>::fresh().await, Stage::<false>::fresh().await);
    one.play(story()).await;
    let mut facts = story();
    facts.pop();
    other.play(facts).await;
    assert_ne!(one.hash().await.sha256, other.hash().await.sha256);
}

#[tokio::test]
async fn rows_are_what_the_domain_says() {
    let stage = Stage::<false>::fresh().await;
    stage.play(story()).await;
    for n in [1, 2] {
        let id = facts::incident(n);
        let expected = story()
            .iter()
            .fold(Incident::stub(id), |known, fact| apply(known, &fact.input));
        let stored = incidents(&stage, id).await;
        assert_eq!(stored[0].incident, expected);
    }
    let row = sqlx::query(
        "SELECT status, revision, needs_attention, actions, failed_at IS NOT NULL AS had_failed
         FROM incidents WHERE incident_id = $1",
    )
    .bind(facts::incident(2).uuid())
    .fetch_one(&stage.handler.pool)
    .await
    .expect("a row");
    assert_eq!(row.get::<String, _>("status"), "resolved");
    assert_eq!(row.get::<i64, _>("revision"), 3);
    assert!(!row.get::<bool, _>("needs_attention"));
    assert_eq!(row.get::<i32, _>("actions"), 2);
    assert!(row.get::<bool, _>("had_failed"));
}

#[tokio::test]
async fn a_redelivery_is_a_duplicate() {
    let stage = Stage::<false>::fresh().await;
    assert_eq!(stage.play(story()).await.folded, 12);
    let before = stage.hash().await;
    let again = stage.play(story()).await;
    assert_eq!((again.folded, again.duplicates), (0, 12));
    // an inbox that forgot: the facts themselves know
    sqlx::query("DELETE FROM inbox_events")
        .execute(&stage.handler.pool)
        .await
        .expect("the inbox empties");
    assert_eq!(stage.play(story()).await.folded, 12);
    assert_eq!(stage.hash().await, before);
    assert_eq!(incidents(&stage, facts::incident(1)).await[0].version, 5);
}

/// Two consumers hold the two topics; both meet incidents that no row is there for yet, and then
/// rows that are. Unless the one that comes second runs again, it writes over the other.
#[tokio::test]
async fn two_topics_at_once_lose_nothing() {
    let stage = Stage::<false>::fresh().await;
    for round in 0..10_u128 {
        let range = || (round * 10 + 1)..=(round * 10 + 10);
        tokio::join!(
            stage.play(range().map(|n| incident(opened(n, 0)))),
            stage.play(range().rev().map(|n| action(requested(n, 0, 0)))),
        );
        tokio::join!(
            stage.play(range().map(|n| incident(resolved(n, 2, 9)))),
            stage.play(range().rev().map(|n| action(completed(n, 0, 3)))),
        );
    }
    for n in 1..=100 {
        let stored = &incidents(&stage, facts::incident(n)).await[0];
        assert_eq!(stored.version, 4, "incident {n}");
        let outcomes = stored.incident.actions.values();
        let ended = outcomes.filter(|action| action.outcome.is_some());
        assert_eq!(ended.count(), 1, "incident {n}");
        assert!(stored.incident.opened.is_some() && stored.incident.resolved_at.is_some());
    }
}

#[tokio::test]
async fn status_is_published_only_when_switched_on() {
    let (silent, saying) = (Stage::<false>::fresh().await, Stage::<true>::fresh().await);
    assert_eq!(silent.play(story()).await.emitted, 0);
    let facts = story();
    // in one batch: open, mitigating, resolved of the first; open, mitigating, failed, resolved
    assert_eq!(saying.play(facts).await.emitted, 7);
    let said: Vec<(String, i64)> = sqlx::query_as(
        "SELECT event_type, key_seq FROM outbox_events
         WHERE topic = 'incident.status' AND key = convert_to($1, 'UTF8') ORDER BY id",
    )
    .bind(facts::incident(1).to_string())
    .fetch_all(&saying.handler.pool)
    .await
    .expect("the outbox");
    let expected = (1..=3).map(|seq| ("incident.status".to_owned(), seq));
    assert_eq!(said, expected.collect::<Vec<_>>());
}
