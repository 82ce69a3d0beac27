//! Connections to the service's own database.

use std::{str::FromStr, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, family::Family, gauge::Gauge},
};
use secrecy::ExposeSecret;
use shared_events::Timestamp;
use sqlx::{
    Connection, Executor, PgConnection, PgPool,
    migrate::{MigrateError, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
};

use tokio::time::timeout;

use crate::{Error, Metrics, config::DatabaseArgs};

/// How long a request waits for a connection before it is told to come again. Half of the ten
/// seconds that senders wait: on a busy machine a new connection alone can take more than one.
const ACQUIRE: Duration = Duration::from_secs(5);
/// Connections that are kept open, so that the first requests need not make them.
const KEPT: u32 = 4;
/// A connection that rested longer is tried before it is lent.
const RESTED: Duration = Duration::from_secs(1);

/// Settings of the connections that batches run on.
pub(crate) const BATCHES: [(&str, &str); 1] = [("plan_cache_mode", "force_generic_plan")];

/// Connections of a service, by what they are for; each pool connects when first used.
#[derive(Clone, Debug)]
pub(crate) struct Pools {
    /// For batches: they run the same few statements on arrays again and again, each by its keys.
    /// Left to itself the server plans them anew every time, since it takes an array of unknown length
    /// for ten elements and those of a small batch are fewer; that is half of a small batch's time.
    pub(crate) batches: PgPool,
    /// For everything else: what is asked with this or that filter needs a plan of its own.
    pub(crate) others: PgPool,
}

impl Pools {
    pub(crate) fn new(args: &DatabaseArgs, service: &str) -> Result<Self, Error> {
        let options = bounded(args, service)?;
        // transactions on these are `in_tx`'s alone, which is never cancelled: none is left open
        let batches = pool(args).connect_lazy_with(options.clone().options(BATCHES));
        let others = pool(args).after_release(|connection, _| Box::pin(within(clean(connection))));
        Ok(Self {
            batches,
            others: others.connect_lazy_with(options),
        })
    }

    pub(crate) async fn close(&self) {
        tokio::join!(self.batches.close(), self.others.close());
    }
}

fn bounded(args: &DatabaseArgs, service: &str) -> Result<PgConnectOptions, Error> {
    let options = options(args, service)?.options([
        ("statement_timeout", "5s"),
        ("lock_timeout", "2s"),
        ("idle_in_transaction_session_timeout", "10s"),
        // What is planned when a table was found empty, as that of timers often is, reads all of it,
        // and the session goes on with that plan until the table is next analysed. `= ANY` then
        // compares each row with each element.
        ("enable_seqscan", "off"),
        ("jit", "off"),
    ]);
    Ok(options)
}

fn pool(args: &DatabaseArgs) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(args.database_connections)
        .min_connections(KEPT)
        .acquire_timeout(ACQUIRE)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > RESTED {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
}

fn options(args: &DatabaseArgs, service: &str) -> Result<PgConnectOptions, Error> {
    let url = args.url()?;
    let options =
        PgConnectOptions::from_str(url.expose_secret()).map_err(|error| Error::Setting {
            name: "EVENTPULSE_DATABASE_URL",
            reason: crate::error::chain(&error),
        })?;
    Ok(options.application_name(&format!("eventpulse-{service}")))
}

/// How long statements outside of a transaction may take, as we see it.
const SILENCE: Duration = Duration::from_secs(20);

/// Gives up on `work`, statements on a pool for everything but batches, when there is no answer. The
/// limits of a session are the server's: of one that vanished no connection hears, and who waits for
/// it waits for ever.
///
/// # Errors
/// Those of `work`, and class `Retry` after 20 s.
pub async fn in_time<T>(
    doing: &'static str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    or_silence(doing, SILENCE, work).await
}

/// Settings of a connection of its own that goes through whole tables.
pub(crate) const PATIENT: [(&str, &str); 2] =
    [("statement_timeout", "10min"), ("enable_seqscan", "on")];

/// [`in_time`] for what runs on such a connection.
pub(crate) async fn patiently<T>(
    doing: &'static str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    or_silence(doing, Duration::from_secs(660), work).await
}

/// Settings of a connection of its own that counts: planned anew each time, since a table that was empty
/// then may be large now.
pub(crate) const LOOK: [(&str, &str); 3] = [
    ("statement_timeout", "1min"),
    ("enable_seqscan", "on"),
    ("plan_cache_mode", "force_custom_plan"),
];

/// [`in_time`] for what runs on such a connection.
pub(crate) async fn at_leisure<T>(
    doing: &'static str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    or_silence(doing, Duration::from_secs(80), work).await
}

async fn or_silence<T>(
    doing: &'static str,
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let outcome = timeout(limit, work).await;
    outcome.unwrap_or_else(|_| Err(Error::silence(doing, limit)))
}

/// A connection without an answer is closed: it would be lent to nobody and count for ever.
async fn within(
    cleaning: impl Future<Output = Result<bool, sqlx::Error>>,
) -> Result<bool, sqlx::Error> {
    timeout(ACQUIRE, cleaning).await.unwrap_or(Ok(false))
}

/// Rolls back what a cancelled `begin()` left open on a connection that comes back
/// (transact-rs/sqlx#4393): sqlx does not know of it, and the next borrower's writes would run
/// inside it and be lost.
async fn clean(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    // Outside a transaction each simple query is one of its own and begins with it. A bare
    // ROLLBACK would do too, but it fills the server's log with warnings.
    let probe = sqlx::raw_sql("SELECT transaction_timestamp() <> statement_timestamp()");
    let open = match probe.fetch_one(&mut *connection).await {
        Ok(row) => sqlx::Row::try_get::<bool, _>(&row, 0)?,
        // an aborted transaction answers nothing but ROLLBACK
        Err(sqlx::Error::Database(_)) => true,
        Err(error) => return Err(error),
    };
    if open {
        tracing::warn!("a connection came back with a transaction open: rolled back");
        connection.execute(sqlx::raw_sql("ROLLBACK")).await?;
    }
    Ok(true)
}

/// Refuses a server that may lose what it has confirmed; then applies the kit's migrations and
/// those of the service.
pub(crate) async fn prepare(
    args: &DatabaseArgs,
    service: &str,
    migrator: &Migrator,
) -> Result<(), Error> {
    // a connection of its own: migrations may take longer than a request may
    let options = options(args, service)?.options([("lock_timeout", "30s")]);
    let mut connection = PgConnection::connect_with(&options)
        .await
        .map_err(Error::database("connecting"))?;
    durable(&mut connection, args.allow_unsafe_database).await?;
    for migrator in [&crate::MIGRATOR, migrator] {
        migrator
            .run_direct(None, &mut connection, false)
            .await
            .map_err(refused)?;
    }
    // everything is committed; a server that is gone by now has nothing of ours
    drop(connection.close().await);
    Ok(())
}

async fn durable(connection: &mut PgConnection, allowed: bool) -> Result<(), Error> {
    let settings = sqlx::query!(
        r#"SELECT name AS "name!", setting AS "setting!" FROM pg_settings
           WHERE name IN ('synchronous_commit', 'fsync', 'full_page_writes') AND setting = 'off'
           ORDER BY name DESC"#
    )
    .fetch_all(connection)
    .await
    .map_err(Error::database("reading its settings"))?;
    let Some(unsafe_one) = settings.into_iter().next() else {
        return Ok(());
    };
    let error = Error::Durability {
        setting: unsafe_one.name,
        value: unsafe_one.setting,
    };
    if !allowed {
        return Err(error);
    }
    tracing::warn!(%error, "going on as EVENTPULSE_ALLOW_UNSAFE_DATABASE says");
    Ok(())
}

/// A migration that the server refuses is a fault of this build; a server that went away is not.
fn refused(error: MigrateError) -> Error {
    match error {
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _)
            if passing(&source) =>
        {
            Error::Database {
                doing: "applying migrations".into(),
                source,
            }
        }
        error => Error::Migrate(Box::new(error)),
    }
}

/// Connection failures, and SQLSTATE 53 (resources), 55P03 (lock), 57 (shutting down), 08.
fn passing(error: &sqlx::Error) -> bool {
    match error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
    {
        Some(code) => ["08", "53", "55P03", "57", "40"]
            .iter()
            .any(|class| code.starts_with(*class)),
        None => matches!(
            error,
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)
        ),
    }
}

/// The database's clock.
pub(crate) async fn now(connection: &mut PgConnection) -> Result<Timestamp, Error> {
    sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#)
        .fetch_one(connection)
        .await
        .map_err(Error::database("reading its clock"))
}

/// Publishes how many connections there are.
pub(crate) fn watch(pools: &Pools, metrics: &Metrics) {
    let pools = Connections(pools.clone());
    metrics.with(|registry| registry.register_collector(Box::new(pools)));
}

#[derive(Debug)]
struct Connections(Pools);

impl Collector for Connections {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let pools = [&self.0.batches, &self.0.others];
        let size: i64 = pools.iter().map(|pool| i64::from(pool.size())).sum();
        let idle: usize = pools.iter().map(|pool| pool.num_idle()).sum();
        let idle = i64::try_from(idle).unwrap_or(0).min(size);
        let family = Family::<Vec<(&str, &str)>, Gauge>::default();
        for (state, count) in [("idle", idle), ("used", size - idle)] {
            family.get_or_create(&vec![("state", state)]).set(count);
        }
        let metric = encoder.encode_descriptor(
            "eventpulse_database_connections",
            "Connections of the pools",
            None,
            MetricType::Gauge,
        )?;
        family.encode(metric)
    }
}
