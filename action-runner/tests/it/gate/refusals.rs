//! What the gate does not let through, whoever asks.

use serde_json::{Value, json};

use super::{Alone, refusal};
use crate::host::{Host, Kind};

/// Somebody else's container on the same engine.
fn stranger() -> Kind {
    Kind {
        labels: [("service".to_owned(), "something-else".to_owned())].into(),
        ..Kind::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_on_the_list_never_reaches_the_engine() {
    let alone = Alone::start(Host::up().await, 4).await;
    let id = alone.host.id(&alone.host.name(1)).await;
    for (method, target) in [
        ("POST", format!("/containers/{id}/exec")),
        ("POST", format!("/containers/{id}/attach?stream=1")),
        ("POST", format!("/containers/{id}/kill")),
        ("POST", format!("/containers/{id}/update")),
        ("GET", format!("/containers/{id}/archive?path=/")),
        ("GET", format!("/v1.41/containers/{id}/export")),
        ("POST", "/build".to_owned()),
        ("POST", "/images/create?fromImage=evil".to_owned()),
        ("GET", "/images/json".to_owned()),
        ("POST", "/volumes/create".to_owned()),
        ("GET", "/volumes".to_owned()),
        ("POST", "/networks/create".to_owned()),
        ("POST", "/plugins/pull".to_owned()),
        ("GET", "/info".to_owned()),
        ("GET", "/containers/../info".to_owned()),
        ("GET", "/containers/../containers/json".to_owned()),
        ("GET", format!("/containers/{id}/../{id}/json")),
        ("GET", format!("/containers/{id}%2fjson")),
        ("GET", format!("/containers%2f{id}/json")),
        ("GET", format!("/containers//{id}/json")),
        ("GET", format!("//containers/{id}/json")),
        ("GET", format!("http://docker/containers/{id}/top")),
    ] {
        alone.refused(method, &target).await;
    }
    let upgrade = format!(
        "POST /containers/{id}/attach HTTP/1.1\r\nHost: x\r\nUpgrade: tcp\r\nConnection: Upgrade, close\r\n\r\n"
    );
    refusal(alone.gate.say(&upgrade).await.expect("an answer"), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_gets_no_further() {
    let alone = Alone::start(Host::up().await, 4).await;
    for words in [
        "GET /info\r\n\r\n",
        "GET /_ping HTTP/1.1\r\nHost x\r\n\r\n",
        "POST /containers/create?name=x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 9\r\n\r\n{}",
        "\u{16}\u{3}\u{1}",
    ] {
        let answer = alone.gate.say(words).await;
        assert!(
            answer.as_ref().is_none_or(|(status, _)| *status == 400),
            "{answer:?}"
        );
    }
    let (status, _) = alone.asked("GET", "/_ping").await;
    assert_eq!(status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_have_a_limit_however_they_are_sent() {
    let alone = Alone::start(Host::up().await, 4).await;
    let name = alone.host.name(2);
    let head =
        format!("POST /containers/create?name={name} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    let large = json!({"Labels": alone.labels(2).await, "Env": ["x".repeat(70_000)]});
    refusal(alone.create(&name, &large).await, 413);
    let large = large.to_string();
    let chunked = format!(
        "{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n",
        large.len()
    );
    refusal(alone.gate.say(&chunked).await.expect("an answer"), 413);
    assert!(alone.host.inspect(&name).await.is_none());
    let small = json!({"Labels": alone.labels(2).await}).to_string();
    let (first, rest) = small.split_at(10);
    let chunked = format!(
        "{head}Transfer-Encoding: chunked\r\n\r\na\r\n{first}\r\n{:x}\r\n{rest}\r\n0\r\n\r\n",
        rest.len()
    );
    let (status, answer) = alone.gate.say(&chunked).await.expect("an answer");
    assert_eq!(status, 201, "{answer}");
    for bad in ["", "{", "1", "{\"Labels\": 1}"] {
        let words = format!("{head}Content-Length: {}\r\n\r\n{bad}", bad.len());
        refusal(alone.gate.say(&words).await.expect("an answer"), 400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_of_others_are_neither_touched_nor_shown() {
    let host = Host::up().await;
    let other = host.compose(5, &stranger()).await;
    let alone = Alone::start(host, 4).await;
    let foreign = alone.host.id(&alone.host.name(1)).await;
    for id in [&other, &foreign] {
        for path in ["start", "stop?t=0"] {
            alone
                .refused("POST", &format!("/containers/{id}/{path}"))
                .await;
        }
        alone
            .refused("DELETE", &format!("/containers/{id}?force=true&v=true"))
            .await;
        let logs = format!("/containers/{id}/logs?stdout=true&stderr=true&tail=5");
        alone.refused("GET", &logs).await;
        let network = format!("/networks/{}/connect", alone.host.network());
        let body = json!({"Container": id});
        let answer = alone.gate.ask("POST", &network, Some(&body)).await;
        refusal(answer.expect("an answer"), 403);
    }
    let still = |one: &bollard::models::ContainerSummary| one.state.map(|state| state.to_string());
    let states: Vec<_> = alone.host.all().await.iter().map(still).collect();
    assert_eq!(
        states,
        [Some("running".to_owned()), Some("running".to_owned())]
    );

    let (status, answer) = alone
        .asked("GET", &format!("/containers/{other}/json"))
        .await;
    let words = format!("No such container: {other}");
    assert_eq!((status, answer), (404, json!({"message": words})));
    let (status, _) = alone
        .asked("GET", &format!("/containers/{foreign}/json"))
        .await;
    assert_eq!(status, 200, "it is what replicas are made from");
    let listed = names(&alone).await;
    assert!(listed.contains(&alone.host.name(1)), "{listed:?}");
    assert!(!listed.contains(&alone.host.name(5)), "{listed:?}");
}

async fn names(alone: &Alone) -> Vec<String> {
    let (status, listed) = alone.asked("GET", "/containers/json?all=true").await;
    assert_eq!(status, 200, "{listed}");
    let listed = listed.as_array().expect("a list");
    let name = |one: &Value| {
        one["Names"][0]
            .as_str()
            .expect("a name")
            .trim_start_matches('/')
            .to_owned()
    };
    listed.iter().map(name).collect()
}

/// The runner has to know that it cannot have the name; what has it is not its business.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_stranger_with_a_replicas_name_only_that_is_told() {
    let host = Host::up().await;
    let other = host.compose(2, &stranger()).await;
    let alone = Alone::start(host, 4).await;
    let name = alone.host.name(2);
    let inspect = format!("/containers/{name}/json");
    assert_eq!(
        alone.asked("GET", &inspect).await.0,
        404,
        "of a target that nobody scales"
    );
    let body = json!({"Labels": alone.labels(2).await});
    assert_eq!(alone.create(&name, &body).await.0, 409);
    let told = json!({"Id": other, "Name": format!("/{name}"), "State": {"Status": "running"}});
    assert_eq!(alone.asked("GET", &inspect).await, (200, told));
    let by_id = format!("/containers/{other}/json");
    assert_eq!(alone.asked("GET", &by_id).await.0, 404);
}
