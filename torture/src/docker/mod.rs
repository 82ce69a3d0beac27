//! Docker engines: the machine's with the containers of the run's parts, and the run's own, which is
//! one of them, with what is scaled.

mod journal;

use std::collections::HashMap;

use anyhow::{Context, Result};
use bollard::{
    Docker,
    query_parameters::{
        KillContainerOptionsBuilder, ListContainersOptionsBuilder, StopContainerOptionsBuilder,
    },
};
use eventpulse_tests::App;

pub use self::journal::Journal;
use crate::checker::evidence::Container;

const PROJECT: &str = "com.docker.compose.project";

/// A container of the parts: Kafka, Postgres, the registry, or the engine of what is scaled.
#[derive(Clone, Debug)]
pub struct Part {
    docker: Docker,
    pub name: String,
}

impl Part {
    /// The container of a service in a Compose project.
    pub async fn find(docker: &Docker, project: &str, service: &str) -> Result<Self> {
        let labels = vec![
            format!("{PROJECT}={project}"),
            format!("com.docker.compose.service={service}"),
        ];
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&HashMap::from([("label", labels)]))
            .build();
        let found = docker.list_containers(Some(options)).await?;
        let found = found.into_iter().next().with_context(|| {
            format!(
                "no container of {service} in project {project}: `make torture` starts it, or `docker compose \
                 -p {project} -f tests/compose.yaml -f torture/compose.yaml up -d --wait`"
            )
        })?;
        Ok(Self {
            docker: docker.clone(),
            name: found.id.unwrap_or_default(),
        })
    }

    /// kill -9 of what runs in it.
    pub async fn kill(&self) -> Result<()> {
        let options = KillContainerOptionsBuilder::default()
            .signal("KILL")
            .build();
        Ok(self
            .docker
            .kill_container(&self.name, Some(options))
            .await?)
    }

    pub async fn start(&self) -> Result<()> {
        Ok(self.docker.start_container(&self.name, None).await?)
    }

    /// SIGTERM, and kill -9 when it has not ended after 10 s.
    pub async fn stop(&self) -> Result<()> {
        let options = StopContainerOptionsBuilder::default().t(10).build();
        Ok(self
            .docker
            .stop_container(&self.name, Some(options))
            .await?)
    }

    /// Freezes it.
    pub async fn pause(&self) -> Result<()> {
        Ok(self.docker.pause_container(&self.name).await?)
    }

    pub async fn unpause(&self) -> Result<()> {
        Ok(self.docker.unpause_container(&self.name).await?)
    }
}

/// The containers of a target, now.
pub async fn containers(target: &str, app: &App) -> Result<Vec<Container>> {
    let seen = app.containers().await?;
    let seen = seen.into_iter().map(|seen| Container {
        name: seen.name,
        target: target.to_owned(),
        managed: seen.managed,
        running: seen.running,
    });
    Ok(seen.collect())
}
