//! What can go wrong, and the exit code that says so.

use std::process::ExitCode;

/// A failure of a command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{server} at {url} is not reachable; `eventpulse doctor` looks at every part")]
    Unreachable {
        server: &'static str,
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("{server} said {status}: {detail}")]
    Refused {
        server: &'static str,
        status: u16,
        detail: String,
    },
    #[error("{server} answered something that is not JSON")]
    Answer {
        server: &'static str,
        #[source]
        source: reqwest::Error,
    },
    #[error("Kafka at {brokers}: {doing}")]
    Kafka {
        brokers: String,
        doing: String,
        #[source]
        source: Box<rdkafka::error::KafkaError>,
    },
    #[error("there is no topic {topic} at {brokers}; `eventpulse topic ls` lists what is there")]
    NoTopic { topic: String, brokers: String },
    #[error("there is no dead letter {id}; `eventpulse dlq ls` lists them")]
    NoLetter { id: String },
    #[error("no event that begins with {id} is held; `eventpulse outbox list` lists them")]
    NoneHeld { id: String },
    #[error(transparent)]
    Rules(#[from] rules::files::Error),
    #[error("{0}")]
    Usage(String),
    /// Something is wrong with what was given, not with how.
    #[error("{0}")]
    Failed(String),
    /// The command has said what is the case itself, and has exit codes of its own.
    #[error("")]
    Code(u8),
    /// The command has printed what is wrong itself.
    #[error("")]
    Unwell,
    #[error("writing to standard output")]
    Output(#[from] std::io::Error),
}

impl Error {
    /// As `--help` lists them.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Refused { status: 404, .. }
            | Self::NoTopic { .. }
            | Self::NoLetter { .. }
            | Self::NoneHeld { .. } => 3,
            Self::Refused {
                status: 409 | 412 | 428,
                ..
            } => 4,
            Self::Unreachable { .. } | Self::Kafka { .. } => 5,
            Self::Usage(_) => 2,
            Self::Code(code) => *code,
            Self::Refused { .. }
            | Self::Answer { .. }
            | Self::Rules(_)
            | Self::Failed(_)
            | Self::Unwell
            | Self::Output(_) => 1,
        })
    }

    /// Whether it is a reader that has seen enough (`| head`).
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe)
    }
}

/// `error: cause: cause of the cause`.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
