//! What the Kafka tests share: a fresh database and prefix each, a service about nothing, and a
//! reader of whole topics.
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test binary uses a part of it"
)]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{Consumer as _, StreamConsumer},
    message::{Header, Headers, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use service_kit::{
    Health, Origin, Outgoing, Poison, Record, Saved, Service, Trace, Work,
    batch::{Handled, Handler, Intake, handle},
    consumer::{self, Consumer, TopicLabel, Watermarks},
    kafka::Cluster,
    outbox::Source,
    registry::Registry,
    relay::{self, Relay},
    service::Payload,
    testing::{Database, TestTopics, wait_for},
    topics::{self, Wanted},
};
use shared_events::{Envelope, EventId, Timestamp, codec, ids::derive};
use sqlx::{Executor, PgConnection, PgPool, postgres::PgPoolOptions};
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub(crate) const TOPIC: &str = "numbers";
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

/// A record to send past the outbox.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) key: Vec<u8>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) value: Vec<u8>,
}

/// What the relay would send for [`number`]; `sequence` is not of importance to consumers.
pub(crate) fn sent(key: &str, n: i64) -> Sent {
    let envelope = Envelope {
        id: EventId(derive(["number", key, &n.to_string()])),
        event_type: TYPE.to_owned(),
        source: "/test".to_owned(),
        at: at(),
        subject: key.to_owned(),
        dataschema: contract().dataschema(),
        correlation_id: derive([key]),
        causation_id: None,
        sequence: 1,
        traceparent: None,
        tracestate: None,
    };
    let headers = envelope.to_headers();
    Sent {
        key: key.into(),
        headers: headers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into_bytes()))
            .collect(),
        value: codec::frame(1, n.to_string().as_bytes()),
    }
}

impl Sent {
    pub(crate) fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(found, _)| found != name);
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// The schema whose name travels with the tests' records; their bytes are the tests' own.
pub(crate) fn contract() -> &'static codec::Contract {
    codec::contract(TYPE).expect("compiled in")
}

pub(crate) fn at() -> Timestamp {
    Timestamp::from_timestamp_micros(1_700_000_000_000_000).expect("in range")
}

/// An event of `key`; its datum is the number as text.
pub(crate) fn number(key: &str, n: i64) -> Outgoing {
    Outgoing {
        id: EventId(derive(["number", key, &n.to_string()])),
        topic: TOPIC.to_owned(),
        key: key.into(),
        payload: Payload::Event {
            contract: contract().event_type,
            at: at(),
            subject: key.to_owned(),
            correlation_id: derive([key]),
            causation_id: None,
            datum: n.to_string().into_bytes(),
        },
        trace: Trace::default(),
    }
}

/// A service that notes numbers. A negative number is poison to it, until it is `tolerant`.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) tolerant: AtomicBool,
}

#[derive(Clone, Debug)]
pub(crate) enum Said {
    Number { key: String, n: i64 },
    Aloud(Vec<Outgoing>),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Noted {
    ids: Vec<uuid::Uuid>,
    keys: Vec<String>,
    numbers: Vec<i64>,
    outgoing: Vec<Outgoing>,
}

impl Service for Numbers {
    const NAME: &'static str = "counter";
    const LISTENS: &'static [(&'static str, &'static [&'static str])] = &[(TOPIC, &[TYPE])];
    type Input = Said;
    type Batch = Noted;
    type Reply = ();

    fn decode(&self, record: &Record<'_>) -> Result<Said, Poison> {
        let bad = |reason: &str| Poison {
            stage: "decode",
            reason: reason.to_owned(),
        };
        let text = std::str::from_utf8(record.datum).map_err(|_| bad("no text"))?;
        Ok(Said::Number {
            key: record.envelope.subject.clone(),
            n: text.parse().map_err(|_| bad("no number"))?,
        })
    }

    async fn load(
        &self,
        _: &mut PgConnection,
        _: &mut Vec<Work<Said>>,
    ) -> Result<Noted, service_kit::Error> {
        Ok(Noted::default())
    }

    fn fold(&self, batch: &mut Noted, work: &Work<Said>) -> Result<(), Poison> {
        match (&work.input, &work.origin) {
            (Said::Aloud(outgoing), _) => batch.outgoing.extend(outgoing.iter().cloned()),
            (Said::Number { n, .. }, Origin::Kafka(_) | Origin::Redriven(_))
                if *n < 0 && !self.tolerant.load(Ordering::Relaxed) =>
            {
                return Err(Poison {
                    stage: "fold",
                    reason: "negative".to_owned(),
                });
            }
            (Said::Number { key, n }, _) => {
                batch.ids.push(work.id.uuid());
                batch.keys.push(key.clone());
                batch.numbers.push(*n);
            }
        }
        Ok(())
    }

    async fn save(
        &self,
        conn: &mut PgConnection,
        batch: Noted,
    ) -> Result<Saved<()>, service_kit::Error> {
        sqlx::query(
            "INSERT INTO effects (event_id, key, number)
             SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::bigint[])",
        )
        .bind(&batch.ids)
        .bind(&batch.keys)
        .bind(&batch.numbers)
        .execute(conn)
        .await
        .map_err(service_kit::Error::database("noting"))?;
        Ok(Saved {
            outgoing: batch.outgoing,
            reply: (),
        })
    }
}

/// A record as it lies in a topic.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: HashMap<String, Vec<u8>>,
}

impl Read {
    pub(crate) fn header(&self, name: &str) -> Result<&str> {
        let value = self
            .headers
            .get(name)
            .with_context(|| format!("no {name}"))?;
        Ok(std::str::from_utf8(value)?)
    }

    pub(crate) fn sequence(&self) -> Result<i64> {
        Ok(self.header("ce_sequence")?.parse()?)
    }
}

/// Every record of a topic (without prefix) up to its present end, per partition in order.
pub(crate) async fn read_topic(cluster: &Cluster, topic: &str) -> Result<Vec<Read>> {
    let topic = cluster.topic(topic);
    let consumer: StreamConsumer = cluster
        .probe()
        .set("group.id", format!("{topic}.reader"))
        .set("enable.auto.commit", "false")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(&topic), Duration::from_secs(10))?;
    let mut ends = HashMap::new();
    let mut list = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        let (low, high) =
            consumer.fetch_watermarks(&topic, partition.id(), Duration::from_secs(10))?;
        if high > low {
            ends.insert(partition.id(), high);
            list.add_partition_offset(&topic, partition.id(), Offset::Beginning)?;
        }
    }
    let mut read = Vec::new();
    if ends.is_empty() {
        return Ok(read);
    }
    consumer.assign(&list)?;
    while !ends.is_empty() {
        let message = tokio::time::timeout(Duration::from_secs(20), consumer.recv())
            .await
            .context("reading a topic to its end")??;
        let headers = message.headers().map_or_else(HashMap::new, |headers| {
            headers
                .iter()
                .map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec()))
                .collect()
        });
        if ends.get(&message.partition()) == Some(&(message.offset() + 1)) {
            ends.remove(&message.partition());
        }
        read.push(Read {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().unwrap_or_default().to_vec(),
            value: message.payload().unwrap_or_default().to_vec(),
            headers,
        });
    }
    Ok(read)
}

/// First occurrences per key; fails unless their sequence is 1, 2, 3.. in the order of the topic.
pub(crate) fn first_occurrences(read: &[Read]) -> Result<BTreeMap<Vec<u8>, i64>> {
    let mut last: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for record in read {
        if !seen.insert(record.header("ce_id")?.to_owned()) {
            continue;
        }
        let last = last.entry(record.key.clone()).or_default();
        ensure!(
            record.sequence()? == *last + 1,
            "key {:?}: {} after {last}",
            String::from_utf8_lossy(&record.key),
            record.sequence()?
        );
        *last += 1;
    }
    Ok(last)
}
