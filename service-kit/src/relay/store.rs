//! The relay's SQL, on connections of its own.

use rdkafka::error::KafkaError;
use sqlx::{
    PgConnection, PgPool, Postgres,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::lanes::Row;
use crate::Error;

/// Rows of one page.
const PAGE_ROWS: i64 = 1024;
/// Payload bytes of one page; the first row comes whatever its size.
const PAGE_BYTES: i64 = 2 * 1024 * 1024;
/// A row that the broker refused this often for its own fault is parked.
const REFUSALS: i32 = 3;

/// What keeps rows out of a page.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    /// Rows up to here are marked or known.
    pub(super) floor: i64,
    pub(super) shards: Vec<i16>,
    /// In ascending order.
    pub(super) known: Vec<i64>,
    /// Topics that take nothing now.
    pub(super) stopped: Vec<String>,
}

/// Rows in id order.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) rows: Vec<Row>,
    /// There may be more behind them.
    pub(super) full: bool,
}

/// Broker acknowledgements to record.
#[derive(Debug, Default)]
pub(super) struct Acks {
    pub(super) ids: Vec<i64>,
    pub(super) partitions: Vec<i32>,
    pub(super) offsets: Vec<i64>,
}

/// Failures to record.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures {
    pub(super) ids: Vec<i64>,
    pub(super) delays: Vec<f64>,
    /// 1 when the row itself is at fault, else 0.
    pub(super) refusals: Vec<i32>,
    pub(super) errors: Vec<String>,
}

impl Acks {
    pub(super) fn append(&mut self, mut other: Self) {
        self.ids.append(&mut other.ids);
        self.partitions.append(&mut other.partitions);
        self.offsets.append(&mut other.offsets);
    }

    fn by_id(&self) -> Self {
        let ranks = ranks(&self.ids);
        Self {
            ids: ranked(&self.ids, &ranks),
            partitions: ranked(&self.partitions, &ranks),
            offsets: ranked(&self.offsets, &ranks),
        }
    }
}

fn ranks(ids: &[i64]) -> Vec<usize> {
    let mut ranks: Vec<usize> = (0..ids.len()).collect();
    ranks.sort_unstable_by_key(|&at| ids[at]);
    ranks
}

fn ranked<T: Clone>(values: &[T], ranks: &[usize]) -> Vec<T> {
    ranks.iter().map(|&at| values[at].clone()).collect()
}

impl Failures {
    pub(super) fn push(&mut self, id: i64, delay: f64, refusals: i32, error: &KafkaError) {
        self.ids.push(id);
        self.delays.push(delay);
        self.refusals.push(refusals);
        self.errors.push(error.to_string());
    }

    fn by_id(&self) -> Self {
        let ranks = ranks(&self.ids);
        Self {
            ids: ranked(&self.ids, &ranks),
            delays: ranked(&self.delays, &ranks),
            refusals: ranked(&self.refusals, &ranks),
            errors: ranked(&self.errors, &ranks),
        }
    }

    pub(super) fn remove_first(&mut self, count: usize) {
        self.ids.drain(..count);
        self.delays.drain(..count);
        self.refusals.drain(..count);
        self.errors.drain(..count);
    }
}

#[derive(Clone, Debug)]
pub(super) struct Store(PgPool);

/// A connection that goes back to the pool only by [`Lent::give_back`]: one whose statement failed, or
/// was given up for want of an answer, is closed. The pool would wait for that answer, too.
struct Lent(Option<PoolConnection<Postgres>>);

impl Lent {
    fn connection(&mut self) -> &mut PgConnection {
        self.0.as_mut().expect("lent until it is given back")
    }

    fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        drop(self.0.take().map(PoolConnection::detach));
    }
}

impl Store {
    /// Two connections: one reads while the other marks.
    pub(super) fn new(options: &PgConnectOptions) -> Self {
        let options = options.clone().application_name("relay").options([
            // A mark that a crash of the database loses is a duplicate, and the inbox drops it.
            ("synchronous_commit", "off"),
            // Planning takes longer than a page of a few rows. The primary key gives the order; what
            // statistics of a mostly empty table suggest instead reads all of it.
            ("plan_cache_mode", "force_generic_plan"),
            ("enable_seqscan", "off"),
            ("enable_bitmapscan", "off"),
            ("enable_sort", "off"),
            // held keys are looked up one by one, however few there were at the last analysis
            ("enable_material", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
            ("max_parallel_workers_per_gather", "0"),
            ("jit", "off"),
        ]);
        Self(
            PgPoolOptions::new()
                .max_connections(2)
                .test_before_acquire(false)
                .connect_lazy_with(options),
        )
    }

    pub(super) async fn close(&self) {
        self.0.close().await;
    }

    async fn lend(&self) -> Result<Lent, Error> {
        let connection = self.0.acquire().await;
        let connection = connection.map_err(Error::database("connecting the relay"))?;
        Ok(Lent(Some(connection)))
    }

    /// The next rows in id order: of each key, none without those before it.
    pub(super) async fn page(&self, filter: &Filter) -> Result<Page, Error> {
        let mut lent = self.lend().await?;
        let rows = sqlx::query!(
            r#"
            SELECT id AS "id!", topic AS "topic!", key AS "key!", shard AS "shard!",
                   event_type AS "event_type!", headers AS "headers!", payload AS "payload!",
                   schema_record IS NOT NULL AS "framed!"
            FROM (
                SELECT page.*, sum(octet_length(payload)) OVER (ORDER BY id) AS bytes
                FROM (
                    SELECT id, topic, key, shard, event_type, headers, payload, schema_record
                    FROM outbox_events AS o
                    WHERE id > $1 AND shard = ANY($2) AND topic <> ALL($4)
                      -- none of the known ones, by bisection
                      AND ($3::bigint[])[width_bucket(id, $3::bigint[])] IS DISTINCT FROM id
                      AND NOT EXISTS (
                          SELECT FROM outbox_events AS held
                          WHERE held.topic = o.topic AND held.key = o.key
                            AND (held.parked OR held.not_before > '-infinity')
                            -- one moment for the whole page: as time goes on while it is read, a
                            -- head would be passed over and what is behind it taken
                            AND (held.parked OR held.not_before > statement_timestamp()))
                    ORDER BY id
                    LIMIT $5
                ) AS page
            ) AS sized
            WHERE bytes - octet_length(payload) < $6
            ORDER BY id
            "#,
            filter.floor,
            &filter.shards,
            &filter.known,
            &filter.stopped,
            PAGE_ROWS,
            PAGE_BYTES
        )
        .fetch_all(lent.connection())
        .await
        .map_err(Error::database("reading the outbox"))?;
        lent.give_back();
        let rows: Vec<Row> = rows
            .into_iter()
            .map(|row| Row {
                id: row.id,
                topic: row.topic,
                key: row.key,
                shard: row.shard,
                event_type: row.event_type,
                headers: row.headers,
                framed: row.framed,
                payload: row.payload,
            })
            .collect();
        let bytes: usize = rows.iter().map(|row| row.payload.len()).sum();
        Ok(Page {
            full: rows.len() as i64 >= PAGE_ROWS || bytes as i64 >= PAGE_BYTES,
            rows,
        })
    }

    /// Moves acknowledged rows to `outbox_sent`, in one statement.
    pub(super) async fn mark(&self, acks: &Acks) -> Result<(), Error> {
        let acks = acks.by_id();
        let mut lent = self.lend().await?;
        sqlx::query!(
            "-- No join with the arrays: if the outbox was empty when it was last analysed, every row
             -- of it would be compared with every element. Its place in the sorted ids is bisected.
             WITH gone AS (
                 DELETE FROM outbox_events WHERE id = ANY($1)
                 RETURNING *, width_bucket(id, $1::bigint[]) AS place)
             INSERT INTO outbox_sent (event_id, topic, key, key_seq, event_type, headers,
                                      schema_record, payload, created_at, partition, kafka_offset)
             SELECT event_id, topic, key, key_seq, event_type, headers,
                    schema_record, payload, created_at, ($2::int[])[place], ($3::bigint[])[place]
             FROM gone",
            &acks.ids,
            &acks.partitions,
            &acks.offsets
        )
        .execute(lent.connection())
        .await
        .map_err(Error::database("marking sent events"))?;
        lent.give_back();
        Ok(())
    }

    /// Puts failed rows off, and parks those that were refused too often. Returns the parked.
    pub(super) async fn put_off(&self, failures: &Failures) -> Result<Vec<i64>, Error> {
        let failures = failures.by_id();
        let mut lent = self.lend().await?;
        let ids = sqlx::query_scalar!(
            r#"-- no join with the arrays, as in `mark`
               UPDATE outbox_events
               SET not_before = clock_timestamp()
                       + make_interval(secs => ($2::float8[])[width_bucket(id, $1::bigint[])]),
                   attempts = attempts + ($3::int[])[width_bucket(id, $1::bigint[])],
                   parked = attempts + ($3::int[])[width_bucket(id, $1::bigint[])] >= $5,
                   last_error = ($4::text[])[width_bucket(id, $1::bigint[])]
               WHERE id = ANY($1)
               RETURNING CASE WHEN parked THEN id END AS parked"#,
            &failures.ids,
            &failures.delays,
            &failures.refusals,
            &failures.errors,
            REFUSALS
        )
        .fetch_all(lent.connection())
        .await
        .map_err(Error::database("putting off failed events"))?;
        lent.give_back();
        Ok(ids.into_iter().flatten().collect())
    }

    /// The broker is back: what was put off only for its absence goes at once.
    pub(super) async fn relent(&self, shards: &[i16]) -> Result<(), Error> {
        let mut lent = self.lend().await?;
        sqlx::query!(
            "UPDATE outbox_events SET not_before = '-infinity'
             WHERE (parked OR not_before > '-infinity')
               AND NOT parked AND attempts = 0 AND shard = ANY($1)",
            shards
        )
        .execute(lent.connection())
        .await
        .map_err(Error::database("taking up events that were put off"))?;
        lent.give_back();
        Ok(())
    }

    /// A transaction id above that of every transaction that has written an outbox row by now.
    pub(super) async fn barrier(&self) -> Result<i64, Error> {
        let mut lent = self.lend().await?;
        let xid = sqlx::query_scalar!(r#"SELECT pg_current_xact_id()::text::bigint AS "xid!""#)
            .fetch_one(lent.connection())
            .await
            .map_err(Error::database("reading a transaction id"))?;
        lent.give_back();
        Ok(xid)
    }

    /// The highest floor up to `candidate`, once every transaction below `barrier` has ended;
    /// `None` before that.
    pub(super) async fn floor(
        &self,
        filter: &Filter,
        candidate: i64,
        barrier: i64,
    ) -> Result<Option<i64>, Error> {
        let mut lent = self.lend().await?;
        let row = sqlx::query!(
            r#"SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint >= $1 AS "ended!",
                      (SELECT id FROM outbox_events
                       WHERE id > $2 AND id <= $3 AND shard = ANY($4)
                         AND ($5::bigint[])[width_bucket(id, $5::bigint[])] IS DISTINCT FROM id
                       ORDER BY id LIMIT 1) AS lowest"#,
            barrier,
            filter.floor,
            candidate,
            &filter.shards,
            &filter.known
        )
        .fetch_one(lent.connection())
        .await
        .map_err(Error::database("looking for old outbox rows"))?;
        lent.give_back();
        Ok(row.ended.then(|| row.lowest.map_or(candidate, |id| id - 1)))
    }
}

/// Depth, age of the oldest in seconds, parked rows.
pub(super) async fn gauge(conn: &mut PgConnection) -> Result<(i64, f64, i64), Error> {
    let row = sqlx::query!(
        r#"SELECT (SELECT count(*) FROM outbox_events) AS "depth!",
                  coalesce((SELECT extract(epoch FROM clock_timestamp() - created_at)::float8
                            FROM outbox_events ORDER BY id LIMIT 1), 0) AS "age!",
                  (SELECT count(*) FROM outbox_events
                   WHERE (parked OR not_before > '-infinity') AND parked) AS "parked!""#
    )
    .fetch_one(conn)
    .await
    .map_err(Error::database("measuring the outbox"))?;
    Ok((row.depth, row.age, row.parked))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::testing::Database;

    /// Of each key a head that is put off for some milliseconds, and a row behind it.
    const PUT_OFF: &str = "
        TRUNCATE outbox_events;
        INSERT INTO outbox_events (event_id, topic, key, key_seq, shard, event_type, headers,
                                   payload, not_before)
        SELECT gen_random_uuid(), 't', convert_to(key::text, 'UTF8'), seq, key % 16, 'e', '', '',
               CASE seq WHEN 1 THEN clock_timestamp() + interval '15 ms' ELSE '-infinity' END
        FROM generate_series(1, 2) AS seq, generate_series(1, 400) AS key
        ORDER BY seq, key";

    /// The moment comes while a page is read: what was passed over must hold up what follows.
    #[tokio::test]
    async fn no_row_comes_without_those_before_it() {
        let database = Database::fresh(&[]).await;
        let store = Store::new(&database.pool.connect_options());
        let filter = Filter {
            shards: (0..16).collect(),
            ..Filter::default()
        };
        for round in 0..50 {
            sqlx::raw_sql(PUT_OFF)
                .execute(&database.pool)
                .await
                .expect("rows");
            let mut read = 0;
            while read < 800 {
                let page = store.page(&filter).await.expect("a page");
                // every key has two rows: a key with one came without its head
                let keys: HashSet<&[u8]> = page.rows.iter().map(|row| &*row.key).collect();
                assert_eq!(page.rows.len(), 2 * keys.len(), "round {round}");
                read = page.rows.len();
            }
        }
    }
}
