//! What goes away under it, and what comes back.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use futures::future::join_all;
use service_kit::testing::{Database, wait_for};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinHandle};

use crate::support::{Ingest, TOKEN, body, config, count, firing, told};

/// The server that a test's database is on, by another door.
struct Server {
    admin: PgConnection,
    name: String,
}

impl Server {
    async fn of(database: &Database) -> Result<Self> {
        let Some((base, name)) = database.url.rsplit_once('/') else {
            bail!("no database in the URL");
        };
        Ok(Self {
            admin: PgConnection::connect(&format!("{base}/postgres")).await?,
            name: name.to_owned(),
        })
    }

    /// Cuts every connection to the database and lets nobody in.
    async fn close(&mut self) -> Result<()> {
        self.execute(&format!(
            "ALTER DATABASE {} ALLOW_CONNECTIONS false",
            self.name
        ))
        .await?;
        let name = self.name.clone();
        self.execute(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        ))
        .await
    }

    async fn open(&mut self) -> Result<()> {
        self.execute(&format!(
            "ALTER DATABASE {} ALLOW_CONNECTIONS true",
            self.name
        ))
        .await
    }

    async fn execute(&mut self, statement: &str) -> Result<()> {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(&mut self.admin)
            .await?;
        Ok(())
    }
}

#[tokio::test]
async fn it_starts_without_kafka_and_registry_and_says_200() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let ingest = Ingest::start(config(&database)).await?;
    ingest.accept(&[firing("HighCPU", "10:00:00")]).await;
    assert_eq!(
        count(&database.pool, "outbox_events").await?,
        1,
        "it waits for Kafka"
    );
    assert_eq!(ingest.get("/readyz").await?.0, 200);
    ingest.stop().await
}

#[tokio::test]
async fn without_its_database_it_starts_says_503_and_recovers() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let mut server = Server::of(&database).await?;
    server.close().await?;
    let ingest = Ingest::launch(config(&database)).await?;
    let body = body(&[firing("HighCPU", "10:00:00")]);
    wait_for("the listener", async || ingest.get("/livez").await).await;
    assert_eq!(ingest.get("/livez").await?.0, 200);
    assert_eq!(ingest.get("/readyz").await?.0, 503);
    assert_eq!(ingest.post(&body).await?, 503);
    server.open().await?;
    ingest.deliver(&body).await;
    ingest.stop().await
}

#[tokio::test]
async fn when_its_database_goes_away_it_says_503_and_recovers() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let ingest = Ingest::start(config(&database)).await?;
    ingest.accept(&[firing("HighCPU", "10:00:00")]).await;
    let mut server = Server::of(&database).await?;
    server.close().await?;
    let body = body(&[firing("HighCPU", "10:00:00")]);
    for _ in 0..5 {
        let response = ingest.request(body.to_string()).send().await?;
        assert_eq!(response.status(), 503);
        assert!(response.headers().contains_key("retry-after"));
    }
    wait_for("readyz to notice", async || {
        match ingest.get("/readyz").await {
            Ok((503, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(ingest.get("/livez").await?.0, 200);
    server.open().await?;
    ingest.deliver(&body).await;
    ingest.stop().await?;
    let occurrences = sqlx::query_scalar!("SELECT occurrences FROM alerts")
        .fetch_one(&database.pool)
        .await?;
    assert_eq!(occurrences, 2, "a 503 stored nothing here");
    Ok(())
}

#[tokio::test]
async fn a_full_outbox_and_an_exhausted_pool_say_503() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let mut config = config(&database);
    config.kit.outbox_limit = 3;
    config.kit.database.database_connections = 4;
    let ingest = Ingest::start(config).await?;
    // whoever holds the table holds every connection that wants it
    let mut blocker = database.pool.begin().await?;
    sqlx::raw_sql("LOCK TABLE alerts IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *blocker)
        .await?;
    let body = body(&[firing("HighCPU", "10:00:00")]);
    let statuses = join_all((0..20).map(|_| ingest.post(&body))).await;
    let statuses = statuses.into_iter().collect::<Result<Vec<u16>>>()?;
    ensure!(statuses.iter().all(|status| *status == 503), "{statuses:?}");
    blocker.rollback().await?;
    wait_for("the outbox to be past its limit", async || {
        match ingest.post(&body).await {
            Ok(503) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let waiting = count(&database.pool, "outbox_events").await?;
    ensure!(waiting > 3, "{waiting} events wait");
    ingest.stop().await
}

/// sqlx's cancelled `begin()` leaves a transaction open on a pooled connection, and what is written
/// through it later is lost. A client that hangs up drops the handler at any await.
#[tokio::test]
async fn clients_that_hang_up_leave_no_open_transaction() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let ingest = Ingest::start(config(&database)).await?;
    for round in 0..300_u64 {
        let alert = firing(&format!("A{}", round % 20), "10:00:00");
        let mut stream = TcpStream::connect(ingest.address()).await?;
        let body = body(&[alert]).to_string();
        let request = format!(
            "POST /webhooks/alertmanager HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        // every third hangs up within the body, the others at some point of the transaction
        let sent = if round % 3 == 0 {
            request.len() / 2
        } else {
            request.len()
        };
        stream.write_all(&request.as_bytes()[..sent]).await?;
        let patience = Duration::from_micros(100 * (round % 60));
        let hung_up = tokio::time::timeout(patience, stream.readable()).await;
        drop((hung_up, stream));
    }
    let idle = "pg_stat_activity WHERE datname = current_database()
                AND application_name = 'eventpulse-ingest' AND state LIKE 'idle in transaction%'";
    wait_for("no transaction to be left open", async || {
        match count(&database.pool, idle).await {
            Ok(0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    // every pooled connection is good: what it says is committed is seen by others
    let before = count(&database.pool, "receipts").await?;
    let body = body(&[firing("After", "10:00:00")]);
    join_all((0..40).map(|_| ingest.deliver(&body))).await;
    let after = count(&database.pool, "receipts WHERE alerts = 1").await?;
    ensure!(after >= before + 40, "{before} before, {after} after");
    ingest.stop().await
}

#[tokio::test]
async fn a_request_in_hand_is_finished_when_it_stops() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let ingest = Ingest::start(config(&database)).await?;
    let mut blocker = database.pool.begin().await?;
    sqlx::raw_sql("LOCK TABLE alerts IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *blocker)
        .await?;
    let request = ingest.request(body(&[firing("HighCPU", "10:00:00")]).to_string());
    let in_hand = tokio::spawn(request.send());
    let waiting = "pg_stat_activity WHERE datname = current_database()
                   AND application_name = 'eventpulse-ingest' AND wait_event_type = 'Lock'";
    wait_for("the request to wait for the lock", async || {
        match count(&database.pool, waiting).await {
            Ok(1) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    ingest.shutdown.cancel();
    blocker.rollback().await?;
    assert_eq!(in_hand.await??.status(), 200);
    let address = ingest.address().to_owned();
    ingest.stop().await?;
    assert_eq!(told(&database.pool).await?, ["raised 1"]);
    assert!(
        TcpStream::connect(address).await.is_err(),
        "nobody listens any more"
    );
    Ok(())
}

/// Its sender will send it again: stored now it would only be more work for those who still wait.
#[tokio::test]
async fn who_gives_up_before_the_turn_is_not_stored() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let ingest = Ingest::start(config(&database)).await?;
    let mut attempt = 0;
    let gone = wait_for(
        "somebody who gives up while both turns are taken",
        async || {
            attempt += 1;
            gives_up(&database, &ingest, attempt).await
        },
    )
    .await;
    ingest.accept(&[firing("Four", "10:00:00")]).await;
    // whatever was taken is stored by then
    ingest.stop().await?;
    let stored: Vec<String> =
        sqlx::query_scalar("SELECT labels ->> 'alertname' FROM alerts ORDER BY 1")
            .fetch_all(&database.pool)
            .await?;
    ensure!(!stored.contains(&gone), "{stored:?}");
    ensure!(stored.contains(&"Four".to_owned()), "{stored:?}");
    Ok(())
}

/// The name of an alert whose sender gave up. An error when one of the two before it got no lock in
/// time, since its turn may then have been the third's.
async fn gives_up(database: &Database, ingest: &Ingest, attempt: usize) -> Result<String> {
    let mut table = database.pool.begin().await?;
    sqlx::query("LOCK TABLE alerts")
        .execute(&mut *table)
        .await?;
    let post = |name: &str| ingest.request(body(&[firing(name, "10:00:00")]).to_string());
    let one = tokio::spawn(post("One").send());
    waiting(database, 1, &[&one]).await?;
    let two = tokio::spawn(post("Two").send());
    waiting(database, 2, &[&one, &two]).await?;
    let name = format!("Three {attempt}");
    let outcome = post(&name).timeout(Duration::from_millis(50)).send().await;
    ensure!(outcome.is_err_and(|error| error.is_timeout()));
    table.commit().await?;
    for turn in [one, two] {
        let status = turn.await??.status();
        ensure!(
            status == 200,
            "a turn ended before the table was free: {status}"
        );
    }
    Ok(name)
}

/// Waits until so many wait for a lock, unless one of `senders` has its answer.
async fn waiting<T>(database: &Database, wanted: i64, senders: &[&JoinHandle<T>]) -> Result<()> {
    let answered = wait_for("bodies that wait for the table", async || {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_locks
             WHERE NOT granted AND database = (SELECT oid FROM pg_database
                                               WHERE datname = current_database())",
        )
        .fetch_one(&database.pool)
        .await?;
        let answered = senders.iter().any(|sender| sender.is_finished());
        ensure!(answered || waiting == wanted, "{waiting} wait");
        Ok(answered)
    })
    .await;
    ensure!(!answered, "answered before the table was free");
    Ok(())
}
