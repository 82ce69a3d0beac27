//! A running service: what its handlers and workers use, and how its parts are started and
//! stopped.
//!
//! A service is one call of [`run`]:
//!
//! ```no_run
//! # use service_kit::{Kit, Parts, Service, Worker, KitArgs, Error, http::OpenApiRouter};
//! # use tokio::net::TcpListener;
//! # use tokio_util::sync::CancellationToken;
//! # static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations/kit");
//! # async fn example<S: Service>(args: KitArgs, service: S, listener: TcpListener,
//! #     shutdown: CancellationToken) -> Result<(), Error> {
//! service_kit::run(args, service, &MIGRATOR, listener, shutdown, |kit: &Kit<S>| {
//!     // kit.health().gate("broker");   only if the service is useless without it
//!     Parts {
//!         router: OpenApiRouter::new(),
//!         workers: vec![],
//!     }
//! })
//! .await
//! # }
//! ```
//!
//! The router is an [`OpenApiRouter`], whose routes carry their OpenAPI description (see
//! [`http`](crate::http)); a plain `axum::Router` becomes one with `.into()`.
//!
//! Start: HTTP first (`/livez`, and 503 for the API), then the database (for ever), its settings,
//! migrations, the parts, relay and consumer. Stop, when `shutdown` is cancelled: no more
//! connections, records or worker rounds; what is in hand is finished and committed; the relay
//! hears out the broker; the pool closes. Within nine seconds.

use std::{sync::Arc, time::Duration};

use shared_events::{EventId, Timestamp, codec};
use sqlx::{PgConnection, PgPool, migrate::Migrator};
use tokio::{net::TcpListener, sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    Class, Error, Health, KitArgs, Metrics, Poison, Service, Work, Worker,
    batch::{self, Handled, Handler, Intake},
    clock::{Backoff, Stopwatch},
    consumer::{self, Consumer, Watermarks},
    database,
    error::chain,
    http::{self, Edge, Gate, Limits, OpenApiRouter, Operations},
    kafka::Cluster,
    metrics::PartMetrics,
    outbox::Source,
    registry::Registry,
    relay::{self, Relay},
    topics::{self, Wanted},
};

/// From the signal to the end of requests, consumer and workers.
const INTAKE: Duration = Duration::from_secs(6);
/// From there to the end of the relay.
const OUTFLOW: Duration = Duration::from_millis(2500);
/// How long closing connections may take.
const CLOSE: Duration = Duration::from_millis(500);

/// What handlers and workers use. Cheap to clone.
pub struct Kit<S: Service>(Arc<Inner<S>>);

struct Inner<S: Service> {
    handler: Handler<S>,
    args: KitArgs,
    metrics: Metrics,
    health: Health,
    shutdown: CancellationToken,
    relay: Relay,
    watermarks: Watermarks,
}

impl<S: Service> Clone for Kit<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Service> std::fmt::Debug for Kit<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kit")
            .field("service", &S::NAME)
            .field("args", &self.0.args)
            .finish_non_exhaustive()
    }
}

impl<S: Service> Kit<S> {
    /// The service's database. Reads may use it directly; writes go through
    /// [`handle`](Self::handle) or [`in_tx`](crate::tx::in_tx).
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.0.handler.pool
    }

    /// The service itself.
    #[must_use]
    pub fn service(&self) -> &S {
        &self.0.handler.service
    }

    /// For a service's own metrics.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// For a service's own checks.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.0.health
    }

    /// Cancelled when the service must stop: workers and streams end then.
    #[must_use]
    pub fn shutdown(&self) -> &CancellationToken {
        &self.0.shutdown
    }

    /// Settings of the kit.
    #[must_use]
    pub fn args(&self) -> &KitArgs {
        &self.0.args
    }

    /// What this service is called in Kafka.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.0.relay.cluster
    }

    /// How far topics reach, and whether this service has come that far.
    #[must_use]
    pub fn watermarks(&self) -> &Watermarks {
        &self.0.watermarks
    }

    /// Service, pool, source and bell, as [`batch::handle`] takes them.
    #[must_use]
    pub fn handler(&self) -> &Handler<S> {
        &self.0.handler
    }

    /// Handles inputs that did not come from a topic, in one transaction. It runs to its end even
    /// if the caller is dropped.
    ///
    /// # Errors
    /// As [`batch::handle`]. Class `Retry`: nothing happened, or the outcome of the commit is
    /// unknown.
    pub async fn handle(&self, works: Vec<Work<S::Input>>) -> Result<Handled<S::Reply>, Error> {
        let no_letter = |_: EventId, _: &Poison| None;
        batch::handle(&self.0.handler, Intake::local(works), Arc::new(no_letter)).await
    }

    /// Refuses while more events wait for Kafka than the setting allows. To be asked before
    /// anything new is accepted from outside.
    ///
    /// # Errors
    /// [`Error::OutboxFull`].
    pub fn has_room(&self) -> Result<(), Error> {
        let (depth, limit) = (self.0.relay.metrics.depth.get(), self.0.args.outbox_limit);
        if depth > limit {
            return Err(Error::OutboxFull { depth, limit });
        }
        Ok(())
    }

    /// The database's clock, which goes on within a transaction.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn database_now(&self, connection: &mut PgConnection) -> Result<Timestamp, Error> {
        database::now(connection).await
    }
}

/// What a service adds to the kit.
#[derive(Default)]
pub struct Parts {
    /// Its API. A plain `axum::Router` becomes one with `.into()`.
    pub router: OpenApiRouter,
    /// What runs beside its requests.
    pub workers: Vec<Worker>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

/// Runs a service until `shutdown` is cancelled or a part of it fails for good.
///
/// # Errors
/// When a setting cannot be used, the database is not safe, a migration fails, or a part panics
/// or fails for good. Never because something is not reachable.
pub async fn run<S: Service>(
    args: KitArgs,
    service: S,
    migrator: &'static Migrator,
    listener: TcpListener,
    shutdown: CancellationToken,
    parts: impl FnOnce(&Kit<S>) -> Parts,
) -> Result<(), Error> {
    let metrics = Metrics::new(S::NAME);
    let health = Health::default();
    let stop = shutdown.child_token();
    // whatever way this function is left, nothing that it started goes on
    let _guard = stop.clone().drop_guard();
    let limits = Limits::default();
    let edge = Edge::new(&metrics, limits.clone());
    let operations = Operations {
        service: S::NAME,
        metrics: metrics.clone(),
        health: health.clone(),
    };
    let (router, gate) = http::operations(operations, edge);
    let mut running = Running::new(&metrics, &stop);
    running.serve(Box::pin(http::serve(
        listener,
        router,
        limits,
        stop.clone(),
    )));
    let starting = start(&args, service, migrator, &metrics, &health, &stop);
    let kit = match starting.await {
        Ok(kit) => kit,
        Err(Error::Stopping) => return running.finish(None).await,
        Err(error) => {
            running.fail(error);
            return running.finish(None).await;
        }
    };
    let own = parts(&kit);
    begin(&kit, &mut running, own, &gate);
    tracing::info!(service = S::NAME, version = crate::VERSION, "ready");
    running.supervise().await;
    tracing::info!(service = S::NAME, "stopping");
    running.finish(Some(kit.pool())).await
}

async fn start<S: Service>(
    args: &KitArgs,
    service: S,
    migrator: &Migrator,
    metrics: &Metrics,
    health: &Health,
    stop: &CancellationToken,
) -> Result<Kit<S>, Error> {
    let pool = database::pool(&args.database, S::NAME)?;
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    let source = loop {
        let attempt = async {
            database::prepare(&args.database, S::NAME, migrator).await?;
            let mut connection = pool
                .acquire()
                .await
                .map_err(Error::database("connecting"))?;
            Source::read(&mut connection, S::NAME).await
        };
        let error = tokio::select! {
            () = stop.cancelled() => return Err(Error::Stopping),
            prepared = attempt => match prepared {
                Ok(source) => break source,
                Err(error) => error,
            },
        };
        if error.class() == Class::Fatal {
            health.migrations(Err(&error));
            return Err(error);
        }
        tracing::warn!(error = chain(&error), "waiting for the database");
        health.database(Err(&error));
        if backoff.wait(stop).await.is_err() {
            return Err(Error::Stopping);
        }
    };
    health.database(Ok("connected"));
    health.migrations(Ok("applied"));
    health.watch(pool.clone());
    database::watch(&pool, metrics);
    let relay = relay(args, S::NAME, &pool, metrics)?;
    let watermarks = Watermarks::new(relay.cluster.clone(), pool.clone())?;
    Ok(Kit(Arc::new(Inner {
        handler: Handler {
            service: Arc::new(service),
            pool,
            source,
            wake: Arc::clone(&relay.wake),
        },
        args: args.clone(),
        metrics: metrics.clone(),
        health: health.clone(),
        shutdown: stop.clone(),
        relay,
        watermarks,
    })))
}

fn relay(
    args: &KitArgs,
    service: &'static str,
    pool: &PgPool,
    metrics: &Metrics,
) -> Result<Relay, Error> {
    let (brokers, prefix) = (&args.kafka.kafka_brokers, &args.kafka.topic_prefix);
    let relay = Relay {
        cluster: Cluster::new(brokers, prefix, service),
        pool: pool.clone(),
        registry: Registry::new(args.registry.registry_url.expose(), pool.clone())?,
        wake: Arc::new(Notify::new()),
        metrics: relay::Metrics::default(),
    };
    metrics.with(|registry| relay.metrics.register(registry));
    Ok(relay)
}

/// Begins every part and opens the API.
fn begin<S: Service>(kit: &Kit<S>, running: &mut Running, own: Parts, gate: &Gate) {
    let (relay, stop) = (kit.0.relay.clone(), running.outflow_stop.clone());
    let relay = Worker::new("relay", move || {
        let (relay, stop) = (relay.clone(), stop.clone());
        async move { Box::pin(relay.run(&stop)).await }
    });
    running.outflow(relay);
    running.intake(topics_part(kit));
    if !S::LISTENS.is_empty() {
        running.intake(consumer_part(kit));
    }
    running.intake(registry_part(kit));
    for worker in own.workers {
        running.intake(worker);
    }
    gate.open(own.router);
}

fn consumer_part<S: Service>(kit: &Kit<S>) -> Worker {
    let metrics = consumer::Metrics::default();
    kit.metrics().with(|registry| metrics.register(registry));
    let consumer = Arc::new(Consumer {
        handler: kit.handler().clone(),
        cluster: kit.cluster().clone(),
        registry: kit.0.relay.registry.clone(),
        metrics,
        watermarks: kit.watermarks().clone(),
        health: kit.health().clone(),
    });
    let stop = kit.shutdown().clone();
    Worker::new("consumer", move || {
        let (consumer, stop) = (Arc::clone(&consumer), stop.clone());
        async move { Box::pin(consumer.run(&stop)).await }
    })
}

fn topics_part<S: Service>(kit: &Kit<S>) -> Worker {
    let (cluster, kafka) = (kit.cluster(), &kit.0.args.kafka);
    let (partitions, copies) = (kafka.topic_partitions, kafka.topic_replication);
    let said = S::SAYS
        .iter()
        .map(|(topic, _)| Wanted::events(cluster, topic, partitions, copies));
    let heard = S::LISTENS
        .iter()
        .map(|(topic, _)| Wanted::dead_letters(cluster, topic, partitions, copies));
    let wanted: Arc<[Wanted]> = said.chain(heard).collect();
    let (cluster, stop) = (cluster.clone(), kit.shutdown().clone());
    Worker::new("topics", move || {
        let (cluster, wanted, stop) = (cluster.clone(), Arc::clone(&wanted), stop.clone());
        async move {
            topics::ensure(&cluster, &wanted, &stop).await;
            Ok(())
        }
    })
}

fn registry_part<S: Service>(kit: &Kit<S>) -> Worker {
    let contracts: Arc<[&'static codec::Contract]> = S::SAYS
        .iter()
        .flat_map(|(_, types)| *types)
        .filter_map(|event_type| codec::contract(event_type))
        .collect();
    let (registry, stop) = (kit.0.relay.registry.clone(), kit.shutdown().clone());
    Worker::new("registry", move || {
        let (registry, contracts) = (registry.clone(), Arc::clone(&contracts));
        let stop = stop.clone();
        async move {
            registry.load().await?;
            registry.keep(&contracts, &stop).await;
            Ok(())
        }
    })
}

type Outcome = Result<(), Error>;

/// The parts of a service while they run, and the order of their end.
struct Running {
    stop: CancellationToken,
    outflow_stop: CancellationToken,
    metrics: PartMetrics,
    intake: JoinSet<Outcome>,
    outflow: JoinSet<Outcome>,
    /// Why the service must stop, if it must.
    failure: Option<Error>,
}

impl Running {
    fn new(metrics: &Metrics, stop: &CancellationToken) -> Self {
        Self {
            stop: stop.clone(),
            outflow_stop: CancellationToken::new(),
            metrics: PartMetrics::register(metrics),
            intake: JoinSet::new(),
            outflow: JoinSet::new(),
            failure: None,
        }
    }

    fn serve(&mut self, server: impl Future<Output = Outcome> + Send + 'static) {
        self.intake.spawn(server);
    }

    fn intake(&mut self, worker: Worker) {
        let supervised = worker.supervise(self.stop.clone(), self.metrics.clone());
        self.intake.spawn(supervised);
    }

    fn outflow(&mut self, worker: Worker) {
        let supervised = worker.supervise(self.outflow_stop.clone(), self.metrics.clone());
        self.outflow.spawn(supervised);
    }

    /// Keeps the first failure and begins to stop.
    fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(error);
        self.stop.cancel();
    }

    fn ended(&mut self, ended: Result<Outcome, tokio::task::JoinError>) {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.fail(error),
            Err(stopped) if stopped.is_cancelled() => {}
            Err(_) => self.fail(Error::Panic {
                task: "http server".into(),
            }),
        }
    }

    /// Waits until the service must stop, or a part fails for good.
    async fn supervise(&mut self) {
        while !self.stop.is_cancelled() {
            tokio::select! {
                () = self.stop.cancelled() => {}
                Some(ended) = self.intake.join_next() => self.ended(ended),
                Some(ended) = self.outflow.join_next() => self.ended(ended),
            }
        }
    }

    /// Stops intake, then outflow, then the pool.
    async fn finish(mut self, pool: Option<&PgPool>) -> Result<(), Error> {
        self.stop.cancel();
        let watch = Stopwatch::start();
        while let Ok(Some(ended)) =
            tokio::time::timeout(watch.left_of(INTAKE), self.intake.join_next()).await
        {
            self.ended(ended);
        }
        if !self.intake.is_empty() {
            tracing::warn!(parts = self.intake.len(), "parts cut off at the end");
            self.intake.shutdown().await;
        }
        self.outflow_stop.cancel();
        let watch = Stopwatch::start();
        while let Ok(Some(ended)) =
            tokio::time::timeout(watch.left_of(OUTFLOW), self.outflow.join_next()).await
        {
            self.ended(ended);
        }
        self.outflow.shutdown().await;
        if let Some(pool) = pool {
            drop(tokio::time::timeout(CLOSE, pool.close()).await);
        }
        match self.failure {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}
