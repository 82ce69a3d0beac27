//! Docker: the containers of a service, and hey's log.

use std::collections::HashMap;

use bollard::{
    API_DEFAULT_VERSION, Docker,
    models::{ContainerInspectResponse, HealthStatusEnum},
    query_parameters::{
        InspectContainerOptions, ListContainersOptions, LogsOptions, StartContainerOptions,
        StopContainerOptions,
    },
};
use chrono::{DateTime, Utc};
use futures::TryStreamExt;

use crate::until::{Link, Seen};

/// Seconds to wait for Docker's answer; stopping load takes as long as its last request.
const PATIENCE: u64 = 60;

#[derive(Clone, Debug)]
pub(crate) struct Engine {
    docker: Docker,
    project: String,
}

/// A container of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Made by Action Runner.
    pub(crate) managed: bool,
    pub(crate) running: bool,
    pub(crate) healthy: bool,
    pub(crate) created: Option<DateTime<Utc>>,
    pub(crate) started: Option<DateTime<Utc>>,
    /// End of the oldest good health check that Docker remembers.
    pub(crate) healthy_at: Option<DateTime<Utc>>,
}

impl Engine {
    pub(crate) async fn connect(socket: &str, project: &str) -> Result<Self, Seen> {
        let no_engine = |error| Seen::new(Link::Stack, format!("Docker at {socket}: {error}"));
        let docker = Docker::connect_with_socket(socket, PATIENCE, API_DEFAULT_VERSION)
            .map_err(no_engine)?
            .negotiate_version()
            .await
            .map_err(no_engine)?;
        Ok(Self {
            docker,
            project: project.to_owned(),
        })
    }

    /// Containers that Compose's labels, which replicas carry too, call `service`; the oldest first.
    pub(crate) async fn containers(&self, service: &str) -> Result<Vec<Container>, Seen> {
        let labels = vec![
            format!("com.docker.compose.project={}", self.project),
            format!("com.docker.compose.service={service}"),
        ];
        let options = ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([("label".to_owned(), labels)])),
            ..Default::default()
        };
        let listed = self
            .docker
            .list_containers(Some(options))
            .await
            .map_err(docker)?;
        let mut containers = Vec::new();
        for id in listed.into_iter().filter_map(|container| container.id) {
            match self
                .docker
                .inspect_container(&id, None::<InspectContainerOptions>)
                .await
            {
                Ok(inspected) => containers.push(container(inspected)),
                // Removed since it was listed.
                Err(bollard::errors::Error::DockerResponseServerError {
                    status_code: 404, ..
                }) => {}
                Err(error) => return Err(docker(error)),
            }
        }
        containers.sort_by_key(|container| container.created);
        Ok(containers)
    }

    pub(crate) async fn start(&self, id: &str) -> Result<(), Seen> {
        self.docker
            .start_container(id, None::<StartContainerOptions>)
            .await
            .map_err(docker)
    }

    /// Stops with the container's own signal and waits until it has exited.
    pub(crate) async fn stop(&self, id: &str) -> Result<(), Seen> {
        self.docker
            .stop_container(id, None::<StopContainerOptions>)
            .await
            .map_err(docker)
    }

    pub(crate) async fn log(&self, id: &str) -> Result<String, Seen> {
        let options = LogsOptions {
            stdout: true,
            stderr: true,
            tail: "200".to_owned(),
            ..Default::default()
        };
        let chunks: Vec<_> = self
            .docker
            .logs(id, Some(options))
            .try_collect()
            .await
            .map_err(docker)?;
        Ok(chunks.iter().map(ToString::to_string).collect())
    }
}

fn docker(error: bollard::errors::Error) -> Seen {
    Seen::new(Link::Stack, format!("Docker: {error}"))
}

fn container(inspected: ContainerInspectResponse) -> Container {
    let state = inspected.state.unwrap_or_default();
    let health = state.health.unwrap_or_default();
    let labels = inspected
        .config
        .and_then(|config| config.labels)
        .unwrap_or_default();
    let time = |text: Option<String>| text.and_then(|text| text.parse().ok());
    let checks = health.log.unwrap_or_default();
    let good = checks.into_iter().find(|check| check.exit_code == Some(0));
    Container {
        id: inspected.id.unwrap_or_default(),
        name: inspected
            .name
            .unwrap_or_default()
            .trim_start_matches('/')
            .to_owned(),
        managed: labels
            .get("eventpulse.managed")
            .is_some_and(|managed| managed == "true"),
        running: state.running.unwrap_or_default(),
        healthy: health.status == Some(HealthStatusEnum::HEALTHY),
        created: time(inspected.created),
        started: time(state.started_at),
        healthy_at: time(good.and_then(|check| check.end)),
    }
}
