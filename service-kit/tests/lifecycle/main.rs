//! Start, supervision and stop of a whole service, its settings and what it writes to its log.

mod census;
mod database;
mod door;
mod logs;
mod process;
mod retention;
mod run;
mod settings;
mod silence;
mod workers;

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use service_kit::{
    Error, Kit, KitArgs, Parts, Poison, Record, Saved, Service, Work,
    testing::{Database, kit_args_at, wait_for},
};
use sqlx::{PgConnection, migrate::Migrator};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// No service has migrations of its own here.
static NONE: Migrator = Migrator::DEFAULT;
/// Nobody listens here.
const NOBODY: &str = "127.0.0.1:9";

/// A service that does nothing.
#[derive(Debug)]
struct Idle;

impl Service for Idle {
    const NAME: &'static str = "idle";
    const LISTENS: &'static [(&'static str, &'static [&'static str])] = &[];
    type Input = ();
    type Batch = ();
    type Reply = ();

    fn decode(&self, record: &Record<'_>) -> Result<(), Poison> {
        unreachable!(
            "no topic is listened to, but here is one of {}",
            record.topic
        )
    }

    async fn load(&self, _: &mut PgConnection, _: &mut Vec<Work<()>>) -> Result<(), Error> {
        Ok(())
    }

    fn fold(&self, (): &mut (), _: &Work<()>) -> Result<(), Poison> {
        Ok(())
    }

    async fn save(&self, _: &mut PgConnection, (): ()) -> Result<Saved<()>, Error> {
        Ok(Saved::default())
    }
}

/// A service that runs in this process, without Kafka and registry.
struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    ended: JoinHandle<Result<(), Error>>,
}

fn without_kafka(database: &Database) -> KitArgs {
    kit_args_at(database, NOBODY, &format!("http://{NOBODY}"), "test.")
}

impl Running {
    async fn start(
        args: KitArgs,
        parts: impl FnOnce(&Kit<Idle>) -> Parts + Send + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let running = service_kit::run(args, Idle, &NONE, listener, stop.clone(), parts);
        Ok(Self {
            address,
            stop,
            ended: tokio::spawn(running),
        })
    }

    async fn status(&self, path: &str) -> Result<u16> {
        let url = format!("http://{}{path}", self.address);
        Ok(reqwest::get(url).await?.status().as_u16())
    }

    async fn text(&self, path: &str) -> Result<String> {
        let url = format!("http://{}{path}", self.address);
        Ok(reqwest::get(url).await?.text().await?)
    }

    async fn ready(&self) {
        wait_for("the service to be ready", async || {
            match self.status("/readyz").await {
                Ok(200) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    /// What `run` returned.
    async fn outcome(self) -> Result<Result<(), Error>> {
        Ok(tokio::time::timeout(PATIENCE, self.ended).await??)
    }
}
