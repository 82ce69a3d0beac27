//! Requests that change something. What a replica is made of comes from the engine and from
//! `targets.yaml`; of the request count the name, the labels of the replica's tag, and numbers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bollard::models::NetworkConnectRequest;
use hyper::Method;
use serde::Deserialize;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{
    Error, Gate,
    look::{Found, Kind, tag},
    request::Refusal,
    upstream::{Answer, Broken},
};
use crate::{
    docker::{CALL, labels, labels::Tag, template::Template},
    domain::target::Target,
    targets::Targets,
};

/// How long the engine waits for a container to stop if it is not told.
const ENGINES_GRACE: u32 = 10;

/// One replica of a target at a time, so that two requests do not both find the last place.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<BTreeMap<String, Arc<Mutex<()>>>>);

impl Turns {
    async fn of(&self, target: &str) -> OwnedMutexGuard<()> {
        let turn = self
            .0
            .lock()
            .await
            .entry(target.to_owned())
            .or_default()
            .clone();
        turn.lock_owned().await
    }
}

/// All that is read of a create body.
#[derive(Deserialize)]
struct CreateBody {
    #[serde(rename = "Labels", default)]
    labels: BTreeMap<String, String>,
}

/// All that is read of a connect body.
#[derive(Deserialize)]
struct ConnectBody {
    #[serde(rename = "Container")]
    container: String,
}

/// What is asked of the engine in the end.
struct Act {
    method: Method,
    path: String,
    body: Option<Vec<u8>>,
    limit: Duration,
}

impl Act {
    fn post(path: String) -> Self {
        Self {
            method: Method::POST,
            path,
            body: None,
            limit: CALL,
        }
    }
}

impl Gate {
    pub(super) async fn create(
        self: &Arc<Self>,
        version: &str,
        name: &str,
        body: &[u8],
    ) -> Result<Answer, Error> {
        let body: CreateBody = read(body)?;
        let tag = tag(&body.labels)?;
        let targets = self.declared.now();
        let target = targets.by_name.get(&tag.target).ok_or_else(|| {
            Refusal::forbidden(format!("target {:?} is not declared", tag.target))
        })?;
        let turn = self.turns.of(&target.name).await;
        let template = self.template(version, target, &tag.template).await?;
        let own = template.replica_name(&target.name, tag.slot);
        if name != own {
            let why = format!("slot {} of {} is {own}, not {name}", tag.slot, target.name);
            return Err(Refusal::forbidden(why).into());
        }
        self.leave_room(version, target).await?;
        let body = template.create_body(&own, &tag);
        let act = Act {
            body: Some(serde_json::to_vec(&body).map_err(Broken::Json)?),
            ..Act::post(format!("{version}/containers/create?name={own}"))
        };
        tracing::info!(
            container = own,
            target.name = target.name,
            slot = tag.slot,
            epoch = tag.epoch,
            template = tag.template,
            action_id = tag.action_id.map(|id| id.to_string()),
            "a replica is created"
        );
        self.perform(act, Some(turn)).await
    }

    /// One more than the bounds allow: while a replica is being replaced both are there.
    async fn leave_room(&self, version: &str, target: &Target) -> Result<(), Error> {
        let there = self.count(version, target).await?;
        let most = target.bounds.max_replicas as usize + 1;
        if there < most {
            return Ok(());
        }
        let why = format!(
            "{} has {there} replicas, and {most} at most: max_replicas, and one that takes over",
            target.name
        );
        Err(Refusal::forbidden(why).into())
    }

    pub(super) async fn start(
        self: &Arc<Self>,
        version: &str,
        container: &str,
    ) -> Result<Answer, Error> {
        let found = self.find(version, container).await?;
        declared(&found, &self.declared.now())?;
        self.perform(
            Act::post(format!("{version}/containers/{}/start", found.id)),
            None,
        )
        .await
    }

    pub(super) async fn stop(
        self: &Arc<Self>,
        version: &str,
        container: &str,
        seconds: Option<u32>,
    ) -> Result<Answer, Error> {
        let id = self.replica(version, container).await?.id;
        let query = seconds.map_or_else(String::new, |seconds| format!("?t={seconds}"));
        let grace = Duration::from_secs(seconds.unwrap_or(ENGINES_GRACE).into());
        let act = Act {
            limit: grace + CALL,
            ..Act::post(format!("{version}/containers/{id}/stop{query}"))
        };
        self.perform(act, None).await
    }

    pub(super) async fn remove(
        self: &Arc<Self>,
        version: &str,
        container: &str,
        force: bool,
        volumes: bool,
    ) -> Result<Answer, Error> {
        let id = self.replica(version, container).await?.id;
        let act = Act {
            method: Method::DELETE,
            ..Act::post(format!(
                "{version}/containers/{id}?force={force}&v={volumes}"
            ))
        };
        self.perform(act, None).await
    }

    pub(super) async fn connect(
        self: &Arc<Self>,
        version: &str,
        network: &str,
        body: &[u8],
    ) -> Result<Answer, Error> {
        let body: ConnectBody = read(body)?;
        let container = super::request::name(&body.container)?;
        let found = self.find(version, &container).await?;
        let targets = self.declared.now();
        let target = declared(&found, &targets)?;
        let tag = tag(&found.labels)?;
        let template = self.template(version, target, &tag.template).await?;
        let request = connection(&template, &tag, &found, network)?;
        let act = Act {
            body: Some(serde_json::to_vec(&request).map_err(Broken::Json)?),
            ..Act::post(format!("{version}/networks/{network}/connect"))
        };
        self.perform(act, None).await
    }

    /// A container of ours, of whatever target: those of a target that is declared no more are stopped
    /// and removed when a person prunes.
    async fn replica(&self, version: &str, container: &str) -> Result<Found, Error> {
        let found = self.find(version, container).await?;
        if labels::managed(&found.labels) {
            return Ok(found);
        }
        Err(Refusal::forbidden(format!("{} is no replica", found.name)).into())
    }

    /// Asks the engine. What has begun goes on when the client has gone: the next of this target waits
    /// for it, and the log says how it ended.
    async fn perform(
        self: &Arc<Self>,
        act: Act,
        turn: Option<OwnedMutexGuard<()>>,
    ) -> Result<Answer, Error> {
        let gate = Arc::clone(self);
        let work = self.tasks.spawn(async move {
            let Act {
                method,
                path,
                body,
                limit,
            } = act;
            let outcome = gate.engine.ask(method.clone(), &path, body, limit).await;
            drop(turn);
            match &outcome {
                Ok(answer) => {
                    tracing::info!(%method, path, status = answer.status.as_u16(), "the engine was asked");
                }
                Err(error) => {
                    let error = service_kit::error::chain(error);
                    tracing::warn!(%method, path, error, "the engine was asked, and what it did is unknown");
                }
            }
            outcome
        });
        let outcome = work.await.map_err(|_| Broken::Stopping)?;
        Ok(outcome?)
    }
}

/// The target of a replica that is declared, and whose selector finds it.
fn declared<'a>(found: &Found, targets: &'a Targets) -> Result<&'a Target, Refusal> {
    match Kind::of(&found.labels, targets) {
        Kind::Managed(Some(target)) => Ok(target),
        Kind::Managed(None) | Kind::Foreign(_) | Kind::Stranger => Err(Refusal::forbidden(
            format!("{} is no replica of a declared target", found.name),
        )),
    }
}

/// With the aliases that the template has in this network.
fn connection(
    template: &Template,
    tag: &Tag,
    found: &Found,
    network: &str,
) -> Result<NetworkConnectRequest, Refusal> {
    let name = template.replica_name(&tag.target, tag.slot);
    let mut networks = template.other_networks(&name);
    let endpoint = networks.find_map(|(own, endpoint)| (own == network).then_some(endpoint));
    let endpoint = endpoint.ok_or_else(|| {
        Refusal::forbidden(format!(
            "{network} is no network that {} has to be connected to",
            found.name
        ))
    })?;
    Ok(NetworkConnectRequest {
        container: found.id.clone(),
        endpoint_config: Some(endpoint),
    })
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal {
        status: 400,
        why: format!("the body cannot be read: {error}"),
    })
}
