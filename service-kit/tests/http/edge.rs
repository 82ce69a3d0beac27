//! Errors, limits of size, traces and numbers.

use anyhow::Result;
use axum::{
    Json, Router,
    extract::{Path, Query},
    http::StatusCode,
    routing::{get, post},
};
use serde::Deserialize;
use service_kit::{
    Class, Error, Poison, Problem, Trace,
    http::{BODY_LIMIT, Limits, body_limit},
};

use crate::{Server, read_to_end, send};

#[derive(Deserialize)]
struct Number {
    number: i64,
}

async fn panics() -> &'static str {
    panic!("on purpose")
}

fn api() -> Router {
    Router::new()
        .route(
            "/json",
            post(async |Json(body): Json<Number>| body.number.to_string()),
        )
        .route(
            "/query",
            get(async |Query(query): Query<Number>| query.number.to_string()),
        )
        .route(
            "/path/{number}",
            get(async |Path(number): Path<i64>| number.to_string()),
        )
        .route("/panic", get(panics))
        .route("/teapot", get(async || StatusCode::IM_A_TEAPOT))
        .route("/body", post(async |body: String| body.len().to_string()))
        .route(
            "/big",
            post(async |body: String| body.len().to_string()).layer(body_limit(4 * BODY_LIMIT)),
        )
        .route(
            "/trace",
            get(async || Trace::current().id().unwrap_or_default()),
        )
        .route(
            "/full",
            get(async || Problem::from(Error::OutboxFull { depth: 2, limit: 1 })),
        )
}

async fn server() -> Result<Server> {
    Server::start(api(), Limits::default()).await
}

async fn problem(answer: reqwest::Response, status: u16) -> Result<Problem> {
    assert_eq!(answer.status(), status);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    let problem: Problem = answer.json().await?;
    assert_eq!(problem.status, status);
    Ok(problem)
}

#[tokio::test]
async fn every_error_is_a_problem() -> Result<()> {
    let server = server().await?;
    let client = reqwest::Client::new();
    let nothing = problem(server.get("/nothing").await?, 404).await?;
    assert_eq!(nothing.title, "Not Found");
    let method = client.delete(server.url("/json")).send().await?;
    assert_eq!(method.headers()["allow"], "POST");
    problem(method, 405).await?;
    let media_type = client.post(server.url("/json")).body("{}").send().await?;
    problem(media_type, 415).await?;
    let json = || {
        client
            .post(server.url("/json"))
            .header("content-type", "application/json")
    };
    problem(json().body("{").send().await?, 400).await?;
    let field = problem(json().body("{}").send().await?, 422).await?;
    assert!(field.detail.is_some_and(|detail| detail.contains("number")));
    problem(server.get("/query?number=x").await?, 400).await?;
    problem(server.get("/path/x").await?, 400).await?;
    problem(server.get("/teapot").await?, 418).await?;
    let panicked = problem(server.get("/panic").await?, 500).await?;
    assert!(!panicked.detail.unwrap_or_default().contains("purpose"));
    // and the server lives on
    assert_eq!(server.get("/path/1").await?.text().await?, "1");
    Ok(())
}

#[tokio::test]
async fn a_full_outbox_is_a_503_with_figures() -> Result<()> {
    let answer = server().await?.get("/full").await?;
    assert_eq!(answer.headers()["retry-after"], "1");
    let full = problem(answer, 503).await?;
    assert!(
        full.detail
            .is_some_and(|detail| detail.contains("limit is 1"))
    );
    Ok(())
}

#[test]
fn classes_become_statuses() {
    let database = |code: &'static str| Error::Database {
        doing: "testing".into(),
        source: sqlx::Error::Protocol(code.to_owned()),
    };
    assert_eq!(database("x").class(), Class::Retry);
    assert_eq!(Problem::from(database("x")).status, 503);
    assert_eq!(Problem::from(Error::Stopping).status, 503);
    let poison = Poison {
        stage: "fold",
        reason: "no such thing".to_owned(),
    };
    let refused = Problem::from(Error::Poison(poison));
    assert_eq!(
        (refused.status, refused.detail.as_deref()),
        (400, Some("no such thing"))
    );
    assert_eq!(Problem::from(Error::Panic { task: "x".into() }).status, 500);
}

#[tokio::test]
async fn bodies_have_a_limit_that_a_route_can_raise() -> Result<()> {
    let server = server().await?;
    let client = reqwest::Client::new();
    let post = |path: &str, length: usize| client.post(server.url(path)).body("x".repeat(length));
    assert_eq!(post("/body", BODY_LIMIT).send().await?.status(), 200);
    problem(post("/body", BODY_LIMIT + 1).send().await?, 413).await?;
    assert_eq!(post("/big", 4 * BODY_LIMIT).send().await?.status(), 200);
    problem(post("/big", 4 * BODY_LIMIT + 1).send().await?, 413).await?;
    Ok(())
}

#[tokio::test]
async fn heads_have_limits() -> Result<()> {
    let server = server().await?;
    let mut many = server.connect().await?;
    let headers = "a: b\r\n".repeat(101);
    send(&mut many, &format!("GET /path/1 HTTP/1.1\r\n{headers}\r\n")).await?;
    assert!(read_to_end(&mut many).await?.starts_with("HTTP/1.1 431"));
    let mut long = server.connect().await?;
    let value = "x".repeat(Limits::default().header_bytes);
    send(
        &mut long,
        &format!("GET /path/1 HTTP/1.1\r\na: {value}\r\n\r\n"),
    )
    .await?;
    assert!(read_to_end(&mut long).await?.starts_with("HTTP/1.1 431"));
    Ok(())
}

#[tokio::test]
async fn numbers_are_by_route_never_by_path() -> Result<()> {
    let server = server().await?;
    for path in ["/path/1", "/path/2", "/nothing/3"] {
        server.get(path).await?;
    }
    let text = server.metrics.text();
    let count = |route: &str, status: u16| {
        format!(
            "eventpulse_http_requests_total{{service=\"test\",method=\"GET\",\
             route=\"{route}\",status=\"{status}\"}}"
        )
    };
    assert!(
        text.contains(&format!("{} 2\n", count("/path/{number}", 200))),
        "{text}"
    );
    assert!(
        text.contains(&format!("{} 1\n", count("unmatched", 404))),
        "{text}"
    );
    assert!(!text.contains("/nothing/3"));
    Ok(())
}
