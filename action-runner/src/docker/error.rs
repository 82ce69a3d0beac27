//! What can go wrong between us and a Docker engine.

use std::{path::PathBuf, time::Duration};

use super::template::Uncopyable;

/// A failed call, or something that must not be asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine answered: no.
    #[error("docker {call} on {host}: {status} {message}")]
    Refused {
        call: &'static str,
        host: String,
        status: u16,
        message: String,
    },
    /// No answer in time. What was asked for may be done or not: observe again.
    #[error("docker {call} on {host}: no answer in {} s", .limit.as_secs())]
    Silent {
        call: &'static str,
        host: String,
        limit: Duration,
    },
    /// The connection failed, or the answer cannot be read. What was asked for may be done or not.
    #[error("docker {call} on {host}: {reason}")]
    Broken {
        call: &'static str,
        host: String,
        /// The client's words with the chain of causes: its own message says only "client error".
        reason: String,
        #[source]
        source: Box<bollard::errors::Error>,
    },
    /// A TCP engine without certificates: its whole host would be open to everybody.
    #[error(
        "docker on {host}: a tcp:// engine is used with TLS only; put ca.pem, cert.pem and key.pem into a folder and set EVENTPULSE_DOCKER_CERT_PATH"
    )]
    NoCertificates { host: String },
    /// A certificate or key is missing.
    #[error("docker on {host}: certificate {path} is missing")]
    Certificate { host: String, path: PathBuf },
    /// The template is something that no replica may be.
    #[error("{container} cannot be copied: {source}")]
    Template {
        container: String,
        #[source]
        source: Uncopyable,
    },
    /// `readiness: {healthcheck: true}` and there is nothing to ask.
    #[error(
        "{container} has no HEALTHCHECK, and targets.yaml waits for one: add it, or use http_get or tcp_socket"
    )]
    NoHealthcheck { container: String },
}

impl Error {
    /// What the engine answered, if it did.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Silent { .. }
            | Self::Broken { .. }
            | Self::NoCertificates { .. }
            | Self::Certificate { .. }
            | Self::Template { .. }
            | Self::NoHealthcheck { .. } => None,
        }
    }

    /// Whether asking again would give the same answer: the request itself is refused, and nothing
    /// was done. Server errors and silence are not: the engine may have done it, or do it later.
    #[must_use]
    pub fn definite(&self) -> bool {
        match self {
            Self::Refused { status, .. } => {
                (400..500).contains(status) && ![408, 425, 429].contains(status)
            }
            Self::Template { .. }
            | Self::NoHealthcheck { .. }
            | Self::NoCertificates { .. }
            | Self::Certificate { .. } => true,
            Self::Silent { .. } | Self::Broken { .. } => false,
        }
    }
}
