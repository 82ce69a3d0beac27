//! What operators and orchestrators ask of every service.

use std::collections::HashSet;

use anyhow::Result;
use serde_json::Value;
use service_kit::{
    Health, Metrics, Problem,
    http::{Edge, Gate, Limits, OpenApiRouter, Operations, operations, routes},
};

use crate::Server;

/// Answers.
#[utoipa::path(get, path = "/api/v1/things/{id}", params(("id" = String, Path)), responses(
    (status = 200, body = String),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
async fn thing() -> &'static str {
    "thing"
}

async fn server() -> Result<(Server, Gate, Health)> {
    let (metrics, health, limits) = (Metrics::new("test"), Health::default(), Limits::default());
    let shared = Operations {
        service: "test",
        metrics: metrics.clone(),
        health: health.clone(),
    };
    let (router, gate) = operations(shared, Edge::new(&metrics, limits.clone()));
    let mut server = Server::bare(router, limits).await?;
    server.metrics = metrics;
    Ok((server, gate, health))
}

#[tokio::test]
async fn the_api_is_closed_until_the_gate_opens() -> Result<()> {
    let (server, gate, _health) = server().await?;
    for path in ["/livez", "/healthz", "/-/healthy", "/metrics", "/version"] {
        assert_eq!(server.get(path).await?.status(), 200, "{path}");
    }
    for path in [
        "/api/v1/things/1",
        "/nothing",
        "/openapi.json",
        "/readyz",
        "/-/ready",
    ] {
        let answer = server.get(path).await?;
        assert_eq!(answer.status(), 503, "{path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    }
    gate.open(OpenApiRouter::new().routes(routes!(thing)));
    assert_eq!(server.get("/api/v1/things/1").await?.text().await?, "thing");
    let nothing = server.get("/nothing").await?;
    assert_eq!(nothing.status(), 404);
    assert_eq!(
        nothing.headers()["content-type"],
        "application/problem+json"
    );
    let route = "route=\"/api/v1/things/{id}\"";
    assert!(server.metrics.text().contains(route));
    Ok(())
}

#[tokio::test]
async fn ready_is_what_the_gates_say() -> Result<()> {
    let (server, gate, health) = server().await?;
    let ready = async |query: &str| -> Result<(u16, Value)> {
        let answer = server.get(&format!("/readyz{query}")).await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    };
    let ok = Ok::<_, &str>;
    health.report("database", ok("connected"));
    let (status, body) = ready("").await?;
    assert_eq!(status, 503);
    assert_eq!(
        body["detail"],
        "api: not reached yet; migrations: not reached yet"
    );
    health.report("migrations", ok("applied"));
    assert_eq!(ready("").await?.0, 503);
    gate.open(OpenApiRouter::new());
    // reported, but no gate
    health.report("broker", Err::<&str, _>("no answer"));
    assert_eq!(
        ready("").await?,
        (200, serde_json::json!({ "status": "ready" }))
    );
    let (status, body) = ready("?verbose").await?;
    assert_eq!(status, 200);
    let broker = serde_json::json!(
        { "name": "broker", "gates": false, "ok": false, "detail": "no answer" });
    assert!(
        body["checks"]
            .as_array()
            .is_some_and(|checks| checks.contains(&broker))
    );
    health.gate("broker");
    let (status, body) = ready("?verbose").await?;
    assert_eq!(
        (status, &body["detail"]),
        (503, &Value::from("broker: no answer"))
    );
    assert_eq!(body["checks"].as_array().map(Vec::len), Some(4));
    assert_eq!(server.get("/livez").await?.status(), 200);
    Ok(())
}

#[tokio::test]
async fn the_document_covers_the_service_and_these() -> Result<()> {
    let (server, gate, _health) = server().await?;
    gate.open(OpenApiRouter::new().routes(routes!(thing)));
    let answer = server.get("/openapi.json").await?;
    assert_eq!(answer.headers()["content-type"], "application/json");
    let document: Value = answer.json().await?;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["title"], "EventPulse test");
    for path in [
        "/api/v1/things/{id}",
        "/livez",
        "/readyz",
        "/metrics",
        "/version",
    ] {
        assert!(
            document["paths"][path]["get"].is_object(),
            "{path} is missing"
        );
    }
    for schema in ["Problem", "Readiness", "Check", "Version"] {
        assert!(
            document["components"]["schemas"][schema].is_object(),
            "{schema} is missing"
        );
    }
    Ok(())
}

#[tokio::test]
async fn metrics_are_openmetrics_with_one_type_a_name() -> Result<()> {
    let (server, _gate, _health) = server().await?;
    server.get("/livez").await?;
    let answer = server.get("/metrics").await?;
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.headers()["content-type"], media_type);
    let text = answer.text().await?;
    assert!(text.ends_with("# EOF\n"));
    let mut names = HashSet::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("# TYPE ") {
            assert!(names.insert(name.to_owned()), "twice: {name}");
        } else if !line.starts_with('#') {
            assert!(line.contains("service=\"test\""), "{line}");
        }
    }
    for name in [
        "eventpulse_build_info{",
        "eventpulse_tasks{",
        "process_resident_memory_bytes{",
        "process_open_fds{",
        "process_cpu_seconds_total{",
        "eventpulse_http_requests_total{",
        "eventpulse_http_request_duration_seconds_bucket{",
    ] {
        assert!(text.contains(&format!("\n{name}")), "{name} is missing");
    }
    Ok(())
}

#[tokio::test]
async fn version_says_what_runs() -> Result<()> {
    let (server, _gate, _health) = server().await?;
    let version: Value = server.get("/version").await?.json().await?;
    assert_eq!(version["name"], "test");
    assert_eq!(version["version"], service_kit::VERSION);
    assert!(version["revision"].is_string());
    Ok(())
}
