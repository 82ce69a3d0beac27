//! Reads the evidence: four databases, every topic from the beginning, Docker.

mod avro;
mod sql;
mod topics;

pub use sql::{Rows, all as databases, next, rows, waiting};
pub use topics::{POISON, Reading, lag, read_topics};
