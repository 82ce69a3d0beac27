//! How a service is started and stopped.
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

use shared_events::codec;
use sqlx::{PgPool, migrate::Migrator};
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::sync::CancellationToken;

use crate::{
    Class, Error, Health, Kit, KitArgs, Metrics, Parts, Service, Worker,
    batch::Handler,
    clock::{Backoff, Ticker},
    consumer::{self, CatchUp, Consumer, Watermarks},
    database::{self, Pools, in_time},
    error::chain,
    http::{self, Desk, Edge, Gate, Limits, Operations},
    kafka::Cluster,
    kit::Inner,
    outbox::Source,
    registry::Registry,
    relay::{self, Relay},
    retention,
    running::Running,
    topics::{self, Wanted},
};

/// How often broker and registry are looked at, for `/readyz`.
const LOOK: Duration = Duration::from_secs(10);

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
    // whoever catches up needs the topics of the others
    running.intake(topics_part(&kit));
    let caught_up = CatchUp {
        handler: kit.handler(),
        cluster: kit.cluster(),
        registry: &kit.0.relay.registry,
        watermarks: kit.watermarks(),
    }
    .run(&stop)
    .await;
    match caught_up {
        Ok(()) => {}
        Err(Error::Stopping) => return running.finish(Some(&kit.0.pools)).await,
        Err(error) => {
            running.fail(error);
            return running.finish(Some(&kit.0.pools)).await;
        }
    }
    let own = parts(&kit);
    begin(&kit, &mut running, own, &gate);
    tracing::info!(service = S::NAME, version = crate::VERSION, "ready");
    running.supervise().await;
    tracing::info!(service = S::NAME, "stopping");
    running.finish(Some(&kit.0.pools)).await
}

async fn start<S: Service>(
    args: &KitArgs,
    service: S,
    migrator: &Migrator,
    metrics: &Metrics,
    health: &Health,
    stop: &CancellationToken,
) -> Result<Kit<S>, Error> {
    let pools = Pools::new(&args.database, S::NAME)?;
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    let source = loop {
        let attempt = async {
            database::prepare(&args.database, S::NAME, migrator).await?;
            let reading = async {
                let connection = pools.others.acquire().await;
                let mut connection = connection.map_err(Error::database("connecting"))?;
                Source::read(&mut connection, S::NAME).await
            };
            in_time("reading the incarnation", reading).await
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
    health.watch(pools.others.clone());
    database::watch(&pools, metrics);
    let relay = relay(args, S::NAME, &pools.others, metrics)?;
    let watermarks = Watermarks::new(relay.cluster.clone(), pools.others.clone())?;
    Ok(Kit(Arc::new(Inner {
        handler: Handler {
            service: Arc::new(service),
            pool: pools.batches.clone(),
            source,
            wake: Arc::clone(&relay.wake),
        },
        pools,
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
    if !S::LISTENS.is_empty() {
        running.intake(consumer_part(kit));
    }
    running.intake(registry_part(kit));
    running.intake(retention::worker(kit));
    if let Some(checks) = checks_part(kit) {
        running.intake(checks);
    }
    for worker in own.workers {
        running.intake(worker);
    }
    let desk = Desk {
        pool: kit.pool().clone(),
        wake: Arc::clone(&kit.handler().wake),
    };
    gate.open(own.router.merge(http::outbox(desk)));
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
    let contracts: Arc<[_]> = contracts::<S>().collect();
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

/// Says in `/readyz` how broker and registry are. Neither is a gate by itself.
fn checks_part<S: Service>(kit: &Kit<S>) -> Option<Worker> {
    let (topic, _) = S::SAYS.first().or(S::LISTENS.first())?;
    let dataschemas: Arc<[String]> = contracts::<S>().map(codec::Contract::dataschema).collect();
    let kit = kit.clone();
    Some(Worker::new("checks", move || {
        let (kit, dataschemas) = (kit.clone(), Arc::clone(&dataschemas));
        async move {
            let mut ticker = Ticker::new(LOOK, kit.shutdown().clone());
            while ticker.tick().await {
                let answer = kit.watermarks().answers(topic).await;
                let answer = answer.map(|()| "answers").map_err(|error| chain(&error));
                kit.health().report("broker", answer);
                let registry = &kit.0.relay.registry;
                let missing = dataschemas
                    .iter()
                    .filter(|name| registry.id(name).is_none());
                kit.health().report(
                    "registry",
                    match missing.count() {
                        0 => Ok("every schema has an id"),
                        count => Err(format!("{count} schemas were never registered")),
                    },
                );
            }
            Ok(())
        }
    }))
}

/// The contracts of what a service says.
fn contracts<S: Service>() -> impl Iterator<Item = &'static codec::Contract> {
    let types = S::SAYS.iter().flat_map(|(_, types)| *types);
    types.filter_map(|event_type| codec::contract(event_type))
}
