#![doc = include_str!("../README.md")]

pub mod active;
pub mod backtest;
pub mod batch;
pub mod changes;
pub mod config;
pub mod domain;
pub mod files;
mod fold;
mod http;
mod load;
mod metrics;
mod save;
pub mod service;
mod store;
pub mod targets;
mod workers;

use service_kit::{Error, Kit, Parts};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::{Config, RulesSource};
use service::RuleEngine;
use workers::reload::Reloader;

/// Rules' own tables.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations/rules");

/// Runs Rules until `shutdown` is cancelled.
///
/// # Errors
/// When a setting cannot be used, or the service cannot go on.
pub async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let reloader = Reloader::new(&config)?;
    let retention = config.decision_retention;
    let parts = |kit: &Kit<RuleEngine>| {
        kit.service().metrics.register(kit.metrics());
        let api = http::Api {
            kit: kit.clone(),
            reloader: reloader.clone(),
        };
        Parts {
            router: http::router(api),
            workers: workers::all(kit, &reloader, retention),
        }
    };
    let engine = RuleEngine {
        file_rules: config.rules_source == RulesSource::File,
        ..RuleEngine::default()
    };
    service_kit::run(config.kit, engine, &MIGRATOR, listener, shutdown, parts).await
}
