//! The consumer: every record of the topics that a service listens to has its effect once.
//!
//! One loop owns the client and only moves records into queues, one per partition; one worker per
//! partition makes transactions of them. The loop never waits for a worker, so the client is
//! always polled: a full queue pauses its partition.

mod assign;
mod breaker;
mod catch_up;
mod context;
mod intake;
mod lane;
mod metrics;
mod open;
mod past;
mod turn;
mod watermarks;
mod worker;

use std::{sync::Arc, time::Duration};

use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use tokio::{sync::mpsc, task::spawn_blocking, time::timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use self::catch_up::CatchUp;
use self::{
    assign::Start, context::Context, lane::Lane, turn::Turn, watermarks::Place, worker::Shared,
};
pub use self::{
    metrics::{Metrics, PartitionLabels, PerTopic, TopicLabel},
    watermarks::Watermarks,
};
use crate::{Error, Health, Service, batch::Handler, kafka::Cluster, registry::Registry};

/// How long the batches in hand may take at the end.
const LAST_BATCHES: Duration = Duration::from_secs(3);
/// How long the last commit of offsets may take.
const LAST_COMMIT: Duration = Duration::from_millis(1500);
/// How long leaving the group may take; it goes on in the background.
const LEAVE: Duration = Duration::from_secs(1);

/// Everything a consumer needs.
pub struct Consumer<S: Service> {
    pub handler: Handler<S>,
    pub cluster: Cluster,
    pub registry: Registry,
    pub metrics: Metrics,
    pub watermarks: Watermarks,
    pub health: Health,
}

impl<S: Service> std::fmt::Debug for Consumer<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer")
            .field("service", &S::NAME)
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

/// What workers and helpers ask of the loop.
enum Command {
    /// These offsets are for the assignment of this generation.
    Start(u64, Vec<Start>),
    Resume(Arc<Lane>),
    Tripped(Arc<Lane>),
    /// Ends of the assigned partitions, or why they are not known.
    Ends(Result<std::collections::HashMap<Place, i64>, Error>),
}

impl<S: Service> Consumer<S> {
    /// Consumes until `stop` is cancelled; then finishes the batches in hand and leaves the group.
    ///
    /// # Errors
    /// Class `Retry` when the client is of no more use: run it again. Class `Fatal` when a worker
    /// hangs.
    pub async fn run(&self, stop: &CancellationToken) -> Result<(), Error> {
        let (rebalances, rebalanced) = mpsc::unbounded_channel();
        let consumer: StreamConsumer<Context> = self
            .cluster
            .consumer()
            .create_with_context(Context { events: rebalances })
            .map_err(Error::kafka("creating a consumer"))?;
        let topics: Vec<String> = S::LISTENS
            .iter()
            .map(|(topic, _)| self.cluster.topic(topic))
            .collect();
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        consumer
            .subscribe(&topics)
            .map_err(Error::kafka("subscribing"))?;
        let consumer = Arc::new(consumer);
        let (commands, commanded) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            handler: self.handler.clone(),
            cluster: self.cluster.clone(),
            registry: self.registry.clone(),
            metrics: self.metrics.clone(),
            watermarks: self.watermarks.clone(),
            consumer: Arc::clone(&consumer),
            commands,
        });
        let mut turn = Turn::new(shared, self.health.clone());
        let outcome = turn.run(rebalanced, commanded, stop).await;
        turn.finish(LAST_BATCHES).await;
        drop(turn);
        leave(consumer).await;
        outcome
    }
}

/// Commits what was stored and leaves the group. Both block, and dropping a consumer may hang.
async fn leave(consumer: Arc<StreamConsumer<Context>>) {
    let committing = {
        let consumer = Arc::clone(&consumer);
        spawn_blocking(move || consumer.commit_consumer_state(CommitMode::Sync))
    };
    match timeout(LAST_COMMIT, committing).await {
        Ok(Ok(Err(error))) => tracing::debug!(%error, "last offsets not committed"),
        Ok(Ok(Ok(())) | Err(_)) => {}
        Err(_) => tracing::warn!("the broker does not take the last offsets: some records repeat"),
    }
    let leaving = spawn_blocking(move || {
        consumer.unsubscribe();
        drop(consumer);
    });
    drop(timeout(LEAVE, leaving).await);
}
