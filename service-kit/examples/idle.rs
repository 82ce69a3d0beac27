//! The smallest service: settings, `main`, one handler, and everything that the kit brings.
//! The tests of start and stop run it as a process.

use service_kit::{
    Error, Kit, KitArgs, Parts, Poison, Problem, Record, Saved, Service, Work,
    http::{OpenApiRouter, routes},
};
use sqlx::{PgConnection, migrate::Migrator};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A real service has `sqlx::migrate!("../migrations/<service>")`.
static MIGRATOR: Migrator = Migrator::DEFAULT;

/// Does nothing, reliably.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "idle", version, about)]
struct Config {
    #[command(flatten)]
    kit: KitArgs,
}

impl AsRef<KitArgs> for Config {
    fn as_ref(&self) -> &KitArgs {
        &self.kit
    }
}

#[derive(Debug)]
struct Idle;

impl Service for Idle {
    const NAME: &'static str = "idle";
    const LISTENS: &'static [(&'static str, &'static [&'static str])] = &[];
    type Input = String;
    type Batch = String;
    type Reply = String;

    fn decode(&self, record: &Record<'_>) -> Result<String, Poison> {
        Ok(record.topic.to_owned())
    }

    async fn load(&self, _: &mut PgConnection, _: &mut Vec<Work<String>>) -> Result<String, Error> {
        Ok(String::new())
    }

    fn fold(&self, batch: &mut String, work: &Work<String>) -> Result<(), Poison> {
        batch.push_str(&work.input);
        Ok(())
    }

    async fn save(&self, _: &mut PgConnection, batch: String) -> Result<Saved<String>, Error> {
        Ok(Saved {
            outgoing: Vec::new(),
            reply: batch,
        })
    }
}

/// Says hello.
#[utoipa::path(get, path = "/api/v1/hello", responses(
    (status = 200, description = "hello", body = String),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
async fn hello() -> Result<&'static str, Problem> {
    tracing::info!("somebody said hello");
    Ok("hello")
}

/// Blocks every thread of the runtime for ever: only the hard end is left then.
#[utoipa::path(post, path = "/api/v1/hang", responses((status = 200, description = "never")))]
async fn hang() {
    let threads = tokio::runtime::Handle::current().metrics().num_workers();
    for _ in 0..4 * threads {
        tokio::spawn(async {
            loop {
                std::thread::park();
            }
        });
    }
    std::future::pending::<()>().await;
}

async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let parts = |_: &Kit<Idle>| Parts {
        router: OpenApiRouter::new()
            .routes(routes!(hello))
            .routes(routes!(hang)),
        workers: Vec::new(),
    };
    service_kit::run(config.kit, Idle, &MIGRATOR, listener, shutdown, parts).await
}

fn main() -> std::process::ExitCode {
    service_kit::main::<Config>(run)
}
