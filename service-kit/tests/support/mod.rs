//! What the Kafka tests share: a fresh database and prefix each, a service about nothing
//! (`numbers`), and a reader of whole topics (`topic`).
#![allow(
    dead_code,
    unused_imports,
    clippy::allow_attributes,
    reason = "each test binary uses a part of it"
)]

mod numbers;
mod topic;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use rdkafka::{
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use service_kit::{
    Health, Outgoing, Poison, Service, Trace, Work,
    batch::{Handled, Handler, Intake, handle},
    consumer::{self, Consumer, TopicLabel, Watermarks},
    kafka::Cluster,
    outbox::Source,
    registry::Registry,
    relay::{self, Relay},
    testing::{Database, TestTopics, wait_for},
    topics::{self, Wanted},
};
use shared_events::{EventId, ids::derive};
use sqlx::{Executor, PgPool, postgres::PgPoolOptions};
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub(crate) use self::{
    numbers::{Noted, Numbers, Said, Sent, at, contract, number, sent},
    topic::{Read, first_occurrences, read_topic},
};

pub(crate) const TOPIC: &str = "numbers";
pub(crate) const EFFECTS: &str = "SELECT count(*) FROM effects";
pub(crate) const DISTINCT: &str = "SELECT count(DISTINCT event_id) FROM effects";
/// A type that has a compiled-in schema; the tests' datums are their own.
pub(crate) const TYPE: &str = "alert.raised";

#[expect(clippy::disallowed_methods, reason = "where the tests' registry is")]
pub(crate) fn registry_url() -> Result<String> {
    std::env::var("EVENTPULSE_TEST_REGISTRY")
        .context("EVENTPULSE_TEST_REGISTRY is not set: see tests/compose.yaml")
}

fn next() -> usize {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

/// Records of one key.
pub(crate) fn numbers(key: &str, numbers: std::ops::Range<i64>) -> Vec<Sent> {
    numbers.map(|n| sent(key, n)).collect()
}

/// Numbers of a key in the order of their effects.
pub(crate) async fn effects(world: &World, key: &str) -> Result<Vec<i64>> {
    Ok(
        sqlx::query_scalar("SELECT number FROM effects WHERE key = $1 ORDER BY position")
            .bind(key)
            .fetch_all(&world.pool)
            .await?,
    )
}

/// A database and topics of one test, and the parts of a service on them.
pub(crate) struct World {
    pub(crate) pool: PgPool,
    pub(crate) cluster: Cluster,
    pub(crate) registry: Registry,
    pub(crate) handler: Handler<Numbers>,
    pub(crate) database: Database,
    _topics: Option<TestTopics>,
}

impl World {
    /// Six partitions of [`TOPIC`], and a registry that has the contract.
    pub(crate) async fn new() -> Result<Self> {
        let world = Self::with_registry(&registry_url()?).await?;
        world.registry.register(&[contract()]).await?;
        Ok(world)
    }

    pub(crate) async fn with_registry(registry: &str) -> Result<Self> {
        let topics = TestTopics::fresh().await;
        let cluster = topics.cluster(Numbers::NAME);
        let wanted = [
            Wanted::events(&cluster, TOPIC, 6, 1),
            Wanted::dead_letters(&cluster, TOPIC, 6, 1),
        ];
        topics::ensure(&cluster, &wanted, &CancellationToken::new()).await;
        let mut world = Self::on(cluster, registry).await?;
        world._topics = Some(topics);
        Ok(world)
    }

    /// On a cluster that has or gets its topics otherwise.
    pub(crate) async fn on(cluster: Cluster, registry: &str) -> Result<Self> {
        let database = Database::fresh(&[]).await;
        let pool = database.pool.clone();
        pool.execute(
            "CREATE TABLE effects (position bigint GENERATED ALWAYS AS IDENTITY, event_id uuid,
                                   key text, number bigint)",
        )
        .await?;
        let source = Source::read(&mut *pool.acquire().await?, Numbers::NAME).await?;
        Ok(Self {
            registry: Registry::new(registry, pool.clone())?,
            handler: Handler {
                service: Arc::new(Numbers::default()),
                pool: pool.clone(),
                source,
                wake: Arc::new(Notify::new()),
            },
            pool,
            cluster,
            database,
            _topics: None,
        })
    }

    /// Another pool on the same database, as another instance has it.
    pub(crate) fn another_pool(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(4)
            .connect_lazy_with((*self.pool.connect_options()).clone())
    }

    /// Commits `outgoing` in one transaction.
    pub(crate) async fn say(&self, outgoing: Vec<Outgoing>) -> Result<()> {
        let id = EventId(derive(["say", &next().to_string()]));
        let work = Work::local(id, Trace::default(), Said::Aloud(outgoing));
        let none = Arc::new(|_: EventId, _: &Poison| None);
        let _: Handled<()> = handle(&self.handler, Intake::local(vec![work]), none).await?;
        Ok(())
    }

    /// A relay like one of another instance: connections and bell of its own.
    pub(crate) fn relay(&self) -> RunningRelay {
        self.relay_with(self.registry.clone(), Arc::new(Notify::new()))
    }

    /// The relay of the instance that [`say`](Self::say)s.
    pub(crate) fn own_relay(&self) -> RunningRelay {
        self.relay_with(self.registry.clone(), Arc::clone(&self.handler.wake))
    }

    pub(crate) fn relay_with(&self, registry: Registry, wake: Arc<Notify>) -> RunningRelay {
        let relay = Relay {
            cluster: self.cluster.clone(),
            pool: self.another_pool(),
            registry,
            wake,
            metrics: relay::Metrics::default(),
        };
        let metrics = relay.metrics.clone();
        Running::start(metrics, async move |stop| relay.run(&stop).await)
    }

    /// A consumer with a pool of its own.
    pub(crate) fn consumer(&self) -> Result<RunningConsumer> {
        let pool = self.another_pool();
        let watermarks = Watermarks::new(self.cluster.clone(), pool.clone())?;
        let health = Health::default();
        let consumer = Consumer {
            handler: Handler {
                pool,
                ..self.handler.clone()
            },
            cluster: self.cluster.clone(),
            registry: self.registry.clone(),
            metrics: consumer::Metrics::default(),
            watermarks: watermarks.clone(),
            health: health.clone(),
        };
        let metrics = consumer.metrics.clone();
        let seen = Seen {
            metrics,
            watermarks,
            health,
        };
        Ok(Running::start(seen, async move |stop| {
            consumer.run(&stop).await
        }))
    }

    pub(crate) async fn count(&self, sql: &'static str) -> Result<i64> {
        Ok(sqlx::query_scalar(sql).fetch_one(&self.pool).await?)
    }

    /// Waits until a count is as it should be.
    pub(crate) async fn counts(&self, what: &str, sql: &'static str, wanted: i64) {
        wait_for(what, async || match self.count(sql).await {
            Ok(count) if count == wanted => Ok(()),
            other => Err(format!("{other:?}, not {wanted}")),
        })
        .await;
    }

    /// Waits until the outbox is empty.
    pub(crate) async fn drained(&self) {
        self.counts("an empty outbox", "SELECT count(*) FROM outbox_events", 0)
            .await;
    }

    /// Sends records past the outbox, in this order, and waits until the broker has them.
    pub(crate) async fn produce(&self, records: &[Sent]) -> Result<()> {
        let producer: FutureProducer = self.cluster.producer().create()?;
        let topic = self.cluster.topic(TOPIC);
        let mut reports = Vec::with_capacity(records.len());
        for sent in records {
            let headers = sent
                .headers
                .iter()
                .fold(OwnedHeaders::new(), |all, (key, value)| {
                    all.insert(Header {
                        key,
                        value: Some(value),
                    })
                });
            loop {
                let record = FutureRecord::to(&topic)
                    .key(&sent.key)
                    .payload(&sent.value)
                    .headers(headers.clone());
                match producer.send_result(record) {
                    Ok(report) => break reports.push(report),
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        }
        for report in reports {
            report.await?.map_err(|(error, _)| error)?;
        }
        Ok(())
    }
}

/// A part of a service that runs beside the test.
pub(crate) struct Running<T> {
    stop: CancellationToken,
    pub(crate) task: JoinHandle<Result<(), service_kit::Error>>,
    pub(crate) seen: T,
}

pub(crate) type RunningRelay = Running<relay::Metrics>;
pub(crate) type RunningConsumer = Running<Seen>;

/// What can be seen of a consumer from outside.
pub(crate) struct Seen {
    pub(crate) metrics: consumer::Metrics,
    pub(crate) watermarks: Watermarks,
    pub(crate) health: Health,
}

impl<T> Running<T> {
    fn start<F>(seen: T, part: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = Result<(), service_kit::Error>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        Self {
            task: tokio::spawn(part(stop.clone())),
            stop,
            seen,
        }
    }

    /// An orderly stop.
    pub(crate) async fn stop(self) -> Result<()> {
        self.stop.cancel();
        Ok(self.task.await??)
    }

    /// As a killed process ends: nothing more of it happens.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|ended| ended.is_cancelled()));
    }
}

/// Value of a counter of [`TOPIC`].
pub(crate) fn total(family: &consumer::PerTopic) -> u64 {
    let label = TopicLabel {
        topic: TOPIC.to_owned(),
    };
    family.get_or_create(&label).get()
}
