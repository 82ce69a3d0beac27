//! What operators and orchestrators ask of every service.

use std::sync::{Arc, OnceLock};

use axum::{
    Json, Router,
    extract::{Query, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};
use tower::ServiceExt;
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    edge::{Edge, edge},
    problem::Problem,
};
use crate::{Health, Metrics, health::Check, metrics};

/// What the endpoints of every service answer from.
#[derive(Clone, Debug)]
pub struct Operations {
    pub service: &'static str,
    pub metrics: Metrics,
    pub health: Health,
}

/// Opens the service's own API once it can work.
#[derive(Clone)]
pub struct Gate {
    health: Health,
    open: Arc<OnceLock<Open>>,
    operations: Arc<OpenApi>,
    service: &'static str,
    edge: Edge,
}

#[derive(Debug)]
struct Open {
    router: Router,
    api: String,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let open = self.open.get().is_some();
        f.debug_struct("Gate")
            .field("open", &open)
            .finish_non_exhaustive()
    }
}

impl Gate {
    /// Lets requests through to `router` and publishes its document.
    pub fn open(&self, router: OpenApiRouter) {
        let (router, mut api) = router.split_for_parts();
        api.merge((*self.operations).clone());
        api.info.title = format!("EventPulse {}", self.service);
        crate::VERSION.clone_into(&mut api.info.version);
        api.info.license = None;
        let open = Open {
            router: edge(router, self.edge.clone()),
            api: api.to_pretty_json().expect("an OpenAPI document is JSON"),
        };
        assert!(self.open.set(open).is_ok(), "the gate opens once");
        self.health.open();
    }
}

/// A router with the endpoints of every service, and the gate to the service's own.
pub fn operations(operations: Operations, shared: Edge) -> (Router, Gate) {
    let service = operations.service;
    let (router, api) = OpenApiRouter::new()
        .routes(routes!(livez))
        .routes(routes!(readyz))
        .routes(routes!(prometheus))
        .routes(routes!(version))
        .split_for_parts();
    let gate = Gate {
        health: operations.health.clone(),
        open: Arc::default(),
        operations: Arc::new(api),
        service,
        edge: shared.clone(),
    };
    let router = router
        .route("/healthz", get(livez))
        .route("/-/healthy", get(livez))
        .route("/-/ready", get(readyz))
        .with_state(operations)
        .merge(
            Router::new()
                .route("/openapi.json", get(openapi))
                .with_state(gate.clone()),
        );
    let closed = edge(Router::new().fallback(starting), shared.clone());
    let inner = gate.clone();
    let router = edge(router, shared).fallback(move |request: Request| {
        let open = inner.open.get().map(|open| open.router.clone());
        let router = open.unwrap_or_else(|| closed.clone());
        async move {
            let Ok(response) = router.oneshot(request).await;
            response
        }
    });
    (router, gate)
}

async fn starting() -> Problem {
    Problem::unavailable("the service is starting: /readyz?verbose says what it waits for")
}

/// The process runs.
#[utoipa::path(get, path = "/livez", tag = "operations",
    responses((status = 200, description = "it does", body = String, content_type = "text/plain")))]
async fn livez() -> &'static str {
    "alive\n"
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Verbose {
    /// List every check
    verbose: Option<String>,
}

/// Whether requests can be handled.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Readiness {
    /// `ready`
    #[schema(example = "ready")]
    status: &'static str,
    /// Every check, on demand
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<Vec<Check>>,
}

/// Whether requests can be handled.
#[utoipa::path(get, path = "/readyz", tag = "operations", params(Verbose), responses(
    (status = 200, description = "they can", body = Readiness),
    (status = 503, description = "they cannot: the detail says why", body = Problem,
     content_type = "application/problem+json"),
))]
async fn readyz(State(operations): State<Operations>, Query(query): Query<Verbose>) -> Response {
    let checks = operations.health.check().await;
    let closed: Vec<String> = checks
        .iter()
        .filter(|check| check.gates && !check.ok)
        .map(|check| format!("{}: {}", check.name, check.detail))
        .collect();
    let verbose = query.verbose.is_some_and(|value| value != "false");
    if closed.is_empty() {
        let checks = verbose.then_some(checks);
        let status = "ready";
        return Json(Readiness { status, checks }).into_response();
    }
    let mut problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, closed.join("; "));
    if verbose {
        let checks = serde_json::to_value(checks).expect("checks are JSON");
        problem = problem.with("checks", checks);
    }
    problem.into_response()
}

/// Metrics in the OpenMetrics text format.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses(
    (status = 200, description = "metrics", body = String,
     content_type = "application/openmetrics-text")))]
async fn prometheus(State(operations): State<Operations>) -> Response {
    let headers = [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)];
    (headers, operations.metrics.text()).into_response()
}

/// What is running.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Version {
    name: &'static str,
    #[schema(example = "0.1.0")]
    version: &'static str,
    /// Git revision, `unknown` if the build was not told
    revision: &'static str,
}

/// What is running.
#[utoipa::path(get, path = "/version", tag = "operations",
    responses((status = 200, description = "name, version, revision", body = Version)))]
async fn version(State(operations): State<Operations>) -> Json<Version> {
    Json(Version {
        name: operations.service,
        version: crate::VERSION,
        revision: crate::revision(),
    })
}

async fn openapi(State(gate): State<Gate>) -> Response {
    match gate.open.get() {
        Some(open) => {
            let headers = [(header::CONTENT_TYPE, "application/json")];
            (headers, open.api.clone()).into_response()
        }
        None => starting().await.into_response(),
    }
}
