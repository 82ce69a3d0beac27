//! Everything that an act looks at, and the one hand it has.

use std::time::Duration;

use crate::{
    config::{Args, Urls},
    hey::Report,
    inputs::Inputs,
    look::{
        alertmanager::Alertmanager,
        docker::{Container, Engine},
        eventpulse::{Action, EventPulse, Incident},
        http::Reader,
        prometheus::Prometheus,
    },
    profile::{Profile, Step},
    traffic::Traffic,
    until::{Broken, Link, Seen, until},
};

#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) profile: Profile,
    pub(crate) prometheus: Prometheus,
    pub(crate) alertmanager: Alertmanager,
    pub(crate) eventpulse: EventPulse,
    pub(crate) inputs: Inputs,
    engine: Engine,
    reader: Reader,
    urls: Urls,
}

/// A step that did not happen; no step for what comes before the first.
#[derive(Debug)]
pub(crate) struct Missed {
    pub(crate) step: Option<Step>,
    pub(crate) broken: Broken,
}

impl Missed {
    /// Something that cannot be waited for.
    pub(crate) fn at(step: Step) -> impl Fn(Seen) -> Self {
        move |seen| Self {
            step: Some(step),
            broken: Broken {
                waited: Duration::ZERO,
                seen,
            },
        }
    }
}

impl Stage {
    pub(crate) async fn open(args: &Args) -> Result<Self, Seen> {
        let reader = Reader::new();
        let engine = Engine::connect(&args.docker, &args.project).await?;
        Ok(Self {
            profile: args.profile,
            prometheus: Prometheus::new(reader.clone(), args.urls.prometheus.clone()),
            alertmanager: Alertmanager::new(reader.clone(), args.urls.alertmanager.clone()),
            eventpulse: EventPulse::new(reader.clone(), args.urls.clone()),
            inputs: Inputs::new(engine.clone(), args.app_config.clone()),
            engine,
            reader,
            urls: args.urls.clone(),
        })
    }

    /// Waits for `look`, as long as `step` may take.
    pub(crate) async fn step<T>(
        &self,
        step: Step,
        look: impl AsyncFnMut() -> Result<T, Seen>,
    ) -> Result<T, Missed> {
        self.part(step, self.profile.deadline(step), look).await
    }

    /// Waits for `look`, a part of `step` with a limit of its own.
    pub(crate) async fn part<T>(
        &self,
        step: Step,
        limit: Duration,
        look: impl AsyncFnMut() -> Result<T, Seen>,
    ) -> Result<T, Missed> {
        until(limit, look).await.map_err(|broken| Missed {
            step: Some(step),
            broken,
        })
    }

    pub(crate) async fn app(&self) -> Result<Vec<Container>, Seen> {
        self.engine.containers("app").await
    }

    /// The one container that Compose made, running and healthy, with nothing else beside it.
    pub(crate) async fn only_original(&self) -> Result<Container, Seen> {
        let mut app = self.app().await?;
        match app.pop() {
            Some(container) if app.is_empty() && !container.managed && container.healthy => {
                Ok(container)
            }
            Some(container) => {
                app.push(container);
                let names: Vec<_> = app.iter().map(describe).collect();
                Err(Seen::new(Link::App, format!("app: {}", names.join(", "))))
            }
            None => Err(Seen::new(Link::App, "there is no app container")),
        }
    }

    pub(crate) async fn served_by(&self) -> Result<String, Seen> {
        self.reader
            .served_by(&format!("{}/work", self.urls.traefik))
            .await
    }

    pub(crate) async fn traffic(&self) -> Result<Traffic, Seen> {
        let metrics = self
            .reader
            .text(Link::Traefik, &self.urls.traefik_metrics, &[])
            .await?;
        Ok(Traffic::parse(&metrics))
    }

    /// Turns load off; a request that failed while it was on is a failure of the step.
    pub(crate) async fn load_off(&self, step: Step) -> Result<Report, Missed> {
        let report = self.inputs.load_off().await.map_err(Missed::at(step))?;
        if report.failed == 0 && report.good > 0 {
            return Ok(report);
        }
        let text = format!(
            "hey: {} of {} requests failed",
            report.failed,
            report.requests()
        );
        Err(Missed::at(step)(Seen::new(Link::Load, text)))
    }

    /// The incident that holds `episode_id`.
    pub(crate) async fn incident_of(&self, episode_id: &str) -> Result<Incident, Seen> {
        let incidents = self.eventpulse.incidents().await?;
        incidents
            .into_iter()
            .find(|incident| incident.has_episode(episode_id))
            .ok_or_else(|| {
                Seen::new(
                    Link::IncidentStore,
                    "Incident Store has no incident for the alert",
                )
            })
    }

    /// The latest action of an incident that asks for `desired` replicas.
    pub(crate) async fn action(&self, incident: &str, desired: usize) -> Result<Action, Seen> {
        let actions = self.eventpulse.actions_of(incident).await?;
        let asked = actions
            .into_iter()
            .rfind(|action| action.desired_replicas == Some(desired));
        asked.ok_or_else(|| {
            Seen::new(
                Link::Rules,
                format!("no action asks for {desired} replicas"),
            )
        })
    }
}

/// `eventpulse-app-2 (unhealthy)`.
fn describe(container: &Container) -> String {
    let state = match (container.running, container.healthy) {
        (true, true) => "healthy",
        (true, false) => "not healthy",
        (false, _) => "stopped",
    };
    format!("{} ({state})", container.name)
}
