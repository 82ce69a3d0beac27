//! The command as people run it, against real services, Kafka and registry.

mod command;
mod documents;
mod incidents;
mod parts;
mod past;
mod rules;
mod topics;
