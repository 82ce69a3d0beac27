#![doc = include_str!("../README.md")]

pub mod config;
pub mod domain;
mod http;
pub mod rebuild;
pub mod service;
mod stewards;
pub mod store;

pub use config::Config;
pub use service::IncidentStore;
use service_kit::{Error, Kit, Parts};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// This service's tables, applied after the kit's.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations/incident-store");

/// Runs the service on `listener` until `shutdown`.
///
/// # Errors
/// When a setting cannot be used, or a part cannot go on.
pub async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    if config.publish_status {
        serve(IncidentStore::<true>, config, listener, shutdown).await
    } else {
        serve(IncidentStore::<false>, config, listener, shutdown).await
    }
}

async fn serve<const SAYS: bool>(
    service: IncidentStore<SAYS>,
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let Config { kit, trace_url, .. } = config;
    let parts = |kit: &Kit<IncidentStore<SAYS>>| {
        let api = http::Api::new(kit, trace_url);
        Parts {
            router: http::router(api),
            workers: stewards::workers(kit),
        }
    };
    service_kit::run(kit, service, &MIGRATOR, listener, shutdown, parts).await
}
