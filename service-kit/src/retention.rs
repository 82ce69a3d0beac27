//! What is forgotten, and when: sent events, and the ids of events that had their effect.

use std::time::Duration;

use sqlx::{Connection, PgConnection, PgPool};

use crate::{
    Error, Kit, Service, Worker,
    clock::Ticker,
    config::RetentionArgs,
    database::{PATIENT, in_time, patiently},
};

/// Days of `outbox_sent` that are made ahead.
const AHEAD: i32 = 2;
/// Rows of one statement.
const AT_ONCE: u64 = 5000;
/// Longest rest between two rounds: a day must be made while the one before it lasts.
const REST: Duration = Duration::from_secs(600);

/// Longer than anybody means, and far from where times overflow.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// Makes the days of `outbox_sent` and forgets what is older than the settings say.
pub(crate) fn worker<S: Service>(kit: &Kit<S>) -> Worker {
    let kit = kit.clone();
    Worker::new("retention", move || {
        let kit = kit.clone();
        async move {
            let keep = &kit.0.args.retention;
            let mut ticker = Ticker::new(rest(keep), kit.shutdown().clone());
            while ticker.tick().await {
                // what cannot be made or dropped now keeps nothing from being forgotten
                let turned = turn_days(kit.pool(), keep.sent_retention).await;
                let mut more = true;
                while more && !kit.shutdown().is_cancelled() {
                    let forgotten = forget_sent(kit.pool(), keep.sent_retention);
                    more = in_time("forgetting sent events", forgotten).await? == AT_ONCE;
                    if let Some(keep) = keep.inbox_retention {
                        let forgotten = forget_handled(kit.pool(), keep);
                        more |= in_time("forgetting handled events", forgotten).await? == AT_ONCE;
                    }
                }
                turned?;
            }
            Ok(())
        }
    })
}

fn rest(keep: &RetentionArgs) -> Duration {
    let inbox = keep.inbox_retention.unwrap_or(Duration::MAX);
    let shortest = keep.sent_retention.min(inbox);
    shortest.clamp(Duration::from_millis(100), REST)
}

async fn turn_days(pool: &PgPool, keep: Duration) -> Result<(), Error> {
    // its statements may take as long as it takes to look through all that was sent on the first day,
    // once for each day that is made, until that is forgotten
    let options = (*pool.connect_options()).clone().options(PATIENT);
    let turning = async {
        let mut connection = PgConnection::connect_with(&options)
            .await
            .map_err(Error::database("connecting"))?;
        let dropped = sqlx::query_scalar!(
            "SELECT turn_outbox_sent(make_interval(secs => $1), $2)",
            keep.min(LONGEST).as_secs_f64(),
            AHEAD
        )
        .fetch_one(&mut connection)
        .await
        .map_err(Error::database("making and dropping days of outbox_sent"))?;
        drop(connection.close().await);
        Ok(dropped)
    };
    let dropped = patiently("making and dropping days of outbox_sent", turning).await?;
    if let Some(days @ 1..) = dropped {
        tracing::info!(days, "sent events were forgotten");
    }
    Ok(())
}

/// What lies outside the days: sent before there were days, or while none was made.
async fn forget_sent(pool: &PgPool, keep: Duration) -> Result<u64, Error> {
    let forgotten = sqlx::query!(
        "DELETE FROM outbox_sent_rest WHERE ctid = ANY (ARRAY(
             SELECT ctid FROM outbox_sent_rest
             WHERE sent_at < clock_timestamp() - make_interval(secs => $1) LIMIT $2))",
        keep.min(LONGEST).as_secs_f64(),
        AT_ONCE.cast_signed()
    )
    .execute(pool)
    .await
    .map_err(Error::database("forgetting sent events"))?;
    Ok(forgotten.rows_affected())
}

/// Events whose effect is long in the tables. Dead ones stay: who redrives them is asked for them.
async fn forget_handled(pool: &PgPool, keep: Duration) -> Result<u64, Error> {
    let forgotten = sqlx::query!(
        "DELETE FROM inbox_events WHERE ctid = ANY (ARRAY(
             SELECT ctid FROM inbox_events
             WHERE status = 'done'
               AND received_at < clock_timestamp() - make_interval(secs => $1) LIMIT $2))",
        keep.min(LONGEST).as_secs_f64(),
        AT_ONCE.cast_signed()
    )
    .execute(pool)
    .await
    .map_err(Error::database("forgetting handled events"))?;
    Ok(forgotten.rows_affected())
}
