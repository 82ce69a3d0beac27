//! The relay: what the outbox holds goes to Kafka, each key in order, until the broker has it.
//!
//! Reading, sending and marking overlap; each is a batch as large as what has gathered meanwhile.
//! A crash between acknowledgement and mark sends again, under the same `ce_id`.

mod engine;
mod lanes;
mod metrics;
mod producer;
mod sending;
mod shards;
mod store;
mod trace;
mod turning;

use std::{sync::Arc, time::Duration};

use sqlx::PgPool;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

pub use self::metrics::{Metrics, Published};
use self::{
    engine::Engine,
    shards::Shards,
    store::{Store, gauge},
    turning::Turning,
};
use crate::{Error, census::Census, kafka::Cluster, registry::Registry};

/// How long clients may take to end; they go on in the background.
const CLOSE: Duration = Duration::from_millis(300);
/// How often the outbox is measured, if that takes no longer than usual.
const GAUGE: Duration = Duration::from_secs(5);

/// Everything a relay needs.
#[derive(Clone, Debug)]
pub struct Relay {
    pub cluster: Cluster,
    /// The service's database; the relay opens four connections of its own like those of this pool.
    pub pool: PgPool,
    pub registry: Registry,
    /// Rung after each commit that wrote to the outbox.
    pub wake: Arc<Notify>,
    pub metrics: Metrics,
}

impl Relay {
    /// Relays until `stop` is cancelled; then waits, bounded, for what is with the broker.
    ///
    /// # Errors
    /// When no Kafka client can be made: settings are wrong.
    pub async fn run(&self, stop: &CancellationToken) -> Result<(), Error> {
        let (reports, heard) = mpsc::unbounded_channel();
        let engine = Engine::new(
            self.cluster.clone(),
            self.registry.clone(),
            self.metrics.clone(),
            reports,
        )?;
        let options = (*self.pool.connect_options()).clone();
        let store = Store::new(&options);
        let shards = Shards {
            options,
            owned: watch::Sender::new(Vec::new()),
            heard: Notify::new(),
            bell: Notify::new(),
        };
        let turning = Turning::new(engine, store.clone(), heard);
        let landed = CancellationToken::new();
        let relaying = async {
            let engine = turning.run(self, &shards, stop).await;
            landed.cancel();
            engine
        };
        let (engine, (), ()) = tokio::join!(
            Box::pin(relaying),
            Box::pin(shards.run(&landed)),
            self.measure(&landed)
        );
        drop(timeout(CLOSE, engine.into_producer().destroy()).await);
        drop(timeout(CLOSE, store.close()).await);
        Ok(())
    }

    async fn measure(&self, stop: &CancellationToken) {
        let mut census = Census::new(&self.pool, GAUGE, stop.clone());
        while census.due().await {
            let counted = census.look("measuring the outbox", |conn| Box::pin(gauge(conn)));
            if let Some((depth, age, parked)) = counted.await {
                self.metrics.depth.set(depth);
                self.metrics.oldest_age.set(age.max(0.0));
                self.metrics.parked.set(parked);
            }
        }
    }
}
