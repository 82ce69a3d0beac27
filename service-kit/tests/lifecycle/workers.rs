//! Parts are begun again, until they must not be.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use anyhow::Result;
use axum::Router;
use service_kit::{
    Error, Parts, Worker,
    testing::{Database, wait_for},
};

use crate::{Running, without_kafka};

#[tokio::test]
async fn a_part_that_may_recover_is_begun_again() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let begun = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&begun);
    let service = Running::start(without_kafka(&database), move |kit| {
        let stop = kit.shutdown().clone();
        let flaky = Worker::new("flaky", move || {
            let (count, stop) = (Arc::clone(&count), stop.clone());
            async move {
                if count.fetch_add(1, Ordering::Relaxed) < 2 {
                    return Err(Error::Registry {
                        doing: "testing".into(),
                        reason: "on purpose".to_owned(),
                    });
                }
                stop.cancelled().await;
                Ok(())
            }
        });
        Parts {
            router: Router::new().into(),
            workers: vec![flaky],
        }
    })
    .await?;
    service.ready().await;
    let text = wait_for("two restarts", async || {
        let text = service
            .text("/metrics")
            .await
            .map_err(|error| error.to_string())?;
        let line = "eventpulse_part_restarts_total{service=\"idle\",part=\"flaky\"} 2";
        if text.contains(line) {
            Ok(text)
        } else {
            Err(text)
        }
    })
    .await;
    assert!(text.contains("eventpulse_part_up{service=\"idle\",part=\"flaky\"} 1"));
    assert_eq!(begun.load(Ordering::Relaxed), 3);
    service.stop.cancel();
    service.outcome().await??;
    Ok(())
}

#[tokio::test]
async fn a_part_that_ended_well_is_not_begun_again() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let begun = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&begun);
    let service = Running::start(without_kafka(&database), move |_| Parts {
        router: Router::new().into(),
        workers: vec![Worker::new("brief", move || {
            count.fetch_add(1, Ordering::Relaxed);
            async { Ok(()) }
        })],
    })
    .await?;
    wait_for("the part to be over", async || {
        let text = service
            .text("/metrics")
            .await
            .map_err(|error| error.to_string())?;
        let line = "eventpulse_part_up{service=\"idle\",part=\"brief\"} 0";
        if text.contains(line) {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
    service.stop.cancel();
    service.outcome().await??;
    assert_eq!(begun.load(Ordering::Relaxed), 1);
    Ok(())
}
