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
//! | Kafka in | [`consumer`], [`dlq`] |

pub mod batch;
pub mod error;
pub mod inbox;
pub mod outbox;
pub mod service;
pub mod tx;

pub use error::{Class, Error, Poison};
pub use service::{Origin, Outgoing, Position, Record, Saved, Service, Trace, Work};

/// The kit's own tables, applied to each service's database before the service's migrations.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations/kit");
