//! Connections that are lent again without a look at them.

use anyhow::Result;
use futures::{FutureExt, future::join_all};
use service_kit::{Error, lender::Lender, testing::Database, tx::in_tx};
use sqlx::{PgConnection, postgres::PgPoolOptions};

fn lender(database: &Database, connections: u32) -> Lender {
    let options = (*database.pool.connect_options()).clone();
    PgPoolOptions::new()
        .max_connections(connections)
        .connect_lazy_with(options)
        .into()
}

async fn pid(conn: &mut PgConnection) -> Result<i32, Error> {
    sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(conn)
        .await
        .map_err(Error::database("asking"))
}

async fn one(lender: &Lender) -> Result<i32, Error> {
    in_tx(lender, |conn| pid(conn).boxed()).await
}

async fn cut(database: &Database, pid: i32) -> Result<()> {
    sqlx::query("SELECT pg_terminate_backend($1, 5000)")
        .bind(pid)
        .execute(&database.pool)
        .await?;
    Ok(())
}

/// As many at once as there are connections, so that all of them rest afterwards.
async fn all(lender: &Lender) -> Result<Vec<i32>> {
    let mut lent = Vec::new();
    for _ in 0..lender.pool().options().get_max_connections() {
        lent.push(lender.lend().await?);
    }
    let pids = join_all(lent.into_iter().map(async |mut lent| {
        let pid = pid(lent.connection()).await;
        lent.keep();
        pid
    }));
    Ok(pids.await.into_iter().collect::<Result<_, _>>()?)
}

#[tokio::test]
async fn what_succeeded_is_lent_again() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let lender = lender(&database, 4);
    let first = one(&lender).await?;
    assert_eq!(one(&lender).await?, first);
    let mut lent = lender.lend().await?;
    assert_eq!(pid(lent.connection()).await?, first);
    // the pool waits for both, for the one that comes back after its end, too
    tokio::join!(lender.close(), async { lent.keep() });
    one(&lender).await.expect_err("it is closed");
    Ok(())
}

/// A restart of the server ends every connection that rests: that must cost one transaction.
#[tokio::test]
async fn one_failure_is_enough_to_distrust_all() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let lender = lender(&database, 4);
    let pids = all(&lender).await?;
    for pid in &pids {
        cut(&database, *pid).await?;
    }
    one(&lender)
        .await
        .expect_err("its connection had been ended");
    for _ in pids {
        one(&lender).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_dropped_is_closed() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let lender = lender(&database, 1);
    let mut lent = lender.lend().await?;
    let first = pid(lent.connection()).await?;
    drop(lent);
    assert_ne!(one(&lender).await?, first);
    Ok(())
}
