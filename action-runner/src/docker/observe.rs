//! What is on a host: the containers of a target, and those of ours that no target knows.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use bollard::{
    models::{
        ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, ContainerSummary,
        ContainerSummaryStateEnum, HealthStatusEnum,
    },
    query_parameters::{InspectContainerOptions, ListContainersOptions},
};
use futures::future::join_all;

use super::{
    CALL, Engine, Error,
    labels::{self, MANAGED, Tag},
    probe::{Look, Prober},
    source::candidates,
    template::{Template, Uncopyable},
};
use crate::domain::{
    evidence::line,
    observed::{Foreign, Observed, Phase, Replica},
    target::{Readiness, Target},
};

/// How many looks in a row must find a replica ready.
const IN_A_ROW: u8 = 2;

/// One observation of a target.
#[derive(Clone, Debug)]
pub struct Sighting {
    pub observed: Observed,
    /// The template that runs, with the container that it is; `None`: the stored one counts.
    pub template: Option<Source>,
}

/// A container that replicas are made from.
#[derive(Clone, Debug)]
pub struct Source {
    pub container: String,
    pub template: Result<Template, Uncopyable>,
}

/// What earlier looks at a target found; kept by whoever observes it again and again.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Ready looks in a row, by container id.
    streaks: HashMap<String, u8>,
}

/// A container of ours, as a list tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Managed {
    pub id: String,
    pub name: String,
    pub target: String,
    pub project: Option<String>,
    pub running: bool,
    /// Seconds since 1970, by the engine's clock.
    pub created: i64,
    pub labels: BTreeMap<String, String>,
}

impl Engine {
    /// Everything that the target's selector finds. `stored` is the hash of the template that
    /// counts when no container of others is there any more.
    ///
    /// # Errors
    /// When the engine does not tell.
    pub async fn observe(
        &self,
        target: &Target,
        stored: Option<&str>,
        memory: &mut Memory,
    ) -> Result<Sighting, Error> {
        let listed = self.list(selector_filter(target)).await?;
        let (mut foreign, mut ours, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for summary in listed {
            let labels = labels::sorted(summary.labels.clone());
            if labels::one_off(&labels) {
                continue;
            }
            match Tag::read(&labels) {
                Some(tag) if tag.target == target.name => ours.push((tag, summary)),
                Some(_) | None => {
                    foreign.push(stranger(&summary, &labels));
                    others.push(summary);
                }
            }
        }
        let template = self.source(others).await?;
        let hash = match &template {
            Some(source) => source.template.as_ref().ok().map(Template::hash),
            None => stored.map(str::to_owned),
        };
        let looks = join_all(
            ours.into_iter()
                .map(|(tag, summary)| self.look(target, tag, summary)),
        );
        let mut replicas = Vec::new();
        for replica in looks.await {
            replicas.extend(replica?);
        }
        memory.count(&mut replicas);
        Ok(Sighting {
            observed: Observed {
                foreign,
                replicas,
                template: hash,
            },
            template,
        })
    }

    /// Every container of ours on the host, of whatever target.
    ///
    /// # Errors
    /// When the engine does not tell.
    pub async fn managed(&self) -> Result<Vec<Managed>, Error> {
        let listed = self.list(vec![format!("{MANAGED}=true")]).await?;
        let managed = listed.into_iter().filter_map(|summary| {
            let labels = labels::sorted(summary.labels.clone());
            Some(Managed {
                id: summary.id.clone()?,
                name: name(&summary),
                target: labels.get(labels::TARGET).cloned().unwrap_or_default(),
                project: labels.get(labels::COMPOSE_PROJECT).cloned(),
                running: phase(summary.state) == Phase::Live,
                created: summary.created.unwrap_or_default(),
                labels,
            })
        });
        Ok(managed.collect())
    }

    async fn list(&self, labels: Vec<String>) -> Result<Vec<ContainerSummary>, Error> {
        let options = ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([("label".to_owned(), labels)])),
            ..ListContainersOptions::default()
        };
        let list = self.docker.list_containers(Some(options));
        self.call("list", CALL, list).await
    }

    /// `None`: it is gone.
    pub(super) async fn inspect(
        &self,
        container: &str,
    ) -> Result<Option<ContainerInspectResponse>, Error> {
        let inspect = self
            .docker
            .inspect_container(container, None::<InspectContainerOptions>);
        match self.call("inspect", CALL, inspect).await {
            Ok(container) => Ok(Some(container)),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The oldest container of others, a running one first. It is looked at anew each time: limits and
    /// networks can be changed under the same id, and every instance must see the same.
    async fn source(&self, others: Vec<ContainerSummary>) -> Result<Option<Source>, Error> {
        for candidate in candidates(others) {
            let Some(id) = candidate.id.clone() else {
                continue;
            };
            let Some(container) = self.inspect(&id).await? else {
                continue;
            };
            return Ok(Some(Source {
                container: name(&candidate),
                template: Template::of(&container),
            }));
        }
        Ok(None)
    }

    /// `None`: it is gone.
    async fn look(
        &self,
        target: &Target,
        tag: Tag,
        summary: ContainerSummary,
    ) -> Result<Option<Replica>, Error> {
        let Some(id) = summary.id.clone() else {
            return Ok(None);
        };
        let Some(container) = self.inspect(&id).await? else {
            return Ok(None);
        };
        let state = container.state.clone().unwrap_or_default();
        let phase = state.status.map_or(Phase::Exited, inspected_phase);
        let look = match phase {
            Phase::Live => self.ask(target, &container, &state).await,
            Phase::Created | Phase::Removing | Phase::Exited => Look::not_ready(""),
        };
        Ok(Some(Replica {
            id,
            name: name(&summary),
            slot: tag.slot,
            phase,
            template: tag.template,
            action_id: tag.action_id,
            ready: look.ready,
            health: look.seen,
            exit_code: state.exit_code.filter(|_| phase == Phase::Exited),
        }))
    }

    async fn ask(
        &self,
        target: &Target,
        container: &ContainerInspectResponse,
        state: &ContainerState,
    ) -> Look {
        match &target.readiness {
            Readiness::Healthcheck => healthcheck(state),
            Readiness::HttpGet { path, port } => {
                self.prober.http(&addresses(container), *port, path).await
            }
            Readiness::TcpSocket { port } => Prober::tcp(&addresses(container), *port).await,
        }
    }
}

impl Memory {
    /// Turns single looks into readiness: ready is who was so [`IN_A_ROW`] times.
    fn count(&mut self, replicas: &mut [Replica]) {
        let mut streaks = HashMap::new();
        for replica in replicas {
            if !replica.ready {
                continue;
            }
            let before = self.streaks.get(&replica.id).copied().unwrap_or(0);
            let streak = before.saturating_add(1).min(IN_A_ROW);
            replica.ready = streak >= IN_A_ROW;
            streaks.insert(replica.id.clone(), streak);
        }
        self.streaks = streaks;
    }
}

/// The selector as the engine's label filters.
pub(crate) fn selector_filter(target: &Target) -> Vec<String> {
    let pairs = target.selector.iter();
    pairs
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

fn stranger(summary: &ContainerSummary, labels: &BTreeMap<String, String>) -> Foreign {
    Foreign {
        name: name(summary),
        number: labels::number(labels),
        phase: phase(summary.state),
    }
}

/// Its own name.
pub(crate) fn name(summary: &ContainerSummary) -> String {
    let names = summary.names.iter().flatten();
    // A linked container has names with two slashes as well.
    let own = names
        .map(|name| name.trim_start_matches('/'))
        .find(|name| !name.contains('/'));
    own.unwrap_or_default().to_owned()
}

fn healthcheck(state: &ContainerState) -> Look {
    let Some(health) = &state.health else {
        return Look::not_ready("it has no HEALTHCHECK");
    };
    let last = health.log.iter().flatten().next_back();
    let said = last.and_then(|result| result.output.as_deref()).map(line);
    match health.status {
        Some(HealthStatusEnum::HEALTHY) => Look::ready(said.unwrap_or_default()),
        Some(
            HealthStatusEnum::EMPTY
            | HealthStatusEnum::NONE
            | HealthStatusEnum::STARTING
            | HealthStatusEnum::UNHEALTHY,
        )
        | None => Look::not_ready(said.unwrap_or_default()),
    }
}

fn addresses(container: &ContainerInspectResponse) -> Vec<IpAddr> {
    let settings = container.network_settings.as_ref();
    let networks = settings.and_then(|settings| settings.networks.as_ref());
    let addresses = networks.into_iter().flat_map(HashMap::values);
    addresses
        .filter_map(|endpoint| endpoint.ip_address.as_deref()?.parse().ok())
        .collect()
}

pub(super) fn phase(state: Option<ContainerSummaryStateEnum>) -> Phase {
    match state {
        Some(ContainerSummaryStateEnum::CREATED) => Phase::Created,
        Some(
            ContainerSummaryStateEnum::RUNNING
            | ContainerSummaryStateEnum::PAUSED
            | ContainerSummaryStateEnum::RESTARTING
            | ContainerSummaryStateEnum::STOPPING,
        ) => Phase::Live,
        Some(ContainerSummaryStateEnum::REMOVING) => Phase::Removing,
        Some(
            ContainerSummaryStateEnum::EXITED
            | ContainerSummaryStateEnum::DEAD
            | ContainerSummaryStateEnum::EMPTY,
        )
        | None => Phase::Exited,
    }
}

fn inspected_phase(state: ContainerStateStatusEnum) -> Phase {
    match state {
        ContainerStateStatusEnum::CREATED => Phase::Created,
        ContainerStateStatusEnum::RUNNING
        | ContainerStateStatusEnum::PAUSED
        | ContainerStateStatusEnum::RESTARTING
        | ContainerStateStatusEnum::STOPPING => Phase::Live,
        ContainerStateStatusEnum::REMOVING => Phase::Removing,
        ContainerStateStatusEnum::EXITED
        | ContainerStateStatusEnum::DEAD
        | ContainerStateStatusEnum::EMPTY => Phase::Exited,
    }
}
