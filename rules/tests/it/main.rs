//! The Rule Engine on a real Postgres, and on a real Kafka where that matters.

mod backtest;
mod batches;
mod changes;
mod commands;
mod explain;
mod http;
mod kafka;
mod limits;
mod reload;
mod replay;
mod shadows;
mod story;
mod support;
mod timers;
