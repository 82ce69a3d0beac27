//! The HTTP edge: a server with time-outs that act, problems instead of bare errors, and what
//! operators expect of every service.
//!
//! | path | what |
//! |---|---|
//! | `/livez` (`/healthz`, `/-/healthy`) | the process runs; never looks at dependencies |
//! | `/readyz[?verbose]` (`/-/ready`) | 503 while a gate is closed; `verbose` lists every check |
//! | `/metrics` | Prometheus |
//! | `/version` | what is running |
//! | `/api/v1/outbox` | what waits for Kafka, and what people do about it |
//! | `/openapi.json` | the API of the service and these, OpenAPI 3.1 |
//!
//! A service hands over an [`OpenApiRouter`]: each handler carries `#[utoipa::path(..)]` and is
//! added with [`routes!`], so that route and document cannot drift apart:
//!
//! ```
//! use service_kit::http::{OpenApiRouter, Problem, routes};
//!
//! /// Says hello.
//! #[utoipa::path(get, path = "/api/v1/hello", responses(
//!     (status = 200, body = String),
//!     (status = "default", body = Problem, content_type = "application/problem+json"),
//! ))]
//! async fn hello() -> Result<String, Problem> {
//!     Ok("hello".to_owned())
//! }
//!
//! fn router() -> OpenApiRouter {
//!     OpenApiRouter::new().routes(routes!(hello))
//! }
//! ```
//!
//! Request bodies are limited to 64 KiB; a route that takes more says so with
//! `.layer(service_kit::http::body_limit(bytes))`. Whatever a handler or an extractor answers, an
//! error status goes out as `application/problem+json`.

mod body;
mod edge;
mod operations;
mod outbox;
mod problem;
mod server;
mod stall;

use std::time::Duration;

use axum::extract::DefaultBodyLimit;
pub use utoipa_axum::{router::OpenApiRouter, routes};

pub use self::{
    edge::{Edge, edge},
    operations::{Gate, Operations, operations},
    outbox::{Desk, outbox},
    problem::Problem,
    server::serve,
};

/// Bytes of a request body, where a route does not say otherwise.
pub const BODY_LIMIT: usize = 64 * 1024;

/// Lets the routes that it is laid on take bodies of up to `bytes`.
pub fn body_limit(bytes: usize) -> DefaultBodyLimit {
    DefaultBodyLimit::max(bytes)
}

/// What a client may take from the server. [`Default`] is what services run with.
#[derive(Clone, Debug)]
pub struct Limits {
    /// From connection, or from the end of the last answer, to the end of the request's head.
    pub header: Duration,
    /// From there to the end of the request's body.
    pub body: Duration,
    /// From there to the head of the answer.
    pub total: Duration,
    /// How long a client may take nothing of an answer that waits for it.
    pub stall: Duration,
    /// Bytes of a request's head. It has at most 100 headers.
    pub header_bytes: usize,
    /// Connections at once; others wait in the kernel's queue.
    pub connections: usize,
    /// Requests at once; others are answered 503.
    pub requests: usize,
    /// How long requests in hand may take after the service was told to stop.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(10),
            body: Duration::from_secs(15),
            total: Duration::from_secs(30),
            stall: Duration::from_secs(30),
            header_bytes: 32 * 1024,
            connections: 1024,
            requests: 256,
            grace: Duration::from_secs(5),
        }
    }
}
