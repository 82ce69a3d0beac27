//! The webhook and the query API.

mod query;
mod read;
mod webhook;

use std::sync::Arc;

use service_kit::{
    Kit,
    http::{OpenApiRouter, body_limit, routes},
};

use crate::{metrics::Metrics, queue::Queue, service::Ingest, tokens::Tokens};

/// What handlers need.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) kit: Kit<Ingest>,
    pub(crate) queue: Queue,
    pub(crate) metrics: Metrics,
    pub(crate) tokens: Arc<Tokens>,
    /// Bytes of a webhook body at most.
    pub(crate) body_limit: u32,
}

/// Every route of Ingest.
pub(crate) fn router(api: Api) -> OpenApiRouter {
    let limit = usize::try_from(api.body_limit).unwrap_or(usize::MAX);
    let webhook = OpenApiRouter::new()
        .routes(routes!(webhook::alertmanager))
        .layer(body_limit(limit));
    OpenApiRouter::new()
        .merge(webhook)
        .routes(routes!(read::alerts))
        .routes(routes!(read::alert))
        .routes(routes!(read::receipts))
        .routes(routes!(read::receipt))
        .routes(routes!(read::rejects))
        .with_state(api)
}
