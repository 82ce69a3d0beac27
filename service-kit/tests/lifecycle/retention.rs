//! What a service forgets, and what it must not.

use std::time::Duration;

use anyhow::Result;
use axum::Router;
use service_kit::{
    KitArgs, Parts,
    testing::{Database, wait_for},
};

use crate::{Running, without_kafka};

const HOUR: Duration = Duration::from_secs(3600);

async fn start(args: KitArgs) -> Result<Running> {
    let parts = |_: &_| Parts {
        router: Router::new().into(),
        workers: Vec::new(),
    };
    let service = Running::start(args, parts).await?;
    service.ready().await;
    Ok(service)
}

async fn stop(service: Running) -> Result<()> {
    service.stop.cancel();
    service.outcome().await??;
    Ok(())
}

/// What the table holds, by event type or by status and age, in order.
async fn told(database: &Database, sql: &'static str) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar(sql).fetch_all(&database.pool).await?)
}

const SENT: &str = "SELECT event_type FROM outbox_sent ORDER BY 1";
const INBOX: &str = "SELECT topic || ' ' || status FROM inbox_events ORDER BY 1";
const PLACES: &str =
    "SELECT tableoid::regclass::text FROM outbox_sent WHERE event_type = 'tomorrow'";

/// A day that was made long ago, rows outside all days, a row of a day that is made ahead; ids of old
/// and new events.
const PAST: &str = "
    CREATE TABLE outbox_sent_20200101 PARTITION OF outbox_sent
        FOR VALUES FROM ('2020-01-01 00:00Z') TO ('2020-01-02 00:00Z');
    INSERT INTO outbox_sent (event_id, topic, key, key_seq, event_type, headers, payload, created_at,
                             partition, kafka_offset, sent_at)
    SELECT gen_random_uuid(), 'alert', '', 1, named, '', '', at, 0, 0, at
    FROM (VALUES ('a day', timestamptz '2020-01-01 12:00Z'),
                 ('outside', now() - interval '49 hours'),
                 ('not yet', now() - interval '47 hours'),
                 ('tomorrow', now() + interval '1 day')) AS sent (named, at);
    INSERT INTO inbox_events (event_id, topic, partition, kafka_offset, status, received_at)
    SELECT gen_random_uuid(), age, 0, 0, status, at
    FROM (VALUES ('old', 'done', now() - interval '61 minutes'),
                 ('old', 'dead', now() - interval '61 minutes'),
                 ('new', 'done', now() - interval '59 minutes')) AS heard (age, status, at)";

#[tokio::test]
async fn what_is_older_than_the_settings_say_is_forgotten() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let mut args = without_kafka(&database);
    args.retention.sent_retention = 48 * HOUR;
    stop(start(args.clone()).await?).await?;
    sqlx::raw_sql(PAST).execute(&database.pool).await?;

    let service = start(args.clone()).await?;
    wait_for("sent events to be forgotten", async || {
        match told(&database, SENT).await {
            Ok(left) if left == ["not yet", "tomorrow"] => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    stop(service).await?;
    let days = told(&database, PLACES).await?;
    assert_ne!(days, ["outbox_sent_rest"], "it has a day of its own");
    let kept = ["new done", "old dead", "old done"];
    assert_eq!(
        told(&database, INBOX).await?,
        kept,
        "for ever, if nothing is said"
    );

    args.retention.inbox_retention = Some(HOUR);
    let service = start(args).await?;
    wait_for("handled events to be forgotten", async || {
        match told(&database, INBOX).await {
            Ok(left) if left == ["new done", "old dead"] => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    stop(service).await
}
