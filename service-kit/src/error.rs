//! What can go wrong in the shell, and what to do about it.

use std::{borrow::Cow, time::Duration};

/// What the shell does with a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The surroundings are at fault and may recover: the same work again, later, for ever.
    Retry,
    /// The input is at fault: keep it where a person finds it, go on with the next.
    Park,
    /// This process cannot go on: stop it with a non-zero exit code.
    Fatal,
}

/// An input that can never be handled: its reason, for the dead letter.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{stage}: {reason}")]
pub struct Poison {
    /// Where it failed: `headers`, `type`, `decode`, `fold`.
    pub stage: &'static str,
    /// Why, in words, with the chain of causes.
    pub reason: String,
}

impl Poison {
    /// A poison whose reason is `error` with its whole chain of sources.
    pub fn new(stage: &'static str, error: &dyn std::error::Error) -> Self {
        Self {
            stage,
            reason: chain(error),
        }
    }
}

/// `text` as a column can hold it: Postgres has no NUL in text.
pub(crate) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// `error: cause: cause of the cause`.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// A failure of the shell.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A statement or connection failed; `doing` says which.
    #[error("database: {doing}")]
    Database {
        doing: Cow<'static, str>,
        #[source]
        source: sqlx::Error,
    },
    /// Migrations could not be applied.
    #[error("database: applying migrations")]
    Migrate(#[source] Box<sqlx::migrate::MigrateError>),
    /// Another transaction made a row that this one found missing when it looked.
    #[error("database: {doing}: another transaction made the same row first")]
    Raced { doing: Cow<'static, str> },
    /// A setting of the server that our guarantees stand on is off.
    #[error(
        "database: {setting} is {value:?}; EventPulse needs it on (its answers mean committed)"
    )]
    Durability { setting: String, value: String },
    /// The broker or the client library failed; `doing` says at what.
    #[error("kafka: {doing}")]
    Kafka {
        doing: Cow<'static, str>,
        #[source]
        source: rdkafka::error::KafkaError,
    },
    /// The schema registry failed.
    #[error("registry: {doing}: {reason}")]
    Registry {
        doing: Cow<'static, str>,
        reason: String,
    },
    /// An event does not fit its own schema: a fault of this build.
    #[error("encoding an event")]
    Encode(#[source] Box<shared_events::codec::Error>),
    /// A single input that cannot be handled, where there is no dead letter to make of it.
    #[error(transparent)]
    Poison(Poison),
    /// The outbox holds more than its limit: nothing new is accepted until it drains.
    #[error("outbox: {depth} events wait, the limit is {limit}")]
    OutboxFull { depth: i64, limit: i64 },
    /// More is asked than is got done: what came before has waited for too long.
    #[error("busy: the first of those who wait has waited for {} ms", .waited.as_millis())]
    Busy { waited: Duration },
    /// A task of the shell ended with a panic.
    #[error("{task} panicked")]
    Panic { task: Cow<'static, str> },
    /// A task of the shell hangs.
    #[error("{task} has made no progress for {seconds} s")]
    Stalled {
        task: Cow<'static, str>,
        seconds: u64,
    },
    /// The service is stopping.
    #[error("stopping")]
    Stopping,
    /// A setting cannot be used.
    #[error("setting {name}: {reason}")]
    Setting { name: &'static str, reason: String },
    /// Listening, signals, files.
    #[error("{doing}")]
    Io {
        doing: Cow<'static, str>,
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// Wraps a database failure with what was being done.
    pub fn database(doing: impl Into<Cow<'static, str>>) -> impl FnOnce(sqlx::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Database { doing, source }
    }

    /// No answer of the database for so long: the outcome is unknown, and its connection is of no use.
    pub(crate) fn silence(doing: impl Into<Cow<'static, str>>, limit: Duration) -> Self {
        let doing = doing.into();
        let reason = format!("no answer in {} s", limit.as_secs());
        let source = std::io::Error::new(std::io::ErrorKind::TimedOut, reason);
        let source = sqlx::Error::Io(source);
        Self::Database { doing, source }
    }

    /// Wraps a Kafka failure with what was being done.
    pub fn kafka(
        doing: impl Into<Cow<'static, str>>,
    ) -> impl FnOnce(rdkafka::error::KafkaError) -> Self {
        let doing = doing.into();
        move |source| Self::Kafka { doing, source }
    }

    /// What to do about it. SQLSTATE classes 22 (data), 23 (constraint) and 54 (larger than a row, an
    /// index entry or a parameter may be) are the input's fault.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Database { source, .. } => match sqlstate(source) {
                Some(code) if ["22", "23", "54"].iter().any(|of| code.starts_with(of)) => {
                    Class::Park
                }
                Some(_) | None => Class::Retry,
            },
            Self::Raced { .. }
            | Self::Kafka { .. }
            | Self::Registry { .. }
            | Self::OutboxFull { .. }
            | Self::Busy { .. }
            | Self::Stopping => Class::Retry,
            Self::Encode(_) | Self::Poison(_) | Self::Panic { .. } => Class::Park,
            Self::Migrate(_)
            | Self::Durability { .. }
            | Self::Stalled { .. }
            | Self::Setting { .. }
            | Self::Io { .. } => Class::Fatal,
        }
    }

    /// Fails unless every one of `wanted` rows was written: a statement that leaves a row alone because
    /// it should not be there yet has met another transaction's.
    ///
    /// # Errors
    /// [`Error::Raced`], for which the whole transaction runs again and finds the row.
    pub fn unless_all(
        doing: impl Into<Cow<'static, str>>,
        wanted: usize,
        written: u64,
    ) -> Result<(), Self> {
        if written == wanted as u64 {
            return Ok(());
        }
        let doing = doing.into();
        Err(Self::Raced { doing })
    }

    /// Whether the whole transaction should simply run again at once: deadlock, serialization, a row
    /// that another one made.
    #[must_use]
    pub fn reruns(&self) -> bool {
        match self {
            Self::Database { source, .. } => {
                matches!(sqlstate(source).as_deref(), Some("40P01" | "40001"))
            }
            Self::Raced { .. } => true,
            Self::Migrate(_)
            | Self::Durability { .. }
            | Self::Kafka { .. }
            | Self::Registry { .. }
            | Self::Encode(_)
            | Self::Poison(_)
            | Self::OutboxFull { .. }
            | Self::Busy { .. }
            | Self::Panic { .. }
            | Self::Stalled { .. }
            | Self::Stopping
            | Self::Setting { .. }
            | Self::Io { .. } => false,
        }
    }
}

fn sqlstate(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error()?.code()
}
