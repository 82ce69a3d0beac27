//! The API of a running service.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use rules::RulesSource;
use serde_json::{Value, json};
use service_kit::{
    Error, KitArgs,
    batch::Intake,
    testing::{self, Database, wait_for},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    story::{Log, alert_id, raised},
    support::{Engine, RULES, TARGETS},
};

/// Rule and target files of a test.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

pub(crate) fn folder() -> Result<Folder> {
    let folder = Folder(tempfile::tempdir()?);
    std::fs::write(folder.file("rules.yaml"), RULES)?;
    std::fs::write(folder.file("targets.yaml"), TARGETS)?;
    Ok(folder)
}

/// Rules in this process.
pub(crate) struct Rules {
    url: String,
    client: reqwest::Client,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Rules {
    /// Starts it, without Kafka, and waits until it is ready.
    pub(crate) async fn start(database: &Database, folder: &Folder) -> Result<Self> {
        let rules = Self::launch(database, folder).await?;
        rules.until_ready().await;
        Ok(rules)
    }

    /// Starts it, without Kafka.
    pub(crate) async fn launch(database: &Database, folder: &Folder) -> Result<Self> {
        // port 9 of this machine refuses connections: nothing could come back from a topic
        let kit = testing::kit_args_at(database, "127.0.0.1:9", "http://127.0.0.1:9", "");
        Self::with(kit, folder, RulesSource::File).await
    }

    pub(crate) async fn with(
        kit: KitArgs,
        folder: &Folder,
        rules_source: RulesSource,
    ) -> Result<Self> {
        let config = rules::Config {
            kit,
            rules_source,
            rules_file: folder.file("rules.yaml"),
            targets_file: folder.file("targets.yaml"),
            settle: Duration::from_secs(60),
            action_grace: Duration::from_secs(15),
            decision_retention: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let shutdown = CancellationToken::new();
        Ok(Self {
            url,
            client: reqwest::Client::new(),
            task: tokio::spawn(rules::run(config, listener, shutdown.clone())),
            shutdown,
        })
    }

    pub(crate) async fn until_ready(&self) {
        wait_for("rules to be ready", async || {
            match self.get("/readyz?verbose").await {
                Ok((200, _)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    pub(crate) async fn get(&self, path: &str) -> Result<(u16, Value)> {
        let request = self.client.get(format!("{}{path}", self.url));
        answer(request).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        let request = self.client.post(format!("{}{path}", self.url));
        let request = request.header("content-type", "application/json");
        answer(request.body(body.to_string())).await
    }

    /// Sends a rules file; with `base` as If-Match.
    pub(crate) async fn put(
        &self,
        query: &str,
        base: Option<&str>,
        text: &str,
    ) -> Result<(u16, Value)> {
        let url = format!("{}/api/v1/rules?{query}", self.url);
        let mut request = self.client.put(url).body(text.to_owned());
        if let Some(base) = base {
            request = request.header("if-match", format!("\"{base}\""));
        }
        answer(request).await
    }

    pub(crate) async fn items(&self, path: &str) -> Result<Vec<Value>> {
        let (status, page) = self.get(path).await?;
        ensure!(status == 200, "{path}: {status} {page}");
        Ok(page["items"].as_array().context("no items")?.clone())
    }

    pub(crate) async fn metric(&self, name: &str) -> Result<f64> {
        let (_, text) = self.get("/metrics").await?;
        let text = text.as_str().context("no text")?;
        let line = text.lines().find(|line| line.starts_with(name));
        let line = line.with_context(|| format!("no {name} in {text}"))?;
        Ok(line.rsplit(' ').next().context("no value")?.parse()?)
    }

    pub(crate) async fn stop(self) -> Result<()> {
        self.shutdown.cancel();
        Ok(self.task.await??)
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<(u16, Value)> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    let text = response.text().await?;
    let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok((status, value))
}

/// A running service, and an engine on the same database to feed it.
async fn running() -> Result<(Rules, Engine, Folder)> {
    let database = Arc::new(Database::fresh(&[]).await);
    let folder = folder()?;
    let rules = Rules::start(&database, &folder).await?;
    let engine = Engine::on(database).await?;
    Ok((rules, engine, folder))
}

#[tokio::test]
async fn rules_are_listed_as_they_are_evaluated() -> Result<()> {
    let (rules, _engine, _folder) = running().await?;
    let items = rules.items("/api/v1/rules").await?;
    let names: Vec<&Value> = items.iter().map(|rule| &rule["name"]).collect();
    assert_eq!(names, ["high-cpu", "low-cpu", "down"]);
    assert_eq!(items[0]["matchers"], json!(["alertname=\"HighCPU\""]));
    assert_eq!(items[0]["incident"], "open");
    assert_eq!(items[0]["action"]["cooldown_ms"], 120_000);
    rules.stop().await
}

#[tokio::test]
async fn a_decision_answers_for_every_rule() -> Result<()> {
    let (rules, engine, _folder) = running().await?;
    let mut log = Log::default();
    let works = vec![
        log.alert(raised("HighCPU", "app", (1, 1), 0)),
        log.alert(raised("Unknown", "app", (1, 1), 1)),
    ];
    engine.handle(Intake::local(works)).await?;
    let alert = alert_id("HighCPU", "app");
    let items = rules
        .items(&format!("/api/v1/decisions?alert_id={alert}"))
        .await?;
    assert_eq!(items.len(), 1);
    let outcomes = items[0]["outcomes"].as_array().context("outcomes")?;
    let answers: Vec<(&Value, &Value)> = outcomes
        .iter()
        .map(|o| (&o["rule"], &o["outcome"]))
        .collect();
    let expected = [
        ("high-cpu", "fired"),
        ("low-cpu", "no_match"),
        ("down", "no_match"),
    ];
    assert_eq!(
        answers,
        expected
            .map(|(a, b)| (json!(a), json!(b)))
            .iter()
            .map(|(a, b)| (a, b))
            .collect::<Vec<_>>()
    );
    assert_eq!(
        outcomes[1]["reason"],
        "low-cpu wants alertname=\"LowCPU\", but alertname is \"HighCPU\""
    );
    assert_eq!(items[0]["correlation_key"], "service=app");
    assert_eq!(outcomes[0]["inputs"]["desired"], 2);
    let unknown = alert_id("Unknown", "app");
    let path = format!("/api/v1/decisions?alert_id={unknown}&rule=down");
    let items = rules.items(&path).await?;
    assert_eq!(items[0]["outcomes"].as_array().map(Vec::len), Some(1));
    assert_eq!(items[0]["outcomes"][0]["outcome"], "no_match");
    let incident = engine.incident("service=app").await?;
    let items = rules
        .items(&format!("/api/v1/decisions?incident_id={incident}"))
        .await?;
    assert_eq!(items.len(), 1);
    rules.stop().await
}

#[tokio::test]
async fn decisions_come_in_pages() -> Result<()> {
    let (rules, engine, _folder) = running().await?;
    let works = crate::story::busy(&mut Log::default());
    engine.handle(Intake::local(works)).await?;
    let total = usize::try_from(engine.count("decisions_log").await?)?;
    for (filter, expected) in [
        ("", total),
        ("&rule=high-cpu", 36),
        ("&correlation_key=app", 4),
    ] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/api/v1/decisions?limit=7{filter}{cursor}");
            let (status, page) = rules.get(&path).await?;
            ensure!(status == 200, "{page}");
            let items = page["items"].as_array().context("items")?;
            seen.extend(items.iter().map(|item| item["decision_id"].to_string()));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen.len(), expected, "{filter}");
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), expected, "{filter}: some twice");
    }
    for (silent, answers) in [("", true), ("&silent=true", true), ("&silent=false", false)] {
        let page = rules
            .items(&format!("/api/v1/decisions?limit=500{silent}"))
            .await?;
        let all = page
            .iter()
            .flat_map(|item| item["outcomes"].as_array().into_iter().flatten());
        let unmeant = all.filter(|answer| answer["outcome"] == "no_match").count();
        assert_eq!(unmeant > 0, answers, "{silent}: {unmeant}");
    }
    for bad in [
        "limit=0",
        "silent=yes",
        "cursor=x",
        "alert_id=7",
        "alertid=7",
    ] {
        let (status, problem) = rules.get(&format!("/api/v1/decisions?{bad}")).await?;
        assert_eq!(status, 400, "{bad}: {problem}");
    }
    rules.stop().await
}

#[tokio::test]
async fn people_pause_and_resume() -> Result<()> {
    let (rules, _engine, _folder) = running().await?;
    let words = json!({"actor": "ana", "reason": "deploy"});
    let hour = json!({"actor": "ana", "reason": "deploy", "for": "1h"});
    let (status, answer) = rules.post("/api/v1/targets/app/pause", &hour).await?;
    assert_eq!(status, 200, "{answer}");
    let pauses = rules.items("/api/v1/pauses").await?;
    assert_eq!(pauses.len(), 1);
    assert_eq!(
        (&pauses[0]["target"], &pauses[0]["actor"]),
        (&json!("app"), &json!("ana"))
    );
    assert!(pauses[0]["until"].is_string());
    let (status, _) = rules.post("/api/v1/targets/app/resume", &words).await?;
    assert_eq!(status, 200);
    assert!(rules.items("/api/v1/pauses").await?.is_empty());
    let (status, _) = rules.post("/api/v1/targets/%2A/pause", &words).await?;
    assert_eq!(status, 200);
    assert_eq!(rules.items("/api/v1/pauses").await?[0]["target"], "*");
    for (path, body, expected) in [
        ("targets/none/pause", words.clone(), 404),
        ("targets/app/resume", words.clone(), 404),
        (
            "targets/app/pause",
            json!({"actor": " ", "reason": "x"}),
            400,
        ),
        (
            "targets/app/pause",
            json!({"actor": "a", "reason": "x", "for": "soon"}),
            400,
        ),
        (
            "targets/app/pause",
            json!({"actor": "a", "reason": "x", "until": "2020-01-01T00:00:00Z"}),
            400,
        ),
        (
            "targets/app/pause",
            json!({"actor": "a", "reason": "x", "why": "y"}),
            422,
        ),
    ] {
        let (status, problem) = rules.post(&format!("/api/v1/{path}"), &body).await?;
        assert_eq!(status, expected, "{path} {body}: {problem}");
    }
    rules.stop().await
}

#[tokio::test]
async fn people_retry_and_close_incidents() -> Result<()> {
    let (rules, engine, _folder) = running().await?;
    let words = json!({"actor": "ana", "reason": "fixed"});
    let fire = Log::default().alert(raised("HighCPU", "app", (1, 1), 0));
    engine.handle(Intake::local(vec![fire])).await?;
    let id = engine.incident("service=app").await?;
    let (status, problem) = rules
        .post(&format!("/api/v1/incidents/{id}/retry"), &words)
        .await?;
    assert_eq!(
        (status, &problem["outcome"]),
        (409, &json!("action_pending"))
    );
    let (status, answer) = rules
        .post(&format!("/api/v1/incidents/{id}/close"), &words)
        .await?;
    assert_eq!(
        (status, &answer["message"]),
        (200, &json!("Closed by ana: fixed"))
    );
    let (status, _) = rules
        .post(&format!("/api/v1/incidents/{id}/close"), &words)
        .await?;
    assert_eq!(status, 409);
    let nobody = uuid::Uuid::from_u128(7);
    let (status, _) = rules
        .post(&format!("/api/v1/incidents/{nobody}/close"), &words)
        .await?;
    assert_eq!(status, 404);
    rules.stop().await
}

#[tokio::test]
async fn the_api_describes_itself() -> Result<()> {
    let (rules, _engine, _folder) = running().await?;
    let (_, document) = rules.get("/openapi.json").await?;
    let paths = document["paths"].as_object().context("paths")?;
    for path in [
        "/api/v1/rules",
        "/api/v1/decisions",
        "/api/v1/decisions/{id}",
        "/api/v1/explain",
        "/api/v1/pauses",
        "/api/v1/limits",
        "/api/v1/limits/close",
        "/api/v1/rules/{name}",
        "/api/v1/rules/versions",
        "/api/v1/rules/versions/{hash}",
        "/api/v1/rules/rollback",
        "/api/v1/rules/shadow-report",
        "/api/v1/targets/{target}/pause",
        "/api/v1/targets/{target}/resume",
        "/api/v1/incidents/{incident_id}/retry",
        "/api/v1/incidents/{incident_id}/close",
        "/-/reload",
    ] {
        assert!(paths.contains_key(path), "{path}");
    }
    rules.stop().await
}
