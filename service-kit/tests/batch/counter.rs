//! The smallest service: adds numbers per key, and says each new total.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use anyhow::Result;
use service_kit::{
    Error, Origin, Outgoing, Poison, Position, Record, Saved, Service, Trace, Work,
    batch::{Handler, Intake},
    outbox::Source,
    service::{Delivery, Payload},
    testing::Database,
};
use shared_events::{Envelope, EventId, Timestamp};
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

/// An amount that the fold refuses.
pub(crate) const REFUSED: i64 = -1;
/// An amount at which the fold panics.
pub(crate) const PANICS: i64 = -2;

#[derive(Debug)]
pub(crate) struct Counter;

#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    totals: BTreeMap<String, i64>,
    said: Vec<(EventId, String, i64)>,
}

impl Service for Counter {
    const NAME: &'static str = "counter";
    const LISTENS: &'static [(&'static str, &'static [&'static str])] = &[];
    type Input = (String, i64);
    type Batch = Totals;
    type Reply = ();

    fn decode(&self, record: &Record<'_>) -> Result<Self::Input, Poison> {
        Err(Poison {
            stage: "decode",
            reason: record.topic.to_owned(),
        })
    }

    async fn load(
        &self,
        conn: &mut PgConnection,
        works: &mut Vec<Work<Self::Input>>,
    ) -> Result<Totals, Error> {
        let keys: Vec<String> = works.iter().map(|work| work.input.0.clone()).collect();
        sqlx::query(
            "INSERT INTO counters SELECT DISTINCT key, 0 FROM UNNEST($1::text[]) AS k (key)
             ORDER BY key ON CONFLICT DO NOTHING",
        )
        .bind(&keys)
        .execute(&mut *conn)
        .await
        .map_err(Error::database("making counters"))?;
        let rows = sqlx::query(
            "SELECT key, total FROM counters WHERE key = ANY($1) ORDER BY key FOR UPDATE",
        )
        .bind(&keys)
        .fetch_all(conn)
        .await
        .map_err(Error::database("locking counters"))?;
        Ok(Totals {
            totals: rows.iter().map(|row| (row.get(0), row.get(1))).collect(),
            said: Vec::new(),
        })
    }

    fn fold(&self, batch: &mut Totals, work: &Work<Self::Input>) -> Result<(), Poison> {
        let (key, amount) = &work.input;
        let total = batch.totals.entry(key.clone()).or_default();
        *total += amount;
        assert_ne!(*amount, PANICS, "asked to");
        if *amount == REFUSED {
            return Err(Poison {
                stage: "fold",
                reason: "refused".into(),
            });
        }
        batch.said.push((work.id, key.clone(), *total));
        Ok(())
    }

    async fn save(&self, conn: &mut PgConnection, batch: Totals) -> Result<Saved<()>, Error> {
        let (keys, totals): (Vec<String>, Vec<i64>) = batch.totals.into_iter().unzip();
        sqlx::query(
            "UPDATE counters SET total = new.total
             FROM UNNEST($1::text[], $2::bigint[]) AS new (key, total)
             WHERE counters.key = new.key",
        )
        .bind(&keys)
        .bind(&totals)
        .execute(conn)
        .await
        .map_err(Error::database("saving counters"))?;
        let outgoing = batch
            .said
            .into_iter()
            .map(|(id, key, total)| raw(EventId(derived(id)), &key, total.to_string()))
            .collect();
        Ok(Saved {
            outgoing,
            reply: (),
        })
    }
}

fn derived(id: EventId) -> Uuid {
    shared_events::ids::derive([id.uuid().as_bytes()])
}

fn raw(id: EventId, key: &str, value: String) -> Outgoing {
    Outgoing {
        id,
        topic: "totals".into(),
        key: key.as_bytes().to_vec(),
        payload: Payload::Raw {
            event_type: "total".into(),
            headers: Vec::new(),
            value: value.into_bytes(),
        },
        trace: Trace::default(),
    }
}

pub(crate) fn letter(id: EventId, poison: &Poison) -> Outgoing {
    let letter = shared_events::ids::derive(["letter", &id.to_string()]);
    raw(EventId(letter), "letters", poison.to_string())
}

/// A work as the consumer would make it.
fn work(id: u128, key: &str, amount: i64) -> Work<(String, i64)> {
    let id = EventId(Uuid::from_u128(id));
    let delivery = Delivery {
        position: Position {
            topic: "numbers".into(),
            partition: 0,
            offset: 0,
        },
        key: key.as_bytes().to_vec(),
        envelope: Envelope {
            id,
            event_type: "number".into(),
            source: "/test/0".into(),
            at: Timestamp::UNIX_EPOCH,
            subject: String::new(),
            dataschema: String::new(),
            correlation_id: Uuid::nil(),
            causation_id: None,
            sequence: 1,
            traceparent: None,
            tracestate: None,
        },
    };
    Work {
        id,
        origin: Origin::Kafka(Arc::new(delivery)),
        trace: Trace::default(),
        input: (key.to_owned(), amount),
    }
}

pub(crate) fn intake(works: &[(u128, &str, i64)]) -> Intake<(String, i64)> {
    Intake {
        works: works
            .iter()
            .map(|&(id, key, amount)| work(id, key, amount))
            .collect(),
        dead: Vec::new(),
        redriven: HashSet::new(),
        progress: vec![service_kit::inbox::Progress {
            topic: "numbers".into(),
            partition: 1,
            next_offset: 0,
        }],
    }
}

/// A fresh database with the kit's tables and one of the counter's own.
pub(crate) async fn database() -> Result<Database> {
    let database = Database::fresh(&[]).await;
    sqlx::query("CREATE TABLE counters (key text PRIMARY KEY, total bigint NOT NULL)")
        .execute(&database.pool)
        .await?;
    Ok(database)
}

pub(crate) async fn handler(pool: &PgPool) -> Result<Handler<Counter>> {
    let mut connection = pool.acquire().await?;
    Ok(Handler {
        service: Arc::new(Counter),
        pool: pool.clone(),
        source: Source::read(&mut connection, Counter::NAME).await?,
        wake: Arc::default(),
    })
}
