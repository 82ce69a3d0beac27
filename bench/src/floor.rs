//! What the machine's Postgres and Kafka alone take for the rows and bytes of one alert that opens an
//! incident: 2 rows in Ingest (series and outbox), 5 in Rules, 3 in the store; 2 records.

use std::time::{Duration, Instant};

use futures::future::try_join_all;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{Consumer, StreamConsumer},
    producer::{DeliveryFuture, FutureProducer, FutureRecord},
};
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, postgres::PgPoolOptions};

use crate::{
    Servers,
    error::Error,
    latency::{Latencies, Quantiles},
};

/// Rows that one alert that opens an incident leaves in the four databases.
const ROWS_PER_ALERT: u64 = 10;
/// Records of it.
const RECORDS_PER_ALERT: u64 = 2;
/// Alerts of a transaction.
const BATCH: u64 = 100;
/// Transactions at once.
const SESSIONS: u64 = 4;
const BYTES: usize = 600;
const ALERTS: u64 = 40_000;
/// Alerts that go their way alone, after some that are not counted.
const ALONE: usize = 300;
const WARM_UP: usize = 50;
/// Records that wait for their acknowledgement at most.
const IN_FLIGHT: usize = 10_000;

/// What the machine does at best.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Floor {
    /// Alerts a second that Postgres could take if there was nothing else.
    pub(crate) postgres: f64,
    /// The same of Kafka.
    pub(crate) kafka: f64,
    /// The way of one alert through nothing but three commits and two records.
    #[serde(default)]
    pub(crate) way_ms: Option<Quantiles>,
}

pub(crate) async fn measure(servers: &Servers) -> Result<Floor, Error> {
    let database = servers.database.as_deref().ok_or(Error::NoDatabase)?;
    Ok(Floor {
        postgres: postgres(database).await?,
        kafka: kafka(&servers.kafka).await?,
        way_ms: way(database, &servers.kafka).await?,
    })
}

async fn postgres(url: &str) -> Result<f64, Error> {
    let pool = table(url).await?;
    let began = Instant::now();
    try_join_all((0..SESSIONS).map(|_| rows(&pool, ALERTS / SESSIONS))).await?;
    let took = began.elapsed();
    drop_table(&pool).await?;
    Ok(rate(took))
}

async fn table(url: &str) -> Result<PgPool, Error> {
    let pool = PgPoolOptions::new()
        .max_connections(4)
        .test_before_acquire(false)
        .connect(url)
        .await
        .map_err(Error::database("connecting"))?;
    for statement in [
        "DROP TABLE IF EXISTS bench_floor",
        "CREATE TABLE bench_floor (id uuid PRIMARY KEY, body bytea NOT NULL)",
    ] {
        sqlx::query(statement)
            .execute(&pool)
            .await
            .map_err(Error::database("making the table"))?;
    }
    Ok(pool)
}

async fn drop_table(pool: &PgPool) -> Result<(), Error> {
    sqlx::query("DROP TABLE bench_floor")
        .execute(pool)
        .await
        .map(drop)
        .map_err(Error::database("dropping the table"))
}

/// As the services do: one transaction a batch and service, one statement a table.
async fn rows(pool: &PgPool, alerts: u64) -> Result<(), Error> {
    for _ in 0..alerts / BATCH {
        for _ in 0..ROWS_PER_ALERT {
            insert(pool, BATCH).await?;
        }
    }
    Ok(())
}

async fn insert(pool: &PgPool, count: u64) -> Result<(), Error> {
    let ids: Vec<uuid::Uuid> = (0..count).map(|_| uuid::Uuid::now_v7()).collect();
    sqlx::query("INSERT INTO bench_floor SELECT id, $2 FROM UNNEST($1::uuid[]) AS new (id)")
        .bind(ids)
        .bind(vec![b'x'; BYTES])
        .execute(pool)
        .await
        .map(drop)
        .map_err(Error::database("inserting"))
}

/// One alert after the other: a row committed, a record sent and received, a row, a record, a row.
/// Nothing is decided, and nothing else is under way.
async fn way(database: &str, brokers: &str) -> Result<Option<Quantiles>, Error> {
    let pool = table(database).await?;
    let (config, topic) = (client(brokers, "0"), Topic::make(brokers).await?);
    let producer: FutureProducer = config.create().map_err(Error::kafka("a producer"))?;
    let consumer: StreamConsumer = config.create().map_err(Error::kafka("a consumer"))?;
    let mut places = TopicPartitionList::new();
    places
        .add_partition_offset(&topic.name, 0, Offset::Beginning)
        .and_then(|()| consumer.assign(&places))
        .map_err(Error::kafka("taking up a partition"))?;
    let value = vec![b'x'; BYTES];
    let mut latencies = Latencies::default();
    for round in 0..WARM_UP + ALONE {
        let began = Instant::now();
        insert(&pool, 1).await?;
        for _ in 0..RECORDS_PER_ALERT {
            let record = FutureRecord::to(&topic.name).partition(0).key("");
            let sent = producer.send_result(record.payload(&value));
            land(&mut vec![
                sent.map_err(|(error, _)| Error::kafka("sending")(error))?,
            ])
            .await?;
            consumer.recv().await.map_err(Error::kafka("receiving"))?;
            insert(&pool, 1).await?;
        }
        if round >= WARM_UP {
            latencies.add(began.elapsed());
        }
    }
    topic.delete().await?;
    drop_table(&pool).await?;
    Ok(latencies.quantiles())
}

pub(crate) fn client(brokers: &str, linger_ms: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", linger_ms)
        .set("group.id", "bench.floor")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "50");
    config
}

/// A topic of this run's own.
struct Topic {
    name: String,
    admin: AdminClient<DefaultClientContext>,
}

impl Topic {
    async fn make(brokers: &str) -> Result<Self, Error> {
        let admin = client(brokers, "0").create();
        let topic = Self {
            name: format!("bench.floor.{}", uuid::Uuid::now_v7().simple()),
            admin: admin.map_err(Error::kafka("a client"))?,
        };
        let new = NewTopic::new(&topic.name, 6, TopicReplication::Fixed(1));
        let made = topic.admin.create_topics([&new], &AdminOptions::new());
        made.await.map_err(Error::kafka("making the topic"))?;
        Ok(topic)
    }

    async fn delete(self) -> Result<(), Error> {
        let gone = self
            .admin
            .delete_topics(&[&self.name], &AdminOptions::new());
        gone.await
            .map(drop)
            .map_err(Error::kafka("deleting the topic"))
    }
}

async fn kafka(brokers: &str) -> Result<f64, Error> {
    let topic = Topic::make(brokers).await?;
    let producer: FutureProducer = client(brokers, "5")
        .create()
        .map_err(Error::kafka("a producer"))?;
    let value = vec![b'x'; BYTES];
    let began = Instant::now();
    let mut flying = Vec::new();
    for n in 0..ALERTS * RECORDS_PER_ALERT {
        let key = n.to_be_bytes();
        let record = FutureRecord::to(&topic.name).key(&key[..]).payload(&value);
        let sent = producer.send_result(record);
        flying.push(sent.map_err(|(error, _)| Error::kafka("sending")(error))?);
        if flying.len() == IN_FLIGHT {
            land(&mut flying).await?;
        }
    }
    land(&mut flying).await?;
    let took = began.elapsed();
    topic.delete().await?;
    Ok(rate(took))
}

async fn land(flying: &mut Vec<DeliveryFuture>) -> Result<(), Error> {
    for sent in flying.drain(..) {
        // cancelled only with its producer, which lives
        if let Ok(Err((error, _))) = sent.await {
            return Err(Error::kafka("sending")(error));
        }
    }
    Ok(())
}

fn rate(took: Duration) -> f64 {
    ALERTS as f64 / took.as_secs_f64()
}
