//! The engine fails behind the gate: the client must know as little as the gate does.

use std::time::Duration;

use action_runner::domain::plan::Ask;
use serde_json::json;
use service_kit::testing::Database;
use shared_events::action::Outcome;

use super::Alone;
use crate::{
    host::Host,
    proxy::{CREATE, Fault, Proxy},
    runner::{ENOUGH, Runner, Setup},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_breaks_the_connection_and_an_error_is_handed_on() {
    let (host, proxy) = (Host::up().await, Proxy::start());
    let alone = Alone::before(&proxy.host(), host, 4).await;
    proxy.on(CREATE, "", 1, Fault::LoseAnswer);
    let name = alone.host.name(2);
    let body = json!({"Labels": alone.labels(2).await});
    let target = format!("/containers/create?name={name}");
    let answer = alone.gate.ask("POST", &target, Some(&body)).await;
    assert_eq!(answer, None, "nobody knows");
    assert!(alone.host.inspect(&name).await.is_some(), "it was made");
    assert_eq!(
        alone.create(&name, &body).await.0,
        409,
        "as the engine says"
    );
    proxy.on("GET /containers/json", "", 1, Fault::LoseAnswer);
    let answer = alone
        .gate
        .ask("GET", "/containers/json?all=true", None)
        .await;
    assert_eq!(answer, None);
    proxy.on("GET /version", "", 1, Fault::Answer(500, "out of inodes"));
    let answer = alone.asked("GET", "/version").await;
    assert_eq!(answer, (500, json!({"message": "out of inodes"})));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_engine_breaks_the_connection_in_time() {
    let (host, proxy) = (Host::up().await, Proxy::start());
    let alone = Alone::before(&proxy.host(), host, 4).await;
    proxy.on("GET /version", "", 1, Fault::Swallow);
    let answer = alone.gate.ask("GET", "/version", None);
    let answer = tokio::time::timeout(Duration::from_secs(15), answer).await;
    assert_eq!(answer.expect("in time"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_not_there_breaks_the_connection() {
    let folder = tempfile::tempdir().expect("a folder");
    let nowhere = format!("unix://{}", folder.path().join("docker.sock").display());
    let alone = Alone::before(&nowhere, Host::empty().await, 4).await;
    assert_eq!(alone.gate.ask("GET", "/_ping", None).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_survives_what_breaks_behind_the_gate() {
    let (host, database, proxy) = (Host::up().await, Database::fresh(&[]).await, Proxy::start());
    let setup = Setup {
        docker_host: proxy.host(),
        gate: true,
        ..Setup::default()
    };
    let runner = Runner::start(&host, &database, &setup).await;
    proxy.lose_first_answers();
    proxy.on(CREATE, "", 1, Fault::Swallow);
    let up = runner.ask(1, Ask::Up, 3, 60).await;
    assert_eq!(runner.completes(up).await.result, Outcome::Scaled);
    assert_eq!(proxy.made(), [host.name(2), host.name(3)], "once each");
    let down = runner.ask(2, Ask::Down, 1, ENOUGH).await;
    assert_eq!(runner.completes(down).await.running_replicas, 1);
    assert_eq!(host.all().await.len(), 1);
    runner.stop().await;
}
