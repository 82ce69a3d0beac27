//! Before the story: the stack answers, the figures flow, and nothing is left of an earlier run.

use std::time::Duration;

use crate::{
    figures::{percent, short},
    look::docker::Container,
    profile::Step,
    stage::{Missed, Stage},
    teller::Teller,
    until::{Link, Seen, until},
};

const STACK: Duration = Duration::from_secs(60);

/// Step 1. Returns the app's container, as Compose made it.
pub(crate) async fn set(stage: &Stage, teller: &Teller) -> Result<Container, Missed> {
    let before = |broken| Missed { step: None, broken };
    until(STACK, async || stage.eventpulse.ready().await)
        .await
        .map_err(before)?;
    until(STACK, async || stage.inputs.reset().await)
        .await
        .map_err(before)?;

    let mut first = None;
    let cpu = stage
        .step(Step::CpuSeries, async || fresh_cpu(stage, &mut first).await)
        .await?;
    teller.say(
        "CPU series",
        &format!("app at {} of its limit, scraped just now", percent(cpu)),
    );

    if let Err(seen) = calm(stage).await {
        teller.say(
            "restoring",
            &format!("load off, no bad file; waiting: {}", seen.text),
        );
    }
    until(stage.profile.calm(), async || calm(stage).await)
        .await
        .map_err(before)
}

/// The CPU of the app, once a scrape has come in since the first look: a series outlives its source a while.
async fn fresh_cpu(stage: &Stage, first: &mut Option<f64>) -> Result<f64, Seen> {
    let scraped = stage.prometheus.scraped_at().await?;
    if scraped > *first.get_or_insert(scraped) {
        stage.prometheus.cpu().await
    } else {
        Err(Seen::new(
            Link::CpuSeries,
            "the CPU series of service=app is not scraped any more",
        ))
    }
}

/// No alert fires, no incident is open, no action is under way, one replica runs.
async fn calm(stage: &Stage) -> Result<Container, Seen> {
    if let Some(alert) = stage.prometheus.alerts().await?.first() {
        return Err(Seen::new(
            Link::Prometheus,
            format!("{} is {}", alert.name(), alert.state),
        ));
    }
    if let Some(alert) = stage.alertmanager.alerts().await?.first() {
        return Err(Seen::new(
            Link::Alertmanager,
            format!("{} is active in Alertmanager", alert.name()),
        ));
    }
    let incidents = stage.eventpulse.incidents().await?;
    if let Some(open) = incidents.iter().find(|incident| !incident.is_over()) {
        let text = format!("incident {} is {}", short(&open.incident_id), open.status);
        return Err(Seen::new(Link::IncidentStore, text));
    }
    let actions = stage.eventpulse.runner_actions().await?;
    if let Some(action) = actions.iter().find(|action| !action.ended()) {
        let text = format!("an action is still {}", action.status);
        return Err(Seen::new(Link::ActionRunner, text));
    }
    stage.only_original().await
}
