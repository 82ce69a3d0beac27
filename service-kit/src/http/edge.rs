//! What every request passes on its way to a handler, and every answer on its way out.

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Unit,
};
use tokio::sync::Semaphore;
use tracing::{Instrument, Span};

use super::{
    BODY_LIMIT, Limits,
    body::Deadline,
    problem::{MEDIA_TYPE, Problem},
};
use crate::{Metrics, Trace, clock::Stopwatch};

/// Bytes of a plain error text that become a problem's detail.
const DETAIL_LIMIT: usize = 4096;

/// Upper bounds of the duration buckets, in seconds.
const BUCKETS: [f64; 13] = [
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

/// What the requests of one server share.
#[derive(Clone, Debug)]
pub struct Edge {
    limits: Limits,
    seats: Arc<Semaphore>,
    requests: Family<Answered, Counter>,
    durations: Family<Route, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    method: String,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Route {
    method: String,
    route: String,
}

impl Edge {
    /// An edge that counts in `metrics`. One per process.
    #[must_use]
    pub fn new(metrics: &Metrics, limits: Limits) -> Self {
        let durations: fn() -> Histogram = || Histogram::new(BUCKETS);
        let edge = Self {
            seats: Arc::new(Semaphore::new(limits.requests)),
            limits,
            requests: Family::default(),
            durations: Family::new_with_constructor(durations),
            in_flight: Gauge::default(),
        };
        metrics.with(|registry| {
            registry.register(
                "eventpulse_http_requests",
                "Requests answered",
                edge.requests.clone(),
            );
            registry.register_with_unit(
                "eventpulse_http_request_duration",
                "From the head of a request to the head of its answer",
                Unit::Seconds,
                edge.durations.clone(),
            );
            registry.register(
                "eventpulse_http_requests_in_flight",
                "Requests being handled",
                edge.in_flight.clone(),
            );
        });
        edge
    }
}

/// Puts `router` behind the edge: traces, metrics, limits, problems for errors and panics.
pub fn edge(router: Router, edge: Edge) -> Router {
    router
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn_with_state(edge, pass))
}

async fn pass(State(edge): State<Edge>, request: Request, next: Next) -> Response {
    let watch = Stopwatch::start();
    let route = route(&request);
    let span = span(&request, &route.route);
    edge.in_flight.inc();
    let response = guarded(&edge, request, next).instrument(span.clone()).await;
    edge.in_flight.dec();
    let status = response.status().as_u16();
    span.record("http.response.status_code", status);
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
    }
    let Route { method, route } = route.clone();
    edge.durations
        .get_or_create(&Route {
            method: method.clone(),
            route: route.clone(),
        })
        .observe(watch.elapsed().as_secs_f64());
    edge.requests
        .get_or_create(&Answered {
            method,
            route,
            status,
        })
        .inc();
    response
}

/// Method and matched path: bounded, whatever clients ask for.
fn route(request: &Request) -> Route {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    let method = if known.contains(request.method()) {
        request.method().as_str()
    } else {
        "other"
    };
    let path = request.extensions().get::<MatchedPath>();
    Route {
        method: method.to_owned(),
        route: path.map_or("unmatched", MatchedPath::as_str).to_owned(),
    }
}

fn span(request: &Request, route: &str) -> Span {
    let span = tracing::info_span!(
        "http request",
        otel.name = format!("{} {route}", request.method()),
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        http.request.method = request.method().as_str(),
        http.route = route,
        url.path = request.uri().path(),
        http.response.status_code = tracing::field::Empty,
    );
    Trace::from_http(request.headers()).set_parent(&span);
    span
}

async fn guarded(edge: &Edge, request: Request, next: Next) -> Response {
    let response = match Arc::clone(&edge.seats).try_acquire_owned() {
        Ok(_seat) => in_time(&edge.limits, request, next).await,
        Err(_) => Problem::unavailable("too many requests at once").into_response(),
    };
    let mut response = explained(response).await;
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

async fn in_time(limits: &Limits, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let (body, late) = if body.is_end_stream() {
        (body, None)
    } else {
        let (body, late) = Deadline::new(body, limits.body);
        (Body::new(body), Some(late))
    };
    let answer = AssertUnwindSafe(next.run(Request::from_parts(head, body))).catch_unwind();
    let response = match tokio::time::timeout(limits.total, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            tracing::error!("a handler panicked");
            let detail = "this is a fault of the service; its log says more";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response()
        }
        // not a 4xx: senders that retry must, and nothing says that it is their fault
        Err(_) => Problem::unavailable("the request took too long").into_response(),
    };
    if late.is_some_and(|late| late.happened()) && response.status().is_client_error() {
        let detail = "the request's body did not arrive in time";
        return (
            [(header::CONNECTION, "close")],
            Problem::new(StatusCode::REQUEST_TIMEOUT, detail),
        )
            .into_response();
    }
    response
}

/// `response`; if it is an error in other words, as a problem.
async fn explained(response: Response) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let media_type = response.headers().get(header::CONTENT_TYPE);
    let media_type = media_type
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    if media_type.starts_with(MEDIA_TYPE) {
        return response;
    }
    let plain = media_type.starts_with("text/plain");
    let (mut head, body) = response.into_parts();
    let text = match axum::body::to_bytes(body, DETAIL_LIMIT).await {
        Ok(bytes) if plain => String::from_utf8_lossy(&bytes).into_owned(),
        Ok(_) | Err(_) => String::new(),
    };
    let detail = match status {
        StatusCode::NOT_FOUND if text.is_empty() => "there is nothing here".to_owned(),
        StatusCode::METHOD_NOT_ALLOWED if text.is_empty() => {
            "this method is not allowed here".to_owned()
        }
        _ => text,
    };
    let mut problem = Problem::new(status, detail);
    problem.detail = problem.detail.filter(|detail| !detail.is_empty());
    let response = problem.into_response();
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.remove(header::CONTENT_TYPE);
    let (mut new, body) = response.into_parts();
    for (name, value) in &head.headers {
        new.headers.append(name, value.clone());
    }
    Response::from_parts(new, body)
}
