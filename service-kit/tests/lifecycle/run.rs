//! A whole service: alive before anything else is, ready without Kafka, gone in order.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use axum::{Router, routing::get};
use service_kit::{
    Class, Error, Parts, Worker,
    clock::Stopwatch,
    testing::{Database, wait_for},
};
use tokio::sync::Notify;

use crate::{PATIENCE, Running, door::Door, without_kafka};

fn api() -> Parts {
    Parts {
        router: Router::new().route("/api", get(async || "here")).into(),
        workers: Vec::new(),
    }
}

#[tokio::test]
async fn without_kafka_and_registry_it_is_ready() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let service = Running::start(without_kafka(&database), |_| api()).await?;
    service.ready().await;
    assert_eq!(service.text("/api").await?, "here");
    let metrics = service.text("/metrics").await?;
    for line in [
        "eventpulse_part_up{service=\"idle\",part=\"relay\"} 1",
        "eventpulse_outbox_depth{service=\"idle\"} 0",
        "eventpulse_database_connections{service=\"idle\",state=\"idle\"}",
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
    service.stop.cancel();
    service.outcome().await??;
    Ok(())
}

#[tokio::test]
async fn it_lives_without_its_database_and_is_ready_with_it() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let (door, url) = Door::before(&database).await?;
    let mut args = without_kafka(&database);
    args.database.database_url = Some(url.into());
    let service = Running::start(args, |_| api()).await?;
    let unready = async || {
        wait_for("readiness to name the database", async || {
            let text = service
                .text("/readyz")
                .await
                .map_err(|error| error.to_string())?;
            if text.contains("database: ") {
                Ok(())
            } else {
                Err(text)
            }
        })
        .await;
        anyhow::Ok((
            service.status("/livez").await?,
            service.status("/readyz").await?,
        ))
    };
    assert_eq!(unready().await?, (200, 503));
    assert_eq!(service.status("/api").await?, 503);
    let opened = door.open().await?;
    service.ready().await;
    assert_eq!(service.text("/api").await?, "here");
    opened.abort();
    assert_eq!(unready().await?, (200, 503));
    // a handler that needs no database still answers
    assert_eq!(service.text("/api").await?, "here");
    let opened = door.open().await?;
    service.ready().await;
    service.stop.cancel();
    service.outcome().await??;
    opened.abort();
    Ok(())
}

#[tokio::test]
async fn a_stop_lets_requests_and_workers_finish() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let finished = Arc::new(AtomicBool::new(false));
    let (inside, door, flag) = (
        Arc::clone(&entered),
        Arc::clone(&leave),
        Arc::clone(&finished),
    );
    let service = Running::start(without_kafka(&database), move |kit| {
        let handler = async move || {
            inside.notify_one();
            door.notified().await;
            "done"
        };
        let (stop, pool) = (kit.shutdown().clone(), kit.pool().clone());
        let worker = Worker::new("last words", move || {
            let (stop, pool, flag) = (stop.clone(), pool.clone(), Arc::clone(&flag));
            async move {
                stop.cancelled().await;
                // the pool outlives the workers
                sqlx::query("CREATE TABLE last_words ()")
                    .execute(&pool)
                    .await
                    .map_err(Error::database("writing last words"))?;
                flag.store(true, Ordering::Relaxed);
                Ok(())
            }
        });
        Parts {
            router: Router::new().route("/work", get(handler)).into(),
            workers: vec![worker],
        }
    })
    .await?;
    service.ready().await;
    let request = tokio::spawn(reqwest::get(format!("http://{}/work", service.address)));
    entered.notified().await;
    service.stop.cancel();
    leave.notify_one();
    assert_eq!(request.await??.text().await?, "done");
    service.outcome().await??;
    assert!(finished.load(Ordering::Relaxed));
    Ok(())
}

#[tokio::test]
async fn what_does_not_end_is_cut_off_in_time() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let service = Running::start(without_kafka(&database), |_| Parts {
        router: Router::new().into(),
        workers: vec![Worker::new("deaf", std::future::pending)],
    })
    .await?;
    service.ready().await;
    let watch = Stopwatch::start();
    service.stop.cancel();
    service.outcome().await??;
    assert!(watch.elapsed() < Duration::from_secs(10) && watch.elapsed() < PATIENCE);
    Ok(())
}

#[tokio::test]
async fn a_stop_ends_the_wait_for_the_database() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let mut args = without_kafka(&database);
    args.database.database_url = Some("postgres://nobody@127.0.0.1:9/nothing".into());
    let service = Running::start(args, |_| api()).await?;
    wait_for("life", async || service.status("/livez").await).await;
    service.stop.cancel();
    service.outcome().await??;
    Ok(())
}

#[tokio::test]
async fn a_panicking_or_hopeless_worker_ends_the_service() -> Result<()> {
    let database = Database::fresh(&[]).await;
    for (kind, class) in [("panic", Class::Park), ("setting", Class::Fatal)] {
        let service = Running::start(without_kafka(&database), move |_| Parts {
            router: Router::new().into(),
            workers: vec![Worker::new("hopeless", move || async move {
                assert_ne!(kind, "panic", "on purpose");
                Err(Error::Setting {
                    name: "NOTHING",
                    reason: "hopeless".to_owned(),
                })
            })],
        })
        .await?;
        let error = service
            .outcome()
            .await?
            .expect_err("the worker is hopeless");
        assert_eq!(error.class(), class, "{error}");
    }
    Ok(())
}
