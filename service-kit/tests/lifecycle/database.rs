//! The pool gives out clean connections with time-outs; a server that may lose commits is refused.

use std::time::Duration;

use anyhow::Result;
use futures::FutureExt;
use service_kit::{
    Class, Error, Parts,
    testing::{Database, wait_for},
};
use sqlx::{
    AssertSqlSafe, Connection, PgPool, Postgres, Row, pool::PoolConnection, postgres::PgPoolOptions,
};
use tokio::sync::oneshot;

use crate::{Running, without_kafka};

pub(crate) const CONNECTIONS: u32 = 4;

/// Every connection that `pool` may have.
pub(crate) async fn all(pool: &PgPool) -> Vec<PoolConnection<Postgres>> {
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        // a busy machine may need more than a second for a new connection
        held.push(wait_for("a connection", async || pool.acquire().await).await);
    }
    held
}

/// The pool of a running service.
async fn pool_of(database: &Database) -> Result<(Running, PgPool)> {
    pool_through(database, &database.url).await
}

/// The same, whose way to the database is `url`.
pub(crate) async fn pool_through(database: &Database, url: &str) -> Result<(Running, PgPool)> {
    let (hand, over) = oneshot::channel();
    let mut args = without_kafka(database);
    args.database.database_connections = CONNECTIONS;
    args.database.database_url = Some(url.to_owned().into());
    let service = Running::start(args, move |kit| {
        hand.send(kit.pool().clone()).expect("the test waits");
        Parts::default()
    })
    .await?;
    Ok((service, over.await?))
}

#[tokio::test]
async fn connections_carry_name_and_time_outs() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let (service, pool) = pool_of(&database).await?;
    for (setting, value) in [
        ("application_name", "eventpulse-idle"),
        ("statement_timeout", "5s"),
        ("lock_timeout", "2s"),
        ("idle_in_transaction_session_timeout", "10s"),
    ] {
        let found: String = sqlx::query_scalar("SELECT current_setting($1)")
            .bind(setting)
            .fetch_one(&pool)
            .await?;
        assert_eq!(found, value, "{setting}");
    }
    let held = all(&pool).await;
    let refused = tokio::time::timeout(Duration::from_secs(20), pool.acquire()).await?;
    assert!(matches!(refused, Err(sqlx::Error::PoolTimedOut)));
    drop(held);
    service.stop.cancel();
    service.outcome().await??;
    Ok(())
}

/// Rows of [`a_plan_made_for_an_empty_table_does_not_read_all_of_a_large_one`].
const ROWS: i64 = 10_000;

#[tokio::test]
async fn a_plan_made_for_an_empty_table_does_not_read_all_of_a_large_one() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let (service, pool) = pool_of(&database).await?;
    // autovacuum would find out that it grew, but only after a minute
    sqlx::raw_sql("CREATE TABLE grown (id bigint PRIMARY KEY) WITH (autovacuum_enabled = off)")
        .execute(&pool)
        .await?;
    sqlx::raw_sql("VACUUM grown").execute(&pool).await?;
    let mut session = pool.acquire().await?;
    let look = "SELECT count(*) FROM grown WHERE id = ANY($1)";
    // after the fifth time Postgres settles on a plan
    for _ in 0..10 {
        let none: i64 = sqlx::query_scalar(look)
            .bind(vec![1_i64])
            .fetch_one(&mut *session)
            .await?;
        assert_eq!(none, 0);
    }
    sqlx::query("INSERT INTO grown SELECT generate_series(1, $1)")
        .bind(ROWS)
        .execute(&pool)
        .await?;
    let found: i64 = sqlx::query_scalar(look)
        .bind((1..=500).collect::<Vec<i64>>())
        .fetch_one(&mut *session)
        .await?;
    assert_eq!(found, 500);
    sqlx::raw_sql("SELECT pg_stat_force_next_flush()")
        .execute(&mut *session)
        .await?;
    let read: i64 =
        sqlx::query_scalar("SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'grown'")
            .fetch_one(&mut *session)
            .await?;
    assert!(read < ROWS, "{read} rows read one after the other");
    drop(session);
    service.stop.cancel();
    service.outcome().await??;
    Ok(())
}

/// Gives up on `begin()` when BEGIN is sent and its answer is not read, as a handler does whose
/// client disconnects; then writes through the pool, and counts elsewhere what is missing.
async fn lost_writes(pool: &PgPool, elsewhere: &PgPool) -> Result<usize> {
    sqlx::query("CREATE TABLE IF NOT EXISTS written (attempt int)")
        .execute(elsewhere)
        .await?;
    sqlx::query("TRUNCATE written").execute(elsewhere).await?;
    for attempt in 0..20_i32 {
        let mut connection = wait_for("a connection", async || pool.acquire().await).await;
        drop(connection.begin().now_or_never());
        drop(connection);
        let insert = sqlx::query("INSERT INTO written VALUES ($1)").bind(attempt);
        insert.execute(pool).await?;
    }
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM written")
        .fetch_one(elsewhere)
        .await?;
    Ok(20 - usize::try_from(kept)?)
}

#[tokio::test]
async fn a_cancelled_begin_loses_nothing() -> Result<()> {
    let database = Database::fresh(&[]).await;
    // the hazard is real: a pool without the guard loses writes
    let bare = PgPoolOptions::new()
        .max_connections(1)
        .connect(&database.url)
        .await?;
    let lost = lost_writes(&bare, &database.pool).await?;
    assert!(lost > 0, "sqlx no longer needs the guard: remove it");
    bare.close().await;
    let (service, pool) = pool_of(&database).await?;
    assert_eq!(lost_writes(&pool, &database.pool).await?, 0);
    service.stop.cancel();
    service.outcome().await??;
    Ok(())
}

#[tokio::test]
async fn a_forgotten_transaction_does_not_meet_the_next_borrower() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let (service, pool) = pool_of(&database).await?;
    for statement in ["BEGIN", "BEGIN; SELECT 1", "BEGIN; SELECT 1/0"] {
        let mut connections = all(&pool).await;
        for connection in &mut connections {
            // the last fails, and leaves an aborted transaction
            drop(
                sqlx::raw_sql(AssertSqlSafe(statement))
                    .execute(&mut **connection)
                    .await,
            );
        }
        drop(connections);
        for mut connection in all(&pool).await {
            let clean: bool =
                sqlx::raw_sql("SELECT transaction_timestamp() = statement_timestamp()")
                    .fetch_one(&mut *connection)
                    .await?
                    .get(0);
            assert!(clean, "after {statement}");
        }
    }
    service.stop.cancel();
    service.outcome().await??;
    Ok(())
}

#[tokio::test]
async fn a_server_that_may_lose_commits_is_refused() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let name = database.url.rsplit('/').next().expect("a name");
    let unsafe_now = format!("ALTER DATABASE {name} SET synchronous_commit = off");
    sqlx::query(AssertSqlSafe(unsafe_now))
        .execute(&database.pool)
        .await?;
    let mut args = without_kafka(&database);
    args.database.allow_unsafe_database = false;
    let service = Running::start(args.clone(), |_| Parts::default()).await?;
    let error = service
        .outcome()
        .await?
        .expect_err("synchronous_commit is off");
    assert_eq!(error.class(), Class::Fatal);
    assert!(
        matches!(&error, Error::Durability { setting, .. } if setting == "synchronous_commit"),
        "{error}"
    );
    args.database.allow_unsafe_database = true;
    let service = Running::start(args, |_| Parts::default()).await?;
    service.ready().await;
    service.stop.cancel();
    service.outcome().await??;
    Ok(())
}

#[tokio::test]
async fn kit_and_service_keep_their_migrations_apart() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT table_name::text FROM information_schema.tables
         WHERE table_schema = 'public' AND table_name LIKE '%migrations' ORDER BY 1",
    )
    .fetch_all(&database.pool)
    .await?;
    assert!(tables.contains(&"kit_migrations".to_owned()), "{tables:?}");
    Ok(())
}

/// A role that owns its database, and may nothing else on the server.
#[tokio::test]
async fn a_service_needs_no_more_than_its_own_database() -> Result<()> {
    let server = Database::fresh(&[]).await;
    let (_, place) = server.url.rsplit_once('@').expect("a user");
    let (host, name) = place.split_once('/').expect("a database");
    let name = format!("{name}_least");
    for statement in [
        format!("CREATE ROLE {name} LOGIN PASSWORD 'least' NOSUPERUSER NOCREATEDB NOCREATEROLE"),
        format!("CREATE DATABASE {name} OWNER {name}"),
        format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC"),
    ] {
        let statement = sqlx::raw_sql(AssertSqlSafe(statement));
        statement.execute(&server.pool).await?;
    }
    let mut args = without_kafka(&server);
    let url = format!("postgres://{name}:least@{host}/{name}");
    args.database.database_url = Some(url.into());
    let service = Running::start(args, |_| Parts::default()).await?;
    service.ready().await;
    service.stop.cancel();
    service.outcome().await??;
    for statement in [format!("DROP DATABASE {name}"), format!("DROP ROLE {name}")] {
        let statement = sqlx::raw_sql(AssertSqlSafe(statement));
        statement.execute(&server.pool).await?;
    }
    Ok(())
}
