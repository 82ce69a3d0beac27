//! Counting goes on, whatever happened to a look.

use std::time::Duration;

use anyhow::Result;
use service_kit::{Error, census::Census, testing::Database};
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

/// Which connection looks.
async fn who(conn: &mut PgConnection) -> Result<i32, Error> {
    sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(conn)
        .await
        .map_err(Error::database("asking who looks"))
}

/// The connection is gone before it answers.
async fn die(conn: &mut PgConnection) -> Result<i32, Error> {
    sqlx::query_scalar("SELECT 1 FROM pg_terminate_backend(pg_backend_pid())")
        .fetch_one(conn)
        .await
        .map_err(Error::database("ending the connection"))
}

#[tokio::test]
async fn a_look_that_failed_is_followed_by_one_on_another_connection() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let stop = CancellationToken::new();
    let mut census = Census::new(&database.pool, Duration::ZERO, stop.clone());
    assert!(census.due().await);
    let first = census.look("looking", |conn| Box::pin(who(conn))).await;
    let second = census.look("looking", |conn| Box::pin(who(conn))).await;
    assert!(first.is_some());
    assert_eq!(first, second, "one connection for all looks");
    let failed = census.look("failing", |conn| Box::pin(die(conn))).await;
    assert_eq!(failed, None);
    let third = census.look("looking", |conn| Box::pin(who(conn))).await;
    assert!(third.is_some() && third != first, "{third:?}");
    stop.cancel();
    assert!(!census.due().await);
    Ok(())
}
