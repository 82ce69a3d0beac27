//! What sends: a Prometheus that knows which alerts fire, and two Alertmanagers that tell Ingest,
//! as Alertmanager's own sources do it (dispatch, notify, nflog): grouping, waiting for the peer,
//! deduplication against a log that the peers share, retries with backoff until the flush ends. And a
//! real Alertmanager with alerts of its own.

mod alertmanager;
mod body;
mod book;
mod prometheus;
mod real;
mod world;

pub use alertmanager::{Pair, Timing};
pub use book::Book;
pub use prometheus::{Load, generate, scale};
pub use real::Real;
pub use world::World;

/// Microseconds since 1970, cut to milliseconds: what a sender writes.
#[must_use]
pub fn now() -> i64 {
    chrono::Utc::now().timestamp_millis() * 1000
}
