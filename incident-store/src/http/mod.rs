//! The query API.

mod cursor;
mod dto;
mod export;
mod incidents;
mod query;
mod reference;
mod stream;

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use service_kit::{
    Kit, Service,
    consumer::Watermarks,
    http::{OpenApiRouter, Problem, routes},
};
use shared_events::IncidentId;
use sqlx::{PgPool, Postgres, pool::PoolConnection};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Streams that may be open at once; each asks the database a few times a second.
const STREAMS: usize = 256;

/// What handlers need.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pool: PgPool,
    /// Rings when facts were stored.
    watermarks: Watermarks,
    /// Ends the streams.
    shutdown: CancellationToken,
    /// Link to a trace, with `{trace_id}` in it.
    traces: Option<String>,
    streams: Arc<Semaphore>,
}

impl Api {
    pub(crate) fn new<S: Service>(kit: &Kit<S>, traces: Option<String>) -> Self {
        Self {
            pool: kit.pool().clone(),
            watermarks: kit.watermarks().clone(),
            shutdown: kit.shutdown().clone(),
            traces: traces.filter(|link| !link.is_empty()),
            streams: Arc::new(Semaphore::new(STREAMS)),
        }
    }

    async fn connection(&self) -> Result<PoolConnection<Postgres>, service_kit::Error> {
        self.pool
            .acquire()
            .await
            .map_err(service_kit::Error::database("waiting for a connection"))
    }
}

/// Every route of the API.
pub(crate) fn router(api: Api) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(incidents::list))
        .routes(routes!(incidents::show))
        .routes(routes!(incidents::timeline))
        .routes(routes!(incidents::actions))
        .routes(routes!(export::export))
        .routes(routes!(incidents::content_hash))
        .routes(routes!(incidents::all_content))
        .routes(routes!(incidents::one_content))
        .routes(routes!(stream::stream))
        .with_state(api)
}

/// Why a request is not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Parameter(String),
    #[error(transparent)]
    Cursor(#[from] cursor::Error),
    #[error(transparent)]
    Reference(#[from] reference::Error),
    #[error("there is no incident {0}")]
    Unknown(String),
    #[error("incident {0} had not opened by then")]
    NotYet(String),
    #[error("{text} is the beginning of more than one incident: {one}, {other}")]
    Ambiguous {
        text: String,
        one: IncidentId,
        other: IncidentId,
    },
    #[error("{STREAMS} streams are open already")]
    Crowded,
    #[error(transparent)]
    Kit(#[from] service_kit::Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::Parameter(_) | Error::Cursor(_) | Error::Reference(_) => {
                Self::bad_request(detail)
            }
            Error::Unknown(_) | Error::NotYet(_) => Self::not_found(detail),
            Error::Ambiguous { one, other, .. } => {
                let matches = vec![one.to_string(), other.to_string()];
                Self::conflict(detail).with("incidents", matches)
            }
            Error::Crowded => Self::unavailable(detail),
            Error::Kit(error) => error.into(),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}
