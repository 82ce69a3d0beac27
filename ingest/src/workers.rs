//! What runs beside the requests: the sweeper that ends silent episodes, and the pruner.

use std::time::Duration;

use chrono::TimeDelta;
use service_kit::{
    Error, Kit, Trace, Work, Worker,
    clock::{self, Ticker},
    in_time,
};
use shared_events::{AlertId, ids::event_id};
use uuid::Uuid;

use crate::{
    intake,
    metrics::Metrics,
    service::{Ingest, Input},
};

/// Series in one transaction of the sweeper.
const SWEPT: i64 = 500;
/// Rows in one transaction of the pruner.
const PRUNED: i64 = 500;
/// Longest rest of the sweeper; of the pruner it is ten times that.
const REST: Duration = Duration::from_secs(60);
/// Senders have this part of `stale_after` to be heard after a start before silence means
/// anything: nobody could tell us while we were away. Of the default it is one `repeat_interval`.
const EARS: u32 = 3;

/// Ends episodes that are unheard of for `stale_after`.
pub(crate) fn sweeper(kit: &Kit<Ingest>, metrics: &Metrics) -> Worker {
    let (kit, metrics) = (kit.clone(), metrics.clone());
    Worker::new("sweeper", move || {
        let (kit, metrics) = (kit.clone(), metrics.clone());
        async move {
            let stale_after = kit.service().policy().stale_after;
            let patience = stale_after.to_std().unwrap_or(Duration::MAX) / EARS;
            if clock::wait(patience, kit.shutdown()).await.is_err() {
                return Ok(());
            }
            let rest = patience.clamp(Duration::from_millis(100), REST);
            let mut ticker = Ticker::new(rest, kit.shutdown().clone());
            while ticker.tick().await {
                sweep(&kit, &metrics, stale_after).await?;
            }
            Ok(())
        }
    })
}

async fn sweep(kit: &Kit<Ingest>, metrics: &Metrics, stale: TimeDelta) -> Result<(), Error> {
    let mut after = Uuid::nil();
    while !kit.shutdown().is_cancelled() {
        let looking = crate::store::unheard(kit.pool(), stale, after, SWEPT);
        let silent = in_time("looking for silent episodes", looking).await?;
        let Some(last) = silent.last() else {
            return Ok(());
        };
        after = last.uuid();
        let works = silent.into_iter().map(silence).collect();
        let stored = intake::store(kit, works).await?;
        for (_, poison) in &stored.refused {
            tracing::error!(%poison, "a silent episode cannot be ended");
        }
        metrics.outcomes(&stored.tally);
    }
    Ok(())
}

fn silence(alert_id: AlertId) -> Work<Input> {
    let id = event_id("ingest", "silence", alert_id.uuid(), "");
    Work::local(id, Trace::current(), Input::Silence(alert_id))
}

/// Deletes bodies and rejected alerts that are older than `keep`.
pub(crate) fn pruner(kit: &Kit<Ingest>, keep: TimeDelta) -> Worker {
    let kit = kit.clone();
    Worker::new("pruner", move || {
        let kit = kit.clone();
        async move {
            let patience = keep.to_std().unwrap_or(Duration::MAX);
            let rest = patience.clamp(Duration::from_millis(100), REST * 10);
            let mut ticker = Ticker::new(rest, kit.shutdown().clone());
            while ticker.tick().await {
                while in_time("pruning", crate::store::prune(kit.pool(), keep, PRUNED)).await? > 0 {
                    if kit.shutdown().is_cancelled() {
                        return Ok(());
                    }
                }
            }
            Ok(())
        }
    })
}
