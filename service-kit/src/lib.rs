//! The shell around a pure `decide`: it knows transactions, Kafka and HTTP, and not one word of
//! what any service is about.
//!
//! A service implements [`Service`]; [`run`] gives it a database with migrations, an inbox, an
//! outbox with its relay, a consumer, dead letters, HTTP with health and metrics, traces, logs and
//! an orderly stop.
//!
//! | to find | look in |
//! |---|---|
//! | what a service must say | [`service`] |
//! | the one transaction that handles a batch | [`batch`] |
//! | transactions that survive a dropped caller | [`tx`] |
//! | what was seen before | [`inbox`] |
//! | what others must hear | [`outbox`], [`relay`] |
//! | what the tables hold, as hashes | [`content`] |
//! | Kafka in | [`consumer`], [`dlq`] |
//! | what handlers and workers use | [`kit`], [`Worker`] |
//! | a database restored from a dump | [`restore`] |
//! | start and stop | [`run`] |
//! | from the command line to the exit code | [`lifecycle`], [`config`] |
//! | the HTTP edge, problems, OpenAPI | [`http`], [`health`] |
//! | logs, traces, numbers | [`telemetry`], [`metrics`] |
//! | time | [`clock`], [`pace`] |
//! | counting large tables | [`census`] |
//! | help for tests | `testing` (feature of that name) |

pub mod batch;
pub mod census;
pub mod clock;
pub mod config;
pub mod consumer;
pub mod content;
mod database;
pub mod dlq;
pub mod error;
pub mod failpoint;
pub mod health;
pub mod http;
pub mod inbox;
pub mod kafka;
pub mod kit;
pub mod lifecycle;
pub mod metrics;
pub mod outbox;
pub mod pace;
mod process;
pub mod registry;
pub mod relay;
pub mod restore;
mod retention;
mod run;
mod running;
pub mod service;
mod supervise;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod topics;
pub mod tx;

pub use batch::Handled;
pub use config::KitArgs;
pub use database::in_time;
pub use error::{Class, Error, Poison};
pub use health::Health;
pub use http::Problem;
pub use kit::{Kit, Parts};
pub use lifecycle::main;
pub use metrics::Metrics;
pub use run::run;
pub use service::{Origin, Outgoing, Position, Record, Saved, Service, Trace, Work};
pub use supervise::Worker;

/// Version of every crate of this workspace.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Git revision that the build was told in `EVENTPULSE_REVISION`; else `unknown`.
#[must_use]
pub const fn revision() -> &'static str {
    match option_env!("EVENTPULSE_REVISION") {
        Some(revision) => revision,
        None => "unknown",
    }
}

/// The kit's own tables, applied to each service's database before the service's migrations.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations/kit");
