//! Requests that change nothing.

use hyper::{Method, Response, StatusCode};
use serde_json::{json, value::RawValue};

use super::{
    Error, Gate,
    look::{Found, Kind},
    request::{Call, Refusal},
    upstream::{Answer, Body},
};
use crate::{
    docker::{CALL, labels, template::Template},
    targets::Targets,
};

impl Gate {
    /// Ping and version: they are about the engine alone.
    pub(super) async fn pass(&self, version: &str, path: &str) -> Result<Answer, Error> {
        let path = format!("{version}{path}");
        Ok(self.engine.ask(Method::GET, &path, None, CALL).await?)
    }

    /// Containers of declared targets and replicas; of others the client learns nothing.
    pub(super) async fn shown(
        &self,
        version: &str,
        all: bool,
        filters: &[String],
    ) -> Result<Answer, Error> {
        let targets = self.declared.now();
        let mut listed = self.list(version, all, filters).await?;
        listed.retain(|(summary, _)| {
            let labels = labels::sorted(summary.labels.clone());
            Kind::of(&labels, &targets) != Kind::Stranger
        });
        let listed: Vec<Box<RawValue>> = listed.into_iter().map(|(_, raw)| raw).collect();
        let text = serde_json::to_string(&listed).map_err(super::upstream::Broken::Json)?;
        Ok(Answer::json(StatusCode::OK, text))
    }

    pub(super) async fn inspect(&self, version: &str, container: &str) -> Result<Answer, Error> {
        let targets = self.declared.now();
        let found = self.find(version, container).await?;
        match Kind::of(&found.labels, &targets) {
            Kind::Managed(_) => Ok(found.answer),
            Kind::Foreign(_) => {
                self.remember(version, &found, &targets).await?;
                Ok(found.answer)
            }
            Kind::Stranger if found.name == container => Ok(self.stranger(&found, &targets)),
            Kind::Stranger => Ok(missing(container)),
        }
    }

    /// The runner looks at the container that it copies when it first sees it, and may ask for a replica
    /// long after it is gone.
    async fn remember(&self, version: &str, found: &Found, targets: &Targets) -> Result<(), Error> {
        for target in targets.by_name.values() {
            if !target.selects(&found.labels) {
                continue;
            }
            let source = self.source(version, target).await?;
            if source.is_some_and(|source| source.id == found.id)
                && let Ok(template) = Template::of(&found.container)
            {
                self.kept.keep(&target.name, &template);
            }
        }
        Ok(())
    }

    /// Somebody else's container is not there, unless it has the name that a replica would get: that
    /// the name is taken, and whether it is being given free, is all that is told of it.
    fn stranger(&self, found: &Found, targets: &Targets) -> Answer {
        if !self.names_a_replica(targets, &found.name) {
            return missing(&found.name);
        }
        let state = found.container.state.as_ref();
        let status = state.and_then(|state| state.status);
        let told = json!({
            "Id": found.id,
            "Name": format!("/{}", found.name),
            "State": {"Status": status},
        });
        Answer::json(StatusCode::OK, told.to_string())
    }

    /// As it comes: it is not held in memory.
    pub(super) async fn logs(&self, version: &str, call: &Call) -> Result<Response<Body>, Error> {
        let Call::Logs {
            container,
            stdout,
            stderr,
            tail,
        } = call
        else {
            return Err(Refusal::forbidden("not a log").into());
        };
        let found = self.find(version, container).await?;
        match Kind::of(&found.labels, &self.declared.now()) {
            Kind::Managed(_) => {}
            Kind::Foreign(_) | Kind::Stranger => {
                return Err(Refusal::forbidden(format!("{} is no replica", found.name)).into());
            }
        }
        let path = format!(
            "{version}/containers/{}/logs?stdout={stdout}&stderr={stderr}&tail={tail}",
            found.id
        );
        Ok(self.engine.stream(&path, CALL).await?)
    }
}

fn missing(container: &str) -> Answer {
    Answer::message(404, &format!("No such container: {container}"))
}
