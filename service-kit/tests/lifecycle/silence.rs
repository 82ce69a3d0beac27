//! A database that vanishes between our last packet and its answer ends no connection.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use futures::FutureExt;
use service_kit::{
    Class, Error,
    testing::{Database, wait_for},
    tx::in_tx,
};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    PATIENCE,
    database::{CONNECTIONS, all, pool_through},
    door::Door,
};

async fn one(conn: &mut sqlx::PgConnection) -> Result<i32, Error> {
    sqlx::query_scalar("SELECT 1")
        .fetch_one(conn)
        .await
        .map_err(Error::database("asking"))
}

#[tokio::test]
async fn transactions_without_an_answer_end_and_others_follow() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let (door, url) = Door::before(&database).await?;
    let open = door.open().await?;
    let (service, pool) = pool_through(&database, &url).await?;
    goes_on(&pool, &door).await?;
    service.stop.cancel();
    service.outcome().await??;
    open.abort();
    Ok(())
}

/// As those of batches are: this pool waits for the answer of what comes back to it.
#[tokio::test]
async fn so_they_do_where_nothing_looks_after_what_comes_back() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let (door, url) = Door::before(&database).await?;
    let open = door.open().await?;
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(Duration::from_secs(5))
        .connect_lazy(&url)?;
    goes_on(&pool, &door).await?;
    open.abort();
    Ok(())
}

/// As many transactions as the pool has connections; none of them is ever answered.
async fn goes_on(pool: &PgPool, door: &Door) -> Result<()> {
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
    drop(all(pool).await);
    let answer = wait_for("a transaction", async || {
        in_tx(pool, |conn| one(conn).boxed()).await
    });
    assert_eq!(answer.await, 1);
    Ok(())
}
