//! The Docker engine: the containers of the run's parts, and the journal of what is scaled.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use anyhow::{Context, Result, ensure};
use bollard::{
    Docker,
    query_parameters::{
        EventsOptionsBuilder, KillContainerOptionsBuilder, ListContainersOptionsBuilder,
    },
};
use chrono::Utc;
use eventpulse_tests::App;
use futures::StreamExt;
use tokio_util::task::AbortOnDropHandle;

use crate::checker::evidence::{Change, Container};

const PROJECT: &str = "com.docker.compose.project";

/// A container of the parts: Kafka, Postgres or the registry.
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

    /// Freezes it.
    pub async fn pause(&self) -> Result<()> {
        Ok(self.docker.pause_container(&self.name).await?)
    }

    pub async fn unpause(&self) -> Result<()> {
        Ok(self.docker.unpause_container(&self.name).await?)
    }
}

/// What happens to the containers of some projects, while it lives.
#[derive(Debug)]
pub struct Journal {
    changes: Arc<Mutex<Vec<Change>>>,
    task: AbortOnDropHandle<()>,
}

impl Journal {
    /// Begins to write; `targets`: names by project.
    #[must_use]
    pub fn begin(docker: &Docker, targets: BTreeMap<String, String>) -> Self {
        let kinds = ["create", "start", "die", "destroy"].map(str::to_owned);
        let filters = HashMap::from([
            ("type", vec!["container".to_owned()]),
            ("event", kinds.to_vec()),
        ]);
        let options = EventsOptionsBuilder::default()
            // To the nanosecond: whole seconds would let in what was created just before.
            .since(&Utc::now().format("%s.%f").to_string())
            .filters(&filters)
            .build();
        let mut events = docker.events(Some(options)).boxed();
        let changes = Arc::<Mutex<Vec<Change>>>::default();
        let written = Arc::clone(&changes);
        let task = tokio::spawn(async move {
            while let Some(Ok(event)) = events.next().await {
                let Some(actor) = event.actor else { continue };
                let labels = actor.attributes.unwrap_or_default();
                let Some(target) = labels.get(PROJECT).and_then(|p| targets.get(p)) else {
                    continue;
                };
                let change = Change {
                    at: event.time_nano.unwrap_or_default(),
                    what: event.action.unwrap_or_default(),
                    id: actor.id.unwrap_or_default(),
                    name: labels.get("name").cloned().unwrap_or_default(),
                    target: target.clone(),
                    managed: labels
                        .get("eventpulse.managed")
                        .is_some_and(|v| v == "true"),
                    epoch: labels.get("eventpulse.epoch").and_then(|v| v.parse().ok()),
                };
                written.lock().expect("no writer panics").push(change);
            }
        });
        Self {
            changes,
            task: AbortOnDropHandle::new(task),
        }
    }

    /// Until now, in order.
    ///
    /// # Errors
    /// It ended: what happened since is not known.
    pub fn changes(&self) -> Result<Vec<Change>> {
        ensure!(
            !self.task.is_finished(),
            "the Docker engine ended the journal of its events"
        );
        Ok(self.changes.lock().expect("no writer panics").clone())
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
