//! Transactions that survive a dropped caller.
//!
//! sqlx's `begin()` is not cancel safe (transact-rs/sqlx#4393): when the future is dropped between
//! `BEGIN` and its bookkeeping, the pooled connection goes back with a transaction open, and the
//! next borrower's writes run inside it and can be lost. HTTP drops a handler's future whenever a
//! client disconnects. So every transaction runs in a task of its own, which is joined, never
//! cancelled; and the pool that is not for batches alone rolls back on release.

use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::timeout;

use crate::Error;

/// How often a transaction is run again after a deadlock, a serialization failure or a race.
const RERUNS: usize = 20;

/// How long a transaction may take. The server ends statements of its own accord; but a server, or a way
/// to it, that vanishes between our last packet and its answer is never missed by the connection.
const SILENCE: Duration = Duration::from_secs(30);

/// Runs `work` between `BEGIN` and `COMMIT`, again after a deadlock, serialization failure or race.
///
/// # Errors
/// Whatever `work` returns, or that the database failed. When `COMMIT` itself failed the outcome
/// is unknown: callers must be able to do the same work again.
pub async fn in_tx<T, F>(pool: &PgPool, mut work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: for<'c> FnMut(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
{
    let pool = pool.clone();
    let task = tokio::spawn(async move {
        let mut connection = pool
            .acquire()
            .await
            .map_err(Error::database("waiting for a connection"))?;
        let mut reruns = 0;
        loop {
            let Ok(outcome) = timeout(SILENCE, once(&mut connection, &mut work)).await else {
                // never back to the pool, which would wait for its answer, too
                drop(connection.detach());
                return Err(Error::silence("a transaction", SILENCE));
            };
            match outcome {
                Err(error) if error.reruns() && reruns < RERUNS => {
                    reruns += 1;
                    tracing::debug!(reruns, error = %crate::error::chain(&error), "transaction reruns");
                }
                outcome => return outcome,
            }
        }
    });
    match task.await {
        Ok(outcome) => outcome,
        Err(stopped) if stopped.is_cancelled() => Err(Error::Stopping),
        Err(_) => Err(Error::Panic {
            task: "transaction".into(),
        }),
    }
}

async fn once<T, F>(connection: &mut PgConnection, work: &mut F) -> Result<T, Error>
where
    F: for<'c> FnMut(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Error>>,
{
    let mut tx = connection.begin().await.map_err(Error::database("BEGIN"))?;
    match work(&mut tx).await {
        Ok(value) => {
            tx.commit().await.map_err(Error::database("COMMIT"))?;
            Ok(value)
        }
        Err(error) => {
            // The connection may be gone; the reason that counts is `error`.
            drop(tx.rollback().await);
            Err(error)
        }
    }
}
