//! What runs beside the consumer: gauges, and the care for a restored database.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
};
use service_kit::{Error, Kit, Worker, census::Census};
use sqlx::{PgPool, Postgres, pool::PoolConnection};
use tokio_util::sync::CancellationToken;

use crate::{
    IncidentStore,
    domain::Status,
    store::{list, stream},
};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct State {
    status: &'static str,
}

/// The workers of this service.
pub(crate) fn workers<const SAYS: bool>(kit: &Kit<IncidentStore<SAYS>>) -> Vec<Worker> {
    let (pool, stop) = (kit.pool().clone(), kit.shutdown().clone());
    let gauges = Family::<State, Gauge>::default();
    kit.metrics().with(|registry| {
        registry.register(
            "eventpulse_incidents",
            "Incidents that are not over, by status; stub: known only from its actions",
            gauges.clone(),
        );
    });
    vec![
        Worker::new("census", {
            let pool = pool.clone();
            move || census(pool.clone(), stop.clone(), gauges.clone())
        }),
        Worker::new("adoption", move || adopt(pool.clone())),
    ]
}

/// Counts what is not over: alarms stand on these numbers.
async fn census(
    pool: PgPool,
    stop: CancellationToken,
    gauges: Family<State, Gauge>,
) -> Result<(), Error> {
    let mut census = Census::new(&pool, Duration::from_secs(5), stop);
    while census.due().await {
        let counted = census.look("counting incidents", |conn| Box::pin(list::census(conn)));
        let Some(counts) = counted.await else {
            continue;
        };
        let of = |status: Option<Status>| {
            let name = status.map(Status::as_str);
            let count = counts.iter().find(|(found, _)| found.as_deref() == name);
            count.map_or(0, |(_, count)| *count)
        };
        for status in [Status::Open, Status::Mitigating, Status::Failed] {
            let state = State {
                status: status.as_str(),
            };
            gauges.get_or_create(&state).set(of(Some(status)));
        }
        gauges
            .get_or_create(&State { status: "stub" })
            .set(of(None));
    }
    Ok(())
}

/// Puts what a restored database holds from another server's count of transactions before
/// everything, once at start: see [`stream::adopt`].
async fn adopt(pool: PgPool) -> Result<(), Error> {
    let adopted = {
        let mut conn = connection(&pool).await?;
        stream::adopt(&mut conn).await?
    };
    if adopted > 0 {
        tracing::warn!(
            adopted,
            "facts of a restored database were put before the stream"
        );
    }
    Ok(())
}

async fn connection(pool: &PgPool) -> Result<PoolConnection<Postgres>, Error> {
    pool.acquire()
        .await
        .map_err(Error::database("waiting for a connection"))
}
