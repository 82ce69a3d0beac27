//! A container of a service to scale, made as Compose would make it.

use std::{
    collections::HashMap,
    process::Command,
    sync::{Arc, Mutex},
};

use anyhow::{Context, Result, ensure};
use bollard::{
    Docker,
    models::{ContainerCreateBody, HealthConfig, HostConfig, RestartPolicy, RestartPolicyNameEnum},
    query_parameters::{
        CreateContainerOptionsBuilder, EventsOptionsBuilder, ListContainersOptionsBuilder,
        RemoveContainerOptionsBuilder,
    },
};
use chrono::Utc;
use futures::StreamExt;
use tokio_util::task::AbortOnDropHandle;

/// The service, in a Compose project of its own.
#[derive(Debug)]
pub struct App {
    pub docker: Docker,
    /// Compose project: no other test has it.
    pub project: String,
    engine: Engine,
}

/// The engine that an [`App`] lives in.
#[derive(Clone, Debug)]
pub struct Engine {
    /// `unix://` and its socket.
    pub host: String,
    /// Whether the engine starts the app's containers again when it starts, as one that comes back
    /// after its machine went down.
    pub starts_again: bool,
}

impl Engine {
    /// The one of `EVENTPULSE_TEST_DOCKER_HOST`.
    #[must_use]
    pub fn of_the_tests() -> Self {
        Self {
            host: docker_host(),
            starts_again: false,
        }
    }
}

/// A client of the engine at `host`.
pub async fn connect(host: &str) -> Result<Docker> {
    let socket = host.trim_start_matches("unix://");
    let docker = Docker::connect_with_unix(socket, 30, bollard::API_DEFAULT_VERSION)?;
    let talking = docker.negotiate_version().await;
    talking.with_context(|| format!("the Docker engine at {host}"))
}

const SECOND: i64 = 1_000_000_000;

/// A container as the tests look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub id: String,
    pub name: String,
    pub managed: bool,
    pub running: bool,
}

/// A line of the engine's journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A container with this name.
    Created(String),
    Removed(String),
}

/// What happens to the containers of a project, while it lives.
#[derive(Debug)]
pub struct Journal {
    changes: Arc<Mutex<Vec<Change>>>,
    _task: AbortOnDropHandle<()>,
}

impl Journal {
    /// Until now, in order.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        self.changes.lock().expect("no writer panics").clone()
    }
}

/// The Docker engine of `EVENTPULSE_TEST_DOCKER_HOST`.
#[must_use]
pub fn docker_host() -> String {
    std::env::var("EVENTPULSE_TEST_DOCKER_HOST")
        .expect("EVENTPULSE_TEST_DOCKER_HOST is not set: run `make test`")
}

fn image() -> String {
    std::env::var("DEBIAN_IMAGE").unwrap_or_else(|_| "debian:bookworm-slim".to_owned())
}

impl App {
    /// One container of service `app`, whose health check succeeds while `healthy` does.
    pub async fn start(healthy: &str) -> Result<Self> {
        Self::start_in(Engine::of_the_tests(), healthy).await
    }

    /// The same in another engine.
    pub async fn start_in(engine: Engine, healthy: &str) -> Result<Self> {
        let marker = uuid::Uuid::new_v4().simple().to_string();
        let app = Self {
            docker: connect(&engine.host).await?,
            project: format!("eptest-{}", &marker[..10]),
            engine,
        };
        app.create("app", 1, healthy).await?;
        Ok(app)
    }

    /// One more container, as Compose or a person would make it.
    pub async fn create(&self, service: &str, number: u32, healthy: &str) -> Result<()> {
        let labels = [
            ("service", service),
            ("com.docker.compose.project", &self.project),
            ("com.docker.compose.service", service),
            ("com.docker.compose.container-number", &number.to_string()),
            ("com.docker.compose.oneoff", "False"),
            ("traefik.enable", "true"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let body = ContainerCreateBody {
            image: Some(image()),
            cmd: Some(["sleep", "3600"].map(str::to_owned).into()),
            labels: Some(HashMap::from(labels)),
            healthcheck: Some(HealthConfig {
                test: Some(vec!["CMD-SHELL".to_owned(), healthy.to_owned()]),
                // each look is a process in the container: a dozen replicas at two a second are a core
                interval: Some(SECOND),
                timeout: Some(2 * SECOND),
                retries: Some(2),
                ..HealthConfig::default()
            }),
            stop_timeout: Some(1),
            host_config: Some(HostConfig {
                init: Some(true),
                restart_policy: self.engine.starts_again.then_some(RestartPolicy {
                    name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
                    maximum_retry_count: None,
                }),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let name = format!("{}-{service}-{number}", self.project);
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        self.docker
            .create_container(Some(options), body)
            .await
            .with_context(|| format!("creating a container of {}", image()))?;
        self.docker.start_container(&name, None).await?;
        Ok(())
    }

    /// Every container of the project, by name.
    pub async fn containers(&self) -> Result<Vec<Seen>> {
        let label = format!("com.docker.compose.project={}", self.project);
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let found = self.docker.list_containers(Some(options)).await?;
        let mut seen: Vec<Seen> = found
            .into_iter()
            .map(|container| {
                let labels = container.labels.unwrap_or_default();
                let name = container.names.unwrap_or_default().join(",");
                Seen {
                    id: container.id.unwrap_or_default(),
                    name: name.trim_start_matches('/').to_owned(),
                    managed: labels
                        .get("eventpulse.managed")
                        .is_some_and(|v| v == "true"),
                    running: container.state.is_some_and(|state| {
                        state == bollard::models::ContainerSummaryStateEnum::RUNNING
                    }),
                }
            })
            .collect();
        seen.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(seen)
    }

    /// Running containers of the project; an error says how many others there are.
    pub async fn running(&self, wanted: usize) -> Result<Vec<Seen>> {
        let seen = self.containers().await?;
        let running = seen.iter().filter(|container| container.running).count();
        ensure!(
            running == wanted,
            "{running} running, {wanted} wanted: {seen:?}"
        );
        Ok(seen)
    }

    /// Begins to write down what is created and destroyed in the project. The engine itself
    /// remembers a few hundred events only, health checks among them.
    pub fn journal(&self) -> Journal {
        let filters = HashMap::from([
            (
                "label",
                vec![format!("com.docker.compose.project={}", self.project)],
            ),
            ("event", vec!["create".to_owned(), "destroy".to_owned()]),
        ]);
        let options = EventsOptionsBuilder::default()
            // To the nanosecond: whole seconds would let in what was created just before.
            .since(&Utc::now().format("%s.%f").to_string())
            .filters(&filters)
            .build();
        let mut events = self.docker.events(Some(options)).boxed();
        let changes = Arc::<Mutex<Vec<Change>>>::default();
        let written = Arc::clone(&changes);
        let task = tokio::spawn(async move {
            while let Some(Ok(event)) = events.next().await {
                let attributes = event.actor.and_then(|actor| actor.attributes);
                let name = attributes.and_then(|mut all| all.remove("name"));
                let name = name.unwrap_or_default();
                let change = match event.action.as_deref() {
                    Some("create") => Change::Created(name),
                    _ => Change::Removed(name),
                };
                written.lock().expect("no writer panics").push(change);
            }
        });
        Journal {
            changes,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Removes a container by hand.
    pub async fn remove(&self, id: &str) -> Result<()> {
        let options = RemoveContainerOptionsBuilder::default().force(true).build();
        Ok(self.docker.remove_container(id, Some(options)).await?)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // A drop cannot await: the command line does it.
        let label = format!("label=com.docker.compose.project={}", self.project);
        let listed = Command::new("docker")
            .args(["-H", &self.engine.host, "ps", "-aq", "--filter", &label])
            .output();
        let ids = listed.map(|out| out.stdout).unwrap_or_default();
        let ids = String::from_utf8_lossy(&ids).into_owned();
        if !ids.trim().is_empty() {
            let removed = Command::new("docker")
                .args(["-H", &self.engine.host, "rm", "-f"])
                .args(ids.split_whitespace())
                .output();
            drop(removed);
        }
    }
}
