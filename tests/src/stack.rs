//! The four services on databases and topics of their own.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use reqwest::StatusCode;
use serde_json::Value;
use service_kit::testing::{Database, TestTopics, wait_for};
use tempfile::TempDir;
use tokio::time::interval;

use crate::{
    Member,
    app::docker_host,
    webhook::{self, Alert},
};

/// Token of source `demo`.
pub const TOKEN: &str = "e2e-token";

/// The whole system.
#[derive(Debug)]
pub struct Stack {
    pub ingest: Member,
    pub rules: Member,
    pub runner: Member,
    pub store: Member,
    pub topics: TestTopics,
    pub databases: Databases,
    pub folder: TempDir,
    parts: Parts,
}

/// What the services stand on, and how they reach it.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Brokers for the test itself.
    pub kafka: String,
    /// Server of the four databases, as the test itself reaches it.
    pub database: String,
    /// Brokers as the services are told.
    pub services_kafka: String,
    /// Registry as the services are told.
    pub services_registry: String,
    /// `host:port` of the server as one service is told, where it differs from `database`.
    pub services_database: BTreeMap<&'static str, String>,
    /// Statements that are run in each database before its migrations.
    pub before: &'static [&'static str],
    /// Settings of every service beside the usual ones.
    pub settings: Vec<(&'static str, String)>,
}

impl Parts {
    /// The stack of `make test`, reached directly.
    pub fn of_the_tests() -> Result<Self> {
        let kafka = required("EVENTPULSE_TEST_KAFKA")?;
        Ok(Self {
            services_kafka: kafka.clone(),
            kafka,
            database: required("EVENTPULSE_TEST_DATABASE_URL")?,
            services_registry: required("EVENTPULSE_TEST_REGISTRY")?,
            services_database: BTreeMap::new(),
            before: &[],
            settings: Vec::new(),
        })
    }

    fn database_url(&self, service: &str, direct: &str) -> Result<String> {
        let Some(detour) = self.services_database.get(service) else {
            return Ok(direct.to_owned());
        };
        let (before, host) = direct.rsplit_once('@').context("a URL with a user")?;
        let (_, name) = host.split_once('/').context("a URL with a database")?;
        Ok(format!("{before}@{detour}/{name}"))
    }
}

/// One database each.
#[derive(Debug)]
pub struct Databases {
    pub ingest: Database,
    pub rules: Database,
    pub runner: Database,
    pub store: Database,
}

/// What a test wants of the rules and targets.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Compose project of target `app`.
    pub project: String,
    /// Cooldown of the rules, as the rule file writes it.
    pub cooldown: &'static str,
    /// `timeout` of actions.
    pub timeout: &'static str,
    /// How long an alert may fire after an action.
    pub verify_within: &'static str,
    /// Where target `app` lives.
    pub docker_host: String,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            project: "eptest-none".to_owned(),
            cooldown: "1s",
            timeout: "20s",
            verify_within: "60s",
            docker_host: docker_host(),
        }
    }
}

fn required(variable: &str) -> Result<String> {
    std::env::var(variable).with_context(|| format!("{variable} is not set: run `make test`"))
}

impl Setup {
    fn write(&self, folder: &Path) -> Result<()> {
        let Self {
            project,
            cooldown,
            timeout,
            verify_within,
            docker_host,
        } = self;
        let action = format!("timeout: {timeout}, cooldown: {cooldown}");
        let rules = format!(
            r#"version: 1
rules:
- name: high-cpu
  matchers: ['alertname="HighCPU"']
  group_by: [service]
  incident: open
  action:
    {{scale_docker: {{target_label: service, replicas: 2, direction: up}}, {action},
     verify_within: {verify_within}, on_failure: {{ensure_replicas: previous}}}}
- name: low-cpu
  matchers: ['alertname="LowCPU"']
  group_by: [service]
  incident: attach
  action: {{scale_docker: {{target_label: service, replicas: 1, direction: down}}, {action}}}
- {{name: down, matchers: ['alertname="Down"'], group_by: [service], incident: open}}
"#
        );
        let targets = format!(
            r#"version: 1
targets:
- name: app
  docker_host: {docker_host}
  selector: {{service: app, com.docker.compose.project: {project}}}
  min_replicas: 1
  max_replicas: 3
  readiness: {{healthcheck: true}}
  stop_grace_period: 1s
"#
        );
        std::fs::write(folder.join("rules.yaml"), rules)?;
        std::fs::write(folder.join("targets.yaml"), targets)?;
        Ok(())
    }
}

impl Stack {
    /// Starts the four services and waits until they are ready.
    pub async fn start(setup: &Setup) -> Result<Self> {
        Self::start_on(setup, Parts::of_the_tests()?).await
    }

    /// The same on these parts.
    pub async fn start_on(setup: &Setup, parts: Parts) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        setup.write(folder.path())?;
        let stack = Self::start_in(folder, parts).await?;
        for member in [&stack.ingest, &stack.rules, &stack.runner, &stack.store] {
            member.ready().await;
        }
        Ok(stack)
    }

    /// Starts them on these parts and does not wait; `folder` holds `rules.yaml` and `targets.yaml`.
    pub async fn start_in(folder: TempDir, parts: Parts) -> Result<Self> {
        let topics = TestTopics::fresh_at(parts.kafka.clone()).await;
        let fresh = || Database::prepared_at(&parts.database, parts.before, &[]);
        let databases = Databases {
            ingest: fresh().await,
            rules: fresh().await,
            runner: fresh().await,
            store: fresh().await,
        };
        let start = |name, database: &Database| {
            let settings = settings(name, database, &topics, folder.path(), &parts)?;
            Member::start(name, settings, folder.path())
        };
        Ok(Self {
            ingest: start("ingest", &databases.ingest)?,
            rules: start("rules", &databases.rules)?,
            runner: start("action-runner", &databases.runner)?,
            store: start("incident-store", &databases.store)?,
            topics,
            databases,
            folder,
            parts,
        })
    }

    /// A service by its name.
    pub fn member(&mut self, name: &str) -> Result<&mut Member> {
        match name {
            "ingest" => Ok(&mut self.ingest),
            "rules" => Ok(&mut self.rules),
            "action-runner" => Ok(&mut self.runner),
            "incident-store" => Ok(&mut self.store),
            other => anyhow::bail!("no service is called {other}"),
        }
    }

    /// The four services apart from what they stand on.
    pub fn into_parts(self) -> ([Member; 4], TestTopics, Databases, TempDir) {
        let members = [self.ingest, self.rules, self.runner, self.store];
        (members, self.topics, self.databases, self.folder)
    }

    /// A further instance of a service on the same database.
    pub fn another(&self, name: &'static str) -> Result<Member> {
        let database = match name {
            "ingest" => &self.databases.ingest,
            "rules" => &self.databases.rules,
            "action-runner" => &self.databases.runner,
            _ => &self.databases.store,
        };
        let folder = self.folder.path();
        let settings = settings(name, database, &self.topics, folder, &self.parts)?;
        Member::start(name, settings, folder)
    }

    /// Posts alerts as Alertmanager does; gives the status.
    pub async fn send(&self, alerts: &[Alert]) -> Result<StatusCode> {
        post(&self.ingest, &webhook::body(alerts)).await
    }

    /// Posts alerts that must be accepted.
    pub async fn accept(&self, alerts: &[Alert]) -> Result<()> {
        let status = self.send(alerts).await?;
        ensure!(status == StatusCode::OK, "ingest said {status}");
        Ok(())
    }

    /// The incidents of the store, newest first.
    pub async fn incidents(&self) -> Result<Vec<Value>> {
        let page = self.store.get("/api/v1/incidents?limit=200").await?;
        Ok(page["items"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until there are `count` incidents, all of this status.
    pub async fn until(&self, count: usize, status: &str) -> Vec<Value> {
        wait_for(&format!("{count} incidents, {status}"), async || {
            let incidents = self.incidents().await.map_err(|e| format!("{e:#}"))?;
            let are = incidents.iter().filter(|i| i["status"] == status).count();
            if incidents.len() == count && are == count {
                return Ok(incidents);
            }
            Err(format!("{incidents:#?}"))
        })
        .await
    }

    /// Waits until there are `count` incidents, newest first, that are as `wanted`.
    pub async fn incidents_are(&self, count: usize, wanted: impl Fn(&[Value]) -> bool) {
        wait_for(&format!("{count} incidents as wanted"), async || {
            let incidents = self.incidents().await.map_err(|e| format!("{e:#}"))?;
            if incidents.len() == count && wanted(&incidents) {
                return Ok(());
            }
            Err(format!("{incidents:#?}"))
        })
        .await;
    }

    /// Waits until nothing is under way: every outbox empty and every consumer caught up.
    pub async fn at_rest(&self) {
        let databases = &self.databases;
        for (name, database) in [
            ("ingest", &databases.ingest),
            ("rules", &databases.rules),
            ("action-runner", &databases.runner),
            ("incident-store", &databases.store),
        ] {
            wait_for(&format!("the outbox of {name} to drain"), async || {
                let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox_events")
                    .fetch_one(&database.pool)
                    .await
                    .map_err(|error| error.to_string())?;
                if waiting == 0 {
                    Ok(())
                } else {
                    Err(format!("{waiting} wait"))
                }
            })
            .await;
        }
    }
}

/// Posts a body with the token of source `demo`.
pub async fn post(ingest: &Member, body: &Value) -> Result<StatusCode> {
    let status = try_post(&ingest.url, body).await?;
    if !status.is_success() {
        eprintln!("ingest said {status}\n{}", ingest.last_words());
    }
    Ok(status)
}

/// The same to whatever answers there.
pub async fn try_post(ingest: &str, body: &Value) -> Result<StatusCode> {
    let answer = reqwest::Client::new()
        .post(format!("{ingest}/webhooks/alertmanager"))
        .bearer_auth(TOKEN)
        .header("user-agent", "Alertmanager/0.25.0")
        .json(body)
        .send()
        .await?;
    Ok(answer.status())
}

fn settings(
    service: &str,
    database: &Database,
    topics: &TestTopics,
    folder: &Path,
    parts: &Parts,
) -> Result<Vec<(&'static str, String)>> {
    let file = |name: &str| folder.join(name).display().to_string();
    let mut settings = vec![
        (
            "EVENTPULSE_DATABASE_URL",
            parts.database_url(service, &database.url)?,
        ),
        ("EVENTPULSE_KAFKA_BROKERS", parts.services_kafka.clone()),
        ("EVENTPULSE_REGISTRY_URL", parts.services_registry.clone()),
        ("EVENTPULSE_TOPIC_PREFIX", topics.prefix.clone()),
        ("EVENTPULSE_WEBHOOK_TOKENS", format!("demo={TOKEN}")),
        ("EVENTPULSE_RULES_FILE", file("rules.yaml")),
        ("EVENTPULSE_TARGETS_FILE", file("targets.yaml")),
        ("EVENTPULSE_SETTLE", "1s".to_owned()),
        ("EVENTPULSE_LOG", "info".to_owned()),
    ];
    settings.extend(parts.settings.iter().cloned());
    Ok(settings)
}

/// Like `wait_for`, for what takes its time: asks every 200 ms until `within` has passed.
///
/// # Errors
/// What the probe said last.
pub async fn patiently<T>(
    within: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let (since, mut ticks) = (Instant::now(), interval(Duration::from_millis(200)));
    loop {
        ticks.tick().await;
        match probe().await {
            Ok(value) => return Ok(value),
            Err(status) if since.elapsed() > within => {
                return Err(status.context(format!("waited {within:?} for {what}")));
            }
            Err(_) => {}
        }
    }
}
