//! Making, starting and removing replicas: idempotent, created by name, else by id.

use std::time::Duration;

use bollard::{
    container::LogOutput,
    models::{ContainerInspectResponse, ContainerStateStatusEnum, NetworkConnectRequest},
    query_parameters::{
        CreateContainerOptions, LogsOptions, RemoveContainerOptions, StartContainerOptions,
        StopContainerOptions,
    },
};
use futures::StreamExt;
use service_kit::failpoint;
use shared_events::action::Evidence;

use super::{
    CALL, Engine, Error,
    labels::{Tag, sorted},
    template::Template,
};
use crate::domain::evidence::{HEALTH_OUTPUTS, LOG_LINES};

/// Beyond the grace period, for the engine's own work.
const AFTER_GRACE: Duration = Duration::from_secs(10);

/// What became of a create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It was made and started.
    Started,
    /// Somebody, perhaps we, had made it before: the next observation shows it.
    Already,
    /// The name belongs to something else: this slot cannot be used.
    Blocked,
}

impl Engine {
    /// Makes the replica of `tag`'s slot from `template` and starts it.
    ///
    /// # Errors
    /// [`Error::definite`]: nothing was made, or it was made and cannot be started. Else it may be
    /// there: observe again.
    pub async fn create(&self, template: &Template, tag: &Tag) -> Result<Made, Error> {
        let name = template.replica_name(&tag.target, tag.slot);
        let options = CreateContainerOptions {
            name: Some(name.clone()),
            ..CreateContainerOptions::default()
        };
        let body = template.create_body(&name, tag);
        let create = self.docker.create_container(Some(options), body);
        match self.call("create", CALL, create).await {
            Ok(made) => {
                failpoint::pass("runner.created");
                self.start(&made.id, &name, template).await?;
                Ok(Made::Started)
            }
            Err(error) if error.status() == Some(409) => self.adopt(&name, tag).await,
            Err(error) => Err(error),
        }
    }

    /// The name is taken: by the same replica, or by something else.
    async fn adopt(&self, name: &str, tag: &Tag) -> Result<Made, Error> {
        let Some(holder) = self.inspect(name).await? else {
            // It was being removed; the next plan sees a free name.
            return Ok(Made::Already);
        };
        // What is being removed may have lost its labels already, and gives the name free soon.
        let status = holder.state.and_then(|state| state.status);
        if matches!(
            status,
            Some(ContainerStateStatusEnum::REMOVING | ContainerStateStatusEnum::DEAD)
        ) {
            return Ok(Made::Already);
        }
        let labels = sorted(holder.config.and_then(|config| config.labels));
        let same = Tag::read(&labels).is_some_and(|held| {
            held.target == tag.target && held.slot == tag.slot && held.template == tag.template
        });
        Ok(if same { Made::Already } else { Made::Blocked })
    }

    /// Connects the replica to every network of its template and starts it. Doing it again is
    /// harmless.
    ///
    /// # Errors
    /// As [`Engine::create`]. One that is gone is no error: the next observation shows it.
    pub async fn start(&self, id: &str, name: &str, template: &Template) -> Result<(), Error> {
        for (network, endpoint) in template.other_networks(name) {
            let request = NetworkConnectRequest {
                container: id.to_owned(),
                endpoint_config: Some(endpoint),
            };
            let connect = self.docker.connect_network(network, request);
            match self.call("connect", CALL, connect).await {
                Ok(()) => {}
                Err(error) if connected(&error) => {}
                // nothing to start; who asked looks again
                Err(error) if gone(&error, id) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        let start = self
            .docker
            .start_container(id, None::<StartContainerOptions>);
        match self.call("start", CALL, start).await {
            Ok(()) => {
                failpoint::pass("runner.started");
                Ok(())
            }
            Err(error) if error.status() == Some(304) => Ok(()),
            Err(error) if gone(&error, id) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Stops the container, giving it `grace`, and removes it with its anonymous volumes. One that
    /// is gone, or is being removed by others, is no error.
    ///
    /// # Errors
    /// When the engine refuses or does not answer: it may be gone, observe again.
    pub async fn remove(&self, id: &str, grace: Duration) -> Result<(), Error> {
        let options = StopContainerOptions {
            t: Some(i32::try_from(grace.as_secs()).unwrap_or(i32::MAX)),
            ..StopContainerOptions::default()
        };
        let stop = self.docker.stop_container(id, Some(options));
        match self.call("stop", grace + AFTER_GRACE, stop).await {
            Ok(()) => {}
            Err(error) if matches!(error.status(), Some(304 | 404)) => {}
            Err(error) => return Err(error),
        }
        failpoint::pass("runner.stopped");
        let options = RemoveContainerOptions {
            force: true,
            v: true,
            ..RemoveContainerOptions::default()
        };
        let remove = self.docker.remove_container(id, Some(options));
        match self.call("remove", CALL, remove).await {
            Ok(()) => {
                failpoint::pass("runner.removed");
                Ok(())
            }
            // 409: its removal is in progress
            Err(error) if matches!(error.status(), Some(404 | 409)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What can be told of a replica before it is removed. Never fails: what cannot be read is said
    /// to be so.
    pub async fn evidence(&self, id: &str, name: &str) -> Evidence {
        let mut evidence = Evidence {
            container: name.to_owned(),
            exit_code: None,
            oom_killed: false,
            logs: Vec::new(),
            health: Vec::new(),
        };
        match self.inspect(id).await {
            Ok(Some(container)) => tell(&container, &mut evidence),
            Ok(None) => {
                evidence.logs.push("(the container is gone)".to_owned());
                return evidence;
            }
            Err(error) => evidence.logs.push(format!("(not told: {error})")),
        }
        match self.logs(id).await {
            Ok(lines) => evidence.logs.extend(lines),
            Err(error) => evidence
                .logs
                .push(format!("(logs cannot be read: {error})")),
        }
        evidence
    }

    async fn logs(&self, id: &str) -> Result<Vec<String>, Error> {
        let options = LogsOptions {
            stdout: true,
            stderr: true,
            tail: LOG_LINES.to_string(),
            ..LogsOptions::default()
        };
        let stream = self.docker.logs(id, Some(options));
        let collect = async {
            let mut stream = Box::pin(stream);
            let mut bytes = Vec::new();
            while let Some(output) = stream.next().await {
                let chunk: LogOutput = output?;
                bytes.extend_from_slice(&chunk.into_bytes());
            }
            Ok(bytes)
        };
        let bytes = self.call("logs", CALL, collect).await?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.lines().map(str::to_owned).collect())
    }
}

fn tell(container: &ContainerInspectResponse, evidence: &mut Evidence) {
    let Some(state) = &container.state else {
        return;
    };
    if state.running != Some(true) {
        evidence.exit_code = state.exit_code;
    }
    evidence.oom_killed = state.oom_killed.unwrap_or(false);
    if let Some(error) = state.error.as_ref().filter(|error| !error.is_empty()) {
        evidence.logs.push(format!("(docker: {error})"));
    }
    let outputs = state
        .health
        .iter()
        .flat_map(|health| health.log.iter().flatten());
    let outputs: Vec<String> = outputs
        .map(|result| result.output.clone().unwrap_or_default())
        .collect();
    let skip = outputs.len().saturating_sub(HEALTH_OUTPUTS);
    evidence.health = outputs.into_iter().skip(skip).collect();
}

/// The engine says 403 or 409 of a network that the container is already in.
fn connected(error: &Error) -> bool {
    matches!(error, Error::Refused { status: 403 | 409, message, .. } if message.contains("already exists"))
}

/// 404 is said of a missing container, and by some engines of a missing program in it; 409 of one
/// that somebody is removing.
fn gone(error: &Error, id: &str) -> bool {
    let Error::Refused {
        status, message, ..
    } = error
    else {
        return false;
    };
    match status {
        404 => message.contains("No such container") && message.contains(id),
        409 => message.contains("marked for removal"),
        _ => false,
    }
}
