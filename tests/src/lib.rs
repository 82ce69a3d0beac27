//! What the whole-system tests share: the four services as real processes on real Kafka, registry,
//! Postgres and Docker, and the bodies that an Alertmanager would post.

pub mod app;
pub mod cli;
pub mod docker;
pub mod log;
pub mod member;
pub mod stack;
pub mod webhook;

pub use app::App;
pub use cli::Cli;
pub use member::Member;
pub use stack::Stack;
