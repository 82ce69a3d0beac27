//! A replica turns ready late, never, or only for a moment: for each way of asking it.

use action_runner::domain::plan::Ask;
use service_kit::testing::{Database, wait_for};
use shared_events::action::{FailureReason, Outcome};

use crate::{
    host::Host,
    runner::{ENOUGH, Runner, Setup},
};

const HEALTHCHECK: &str = "{healthcheck: true}";
const HTTP: &str = "{http_get: {path: /healthz, port: 8080}}";
const TCP: &str = "{tcp_socket: {port: 9000}}";

async fn start(readiness: &'static str) -> (Host, Database, Runner) {
    let (host, database) = (Host::up().await, Database::fresh(&[]).await);
    let setup = Setup {
        readiness,
        ..Setup::default()
    };
    let runner = Runner::start(&host, &database, &setup).await;
    (host, database, runner)
}

async fn late(readiness: &'static str) {
    let (host, _database, runner) = start(readiness).await;
    host.ship("late 1500").await;
    let action = runner.ask(1, Ask::Up, 2, ENOUGH).await;
    let completed = runner.completes(action).await;
    assert_eq!(completed.result, Outcome::Scaled);
    assert_eq!(completed.previous_replicas, Some(1));
    assert_eq!(completed.running_replicas, 2);
    let took = (completed.at - runner_request_at(&runner).await).num_milliseconds();
    assert!(took >= 1500, "it was not ready before: {took} ms");
    assert_eq!(host.replicas().await, ["2"]);
    runner.stop().await;
}

async fn never(readiness: &'static str, seen: &str) {
    let (host, _database, runner) = start(readiness).await;
    host.ship("never").await;
    let action = runner.ask(1, Ask::Up, 2, 10).await;
    let failed = runner.fails(action).await;
    assert_eq!(failed.reason, FailureReason::Unhealthy);
    assert_eq!(failed.running_replicas, Some(1));
    assert!(failed.message.contains("never ready"), "{}", failed.message);
    assert!(failed.message.contains(seen), "{}", failed.message);
    let [evidence] = failed.evidence.as_slice() else {
        panic!("{:#?}", failed.evidence)
    };
    assert_eq!(evidence.container, host.name(2));
    assert_eq!(evidence.exit_code, None);
    assert_eq!(evidence.logs, ["starting in mode never"]);
    assert!(
        evidence.health.iter().any(|line| line.contains(seen)),
        "{evidence:#?}"
    );
    gone(&host).await;
    runner.stop().await;
}

async fn flash(readiness: &'static str) {
    let (host, _database, runner) = start(readiness).await;
    host.ship("flash").await;
    let action = runner.ask(1, Ask::Up, 2, ENOUGH).await;
    let failed = runner.fails(action).await;
    assert_eq!(failed.reason, FailureReason::Unhealthy);
    assert!(
        failed
            .message
            .contains("exited with code 3 (fatal: upstream went away)"),
        "{}",
        failed.message
    );
    assert_eq!(failed.evidence[0].exit_code, Some(3));
    assert!(!failed.evidence[0].oom_killed);
    let logs = &failed.evidence[0].logs;
    assert_eq!(
        logs,
        &["starting in mode flash", "fatal: upstream went away"]
    );
    gone(&host).await;
    runner.stop().await;
}

/// The failed replica is removed, and none is made in its place.
async fn gone(host: &Host) {
    wait_for("the failed replica to go", async || {
        let left = host.replicas().await;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    assert_eq!(host.all().await.len(), 1, "Compose's container stays");
}

async fn runner_request_at(runner: &Runner) -> shared_events::Timestamp {
    let actions = runner.get("/api/v1/actions").await;
    let at = actions["items"][0]["requested_at"]
        .as_str()
        .expect("a time");
    at.parse().expect("RFC 3339")
}

#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_late() {
    late(HEALTHCHECK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_never() {
    never(
        HEALTHCHECK,
        "not ready: cannot reach upstream cache.invalid:6379",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_for_a_moment() {
    flash(HEALTHCHECK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_late() {
    late(HTTP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_never() {
    never(
        HTTP,
        "503 not ready: cannot reach upstream cache.invalid:6379",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_for_a_moment() {
    flash(HTTP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_late() {
    late(TCP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_never() {
    never(TCP, "refused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_for_a_moment() {
    flash(TCP).await;
}
