//! A running Ingest, and what tests ask of it.

use std::{fmt::Display, time::Duration};

use anyhow::{Context, Result, ensure};
use ingest::Config;
use serde_json::{Value, json};
use service_kit::{Error, KitArgs, outbox::decode_headers, testing};
use shared_events::{AlertEvent, Envelope, TopicEvent, codec};
use sqlx::PgPool;
use testing::Database;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub(crate) const TOKEN: &str = "test-token";

/// Settings: this database, nothing else reachable.
pub(crate) fn config(database: &Database) -> Config {
    // port 9 of this machine refuses connections
    let kit = testing::kit_args_at(database, "127.0.0.1:9", "http://127.0.0.1:9", "");
    with_kit(kit)
}

pub(crate) fn with_kit(kit: KitArgs) -> Config {
    Config {
        kit,
        webhook_tokens: Some(format!("am={TOKEN},am=next-token,other=other-token").into()),
        webhook_tokens_file: None,
        webhook_body_limit: 10 * 1024 * 1024,
        reopen_after: Duration::from_secs(360),
        stale_after: Duration::from_secs(12 * 3600),
        receipt_retention: Duration::from_secs(14 * 24 * 3600),
    }
}

/// An Ingest in this process.
#[derive(Debug)]
pub(crate) struct Ingest {
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinHandle<Result<(), Error>>,
}

impl Ingest {
    /// Starts it and waits until it is ready.
    pub(crate) async fn start(config: Config) -> Result<Self> {
        let ingest = Self::launch(config).await?;
        testing::wait_for("ingest to be ready", async || {
            match ingest.get("/readyz?verbose").await {
                Ok((200, _)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        Ok(ingest)
    }

    /// Starts it, whatever is missing.
    pub(crate) async fn launch(config: Config) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let shutdown = CancellationToken::new();
        Ok(Self {
            url,
            client: reqwest::Client::new(),
            task: tokio::spawn(ingest::run(config, listener, shutdown.clone())),
            shutdown,
        })
    }

    /// `host:port`
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    pub(crate) fn request(&self, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        self.client
            .post(format!("{}/webhooks/alertmanager", self.url))
            .bearer_auth(TOKEN)
            .header("content-type", "application/json")
            .header("user-agent", "Alertmanager/0.25.0")
            .body(body)
    }

    /// Posts a body as Alertmanager does; the status.
    pub(crate) async fn post(&self, body: &(impl Display + ?Sized)) -> Result<u16> {
        Ok(self
            .request(body.to_string())
            .send()
            .await?
            .status()
            .as_u16())
    }

    /// Posts a body until it is accepted: 503 means "send it again", and a test machine may be
    /// too busy to connect in time. Nothing of a refused body is stored.
    pub(crate) async fn deliver(&self, body: &(impl Display + ?Sized)) {
        testing::wait_for("the body to be accepted", async || {
            match self.post(body).await {
                Ok(200) => Ok(()),
                Ok(503) => Err("503".to_owned()),
                other => panic!("{other:?} for {body}"),
            }
        })
        .await;
    }

    /// Delivers alerts in one body.
    pub(crate) async fn accept(&self, alerts: &[Value]) {
        self.deliver(&body(alerts)).await;
    }

    pub(crate) async fn get(&self, path: &str) -> Result<(u16, Value)> {
        let request = self.client.get(format!("{}{path}", self.url));
        let response = request.send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        Ok((
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        ))
    }

    /// Asks the API until it answers something else than 503.
    pub(crate) async fn ask(&self, path: &str) -> (u16, Value) {
        testing::wait_for("an answer", async || match self.get(path).await {
            Ok((503, problem)) => Err(problem.to_string()),
            Ok(answer) => Ok(answer),
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    /// The items of a list.
    pub(crate) async fn items(&self, path: &str) -> Result<Vec<Value>> {
        let (status, page) = self.ask(path).await;
        ensure!(status == 200, "{path}: {status} {page}");
        Ok(page["items"].as_array().context("no items")?.clone())
    }

    /// The only item of a list.
    pub(crate) async fn only(&self, path: &str) -> Result<Value> {
        let items = self.items(path).await?;
        ensure!(items.len() == 1, "{path}: {items:?}");
        Ok(items[0].clone())
    }

    /// The value of a metric: name and labels as they are written.
    pub(crate) async fn metric(&self, name: &str) -> Result<f64> {
        let (_, text) = self.get("/metrics").await?;
        let text = text.as_str().context("no text")?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
            .with_context(|| format!("no {name} in {text}"))?;
        Ok(line.parse()?)
    }

    /// Stops it in order.
    pub(crate) async fn stop(self) -> Result<()> {
        self.shutdown.cancel();
        Ok(self.task.await??)
    }
}

/// A body of Alertmanager 0.25 around `alerts`.
pub(crate) fn body(alerts: &[Value]) -> Value {
    json!({
        "receiver": "eventpulse", "status": "firing", "alerts": alerts,
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093", "version": "4", "groupKey": "{}:{}",
        "truncatedAlerts": 0
    })
}

/// `HH:MM:SS` of one day, as the sender writes it.
pub(crate) fn at(time: &str) -> String {
    format!("2026-11-21T{time}Z")
}

pub(crate) fn firing(name: &str, starts_at: &str) -> Value {
    json!({
        "status": "firing",
        "labels": {"alertname": name, "service": "app", "severity": "warning"},
        "annotations": {"summary": format!("{name} of app")},
        "startsAt": at(starts_at), "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus:9090/graph", "fingerprint": "41179f0f5e1aec61"
    })
}

pub(crate) fn resolved(name: &str, starts_at: &str, ends_at: &str) -> Value {
    let mut alert = firing(name, starts_at);
    alert["status"] = json!("resolved");
    alert["endsAt"] = json!(at(ends_at));
    alert
}

/// An event that waits for Kafka.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) event: AlertEvent,
    pub(crate) envelope: Envelope,
    pub(crate) key: Vec<u8>,
}

/// Everything in the outbox, as it was said.
pub(crate) async fn said(pool: &PgPool) -> Result<Vec<Said>> {
    let rows = sqlx::query!("SELECT headers, payload, key FROM outbox_events ORDER BY id")
        .fetch_all(pool)
        .await?;
    let mut said = Vec::new();
    for row in rows {
        let headers = decode_headers(&row.headers).context("headers")?;
        let envelope = Envelope::from_headers(&headers)?;
        let writer = codec::writer(&envelope.dataschema).context("schema")?;
        let event = AlertEvent::decode(&envelope.event_type, &writer, &row.payload)?;
        said.push(Said {
            event: event.context("not of topic alert")?,
            envelope,
            key: row.key,
        });
    }
    Ok(said)
}

/// `raised 1`, `resolved notified`: events of the outbox in short.
pub(crate) async fn told(pool: &PgPool) -> Result<Vec<String>> {
    let tell = |said: &Said| match &said.event {
        AlertEvent::Raised(event) => format!("raised {}", event.occurrence),
        AlertEvent::Resolved(event) => format!("resolved {}", event.reason),
    };
    Ok(said(pool).await?.iter().map(tell).collect())
}

/// Rows of a table.
pub(crate) async fn count(pool: &PgPool, table: &str) -> Result<i64> {
    let statement = format!("SELECT count(*) FROM {table}");
    Ok(sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
        .fetch_one(pool)
        .await?)
}
