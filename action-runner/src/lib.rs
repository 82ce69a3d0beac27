#![doc = include_str!("../README.md")]

pub mod config;
pub mod docker;
pub mod domain;
pub mod gate;
mod http;
mod keeper;
pub mod metrics;
mod roster;
pub mod service;
pub mod shown;
pub mod store;
mod sweep;
pub mod targets;

use std::{path::Path, sync::Arc};

use service_kit::{Error, Kit, Parts, Worker};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

pub use config::Config;
use docker::Engines;
use keeper::Tools;
use metrics::RunnerMetrics;
use service::ActionRunner;
use targets::Targets;

/// Action Runner's own tables.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations/action-runner");

/// Runs Action Runner until `shutdown` is cancelled.
///
/// # Errors
/// When a setting or `targets.yaml` cannot be used, or the service cannot go on.
pub async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let (runner, parts) = assemble(&config)?;
    service_kit::run(config.kit, runner, &MIGRATOR, listener, shutdown, parts).await
}

/// The service of these settings, and what it adds to the kit.
///
/// # Errors
/// When `targets.yaml` cannot be used.
pub fn assemble(
    config: &Config,
) -> Result<
    (
        ActionRunner,
        impl FnOnce(&Kit<ActionRunner>) -> Parts + use<>,
    ),
    Error,
> {
    let targets = Targets::read(&config.targets_file).map_err(|error| Error::Setting {
        name: "EVENTPULSE_TARGETS_FILE",
        reason: error.to_string(),
    })?;
    tracing::info!(
        version = targets.version,
        targets = targets.by_name.len(),
        "targets are loaded"
    );
    let metrics = RunnerMetrics::default();
    let certificates = config.docker_cert_path.clone();
    let engines = Engines::new(certificates, metrics.docker.clone());
    let runner = ActionRunner::new(targets, metrics.clone());
    let file: Arc<Path> = Arc::from(config.targets_file.as_path());
    let sweep = config.sweep_interval;
    let parts = move |kit: &Kit<ActionRunner>| {
        metrics.register(kit.metrics());
        let tools = Tools {
            kit: kit.clone(),
            engines,
            metrics,
            sweep,
        };
        let found = sweep::Found::default();
        Parts {
            workers: workers(&tools, &found, &file),
            router: http::router(http::Api { tools, found, file }),
        }
    };
    Ok((runner, parts))
}

fn workers(tools: &Tools, found: &sweep::Found, file: &Arc<Path>) -> Vec<Worker> {
    let (roster, sweeper, reload) = (tools.clone(), tools.clone(), tools.clone());
    let (found, file) = (found.clone(), Arc::clone(file));
    vec![
        Worker::new("targets", move || roster::run(roster.clone())),
        Worker::new("sweeper", move || {
            sweep::run(sweeper.clone(), found.clone())
        }),
        Worker::new("reload", move || {
            reload_on_signal(reload.clone(), Arc::clone(&file))
        }),
    ]
}

async fn reload_on_signal(tools: Tools, file: Arc<Path>) -> Result<(), Error> {
    let mut hangups = signal(SignalKind::hangup()).map_err(|source| Error::Io {
        doing: "listening for SIGHUP".into(),
        source,
    })?;
    loop {
        tokio::select! {
            biased;
            () = tools.kit.shutdown().cancelled() => return Ok(()),
            _ = hangups.recv() => drop(reload(&tools, &file)),
        }
    }
}

/// Reads the file again; what is wrong with it changes nothing.
pub(crate) fn reload(tools: &Tools, file: &Path) -> Result<Arc<Targets>, targets::Error> {
    let service = tools.kit.service();
    match Targets::read(file) {
        Ok(targets) => {
            tracing::info!(
                version = targets.version,
                targets = targets.by_name.len(),
                "targets are reloaded"
            );
            service.reload(targets);
            Ok(service.targets())
        }
        Err(error) => {
            let running = &service.targets().version;
            tracing::error!("{error}; still running version {running}");
            Err(error)
        }
    }
}
