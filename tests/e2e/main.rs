//! The whole system as processes, on real Kafka, registry, Postgres and Docker.

mod alertmanager;
mod choreography;
mod contracts;
mod disk;
mod failpoints;
mod hostile;
mod instances;
mod past;
mod restore;
mod scaling;
mod statistics;
mod topics;
mod why;
