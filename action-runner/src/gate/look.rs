//! What the gate reads from the engine before it allows anything. It trusts no id, name or label of
//! the client's: it asks, and goes on with the engine's own id.

use std::collections::BTreeMap;

use bollard::models::{ContainerInspectResponse, ContainerSummary};
use hyper::{Method, StatusCode};
use serde_json::value::RawValue;

use super::{
    Error, Gate,
    request::Refusal,
    upstream::{Answer, Broken},
};
use crate::{
    docker::{
        CALL,
        labels::{self, MANAGED, Tag},
        observe::selector_filter,
        source::candidates,
        template::Template,
    },
    domain::target::Target,
    targets::Targets,
};

/// A container as the engine tells of it.
pub(super) struct Found {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) container: ContainerInspectResponse,
    /// What the engine said, word for word.
    pub(super) answer: Answer,
}

/// What a container is to the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// A replica; of the target that is declared, if it is and its selector finds it.
    Managed(Option<&'a Target>),
    /// Of a declared target, made by Compose or by a person.
    Foreign(&'a Target),
    Stranger,
}

impl<'a> Kind<'a> {
    pub(super) fn of(labels: &BTreeMap<String, String>, targets: &'a Targets) -> Self {
        if labels::managed(labels) {
            let target = labels.get(labels::TARGET);
            let target = target.and_then(|target| targets.by_name.get(target));
            return Self::Managed(target.filter(|target| target.selects(labels)));
        }
        let mut declared = targets.by_name.values();
        match declared.find(|target| target.selects(labels)) {
            Some(target) => Self::Foreign(target),
            None => Self::Stranger,
        }
    }
}

impl Gate {
    /// Containers with these labels, and what the engine said of each.
    pub(super) async fn list(
        &self,
        version: &str,
        all: bool,
        labels: &[String],
    ) -> Result<Vec<(ContainerSummary, Box<RawValue>)>, Error> {
        let filters = serde_json::json!({ "label": labels }).to_string();
        let filters: String = form_urlencoded::byte_serialize(filters.as_bytes()).collect();
        let path = format!("{version}/containers/json?all={all}&filters={filters}");
        let answer = self.engine.ask(Method::GET, &path, None, CALL).await?;
        if answer.status != StatusCode::OK {
            return Err(Error::Relayed(answer));
        }
        let listed: Vec<Box<RawValue>> =
            serde_json::from_slice(&answer.body).map_err(Broken::Json)?;
        let read = listed.into_iter().map(|raw| {
            let summary = serde_json::from_str(raw.get()).map_err(Broken::Json)?;
            Ok((summary, raw))
        });
        read.collect()
    }

    /// The container of this id or name; what the engine says instead, if it has none.
    pub(super) async fn find(&self, version: &str, container: &str) -> Result<Found, Error> {
        let path = format!("{version}/containers/{container}/json");
        let answer = self.engine.ask(Method::GET, &path, None, CALL).await?;
        if answer.status != StatusCode::OK {
            return Err(Error::Relayed(answer));
        }
        let container: ContainerInspectResponse =
            serde_json::from_slice(&answer.body).map_err(Broken::Json)?;
        let id = container.id.clone().unwrap_or_default();
        let name = container.name.clone().unwrap_or_default();
        let labels = container.config.as_ref();
        let labels = labels::sorted(labels.and_then(|config| config.labels.clone()));
        Ok(Found {
            id: super::request::name(&id)?,
            name: name.trim_start_matches('/').to_owned(),
            labels,
            container,
            answer,
        })
    }

    /// The container that the target's replicas are made from, by Action Runner's own choice.
    pub(super) async fn source(
        &self,
        version: &str,
        target: &Target,
    ) -> Result<Option<Found>, Error> {
        let listed = self.list(version, true, &selector_filter(target)).await?;
        let listed = listed.into_iter().map(|(summary, _)| summary).collect();
        for candidate in candidates(listed) {
            match self.find(version, &candidate.id.unwrap_or_default()).await {
                Ok(found) => return Ok(Some(found)),
                // Gone meanwhile.
                Err(Error::Relayed(answer)) if answer.status == StatusCode::NOT_FOUND => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The template of this hash: of the container that the target's replicas are made from now, else
    /// one that was made from such a container before and kept.
    pub(super) async fn template(
        &self,
        version: &str,
        target: &Target,
        hash: &str,
    ) -> Result<Template, Error> {
        if let Some(found) = self.source(version, target).await? {
            let template = Template::of(&found.container).map_err(|why| {
                Refusal::forbidden(format!("{} cannot be copied: {why}", found.name))
            })?;
            self.kept.keep(&target.name, &template);
        }
        let kept = self.kept.find(&target.name, hash);
        let kept = kept.filter(|template| template.fits(target));
        kept.ok_or_else(|| {
            let why = format!("the template of {} has changed, look again", target.name);
            Refusal::look_again(why).into()
        })
    }

    /// How many replicas of the target there are, in whatever state, but for those that are going.
    pub(super) async fn count(&self, version: &str, target: &Target) -> Result<usize, Error> {
        // Another stack on this host may have a target of the same name.
        let mut ours = selector_filter(target);
        ours.push(format!("{MANAGED}=true"));
        ours.push(format!("{}={}", labels::TARGET, target.name));
        let listed = self.list(version, true, &ours).await?;
        let there = listed.iter().filter(|(summary, _)| !going(summary));
        Ok(there.count())
    }

    /// Whether a replica of some declared target has, or would have, this name.
    pub(super) fn names_a_replica(&self, targets: &Targets, name: &str) -> bool {
        let slot = name.rsplit('-').next();
        let Some(slot) = slot.and_then(|digits| digits.parse().ok()) else {
            return false;
        };
        targets.by_name.values().any(|target| {
            let kept = self.kept.all(&target.name);
            let mut fitting = kept.iter().filter(|template| template.fits(target));
            fitting.any(|template| template.replica_name(&target.name, slot) == name)
        })
    }
}

fn going(summary: &ContainerSummary) -> bool {
    use bollard::models::ContainerSummaryStateEnum::{DEAD, REMOVING};
    matches!(summary.state, Some(DEAD | REMOVING))
}

/// The replica that labels speak of.
pub(super) fn tag(labels: &BTreeMap<String, String>) -> Result<Tag, Refusal> {
    Tag::read(labels).ok_or_else(|| Refusal::forbidden("the labels are not those of a replica"))
}
