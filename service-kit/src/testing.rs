//! For tests of services: a database and topics of one's own, and waiting for what must become
//! true. What is missing fails loudly and says how to start it.

mod port;

use std::{fmt::Debug, sync::Once, thread::JoinHandle, time::Duration};

use clap::Parser;
use rdkafka::{
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};
use sqlx::{
    AssertSqlSafe, Connection, Executor, PgConnection, PgPool,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use uuid::Uuid;

pub use self::port::Port;
use crate::{KitArgs, clock, kafka::Cluster};

/// Databases and topics of tests begin with this.
const MARK: &str = "eptest_";
/// Databases of tests are removed by a later test, after this many seconds.
const LEFT_OVER: i64 = 900;
/// How long [`wait_for`] waits: long, for it is only ever spent on a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a test needs from the outside; `make test` starts it.
#[expect(clippy::disallowed_methods, reason = "tests have no settings struct")]
fn required(variable: &str) -> String {
    match std::env::var(variable) {
        Ok(value) if !value.is_empty() => value,
        _ => panic!(
            "{variable} is not set: run `make test`, or \
             `docker compose -f tests/compose.yaml up -d --wait` and set it"
        ),
    }
}

fn start_it(what: &str, variable: &str, error: &dyn std::error::Error) -> String {
    format!(
        "{what} at {variable} does not answer ({}): run `make test`, or \
         `docker compose -f tests/compose.yaml up -d --wait`",
        crate::error::chain(error)
    )
}

fn random() -> String {
    #[expect(clippy::disallowed_methods, reason = "names of tests only")]
    Uuid::new_v4().simple().to_string()[..12].to_owned()
}

/// A database of one's own on the server of `EVENTPULSE_TEST_DATABASE_URL`.
///
/// It is not removed at the end: `DROP DATABASE` makes the server write a whole checkpoint and
/// waits for every backend. Later tests remove it beside their work.
#[derive(Debug)]
pub struct Database {
    /// Connected to it.
    pub pool: PgPool,
    /// Its URL, password included.
    pub url: String,
}

impl Database {
    /// An empty database with the kit's migrations and then `migrators` applied.
    pub async fn fresh(migrators: &[&Migrator]) -> Self {
        Self::fresh_at(&required("EVENTPULSE_TEST_DATABASE_URL"), migrators).await
    }

    /// The same on another server than the tests' own.
    pub async fn fresh_at(server: &str, migrators: &[&Migrator]) -> Self {
        Self::prepared_at(server, &[], migrators).await
    }

    /// The same, with statements that are run before the migrations.
    pub async fn prepared_at(
        server: &str,
        statements: &[&'static str],
        migrators: &[&Migrator],
    ) -> Self {
        let server = server.to_owned();
        let mut admin = PgConnection::connect(&server)
            .await
            .unwrap_or_else(|error| {
                let variable = "EVENTPULSE_TEST_DATABASE_URL";
                panic!("{}", start_it("the Postgres server", variable, &error))
            });
        static SWEEP: Once = Once::new();
        SWEEP.call_once(|| drop(on_a_thread(sweep(server.clone()))));
        let name = format!("{MARK}{}_{}", clock::now().timestamp(), random());
        admin
            .execute(AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .await
            .expect("creating a database for a test");
        drop(admin.close().await);
        let (base, _) = server
            .rsplit_once('/')
            .expect("the URL ends with a database");
        let url = format!("{base}/{name}");
        // with the plans that a service's batches run with
        let options: PgConnectOptions = url.parse().expect("the URL is the server's");
        prepare(&options, statements).await;
        let options = options.options(crate::database::BATCHES);
        let pool = PgPoolOptions::new()
            .max_connections(8)
            .connect_with(options)
            .await
            .expect("connecting to the database just created");
        for migrator in [&crate::MIGRATOR].iter().chain(migrators) {
            migrator.run(&pool).await.expect("applying migrations");
        }
        Self { pool, url }
    }
}

/// On a connection of their own: what they set for a database holds for later connections.
async fn prepare(options: &PgConnectOptions, statements: &[&'static str]) {
    let connected = PgConnection::connect_with(options).await;
    let mut connection = connected.expect("connecting to the database just created");
    for statement in statements {
        let done = connection.execute(*statement).await;
        done.expect("preparing a database for a test");
    }
    drop(connection.close().await);
}

/// Removes what earlier tests have left.
async fn sweep(server: String) {
    let limit = clock::now().timestamp() - LEFT_OVER;
    let Ok(mut admin) = PgConnection::connect(&server).await else {
        return;
    };
    let names: Vec<String> = sqlx::query_scalar("SELECT datname FROM pg_database")
        .fetch_all(&mut admin)
        .await
        .unwrap_or_default();
    for name in names {
        let made = name
            .strip_prefix(MARK)
            .and_then(|rest| rest.split('_').next()?.parse::<i64>().ok());
        if made.is_some_and(|made| made < limit) {
            // another test may be quicker
            let statement = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            drop(admin.execute(AssertSqlSafe(statement)).await);
        }
    }
}

/// Runs `work` where nothing can be awaited, or beside a test.
fn on_a_thread(work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        if let Ok(runtime) = runtime {
            runtime.block_on(work);
        }
    })
}

/// A random prefix on the brokers of `EVENTPULSE_TEST_KAFKA`; its topics are removed on drop.
#[derive(Debug)]
pub struct TestTopics {
    /// Brokers as clients take them.
    pub brokers: String,
    /// For `EVENTPULSE_TOPIC_PREFIX`.
    pub prefix: String,
}

impl TestTopics {
    /// No topic has this prefix yet.
    pub async fn fresh() -> Self {
        Self::fresh_at(required("EVENTPULSE_TEST_KAFKA")).await
    }

    /// The same on other brokers than the tests' own.
    pub async fn fresh_at(brokers: String) -> Self {
        let topics = Self {
            brokers,
            prefix: format!("{MARK}{}.", random()),
        };
        let brokers = topics.brokers.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let admin: AdminClient<DefaultClientContext> =
                Cluster::new(brokers, "", "test").admin().create()?;
            admin
                .inner()
                .fetch_metadata(None, Duration::from_secs(10))
                .map(drop)
        });
        if let Err(error) = asked.await.expect("asking does not panic") {
            panic!("{}", start_it("Kafka", "EVENTPULSE_TEST_KAFKA", &error));
        }
        topics
    }

    /// These brokers and names, for `service`.
    #[must_use]
    pub fn cluster(&self, service: &'static str) -> Cluster {
        Cluster::new(&self.brokers, &self.prefix, service)
    }
}

impl Drop for TestTopics {
    fn drop(&mut self) {
        let (brokers, prefix) = (self.brokers.clone(), self.prefix.clone());
        let cleaning = on_a_thread(async move {
            let admin = Cluster::new(brokers, "", "test").admin().create();
            let Ok::<AdminClient<DefaultClientContext>, _>(admin) = admin else {
                return;
            };
            let Ok(metadata) = admin.inner().fetch_metadata(None, Duration::from_secs(10)) else {
                return;
            };
            let topics = metadata
                .topics()
                .iter()
                .map(rdkafka::metadata::MetadataTopic::name);
            let ours: Vec<&str> = topics.filter(|name| name.starts_with(&prefix)).collect();
            if !ours.is_empty() {
                drop(admin.delete_topics(&ours, &AdminOptions::new()).await);
            }
        });
        // a panic of best-effort cleaning is not the test's
        drop(cleaning.join());
    }
}

#[derive(Debug, Parser)]
struct Settings {
    #[command(flatten)]
    kit: KitArgs,
}

/// Settings of a service in a test: this database, this prefix, Kafka and registry of
/// `EVENTPULSE_TEST_KAFKA` and `EVENTPULSE_TEST_REGISTRY`, everything else by default.
#[must_use]
pub fn kit_args(database: &Database, prefix: &str) -> KitArgs {
    kit_args_at(
        database,
        &required("EVENTPULSE_TEST_KAFKA"),
        &required("EVENTPULSE_TEST_REGISTRY"),
        prefix,
    )
}

/// Like [`kit_args`], with brokers and registry that may be anything, unreachable ones too.
#[must_use]
pub fn kit_args_at(database: &Database, brokers: &str, registry: &str, prefix: &str) -> KitArgs {
    let arguments = [
        "test",
        "--database-url",
        &database.url,
        "--allow-unsafe-database",
        "--kafka-brokers",
        brokers,
        "--registry-url",
        registry,
        "--topic-prefix",
        prefix,
    ];
    let Settings { kit } = Settings::try_parse_from(arguments).expect("these are all there are");
    kit
}

/// What [`wait_for`] asks again and again: `Some` and `Ok` end it.
pub trait Probe {
    /// What is waited for.
    type Value;
    /// The value, or the last status in words.
    ///
    /// # Errors
    /// While it is not there yet.
    fn look(self) -> Result<Self::Value, String>;
}

impl<T> Probe for Option<T> {
    type Value = T;
    fn look(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing yet".to_owned())
    }
}

impl<T, E: Debug> Probe for Result<T, E> {
    type Value = T;
    fn look(self) -> Result<T, String> {
        self.map_err(|error| format!("{error:?}"))
    }
}

/// Waits until `probe` says `Some` or `Ok`; after a minute it panics with `what` and what the
/// probe said last.
///
/// ```no_run
/// # async fn example(pool: sqlx::PgPool) {
/// let count = service_kit::testing::wait_for("an event in the outbox", async || {
///     let count: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox_events")
///         .fetch_one(&pool)
///         .await
///         .map_err(|error| error.to_string())?;
///     if count > 0 { Ok(count) } else { Err(format!("{count} events")) }
/// })
/// .await;
/// # }
/// ```
pub async fn wait_for<P: Probe>(what: &str, mut probe: impl AsyncFnMut() -> P) -> P::Value {
    let since = clock::Stopwatch::start();
    loop {
        match probe().await.look() {
            Ok(value) => return value,
            Err(status) if since.elapsed() > PATIENCE => {
                panic!("waited {PATIENCE:?} for {what}; last: {status}")
            }
            Err(_) => clock::pause(Duration::from_millis(20)).await,
        }
    }
}
