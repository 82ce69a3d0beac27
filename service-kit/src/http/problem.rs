//! RFC 9457: what went wrong, for programs and for people.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Class, Error, error::chain};

/// Media type of a problem.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// An error answer (RFC 9457).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// What kind of problem, as a URI; `about:blank` says no more than the status
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    pub kind: String,
    /// The kind in words
    #[schema(example = "Not Found")]
    pub title: String,
    /// HTTP status
    #[schema(example = 404)]
    pub status: u16,
    /// What went wrong this time, and what to do about it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Further members
    #[serde(flatten)]
    #[schema(ignore)]
    pub more: Map<String, Value>,
}

impl Problem {
    /// A problem that `detail` explains.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: Some(detail.into()),
            more: Map::new(),
        }
    }

    /// 400: the request cannot be understood.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404: there is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 409: the state of things does not allow it.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// 503: not now; the same request may work later.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// Adds a member of its own (RFC 9457 3.2).
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// 503 for what may work later, 400 for what the client sent, 500 for the rest. The client hears
/// which part failed, the log hears why.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        let cause = chain(error);
        match (error.class(), error) {
            (_, Error::Poison(poison)) => Self::bad_request(poison.reason.clone()),
            (Class::Retry, _) => {
                tracing::warn!(error = cause, "request refused for now");
                Self::unavailable(waits_for(error))
            }
            (Class::Park, Error::Database { .. }) => {
                tracing::warn!(error = cause, "request refused by the database");
                Self::bad_request("the database cannot store this")
            }
            (Class::Park | Class::Fatal, _) => {
                tracing::error!(error = cause, "request failed");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "this is a fault of the service; its log says more",
                )
            }
        }
    }
}

fn waits_for(error: &Error) -> String {
    match error {
        Error::OutboxFull { .. } | Error::Busy { .. } => error.to_string(),
        Error::Stopping => "the service is stopping".to_owned(),
        Error::Kafka { .. } => "Kafka is not available".to_owned(),
        Error::Registry { .. } => "the schema registry is not available".to_owned(),
        Error::Database { .. }
        | Error::Migrate(_)
        | Error::Durability { .. }
        | Error::Encode(_)
        | Error::Poison(_)
        | Error::Panic { .. }
        | Error::Stalled { .. }
        | Error::Setting { .. }
        | Error::Raced { .. }
        | Error::Io { .. } => "the database is not available".to_owned(),
    }
}
