//! The query API of a running service; Kafka and registry are away.

use incident_store::Config;
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;
use service_kit::{
    KitArgs,
    testing::{kit_args_at, wait_for},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    facts::{self, completed, failed, gave_up, opened, requested, resolved, updated},
    stage::{Stage, action, incident},
};

/// The service in this process.
pub(crate) struct Running {
    pub(crate) base: String,
    pub(crate) client: Client,
    shutdown: CancellationToken,
    pub(crate) service: JoinHandle<Result<(), service_kit::Error>>,
}

impl Running {
    /// Without Kafka and registry.
    pub(crate) async fn start(stage: &Stage) -> Self {
        let nowhere = "http://127.0.0.1:1";
        Self::with(kit_args_at(&stage.database, "127.0.0.1:1", nowhere, "")).await
    }

    pub(crate) async fn with(kit: KitArgs) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let config = Config {
            kit,
            publish_status: false,
            trace_url: Some("http://traces/{trace_id}".to_owned()),
        };
        let shutdown = CancellationToken::new();
        let service = tokio::spawn(incident_store::run(config, listener, shutdown.clone()));
        let running = Self {
            base,
            client: Client::new(),
            shutdown,
            service,
        };
        wait_for("the API", async || {
            let response = running.get("/api/v1/incidents").await;
            let status = response.status();
            if status.is_success() {
                Ok(())
            } else {
                Err(status)
            }
        })
        .await;
        running
    }

    /// What is there, be it a problem.
    pub(crate) async fn value(&self, path: &str) -> Value {
        self.get(path).await.json().await.expect("JSON")
    }

    pub(crate) async fn stop(&self) {
        self.shutdown.cancel();
    }

    async fn get(&self, path: &str) -> Response {
        let request = self.client.get(format!("{}{path}", self.base));
        request.send().await.expect("an answer")
    }

    async fn json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        let status = response.status();
        let value: Value = response.json().await.expect("JSON");
        assert_eq!(status, StatusCode::OK, "{path}: {value}");
        value
    }

    /// Ids of a list, by their number.
    async fn numbers(&self, query: &str) -> Vec<u64> {
        let page = self.json(&format!("/api/v1/incidents{query}")).await;
        let items = page["items"].as_array().expect("items");
        let id = |item: &Value| item["id"].as_str().unwrap_or_default()[..6].to_owned();
        items
            .iter()
            .map(|item| u64::from_str_radix(&id(item), 16).expect("digits"))
            .collect()
    }

    async fn problem(&self, path: &str) -> (u16, String) {
        let response = self.get(path).await;
        let kind = response.headers()["content-type"]
            .to_str()
            .expect("text")
            .to_owned();
        assert_eq!(kind, "application/problem+json", "{path}");
        let problem: Value = response.json().await.expect("JSON");
        let status = problem["status"].as_u64().expect("a status");
        let detail = problem["detail"].as_str().unwrap_or_default().to_owned();
        (u16::try_from(status).expect("a status"), detail)
    }
}

async fn told() -> (Stage, Running) {
    let stage = Stage::<false>::fresh().await;
    let facts = [
        incident(opened(1, 0)),
        action(requested(1, 0, 0)),
        action(completed(1, 0, 3)),
        incident(resolved(1, 2, 50)),
        incident(opened(2, 100)),
        action(requested(2, 0, 100)),
        action(gave_up(2, 0, 160)),
        incident(failed(2, 2, 170)),
        incident(opened(3, 200)),
        incident(updated(3, 2, 201)),
        incident(opened(4, 300)),
        action(requested(4, 0, 300)),
        // a stub
        action(requested(5, 0, 400)),
    ];
    stage.play(facts).await;
    let api = Running::start(&stage).await;
    (stage, api)
}

#[tokio::test]
async fn lists_are_filtered() {
    let (_stage, api) = told().await;
    for (query, expected) in [
        ("", vec![4, 3, 2, 1]),
        ("?sort=opened_at", vec![1, 2, 3, 4]),
        ("?status=open", vec![3]),
        ("?status=mitigating,failed", vec![4, 2]),
        ("?status=resolved&status=open", vec![3, 1]),
        ("?service=app", vec![4, 2]),
        ("?severity=critical", vec![3]),
        ("?needs_attention=true", vec![2]),
        ("?needs_attention=false", vec![4, 3, 1]),
        ("?since=2026-11-21T03:16:12Z", vec![4, 3, 2]),
        (
            "?since=2026-11-21T04:16:12%2B01:00&until=2026-11-21T03:19:32Z",
            vec![3, 2],
        ),
        ("?matcher=zone%3D%22z2%22", vec![2]),
        ("?matcher=zone%3D~%22z%5B23%5D%22", vec![3, 2]),
        ("?matcher=zone!%3D%22z2%22&matcher=service%3Dapp", vec![4]),
        ("?matcher=zone!~%22z.%22", vec![]),
        ("?matcher=absent%3D%22%22&status=open", vec![3]),
    ] {
        assert_eq!(api.numbers(query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn pages_follow_each_other() {
    let (stage, api) = told().await;
    let mut seen = Vec::new();
    let mut path = "/api/v1/incidents?limit=2&matcher=service%3D~%22app%7Cshop%22".to_owned();
    loop {
        let response = api.get(&path).await;
        let link = response
            .headers()
            .get("link")
            .map(|link| link.to_str().expect("text").to_owned());
        let page: Value = response.json().await.expect("JSON");
        for item in page["items"].as_array().expect("items") {
            seen.push(item["id"].as_str().expect("an id")[..6].to_owned());
        }
        if seen.len() == 2 {
            // one that is newer than the page does not push the next one
            stage.play([incident(opened(9, 900))]).await;
        }
        let Some(link) = link else {
            assert_eq!(page["next_cursor"], Value::Null);
            break;
        };
        assert!(
            link.contains(page["next_cursor"].as_str().expect("a cursor")),
            "{link}"
        );
        let (url, rel) = link.split_once(">; ").expect("a link");
        assert_eq!(rel, "rel=\"next\"");
        path = url.trim_start_matches('<').to_owned();
    }
    assert_eq!(seen, ["000004", "000003", "000002", "000001"]);
}

#[tokio::test]
async fn an_incident_tells_what_is_the_case() {
    let (stage, api) = told().await;
    let resolved = api
        .json(&format!("/api/v1/incidents/{}", facts::incident(1)))
        .await;
    insta::assert_json_snapshot!(resolved);
    let failed = api.json("/api/v1/incidents/000002").await;
    assert_eq!(failed["status"], "failed");
    assert_eq!(failed["reason"]["code"], "action_failed");
    assert_eq!(failed["now"]["replicas"]["running"], 1);
    let next = failed["now"]["next_step"].as_str().expect("what to do");
    assert!(next.contains("eventpulse incident retry 000002"), "{next}");
    let open = api.json("/api/v1/incidents/000003").await;
    assert_eq!(open["now"]["next_step"], "the effect is verified");
    assert_eq!(open["links"]["graph"], "http://prometheus:9090/graph");
    assert_eq!(
        open["links"]["runbook"],
        Value::Null,
        "no other scheme than http"
    );
    assert_eq!(
        open["links"]["trace"],
        "http://traces/0af7651916cd43dd8448eb211c80319c"
    );

    // a stub is not there; with its opening it is, and its action too
    assert_eq!(api.problem("/api/v1/incidents/000005").await.0, 404);
    stage.play([incident(opened(5, 400))]).await;
    let found = api.json("/api/v1/incidents/000005").await;
    assert_eq!(
        (&found["status"], &found["actions"]),
        (&"mitigating".into(), &1.into())
    );
}

#[tokio::test]
async fn etags_and_prefixes() {
    let (stage, api) = told().await;
    let url = format!("{}/api/v1/incidents/000003", api.base);
    let response = api.client.get(&url).send().await.expect("an answer");
    let tag = response.headers()["etag"].clone();
    assert_eq!(tag, "\"2\"");
    let again = || {
        api.client
            .get(&url)
            .header("If-None-Match", tag.clone())
            .send()
    };
    let unchanged = again().await.expect("an answer");
    assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);
    stage.play([incident(resolved(3, 3, 500))]).await;
    let changed = again().await.expect("an answer");
    assert_eq!(changed.status(), StatusCode::OK);
    assert_eq!(changed.headers()["etag"], "\"3\"");

    let mut twin = opened(3, 600);
    twin.incident_id.0 = uuid::Uuid::from_u128(twin.incident_id.0.as_u128() + 1);
    stage.play([incident(twin)]).await;
    let (status, detail) = api.problem("/api/v1/incidents/000003").await;
    assert_eq!(status, 409);
    assert!(detail.contains("more than one incident"), "{detail}");
}

#[tokio::test]
async fn stories_and_actions() {
    let (_stage, api) = told().await;
    let path = "/api/v1/incidents/000002/timeline";
    let story = api.json(path).await;
    let items = story["items"].as_array().expect("items");
    let types: Vec<&str> = items
        .iter()
        .filter_map(|item| item["type"].as_str())
        .collect();
    assert_eq!(
        types,
        [
            "incident.opened",
            "action.requested",
            "action.failed",
            "incident.failed"
        ]
    );
    let evidence = items[2]
        .pointer("/data/evidence/0/logs/0")
        .expect("a log line");
    assert_eq!(evidence, "cannot reach\u{fffd} upstream");
    assert_eq!(items[0]["data"]["at"], "2026-11-21T03:16:12.000000Z");
    let first = api.json(&format!("{path}?limit=3")).await;
    let cursor = first["next_cursor"].as_str().expect("a cursor");
    let rest = api.json(&format!("{path}?limit=3&cursor={cursor}")).await;
    assert_eq!(rest["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(rest["items"][0]["type"], "incident.failed");
    assert_eq!(rest["next_cursor"], Value::Null);

    let actions = api.json("/api/v1/incidents/000002/actions").await;
    let action = &actions["items"][0];
    assert_eq!(action["status"], "failed");
    assert_eq!(action["reason"]["code"], "unhealthy");
    assert_eq!(action["evidence"][0]["container"], "app-2");
    let pending = api.json("/api/v1/incidents/000004/actions").await;
    assert_eq!(pending["items"][0]["reason"]["message"], "HighCPU fires");
}

#[tokio::test]
async fn what_cannot_be_understood_is_refused_with_words() {
    let (_stage, api) = told().await;
    for (path, status, words) in [
        ("?stauts=open", 400, "unknown parameter \"stauts\""),
        ("?status=closed", 400, "open, mitigating, resolved, failed"),
        ("?since=yesterday", 400, "2026-11-21T03:14:05Z"),
        ("?limit=0", 400, "from 1 to 500"),
        ("?matcher=service", 400, "expected name="),
        ("?matcher=a%3D~%22(%22", 400, "matcher"),
        ("?cursor=00", 400, "next_cursor"),
        ("?sort=title", 400, "opened_at"),
        ("/12345", 400, "6 hexadecimal digits"),
        ("/nonsense", 400, "a UUID"),
        ("/ffffffff", 404, "there is no incident"),
        ("/000001/timeline?from=1", 400, "limit, cursor"),
    ] {
        let (found, detail) = api.problem(&format!("/api/v1/incidents{path}")).await;
        assert_eq!(found, status, "{path}: {detail}");
        assert!(detail.contains(words), "{path}: {detail}");
    }
}

#[tokio::test]
async fn the_document_and_the_gauges() {
    let (_stage, api) = told().await;
    let document = api.json("/openapi.json").await;
    for path in [
        "/api/v1/incidents",
        "/api/v1/incidents/{id}/timeline",
        "/api/v1/stream",
    ] {
        assert!(document["paths"][path]["get"].is_object(), "{path}");
    }
    let hash = api.json("/api/v1/content-hash").await;
    assert_eq!(
        (&hash["incidents"], &hash["facts"]),
        (&5.into(), &13.into())
    );
    let wanted = [("open", 1), ("mitigating", 1), ("failed", 1), ("stub", 1)];
    wait_for("the census", async || {
        let text = api.get("/metrics").await.text().await.expect("text");
        let counted = |(status, count): &(&str, u8)| {
            text.lines().any(|line| {
                line.starts_with("eventpulse_incidents{")
                    && line.contains(&format!("status=\"{status}\""))
                    && line.ends_with(&format!(" {count}"))
            })
        };
        if wanted.iter().all(counted) {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
}

#[tokio::test]
async fn it_stops_when_it_is_told_to() {
    let (_stage, api) = told().await;
    api.stop().await;
    let outcome = tokio::time::timeout(std::time::Duration::from_secs(10), api.service).await;
    outcome
        .expect("in time")
        .expect("no panic")
        .expect("an orderly stop");
}
