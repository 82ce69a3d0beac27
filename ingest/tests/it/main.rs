//! Ingest as it runs: `ingest::run` on a port of its own, a Postgres database of its own, and, if
//! not said otherwise, neither Kafka nor registry.

mod failures;
mod intake;
mod reading;
mod refusals;
mod support;
mod time;
