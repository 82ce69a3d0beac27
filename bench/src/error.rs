use std::path::PathBuf;

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{what}")]
    Http {
        what: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("finding {place}")]
    Unknown {
        place: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{what} answered {status}: {body}")]
    Refused {
        what: String,
        status: u16,
        body: String,
    },
    #[error("Postgres: {what}")]
    Database {
        what: &'static str,
        #[source]
        source: sqlx::Error,
    },
    #[error("Kafka: {what}")]
    Kafka {
        what: &'static str,
        #[source]
        source: rdkafka::error::KafkaError,
    },
    #[error("after {seconds} s without a post {missing} of {all} alerts are not stored")]
    Patience {
        seconds: u64,
        missing: u64,
        all: u64,
    },
    #[error(
        "w1 measures Ingest alone, and Rules answers: stop rules, action-runner and incident-store first"
    )]
    NotAlone,
    #[error("writing {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("reading figures")]
    Read(#[source] std::io::Error),
    #[error("figures as JSON")]
    Json(#[source] serde_json::Error),
    #[error("drawing")]
    Plot(#[source] plotters::drawing::DrawingAreaErrorKind<std::io::Error>),
    #[error("the floor needs a Postgres: --database or EVENTPULSE_BENCH_DATABASE_URL")]
    NoDatabase,
    #[error("{table} has no row to copy: let w2 run for a second first")]
    NothingToCopy { table: &'static str },
    #[error("a task of the bench panicked")]
    Panic(#[source] tokio::task::JoinError),
}

impl Error {
    pub(crate) fn http(what: impl Into<String>) -> impl FnOnce(reqwest::Error) -> Self {
        let what = what.into();
        move |source| Self::Http { what, source }
    }

    pub(crate) fn unknown(place: &str) -> impl FnOnce(std::io::Error) -> Self {
        let place = place.to_owned();
        move |source| Self::Unknown { place, source }
    }

    pub(crate) fn database(what: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { what, source }
    }

    pub(crate) fn kafka(what: &'static str) -> impl FnOnce(rdkafka::error::KafkaError) -> Self {
        move |source| Self::Kafka { what, source }
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
