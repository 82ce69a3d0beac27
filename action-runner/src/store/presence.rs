//! Shows the other instances that this one lives: an advisory lock that ends with its session, at
//! once when the process dies. Who finds it free takes over the instance's leases without waiting
//! for them to run out.

use std::time::Duration;

use service_kit::{
    Error,
    clock::{Backoff, wait},
    error::chain,
};
use sqlx::{Connection, PgConnection, PgPool};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use uuid::Uuid;

/// How often the session is looked at.
const PING: Duration = Duration::from_secs(2);
/// First and longest pause before the next try after a failure.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Holds the lock of `instance` until it is dropped or `stop` is cancelled. Returns once it is held.
///
/// # Errors
/// When the database cannot be reached.
pub async fn show(
    pool: &PgPool,
    instance: Uuid,
    stop: CancellationToken,
) -> Result<AbortOnDropHandle<()>, Error> {
    let mut session = enter(pool, instance).await?;
    let pool = pool.clone();
    Ok(AbortOnDropHandle::new(tokio::spawn(async move {
        let mut backoff = Backoff::new(PAUSE.0, PAUSE.1);
        while wait(PING, &stop).await.is_ok() {
            let Err(error) = session.ping().await else {
                continue;
            };
            tracing::warn!(%error, "other instances may think that this one is gone");
            loop {
                match enter(&pool, instance).await {
                    Ok(entered) => {
                        session = entered;
                        backoff.reset();
                        break;
                    }
                    Err(error) => tracing::debug!(error = chain(&error), "not entered again yet"),
                }
                if backoff.wait(&stop).await.is_err() {
                    return;
                }
            }
        }
        // Told, so that others need not find out.
        drop(session.close().await);
    })))
}

async fn enter(pool: &PgPool, instance: Uuid) -> Result<PgConnection, Error> {
    let mut session = PgConnection::connect_with(&pool.connect_options())
        .await
        .map_err(Error::database(
            "connecting to show that this instance lives",
        ))?;
    sqlx::query!(
        "SELECT pg_advisory_lock(hashtextextended($1::uuid::text, 0))",
        instance
    )
    .execute(&mut session)
    .await
    .map_err(Error::database("showing that this instance lives"))?;
    Ok(session)
}
