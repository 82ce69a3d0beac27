//! A database that vanishes between our last packet and its answer ends no connection.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use futures::FutureExt;
use service_kit::{
    Class, Error,
    testing::{Database, wait_for},
    tx::in_tx,
};
use sqlx::postgres::PgPoolOptions;
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    PATIENCE,
    database::{CONNECTIONS, all},
    door::Door,
};

async fn one(conn: &mut sqlx::PgConnection) -> Result<i32, Error> {
    sqlx::query_scalar("SELECT 1")
        .fetch_one(conn)
        .await
        .map_err(Error::database("asking"))
}

/// As many as the pool has connections; none of them is ever answered. The pool waits for the answer of
/// what comes back to it, as that of batches does.
#[tokio::test]
async fn transactions_without_an_answer_end_and_others_follow() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let (door, url) = Door::before(&database).await?;
    let open = door.open().await?;
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(Duration::from_secs(5))
        .connect_lazy(&url)?;
    let (begun, go_on) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let hung: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (pool, begun, go_on) = (pool.clone(), Arc::clone(&begun), Arc::clone(&go_on));
            tokio::spawn(async move {
                in_tx(&pool, move |conn| {
                    let (begun, go_on) = (Arc::clone(&begun), Arc::clone(&go_on));
                    async move {
                        one(conn).await?;
                        begun.add_permits(1);
                        drop(go_on.acquire().await);
                        one(conn).await
                    }
                    .boxed()
                })
                .await
            })
        })
        .collect();
    drop(timeout(PATIENCE, begun.acquire_many(CONNECTIONS)).await??);
    door.lose();
    go_on.add_permits(1);
    for hung in hung {
        let error = hung.await?.expect_err("nobody answers");
        assert_eq!(error.class(), Class::Retry, "{error}");
        let words = service_kit::error::chain(&error);
        assert!(words.contains("no answer in 30 s"), "{words}");
    }
    // each of them is made anew
    drop(all(&pool).await);
    let answer = wait_for("a transaction", async || {
        in_tx(&pool, |conn| one(conn).boxed()).await
    });
    assert_eq!(answer.await, 1);
    open.abort();
    Ok(())
}
