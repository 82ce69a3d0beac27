//! The command as people run it, against real services, Kafka and registry.

mod command;
mod documents;
mod incidents;
mod outbox;
mod parts;
mod past;
mod rebuild;
mod rules;
mod topics;
