#![doc = include_str!("../README.md")]

pub mod config;
pub mod domain;
mod http;
mod intake;
mod metrics;
mod queue;
pub mod service;
pub mod store;
pub mod tokens;
mod workers;

use std::sync::Arc;

use service_kit::{Error, Kit, Parts};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::Config;
use metrics::Metrics;
use service::Ingest;

/// Ingest's own tables.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations/ingest");

/// Runs Ingest until `shutdown` is cancelled.
///
/// # Errors
/// When a setting cannot be used, or the service cannot go on.
pub async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let tokens = Arc::new(config.tokens()?);
    for source in tokens.sources_with_default() {
        tracing::warn!(
            source,
            "this source sends with the token that everybody knows: change {}",
            tokens::SETTING
        );
    }
    let (policy, retention) = (config.policy()?, config.retention()?);
    let body_limit = config.webhook_body_limit;
    let parts = |kit: &Kit<Ingest>| {
        let metrics = Metrics::register(kit.metrics(), &tokens);
        let workers = vec![
            workers::sweeper(kit, &metrics),
            workers::pruner(kit, retention),
        ];
        let api = http::Api {
            kit: kit.clone(),
            queue: queue::Queue::serve(kit),
            metrics,
            tokens,
            body_limit,
        };
        Parts {
            router: http::router(api),
            workers,
        }
    };
    let ingest = Ingest::new(policy);
    service_kit::run(config.kit, ingest, &MIGRATOR, listener, shutdown, parts).await
}
