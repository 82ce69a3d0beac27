//! What the machine's Postgres and Kafka alone take for the rows and bytes of one alert that opens an
//! incident: 2 rows in Ingest (series and outbox), 5 in Rules, 3 in the store; 2 records.

use std::time::{Duration, Instant};

use futures::future::try_join_all;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    producer::{DeliveryFuture, FutureProducer, FutureRecord},
};
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, postgres::PgPoolOptions};

use crate::{Servers, error::Error};

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
/// Records that wait for their acknowledgement at most.
const IN_FLIGHT: usize = 10_000;

/// Alerts a second that each could take if it had nothing else to do.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Floor {
    pub(crate) postgres: f64,
    pub(crate) kafka: f64,
}

pub(crate) async fn measure(servers: &Servers) -> Result<Floor, Error> {
    let database = servers.database.as_deref().ok_or(Error::NoDatabase)?;
    Ok(Floor {
        postgres: postgres(database).await?,
        kafka: kafka(&servers.kafka).await?,
    })
}

async fn postgres(url: &str) -> Result<f64, Error> {
    let pool = PgPoolOptions::new()
        .max_connections(4)
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
    let began = Instant::now();
    try_join_all((0..SESSIONS).map(|_| rows(&pool, ALERTS / SESSIONS))).await?;
    let took = began.elapsed();
    sqlx::query("DROP TABLE bench_floor")
        .execute(&pool)
        .await
        .map_err(Error::database("dropping the table"))?;
    Ok(rate(took))
}

/// As the services do: one transaction a batch and service, one statement a table.
async fn rows(pool: &PgPool, alerts: u64) -> Result<(), Error> {
    for _ in 0..alerts / BATCH {
        for _ in 0..ROWS_PER_ALERT {
            let ids: Vec<uuid::Uuid> = (0..BATCH).map(|_| uuid::Uuid::now_v7()).collect();
            sqlx::query(
                "INSERT INTO bench_floor SELECT id, $2 FROM UNNEST($1::uuid[]) AS new (id)",
            )
            .bind(ids)
            .bind(vec![b'x'; BYTES])
            .execute(pool)
            .await
            .map_err(Error::database("inserting"))?;
        }
    }
    Ok(())
}

async fn kafka(brokers: &str) -> Result<f64, Error> {
    let config = {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "5");
        config
    };
    let admin: AdminClient<DefaultClientContext> =
        config.create().map_err(Error::kafka("a client"))?;
    let topic = format!("bench.floor.{}", uuid::Uuid::now_v7().simple());
    let options = AdminOptions::new();
    let new = NewTopic::new(&topic, 6, TopicReplication::Fixed(1));
    admin
        .create_topics([&new], &options)
        .await
        .map_err(Error::kafka("making the topic"))?;
    let producer: FutureProducer = config.create().map_err(Error::kafka("a producer"))?;
    let value = vec![b'x'; BYTES];
    let began = Instant::now();
    let mut flying = Vec::new();
    for n in 0..ALERTS * RECORDS_PER_ALERT {
        let key = n.to_be_bytes();
        let record = FutureRecord::to(&topic).key(&key[..]).payload(&value);
        let sent = producer.send_result(record);
        flying.push(sent.map_err(|(error, _)| Error::kafka("sending")(error))?);
        if flying.len() == IN_FLIGHT {
            land(&mut flying).await?;
        }
    }
    land(&mut flying).await?;
    let took = began.elapsed();
    admin
        .delete_topics(&[&topic], &options)
        .await
        .map_err(Error::kafka("deleting the topic"))?;
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
