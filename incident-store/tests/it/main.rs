//! Incident Store on a real Postgres: the shell's transaction, the rows, the API, the stream.

mod api;
mod facts;
mod rows;
mod stage;
mod stream;
