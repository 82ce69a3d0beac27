//! The whole system as processes, on real Kafka, registry, Postgres and Docker.

mod alertmanager;
mod choreography;
mod failpoints;
mod instances;
mod scaling;
mod topics;
