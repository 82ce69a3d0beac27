//! Containers of ours that no declared target selects: the target was renamed, removed or mistyped.
//!
//! They are reported. What is dead among them, old enough, and of a Compose project that a declared
//! target names, is removed; running ones go only when a person asks (`target prune`). Those of other
//! projects may belong to another EventPulse on the same host.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use service_kit::{
    Error,
    clock::{self, Ticker},
    error::chain,
};

use crate::{
    docker::observe::Managed, domain::target::COMPOSE_PROJECT, keeper::Tools, targets::Targets,
};

/// A dead container is left alone for so long: somebody may be looking at it.
const GRACE: Duration = Duration::from_secs(300);

/// A container of ours that no target knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unknown {
    pub(crate) docker_host: String,
    pub(crate) container: Managed,
}

/// What the last sweep found. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found(Arc<Mutex<Vec<Unknown>>>);

impl Found {
    pub(crate) fn list(&self) -> Vec<Unknown> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, unknown: Vec<Unknown>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = unknown;
    }
}

/// Looks at every host, again and again, until the service stops.
pub(crate) async fn run(tools: Tools, found: Found) -> Result<(), Error> {
    let mut ticker = Ticker::new(tools.sweep, tools.kit.shutdown().clone());
    let mut reported = BTreeSet::new();
    while ticker.tick().await {
        let unknown = look(&tools).await;
        for one in &unknown {
            let container = &one.container;
            if reported.insert(container.id.clone()) {
                tracing::warn!(
                    container = container.name,
                    target.name = container.target,
                    docker_host = one.docker_host,
                    running = container.running,
                    "a container of ours belongs to no declared target: is targets.yaml right? `eventpulse target prune` lists such, and removes them with --yes"
                );
            }
        }
        reported.retain(|id| unknown.iter().any(|one| one.container.id == *id));
        bury(&tools, &unknown).await;
        tools.metrics.unknown(unknown.len());
        found.set(unknown);
    }
    Ok(())
}

/// Containers of ours, on every host that a target lives on, that no target selects. A host that
/// does not answer is left out; its targets' keepers say so.
pub(crate) async fn look(tools: &Tools) -> Vec<Unknown> {
    let targets = tools.kit.service().targets();
    let mut unknown = Vec::new();
    for host in targets.hosts() {
        let managed = match tools.engines.at(&host).await {
            Ok(engine) => engine.managed().await,
            Err(error) => Err(error),
        };
        match managed {
            Ok(managed) => unknown.extend(
                managed
                    .into_iter()
                    .filter(|container| !known(&targets, &host, container))
                    .map(|container| Unknown {
                        docker_host: host.clone(),
                        container,
                    }),
            ),
            Err(error) => tracing::debug!(error = chain(&error), "a host is not swept"),
        }
    }
    unknown
}

fn known(targets: &Targets, host: &str, container: &Managed) -> bool {
    let target = targets.by_name.get(&container.target);
    target.is_some_and(|target| target.docker_host == host && target.selects(&container.labels))
}

async fn bury(tools: &Tools, unknown: &[Unknown]) {
    let targets = tools.kit.service().targets();
    let projects: BTreeSet<&String> = targets
        .by_name
        .values()
        .filter_map(|target| target.selector.get(COMPOSE_PROJECT))
        .collect();
    for Unknown {
        docker_host,
        container,
    } in unknown
    {
        let age = clock::now().timestamp() - container.created;
        let old = u64::try_from(age).is_ok_and(|age| age > GRACE.as_secs());
        let ours = container
            .project
            .as_ref()
            .is_some_and(|project| projects.contains(project));
        if container.running || !old || !ours || tools.kit.shutdown().is_cancelled() {
            continue;
        }
        let removed = match tools.engines.at(docker_host).await {
            Ok(engine) => engine.remove(&container.id, Duration::ZERO).await,
            Err(error) => Err(error),
        };
        match removed {
            Ok(()) => tracing::info!(
                container = container.name,
                "a dead container of no target is removed"
            ),
            Err(error) => {
                tracing::warn!(error = chain(&error), "a dead container cannot be removed");
            }
        }
    }
}
