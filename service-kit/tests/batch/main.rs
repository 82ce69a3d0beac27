//! The one transaction on a real Postgres: once, in order, all or nothing.

mod counter;

use std::sync::Arc;

use anyhow::Result;
use counter::{handler, intake};
use service_kit::{Poison, batch, inbox::Progress};
use sqlx::{PgPool, Row};

fn undertaker() -> Arc<batch::Undertaker<'static>> {
    Arc::new(|id, poison: &Poison| Some(counter::letter(id, poison)))
}

async fn handle(pool: &PgPool, works: &[(u128, &str, i64)]) -> Result<batch::Handled<()>> {
    let handler = handler(pool).await?;
    Ok(batch::handle(&handler, intake(works), undertaker()).await?)
}

async fn total(pool: &PgPool, key: &str) -> Result<i64> {
    let row = sqlx::query("SELECT coalesce(sum(total), 0)::bigint FROM counters WHERE key = $1")
        .bind(key)
        .fetch_one(pool)
        .await?;
    Ok(row.get(0))
}

async fn outbox(pool: &PgPool, key: &str) -> Result<Vec<(i64, String)>> {
    let rows = sqlx::query(
        "SELECT key_seq, convert_from(payload, 'UTF8') FROM outbox_events WHERE key = $1 ORDER BY id",
    )
    .bind(key.as_bytes())
    .fetch_all(pool)
    .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

#[tokio::test]
async fn an_event_has_its_effect_once() -> Result<()> {
    let database = counter::database().await?;
    let pool = &database.pool;
    let first = handle(pool, &[(1, "a", 5), (1, "a", 5), (2, "b", 7)]).await?;
    assert_eq!((first.folded, first.duplicates), (2, 1));
    let again = handle(pool, &[(1, "a", 5), (3, "a", 1)]).await?;
    assert_eq!((again.folded, again.duplicates), (1, 1));
    assert_eq!((total(pool, "a").await?, total(pool, "b").await?), (6, 7));
    Ok(())
}

#[tokio::test]
async fn concurrent_repeats_have_one_effect() -> Result<()> {
    let database = counter::database().await?;
    let works: Vec<(u128, &str, i64)> = (1..40).map(|id| (id, "a", 1)).collect();
    let mut tasks = Vec::new();
    for turn in 0..8 {
        let (pool, mut works) = (database.pool.clone(), works.clone());
        if turn % 2 == 1 {
            works.reverse();
        }
        tasks.push(tokio::spawn(async move { handle(&pool, &works).await }));
    }
    let mut folded = 0;
    for task in tasks {
        folded += task.await??.folded;
    }
    assert_eq!(folded, works.len());
    assert_eq!(total(&database.pool, "a").await?, 39);
    let seqs: Vec<i64> = outbox(&database.pool, "a")
        .await?
        .iter()
        .map(|row| row.0)
        .collect();
    assert_eq!(seqs, (1..=39).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn sequence_order_is_commit_order_within_a_key() -> Result<()> {
    let database = counter::database().await?;
    let pool = &database.pool;
    let mut tasks = Vec::new();
    for writer in 0..6_u128 {
        let pool = pool.clone();
        tasks.push(tokio::spawn(async move {
            for n in 0..10_u128 {
                let id = 1 + writer * 100 + n;
                handle(&pool, &[(id, "a", 1), (id + 10_000, "b", 1)]).await?;
            }
            anyhow::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    for key in ["a", "b"] {
        let rows = outbox(pool, key).await?;
        // the payload is the total after the fold: it grows as commits do
        let expected: Vec<(i64, String)> = (1..=60).map(|n| (n, n.to_string())).collect();
        assert_eq!(rows, expected);
    }
    Ok(())
}

#[tokio::test]
async fn a_refused_work_is_taken_out_and_the_rest_folded_again() -> Result<()> {
    let database = counter::database().await?;
    let pool = &database.pool;
    let handled = handle(
        pool,
        &[
            (1, "a", 1),
            (2, "a", counter::REFUSED),
            (3, "a", 2),
            (4, "a", counter::PANICS),
        ],
    )
    .await?;
    assert_eq!((handled.folded, handled.buried), (2, 2));
    assert_eq!(total(pool, "a").await?, 3);
    let dead: Vec<String> =
        sqlx::query("SELECT error FROM inbox_events WHERE status = 'dead' ORDER BY event_id")
            .fetch_all(pool)
            .await?
            .iter()
            .map(|row| row.get(0))
            .collect();
    assert_eq!(dead.len(), 2);
    assert!(dead[0].contains("refused"), "{dead:?}");
    assert!(dead[1].contains("panicked"), "{dead:?}");
    assert_eq!(outbox(pool, "letters").await?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn data_that_the_database_refuses_is_isolated() -> Result<()> {
    let database = counter::database().await?;
    let pool = &database.pool;
    let handled = handle(pool, &[(1, "a", 1), (2, "nul\0", 1), (3, "b", 2)]).await?;
    assert_eq!((handled.folded, handled.buried), (2, 1));
    assert_eq!((total(pool, "a").await?, total(pool, "b").await?), (1, 2));
    assert_eq!(outbox(pool, "letters").await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn what_was_read_of_several_partitions_is_stored_together() -> Result<()> {
    let database = counter::database().await?;
    let pool = &database.pool;
    let handler = handler(pool).await?;
    let read = |partition, next_offset| Progress {
        topic: "numbers".into(),
        partition,
        next_offset,
    };
    for progress in [vec![read(1, 5), read(0, 7)], vec![read(0, 6), read(2, 1)]] {
        let mut intake = intake(&[(1, "a", 1)]);
        intake.progress = progress;
        batch::handle(&handler, intake, undertaker()).await?;
    }
    let stored: Vec<(i32, i64)> =
        sqlx::query_as("SELECT partition, next_offset FROM consumer_offsets ORDER BY partition")
            .fetch_all(pool)
            .await?;
    assert_eq!(stored, [(0, 7), (1, 5), (2, 1)]);
    Ok(())
}

#[tokio::test]
async fn the_offset_is_stored_with_the_effects_and_never_turned_back() -> Result<()> {
    let database = counter::database().await?;
    let pool = &database.pool;
    let handler = handler(pool).await?;
    for next_offset in [10, 7] {
        let mut intake = intake(&[(1, "a", 1)]);
        intake.progress = vec![Progress {
            topic: "numbers".into(),
            partition: 0,
            next_offset,
        }];
        batch::handle(&handler, intake, undertaker()).await?;
    }
    let stored: i64 = sqlx::query("SELECT next_offset FROM consumer_offsets")
        .fetch_one(pool)
        .await?
        .get(0);
    assert_eq!(stored, 10);
    Ok(())
}

#[tokio::test]
async fn a_failed_save_leaves_nothing() -> Result<()> {
    let database = counter::database().await?;
    let pool = &database.pool;
    sqlx::query("DROP TABLE outbox_keys").execute(pool).await?;
    assert!(handle(pool, &[(1, "a", 1)]).await.is_err());
    assert_eq!(total(pool, "a").await?, 0);
    let inbox: i64 = sqlx::query("SELECT count(*) FROM inbox_events")
        .fetch_one(pool)
        .await?
        .get(0);
    assert_eq!(inbox, 0);
    Ok(())
}

/// transact-rs/sqlx#4393: callers that go away in the middle must not leave a transaction open on
/// a pooled connection, nor undo what was begun.
#[tokio::test]
async fn dropped_callers_leave_no_open_transaction() -> Result<()> {
    let database = counter::database().await?;
    let pool = &database.pool;
    let handler = Arc::new(handler(pool).await?);
    for id in 1..200_u128 {
        let handler = Arc::clone(&handler);
        let mut call = Box::pin(async move {
            batch::handle(&handler, intake(&[(id, "a", 1)]), undertaker()).await
        });
        // polled a few times and then dropped, somewhere between BEGIN and COMMIT
        for _ in 0..(id % 7) {
            let turn = std::future::poll_fn(|cx| {
                std::task::Poll::Ready(call.as_mut().poll(cx).is_ready())
            });
            if turn.await {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let settled = service_kit::testing::wait_for("every begun transaction to end", async || {
        let open: i64 = sqlx::query(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND state LIKE 'idle in transaction%'",
        )
        .fetch_one(pool)
        .await?
        .get(0);
        let claimed: i64 = sqlx::query("SELECT count(*) FROM inbox_events")
            .fetch_one(pool)
            .await?
            .get(0);
        let total = total(pool, "a").await?;
        anyhow::ensure!(
            open == 0 && claimed == total,
            "{open} open, {claimed} claimed, {total}"
        );
        Ok(total)
    });
    settled.await;
    // and a borrower's own write is really committed
    handle(pool, &[(10_000, "last", 1)]).await?;
    assert_eq!(total(pool, "last").await?, 1);
    Ok(())
}
