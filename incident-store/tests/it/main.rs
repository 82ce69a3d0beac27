//! Incident Store on a real Postgres: the shell's transaction, the rows, the API, the stream; and
//! with Kafka before it.

mod api;
mod as_of;
mod facts;
mod kafka;
mod rows;
mod stage;
mod stream;
